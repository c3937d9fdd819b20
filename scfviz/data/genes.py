"""Match the genes of a file to the genes of the model."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from scfviz.data.vocabulary import AMBIGUOUS, GeneVocabulary, load_vocabulary
from scfviz.errors import GeneError

MIN_SHARE_KNOWN = 0.20
MIN_MODEL_GENES = 200
PANEL_GENES = 5000
N_EXAMPLES = 8
N_SAMPLED = 1500
INDEX_COLUMN = "(row names)"
GENE_EXPRESSION = "Gene Expression"
ENSEMBL_ID = re.compile(r"ENS(?:MUS)?G\d{11}")
HUMAN_PREFIX = re.compile(r"^(?:GRCh38|GRCh37|hg19|hg38)_+")
REPEAT_SUFFIX = re.compile(r"^(.+)[-.](\d{1,2})$")
MONTHS = {"mar": ("MARCHF", "MTARC"), "sep": ("SEPTIN",), "sept": ("SEPTIN",), "dec": ("DELEC",)}
MONTH_NUMBERS = {3: "mar", 9: "sep", 12: "dec"}
DAY_MONTH = re.compile(r"^0?(\d{1,2})[-/ ](mar|sept?|dec)(?:[-/ ]\d{2,4})?$", re.IGNORECASE)
MONTH_DAY = re.compile(r"^(mar|sept?|dec)[-/ ]0?(\d{1,2})$", re.IGNORECASE)
ISO_DATE = re.compile(r"^\d{4}-(\d{2})-(\d{2})(?: 00:00:00)?$")


@dataclass(frozen=True)
class GeneReport:
    """How the genes of a file met the genes of the model. All `n_*` count rows of the file unless said otherwise."""

    column: str  # the column of `var` that was used
    id_type: str  # "symbol" | "ensembl"
    organism: str  # "human" | "mouse"
    n_file: int  # genes in the file (features of other types left out)
    n_model: int  # genes of the model
    n_matched: int  # by the model's own symbol or Ensembl ID
    n_alias: int  # by a previous symbol, alias, damaged date or repaired spelling
    n_ortholog: int  # mouse genes through one-to-one orthologs
    n_summed: int  # rows that were added to another row of the same gene
    n_unknown: int  # rows that are no gene of the model, left out
    n_ambiguous: int  # of the unknown: aliases of several genes, or of one that is there anyway
    n_measured: int  # genes of the model that the file holds
    n_not_measured: int  # genes of the model that the file does not hold
    model_coverage: float  # % of the model's genes that are measured
    counts_coverage: float | None  # % of the file's counts that are on matched genes; None before counts were read
    summed: tuple[str, ...]  # examples of symbols that several rows were added for
    unknown: tuple[str, ...]  # examples
    damaged: tuple[tuple[str, str], ...]  # spreadsheet dates and the gene each one must have been ("" where unclear)
    other_features: dict[str, int]  # rows of other feature types, left out: {"Antibody Capture": 17}
    notices: tuple[str, ...]  # plain sentences

    def as_dict(self) -> dict:
        """The report as JSON-able fields."""
        return asdict(self)


@dataclass(frozen=True)
class GeneMatch:
    """Which gene of the model each row of a file is."""

    target: np.ndarray  # int32 (n_vars,): position among the model's genes, -1 is none of them
    is_gene: np.ndarray  # bool (n_vars,): False for rows of other feature types
    genes: tuple[str, ...]
    report: GeneReport


def match_genes(var: pd.DataFrame, genes: Sequence[str] | None = None, *, column: str | None = None) -> GeneMatch:
    """Find the model's gene for each row of `var`.

    The column of names is chosen by content: the one that names the most genes of the model, as human symbols, Ensembl
    IDs (any version), previous symbols and aliases, or as mouse symbols or IDs through one-to-one orthologs.

    Parameters
    ----------
    var
        The genes of the file, one a row.
    genes
        The model's genes in its order; None takes the 19,264 of the vocabulary.
    column
        Name of the column of `var` that holds gene names; None chooses.

    Raises
    ------
    GeneError
        Fewer than 20 % of the file's genes are known, or fewer than 200 of the model's genes are in the file.
    """
    vocabulary = load_vocabulary()
    genes = vocabulary.symbols if genes is None else tuple(genes)
    is_gene, other_features = gene_expression_rows(var)
    candidates = name_columns(var, column)
    position = {symbol: i for i, symbol in enumerate(genes)}
    likely = most_likely({label: values[is_gene] for label, values in candidates.items()}, position)
    best = max(
        (name_all(values, label, vocabulary, position) for label, values in likely.items()),
        key=lambda naming: naming.score,
    )
    target = np.full(len(var), -1, dtype=np.int32)
    target[is_gene] = [position.get(symbol, -1) for symbol in best.symbols]
    report = make_report(best, target[is_gene], genes, other_features)
    refuse_too_few(report, var, len(genes))
    return GeneMatch(target, is_gene, tuple(genes), report)


@dataclass
class Naming:
    """What one column of names says: the model's symbol of each row ("" where none) and how it was found."""

    column: str
    names: np.ndarray
    symbols: list[str]
    how: list[str]
    id_type: str
    organism: str
    damaged: tuple[tuple[str, str], ...] = ()

    @property
    def score(self) -> tuple[int, int, bool]:
        known = {s for s in self.symbols if s}
        return len(known), self.how.count("matched"), self.column == INDEX_COLUMN


