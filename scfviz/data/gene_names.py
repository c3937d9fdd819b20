"""What a gene is called in files: genomes before the name, versions and positions behind it, dates instead of it."""

import re
from collections.abc import Sequence

from scfviz.data.vocabulary import load_vocabulary

ENSEMBL_ID = re.compile(r"ENS(?:MUS)?G\d{11}")
# 10x, Drop-seq and Seurat write a genome before each name, with any separator: GRCh38_CD4, hg19-CD4, HUMAN_CD4.
SEPARATORS = r"[^A-Za-z0-9]+"
HUMAN_PREFIX = re.compile(
    rf"^(?:GRCh3[78](?:\.p\d+)?|hg(?:19|38)|b37|(?:t2t-)?chm13(?:v\d[\d.]*)?"
    rf"|human|homo[_. ]sapiens|h_?sapiens|hs(?:ap)?|gene){SEPARATORS}",
    re.IGNORECASE,
)
MOUSE_PREFIX = re.compile(
    rf"^(?:GRCm3[89](?:\.p\d+)?|mm(?:9|10|39)|mouse|mus[_. ]musculus|m_?musculus|mmus){SEPARATORS}", re.IGNORECASE
)
CHROMOSOME_SUFFIX = re.compile(r"__chr\w+$", re.IGNORECASE)
# DepMap writes the GeneID behind the symbol, A1BG (1), of which R makes A1BG..1.
ENTREZ_SUFFIX = re.compile(r"^([A-Za-z][\w.-]*?)(?: \(\d+\)|\.\.\d+\.)$")
REPEAT_SUFFIX = re.compile(r"^(.+?)(?:[-.]|__)(\d{1,2})$")
# alevin-fry counts unspliced and ambiguous molecules as rows of their own: CD4, CD4-U, CD4-A.
PART_SUFFIX = re.compile(r"^(.+)-([UA])$")
MOUSE_MARK = re.compile(r"^(?:Gm\d{3,}|\d*[A-Z]\w*Rik|mt-[A-Z]\w*|H2-\w+|ENSMUSG\d+)$")
RAT_MARK = re.compile(r"^(?:RGD\d{5,}|RT1-\w+|Mt-[a-z]\w*|AABR\d+(?:\.\d+)?|Aabr\d+(?:\.\d+)?|ENSRNOG\d+(?:\.\d+)?)$")
OTHER_KINDS = {
    "ENSRNOG": "Ensembl IDs of the rat",
    "ENSDARG": "Ensembl IDs of the zebrafish",
    "ENSMMUG": "Ensembl IDs of the rhesus macaque",
    "ENSMFAG": "Ensembl IDs of the crab-eating macaque",
    "ENSSSCG": "Ensembl IDs of the pig",
    "ENSBTAG": "Ensembl IDs of the cow",
    "ENSGALG": "Ensembl IDs of the chicken",
    "ENSOCUG": "Ensembl IDs of the rabbit",
    "ENSCAFG": "Ensembl IDs of the dog",
    "ENSPTRG": "Ensembl IDs of the chimpanzee",
    "ENSCJAG": "Ensembl IDs of the marmoset",
    "ENSXETG": "Ensembl IDs of the frog",
    "ENSOARG": "Ensembl IDs of the sheep",
    "FBgn": "FlyBase IDs of the fruit fly",
    "WBGene": "WormBase IDs of the worm C. elegans",
    "ENST0": "Ensembl IDs of transcripts, not genes",
    "ENSMUST": "Ensembl IDs of mouse transcripts, not genes",
    "ENSP0": "Ensembl IDs of proteins, not genes",
    "NM_": "RefSeq IDs of transcripts, not genes",
    "HGNC:": "HGNC IDs",
}
MIN_MARKS = 3
N_TESTED = 4000

