"""Rebuild assets/gene_sets: human genes of the biological processes of the Gene Ontology, and transcription factors.

Facts come from two files, neither of which the app needs at run time:

- `org.Hs.eg.sqlite` of the Debian package r-bioc-org.hs.eg.db (unpack with `dpkg -x`): genes of each term, with
evidence; - `GO.sqlite` of the Debian package r-bioc-go.db: names of the terms, and which terms are parts of which.

A gene of a term is also one of every broader term (is-a, part-of and regulates links, as GO.db has them).
Annotations without data (evidence ND) are left out. Symbols are brought to the model's (assets/gene_vocabulary.tsv)
where it knows them under another name.

Usage: python scripts/build_gene_sets.py ORG_SQLITE GO_SQLITE OUT FACTORS_OUT
"""

import argparse
import gzip
import sqlite3
from collections import defaultdict
from pathlib import Path

from scfviz.data.vocabulary import load_vocabulary

NO_DATA = "ND"
# Smaller sets say nothing that their genes do not; larger ones ("biological process") say nothing at all.
SMALLEST, LARGEST = 5, 2000
FACTOR, FACTOR_NAME = "GO:0003700", "DNA-binding transcription factor activity"


def read_symbols(db: sqlite3.Connection) -> dict[int, str]:
    """Symbol of each gene, the model's where it has one."""
    lookup = load_vocabulary().lookup
    return {i: lookup(symbol) or symbol for i, symbol in db.execute("SELECT _id, symbol FROM gene_info")}


def read_direct(db: sqlite3.Connection, symbols: dict[int, str]) -> dict[str, set[str]]:
    """Genes that are annotated to each term itself."""
    genes = defaultdict(set)
    for i, term in db.execute("SELECT _id, go_id FROM go_bp WHERE evidence != ?", (NO_DATA,)):
        genes[term].add(symbols[i])
    return genes


def add_narrower(db: sqlite3.Connection, direct: dict[str, set[str]]) -> dict[str, set[str]]:
    """Genes of each term and of every term below it."""
    terms = dict(db.execute("SELECT _id, go_id FROM go_term"))
    genes = {term: set(found) for term, found in direct.items()}
    for broad, narrow in db.execute("SELECT _id, _offspring_id FROM go_bp_offspring"):
        genes.setdefault(terms[broad], set()).update(direct.get(terms[narrow], ()))
    return genes


def read_factors(org: sqlite3.Connection, symbols: dict[int, str]) -> set[str]:
    """Genes with the molecular function of a transcription factor that binds DNA, or a narrower one."""
    query = "SELECT _id FROM go_mf_all WHERE go_id = ? AND evidence != ?"
    return {symbols[i] for (i,) in org.execute(query, (FACTOR, NO_DATA))}


def write_gmt(path: Path, names: dict[str, str], genes: dict[str, set[str]]) -> int:
    """Write the sets in the order of their IDs, the same bytes for the same content; returns how many."""
    kept = [term for term in sorted(genes) if SMALLEST <= len(genes[term]) <= LARGEST and term in names]
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        for term in kept:
            packed.write("\t".join([names[term], term, *sorted(genes[term])]).encode() + b"\n")
    return len(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("org_sqlite", "go_sqlite", "out", "factors_out"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    with sqlite3.connect(f"file:{args.org_sqlite}?mode=ro", uri=True) as org:
        symbols = read_symbols(org)
        direct, factors = read_direct(org, symbols), read_factors(org, symbols)
    with sqlite3.connect(f"file:{args.go_sqlite}?mode=ro", uri=True) as go:
        names = dict(go.execute("SELECT go_id, term FROM go_term WHERE ontology = 'BP'"))
        genes = add_narrower(go, direct)
    write_gmt(args.factors_out, {FACTOR: FACTOR_NAME}, {FACTOR: factors})
    print(f"{write_gmt(args.out, names, genes):,} sets of {len(set().union(*direct.values())):,} genes")


if __name__ == "__main__":
    main()