def name_columns(var: pd.DataFrame, column: str | None) -> dict[str, np.ndarray]:
    """The columns of `var` that may hold names, as arrays of str."""
    if column is not None and column != INDEX_COLUMN:
        if column not in var.columns:
            raise GeneError(
                f"The table of genes has no column '{column}'.",
                "",
                f"Its columns are: {', '.join(map(str, var.columns)) or 'none'}.",
            )
        return {column: as_text(var[column])}
    columns = {INDEX_COLUMN: as_text(var.index)}
    if column is None:
        for name in var.columns:
            values = var[name]
            is_text = values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype)
            # A constant column (genome, feature type) names nothing.
            if is_text and values.nunique() > 1:
                columns[str(name)] = as_text(values)
    return columns


def as_text(values) -> np.ndarray:
    """Names as an object array of stripped str; missing ones are ""."""
    series = pd.Series(np.asarray(values, dtype=object))
    return series.where(series.notna(), "").map(lambda v: str(v).strip()).to_numpy(dtype=object)


def gene_expression_rows(var: pd.DataFrame) -> tuple[np.ndarray, dict[str, int]]:
    """Rows that are genes, and how many of each other kind there are, from a column that holds 10x feature types."""
    for name in var.columns:
        values = var[name]
        if values.dtype != object and not isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
            continue
        counts = Counter(as_text(values))
        if GENE_EXPRESSION in counts:
            others = {kind or "unnamed": n for kind, n in sorted(counts.items()) if kind != GENE_EXPRESSION}
            return (as_text(values) == GENE_EXPRESSION), others
    return np.ones(len(var), dtype=bool), {}


def most_likely(columns: dict[str, np.ndarray], position: dict[str, int]) -> dict[str, np.ndarray]:
    """The two columns with the most known names among a sample of each; to read all of a wide table takes long."""

    def share(label: str) -> float:
        names = columns[label]
        sample = names[np.linspace(0, len(names) - 1, min(len(names), N_SAMPLED)).astype(int)] if len(names) else names
        return max(share_known(sample), sum(n in position for n in sample) / max(len(sample), 1))

    chosen = sorted(columns, key=share, reverse=True)[:2]
    return {label: columns[label] for label in columns if label in chosen}


def name_all(names: np.ndarray, column: str, vocabulary: GeneVocabulary, position: dict[str, int]) -> Naming:
    """Name every row of one column, as human or as mouse genes, whichever fits better."""
    bare = [clean(n) for n in names]
    human = [(n, "matched") if n in position else lookup_human(n, vocabulary) for n in bare]
    mouse = [vocabulary.by_mouse_symbol.get(n) or vocabulary.by_mouse_ensembl.get(n, "") for n in bare]
    n_ensembl = sum(n.startswith("ENS") for n in bare)
    id_type = "ensembl" if n_ensembl > len(bare) / 2 else "symbol"
    if sum(map(bool, mouse)) > sum(how in ("matched", "alias") for _, how in human):
        how = ["ortholog" if s else "unknown" for s in mouse]
        naming = Naming(column, names, mouse, how, id_type, "mouse")
    else:
        naming = Naming(column, names, [s for s, _ in human], [how for _, how in human], id_type, "human")
        repair_dates(naming, vocabulary)
        drop_conflicts(naming)
    repair_repeats(naming)
    return naming


def clean(name: str) -> str:
    """A name without quotes and without the genome that 10x writes before it; an Ensembl ID without anything else.

    Files hold `ENSG00000141510.18`, and pairs such as `TP53_ENSG00000141510`.
    """
    name = name.strip("'\"")
    if name.startswith(("GRCh", "hg")):
        name = HUMAN_PREFIX.sub("", name)
    found = ENSEMBL_ID.search(name) if "ENS" in name else None
    return found.group() if found else name