MONTHS = {"mar": ("MARCHF", "MTARC"), "sep": ("SEPTIN",), "dec": ("DELEC",)}
MONTH_NUMBERS = {3: "mar", 9: "sep", 12: "dec"}
# As spreadsheets write them in English, German, French, Spanish, Italian and Dutch.
MONTH_WORDS = {
    "mar": "mar",
    "march": "mar",
    "mrz": "mar",
    "mär": "mar",
    "märz": "mar",
    "mars": "mar",
    "mrt": "mar",
    "marzo": "mar",
    "sep": "sep",
    "sept": "sep",
    "set": "sep",
    "september": "sep",
    "dec": "dec",
    "dez": "dec",
    "déc": "dec",
    "dic": "dec",
    "december": "dec",
    "dezember": "dec",
}
WORD = "|".join(sorted(MONTH_WORDS, key=len, reverse=True))
BETWEEN = r"[-/. ]\s?"
DAY_MONTH = re.compile(rf"^0?(\d{{1,2}}){BETWEEN}({WORD})\.?(?:{BETWEEN}\d{{2,4}})?$", re.IGNORECASE)
MONTH_DAY = re.compile(rf"^({WORD})\.?{BETWEEN}0?(\d{{1,2}})$", re.IGNORECASE)
NUMBERS_DATE = re.compile(r"^(\d{1,2})[/.](\d{1,2})[/.](?:\d{2}|\d{4})$")
BYTES = re.compile(r"^b(['\"])(.*)\1$")  # what Python writes of a text that was not decoded
ISO_DATE = re.compile(r"^\d{4}-(\d{2})-(\d{2})(?:[ T]00:00:00)?$")


def clean(name: str) -> str:
    """A name without quotes and without what files write around it; an Ensembl ID without anything else.

    Files hold `ENSG00000141510.18`, `GRCh38_TP53`, `HUMAN_TP53`, `TP53__chr17`, and pairs such as
    `TP53_ENSG00000141510`, `TP53|7157` and `TP53 (7157)`.
    """
    name = HUMAN_PREFIX.sub("", BYTES.sub(r"\2", name).strip("'\""))
    found = ENSEMBL_ID.search(name) if "ENS" in name else None
    if found:
        return found.group()
    if "|" in name:
        name = next((part for part in name.split("|") if part and not part.isdigit()), name)
    if name.endswith((")", ".")):
        return ENTREZ_SUFFIX.sub(r"\1", name)
    return CHROMOSOME_SUFFIX.sub("", name) if "__" in name else name


def parse_date(name: str) -> tuple[str, int] | None:
    """(month, day) when a name is a spreadsheet's date in March, September or December."""
    if match := DAY_MONTH.match(name):
        return MONTH_WORDS[match.group(2).lower()], int(match.group(1))
    if match := MONTH_DAY.match(name):
        return MONTH_WORDS[match.group(1).lower()], int(match.group(2))
    if match := NUMBERS_DATE.match(name):  # month first or day first: only one of the two may be such a month
        first, second = map(int, match.groups())
        found = [(month, day) for month, day in ((first, second), (second, first)) if month in MONTH_NUMBERS]
        if len(found) == 1:
            return MONTH_NUMBERS[found[0][0]], found[0][1]
    if (match := ISO_DATE.match(name)) and int(match.group(1)) in MONTH_NUMBERS:
        return MONTH_NUMBERS[int(match.group(1))], int(match.group(2))
    return None


def rodent(names: Sequence[str]) -> str:
    """ "rat", "mouse" or, where no name tells them apart, "mouse or rat": their symbols are mostly the same."""
    n_mouse, n_rat = (sum(1 for name in names if mark.match(name)) for mark in (MOUSE_MARK, RAT_MARK))
    if n_rat >= MIN_MARKS and n_rat > n_mouse:
        return "rat"
    return "mouse" if n_mouse >= MIN_MARKS else "mouse or rat"


def is_row_number(names: Sequence[str]) -> bool:
    """Whether names are 0, 1, 2, ... (or from 1 on), perhaps with `Unnamed:` before them: numbers of rows."""
    bare = [name.removeprefix("Unnamed: ") for name in names]
    if not all(name.isdigit() or not name for name in bare):
        return False
    numbers = [int(name) for name in bare if name]
    rises = all(b == a + 1 for a, b in zip(numbers, numbers[1:], strict=False))
    return rises or not numbers or max(numbers) <= 2 * len(bare)


def describe_names(names: Sequence[str]) -> str:
    """What names that the model does not know are, where that can be told; else ""."""
    tested = [name for name in names[:N_TESTED] if name]
    if not tested:
        return ""
    half = len(tested) / 2
    for start, what in OTHER_KINDS.items():
        if sum(name.startswith(start) for name in tested) > half:
            return what
    symbols = load_vocabulary().by_symbol
    if sum(name == name.lower() and name.upper() in symbols for name in tested) > half:
        return "in small letters, as genes of fish and frogs are written; human symbols have capitals"
    if sum(name.removesuffix(".0").isdigit() for name in tested) > 0.9 * len(tested):
        return "" if is_row_number(tested) else "numbers, as NCBI (Entrez) GeneIDs are"
    return ""
