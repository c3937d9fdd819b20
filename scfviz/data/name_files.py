"""Files that name the cells or genes of a matrix: with or without a header, one column or several, tabs or commas."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import pandas as pd

from scfviz.data.formats import PACKED, shorten
from scfviz.errors import DatasetError

MAX_NAMES_BYTES = 2**30
GENE_NAME = (
    "gene_name",
    "gene_symbol",
    "symbol",
    "gene_short_name",
    "featurename",
    "feature_name",
    "hgnc_symbol",
    "name",
    "gene",
    "genes",
    "feature",
    "x",
)
GENE_ID = ("gene_id", "gene_ids", "ensembl_id", "ensembl", "ensembl_gene_id", "featurekey", "feature_id", "id")
CELL_NAME = (
    "bc_wells",
    "barcode",
    "barcodes",
    "cell_barcode",
    "cellkey",
    "cell_id",
    "cell_name",
    "cell",
    "cells",
    "cellid",
    "bc",
    "v1",
    "x",
)
HEADER_WORDS = {*GENE_NAME, *GENE_ID, *CELL_NAME, "v2", "v3", "genome", "feature_type", "feature_types", "sample"}
RENAMED = {"feature_type": "feature_types", "featuretype": "feature_types"}


@dataclass(frozen=True)
class Names:
    """Lines of a file of names, each as its fields; `header` names the columns where the file does."""

    rows: list[list[str]]
    is_genes: bool
    header: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def without_header(self) -> "Names | None":
        """The same without its first line, where that looks like the names of columns."""
        if self.header or not self.rows or not looks_like_header(self.rows[0]):
            return None
        return replace(self, rows=self.rows[1:], header=tuple(field.lower() for field in self.rows[0]))

    def frame(self) -> pd.DataFrame:
        """The table of cells or genes with their names as row names."""
        rows, header = drop_numbers(self.rows, self.header)
        columns = dict(zip(header, zip(*rows, strict=False), strict=False)) if header and rows else {}
        if not columns:
            return gene_frame(rows) if self.is_genes else pd.DataFrame(index=index_of([row[0] for row in rows]))
        if not self.is_genes:
            key = next((k for k in CELL_NAME if k in columns), next(iter(columns)))
            others = {k: numbers_if_all(v) for k, v in columns.items() if k != key and k}
            return pd.DataFrame(others, index=index_of(columns[key]))
        ids = next((columns[k] for k in GENE_ID if k in columns), None)
        names = next((columns[k] for k in GENE_NAME if k in columns), ids or next(iter(columns.values())))
        var = pd.DataFrame(index=index_of([n or i for n, i in zip(names, ids or names, strict=True)]))
        if ids is not None:
            var["gene_ids"] = list(ids)
        for key in ("genome", "feature_type", "feature_types", "featuretype"):
            if key in columns:
                var[RENAMED.get(key, key)] = list(columns[key])
        return var


def index_of(names: Iterable[str]) -> pd.Index:
    """Names as row names."""
    return pd.Index([str(name) for name in names], dtype=object)


def numbers_if_all(values: tuple[str, ...]) -> np.ndarray | list[str]:
    """Numbers where all values are, else the texts."""
    try:
        return pd.to_numeric(pd.Series(values)).to_numpy()
    except ValueError:
        return list(values)


def gene_frame(rows: list[list[str]]) -> pd.DataFrame:
    """features.tsv (id, name, type) or genes.tsv (id, name, or a name alone), with the name as row name."""
    var = pd.DataFrame({"gene_ids": [row[0] for row in rows]})
    var.index = index_of([(row[1] if len(row) > 1 else "") or row[0] for row in rows])
    if any(len(row) > 2 for row in rows):
        var["feature_types"] = [row[2] if len(row) > 2 else "" for row in rows]
    return var


def drop_numbers(rows: list[list[str]], header: tuple[str, ...]) -> tuple[list[list[str]], tuple[str, ...]]:
    """Lines without the row numbers that R writes before them."""
    numbered = rows and all(len(row) > 1 and row[0] == str(i) for i, row in enumerate(rows, 1))
    if not numbered:
        return rows, header
    return [row[1:] for row in rows], header[1:] if len(header) == len(rows[0]) else header


def looks_like_header(row: list[str]) -> bool:
    """Whether a line names columns."""
    return any(field.lower() in HEADER_WORDS for field in row) or (len(row) > 1 and row[0] == "")


def read_cells(files: list[tuple[str, object]], label: str) -> Names:
    """The names of the cells; of several files the one of barcodes."""
    chosen = next((f for f in files if "barcode" in f[0].lower()), files[0])
    return Names(read_fields(*chosen), is_genes=False)


def read_genes(files: list[tuple[str, object]], label: str) -> Names:
    """The names of the genes; IDs and symbols can stand in two files of equal length."""
    bare = {name.removesuffix(PACKED): (name, stream) for name, stream in files}
    tables = {name: read_fields(*found) for name, found in bare.items()}
    symbols = [name for name in tables if "name" in name.rsplit("/", 1)[-1].lower()]
    others = [name for name in tables if name not in symbols]
    if symbols and others and len(tables[symbols[0]]) == len(tables[others[0]]):
        pairs = zip(tables[others[0]], tables[symbols[0]], strict=True)
        return Names([[gene_id[0], name[0]] for gene_id, name in pairs], is_genes=True)
    chosen = next((n for n in tables if "feature" in n.lower()), next(iter(tables)))
    rows = tables[chosen]
    if chosen.endswith(".bed") or "peak" in chosen.rsplit("/", 1)[-1].lower():
        rows = [[name, name, "Peaks"] for name in (f"{r[0]}:{r[1]}-{r[2]}" if len(r) > 2 else r[0] for r in rows)]
    return Names(rows, is_genes=True)


def read_fields(name: str, stream: BinaryIO) -> list[list[str]]:
    """Fields of a file of names, between tabs or (in .csv) commas, without the quotes that R writes."""
    with stream:
        content = stream.read(MAX_NAMES_BYTES + 1)
    if len(content) > MAX_NAMES_BYTES:  # a few packed kilobytes can unpack to more than memory holds
        raise DatasetError(
            f"The names of cells or genes in '{shorten(name)}' take more than 1 GB.", "", "Check the files of names."
        )
    lines = [line for line in content.decode("utf-8-sig", "replace").splitlines() if line.strip()]
    if lines and "\t" not in lines[0] and name.lower().removesuffix(PACKED).endswith(".csv"):
        return [[field.strip() for field in row] for row in csv.reader(lines)]
    return [[field.strip().strip('"') for field in line.split("\t")] for line in lines]