def lookup_human(name: str, vocabulary: GeneVocabulary) -> tuple[str, str]:
    """(symbol, how) of one human name; how is matched, alias, ambiguous or unknown."""
    if name in vocabulary.by_symbol:
        return name, "matched"
    if name in vocabulary.by_ensembl:
        symbol = vocabulary.by_ensembl[name]
        return symbol, "matched" if symbol else "ambiguous"
    # R writes HLA.A for HLA-A; many files hold C1orf43 in capitals.
    for table, key in (
        (vocabulary.by_alias, name),
        (vocabulary.by_upper, name),
        (vocabulary.by_symbol, name.replace(".", "-")),
        (vocabulary.by_alias, name.replace(".", "-")),
    ):
        if key in table:
            return table[key], "alias" if table[key] != AMBIGUOUS else "ambiguous"
    return "", "unknown"


def repair_dates(naming: Naming, vocabulary: GeneVocabulary) -> None:
    """Recognise symbols that a spreadsheet turned into dates (1-Mar, 2-Sep), where only one gene can be meant.

    Source: Ziemann et al. 2016, doi:10.1186/s13059-016-1044-7.
    """
    dates = [(i, parsed) for i, name in enumerate(naming.names) if (parsed := parse_date(name))]
    if not dates:
        return
    present = {s for s in naming.symbols if s}
    times = Counter(parsed for _, parsed in dates)
    damaged = []
    for i, (month, day) in dates:
        possible = [f"{family}{day}" for family in MONTHS[month] if f"{family}{day}" in vocabulary.by_symbol]
        left = [s for s in possible if s not in present]
        if len(left) == 1 and times[(month, day)] == 1:
            naming.symbols[i], naming.how[i] = left[0], "alias"
        else:
            naming.symbols[i], naming.how[i] = "", "ambiguous"
        damaged.append((str(naming.names[i]), naming.symbols[i]))
    naming.damaged = tuple(damaged)


def parse_date(name: str) -> tuple[str, int] | None:
    """(month, day) when a name is a spreadsheet's date in March, September or December."""
    if match := DAY_MONTH.match(name):
        return match.group(2).lower()[:3], int(match.group(1))
    if match := MONTH_DAY.match(name):
        return match.group(1).lower()[:3], int(match.group(2))
    if (match := ISO_DATE.match(name)) and int(match.group(1)) in MONTH_NUMBERS:
        return MONTH_NUMBERS[int(match.group(1))], int(match.group(2))
    return None


def drop_conflicts(naming: Naming) -> None:
    """Leave out aliases of genes that the file holds under their own name too: they are other genes (TIAF1, MYO18A)."""
    present = {s for s, how in zip(naming.symbols, naming.how, strict=True) if how == "matched"}
    for i, symbol in enumerate(naming.symbols):
        if naming.how[i] == "alias" and symbol in present:
            naming.symbols[i], naming.how[i] = "", "ambiguous"


def repair_repeats(naming: Naming) -> None:
    """Recognise names that were made unique with a suffix (TBCE-1, TBCE.1) beside the name itself: the same gene."""
    symbol_of = dict(zip(naming.names, naming.symbols, strict=True))
    for i, name in enumerate(naming.names):
        if naming.how[i] == "unknown" and (match := REPEAT_SUFFIX.match(name)) and symbol_of.get(match.group(1)):
            naming.symbols[i], naming.how[i] = symbol_of[match.group(1)], "alias"


def make_report(naming: Naming, target: np.ndarray, genes: Sequence[str], other_features: dict[str, int]) -> GeneReport:
    """Count what happened to the rows, in numbers and in sentences."""
    known = target >= 0
    rows_per_gene = np.bincount(target[known], minlength=len(genes))
    n_measured = int((rows_per_gene > 0).sum())
    summed = [genes[i] for i in np.flatnonzero(rows_per_gene > 1)]
    how = Counter(h for h, s in zip(naming.how, naming.symbols, strict=True) if s)
    n_ambiguous = sum(h == "ambiguous" for h in naming.how)
    unknown = [str(n) for n, s in zip(naming.names, naming.symbols, strict=True) if not s]
    report = GeneReport(
        column=naming.column,
        id_type=naming.id_type,
        organism=naming.organism,
        n_file=len(target),
        n_model=len(genes),
        n_matched=how["matched"],
        n_alias=how["alias"],
        n_ortholog=how["ortholog"],
        n_summed=int(known.sum()) - n_measured,
        n_unknown=len(unknown),
        n_ambiguous=n_ambiguous,
        n_measured=n_measured,
        n_not_measured=len(genes) - n_measured,
        model_coverage=100 * n_measured / max(len(genes), 1),
        counts_coverage=None,
        summed=tuple(summed[:N_EXAMPLES]),
        unknown=tuple(unknown[:N_EXAMPLES]),
        damaged=naming.damaged,
        other_features=other_features,
        notices=(),
    )
    return GeneReport(**{**vars(report), "notices": tuple(write_notices(report))})


def write_notices(report: GeneReport):
    """Plain sentences about everything that a reader of the report should know."""
    kind = "Ensembl IDs" if report.id_type == "ensembl" else "symbols"
    yield f"Genes are read from {column_words(report.column)} as {report.organism} {kind}."
    if report.organism == "mouse":
        yield (
            "These are mouse genes. Each is taken as its one-to-one human counterpart; genes without one are left out. "
            "The model learned from human cells only."
        )
    if report.n_alias:
        yield f"{report.n_alias:,} genes are known to the model under another name (previous symbols, aliases)."
    if report.n_summed:
        yield (
            f"{report.n_summed:,} rows repeat a gene and are added to its counts (for example "
            f"{', '.join(report.summed[:3])})."
        )
    if report.n_ambiguous:
        yield (
            f"{report.n_ambiguous:,} names are an alias of several genes, or of a gene that is in the file under its "
            "own name; they are left out rather than guessed."
        )
    repaired = [f"{name} is {symbol}" for name, symbol in report.damaged if symbol]
    unclear = [name for name, symbol in report.damaged if not symbol]
    if repaired:
        yield (f"A spreadsheet turned {len(repaired)} gene names into dates; repaired: {', '.join(repaired[:4])}.")
    if unclear:
        yield (
            "A spreadsheet turned gene names into dates that could mean several genes; left out: "
            f"{', '.join(unclear[:4])}."
        )
    for kind, n in report.other_features.items():
        yield f"{n:,} rows of the type '{kind}' are no genes and are left out."
    if report.n_measured < PANEL_GENES:
        yield (
            f"Only {report.n_measured:,} of the model's {report.n_model:,} genes were measured (a targeted panel or a "
            "selection of genes). The model sees each cell through these alone: depth and proportions refer to the "
            "panel, and results are less certain than with all genes."
        )


def column_words(column: str) -> str:
    """A column of the table of genes, in words."""
    return "the row names of the gene table" if column == INDEX_COLUMN else f"the column '{column}'"


def refuse_too_few(report: GeneReport, var: pd.DataFrame, n_model: int) -> None:
    """Stop when the names are not the model's genes: anything after that would be noise."""
    known = report.n_matched + report.n_alias + report.n_ortholog
    share = known / max(report.n_file, 1)
    needed = min(MIN_MODEL_GENES, -(-n_model // 5))
    if share >= MIN_SHARE_KNOWN and report.n_measured >= needed:
        return
    columns = ", ".join([INDEX_COLUMN, *map(str, var.columns)])
    if looks_unnamed(var):
        raise GeneError(
            "The genes in this file have no names: they are only numbered.",
            "Gene symbols or Ensembl IDs are needed.",
            f"Add a column with gene names to the table of genes (its columns are: {columns}).",
        )
    found = [
        f"{known:,} of the {report.n_file:,} genes in the file are known to the model ({100 * share:.3g} %), read from "
        f"{column_words(report.column)}."
    ]
    if report.unknown:
        found.append(f"The first unknown names are {', '.join(report.unknown[:3])}.")
    if report.other_features:
        found.append(f"Left out: {', '.join(f'{n:,} {kind}' for kind, n in report.other_features.items())}.")
    if share >= MIN_SHARE_KNOWN:
        needs = f"At least {needed} of the model's genes are needed, and {report.n_measured:,} are in the file."
        advice = "Open the full dataset, with all the genes that were measured."
    else:
        needs = f"At least {100 * MIN_SHARE_KNOWN:.0f} % of the file's genes are needed."
        advice = f"Choose the column that holds gene symbols or Ensembl IDs, of human or mouse (columns: {columns})."
    raise GeneError(" ".join(found), needs, advice)


def share_known(names) -> float:
    """Share of names (0 to 1) that are genes of the model, human or mouse."""
    vocabulary = load_vocabulary()
    bare = [clean(str(name).strip()) for name in names]
    tables = (
        vocabulary.by_symbol,
        vocabulary.by_ensembl,
        vocabulary.by_alias,
        vocabulary.by_mouse_symbol,
        vocabulary.by_mouse_ensembl,
    )
    return sum(any(name in table for table in tables) for name in bare) / max(len(bare), 1)


def looks_unnamed(var: pd.DataFrame) -> bool:
    """Whether the rows are only numbered, and no column of text is there to name them."""
    names = as_text(var.index)
    return len(names) > 0 and all(n.removeprefix("Unnamed: ").isdigit() or not n for n in names[:1000])
