"""Read .csv and .tsv tables line by line, whichever way round they are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from scfviz.data.assemble import assemble
from scfviz.data.formats import shorten
from scfviz.data.gene_names import is_row_number
from scfviz.data.read_long import find_long, read_long
from scfviz.data.source import open_text
from scfviz.data.table_layout import (
    A_CELL,
    NAMES_OF_CELLS,
    Layout,
    filled_lines,
    is_value,
    lay_out,
    looks_like,
    read_opening,
    split,
)
from scfviz.data.table_numbers import is_missing
from scfviz.data.tables_of_genes import describes_genes
from scfviz.errors import DatasetError

VALUES_PER_CHUNK = 4_000_000
SHEET_COLUMNS, SHEET_ROWS = (256, 16_384), (65_536, 1_048_576)  # of Excel, before 2007 and since


def read_table(path: Path, notes: list[str]) -> AnnData:
    """A table with names in its first row and first column; genes may be rows or columns, found out by their names.

    Comments before it are passed over, also where the last of them is the header. Columns of text (cell types,
    chromosomes) and of lengths and places of genes are kept apart, in `obs` or `var`. Thousands separators and decimal
    commas are understood. A long table (gene, cell, count) becomes a matrix.

    Raises
    ------
    DatasetError
        Text among the numbers, missing values, lines of unequal length, or no table at all. The message names the
        line and column.
    GeneError
        Neither rows nor columns are named like genes.
    """
    opening = read_opening(path)
    if long := find_long(path, opening):
        return read_long(path, opening, long, notes)
    layout = without_gene_columns(lay_out(path, opening, notes))
    if layout.genes_are_rows:
        notes.append("Rows are genes and columns are cells; the table was turned.")
    else:
        notes.append("Rows are cells and columns are genes.")
    if not layout.names:
        notes.append("The rows have no names; the cells were numbered.")
    if len(layout.names) > 1:
        notes.append("Cells are named by field of view and cell together (fov_cell).")
    if layout.above:
        shown = ", ".join(f"'{shorten(label)}'" for label in list(layout.above)[:6])
        what = "cells" if layout.genes_are_rows else "genes"
        notes.append(f"Rows of text above the numbers say something about the {what} and were kept apart: {shown}.")
    row_names: list[str] = []
    texts: dict[str, list[str]] = {label: [] for label in layout.others}
    shape = (len(layout.columns), layout.n_rows) if layout.genes_are_rows else (layout.n_rows, len(layout.columns))
    X = assemble(table_entries(layout, row_names, texts), shape, notes)
    texts = keep_apart(layout, row_names, texts, notes)
    if layout.width in SHEET_COLUMNS or layout.n_rows + 1 in SHEET_ROWS:
        notes.append(
            f"The table is as large as a sheet of Excel can be ({layout.n_rows + 1:,} rows, {layout.width:,} columns): "
            "what went beyond that may have been cut off."
        )
    if len(layout.names) > 1 and any(set(name.split("_")) >= {"0"} for name in row_names):
        notes.append("Cell 0 of a field of view (CosMx) holds what was counted outside of cells: filter it out.")
    if not layout.genes_are_rows:
        row_names, texts = name_numbered_cells(row_names, texts, notes)
    rows = pd.DataFrame({k: typed(v) for k, v in texts.items()}, index=pd.Index(row_names, dtype=object))
    columns = pd.DataFrame({k: typed(v) for k, v in layout.above.items()}, index=pd.Index(layout.columns, dtype=object))
    return AnnData(X, obs=columns, var=rows) if layout.genes_are_rows else AnnData(X, obs=rows, var=columns)


def without_gene_columns(layout: Layout) -> Layout:
    """The layout with columns such as Length and Start among those kept apart, where the rows are genes."""
    if not layout.genes_are_rows:
        return layout
    about = describes_genes(layout.columns)
    if about.all() or not about.any():  # a table about genes alone is refused later, by that name
        return layout
    others = layout.others | {c: i for c, i, a in zip(layout.columns, layout.kept, about, strict=True) if a}
    left = [(c, i) for c, i, a in zip(layout.columns, layout.kept, about, strict=True) if not a]
    above = {label: [v for v, a in zip(row, about, strict=True) if not a] for label, row in layout.above.items()}
    return replace(layout, others=others, columns=[c for c, _ in left], kept=[i for _, i in left], above=above)


def keep_apart(
    layout: Layout, row_names: list[str], texts: dict[str, list[str]], notes: list[str]
) -> dict[str, list[str]]:
    """The columns that are no counts, without those that hold nothing; both are noted.

    Raises
    ------
    DatasetError
        It is a cell of which the first genes have no value.
    """
    empty = [label for label, values in texts.items() if all(map(is_missing, values))]
    about = {label: values for label, values in texts.items() if label not in empty}
    for label, values in about.items() if layout.genes_are_rows else ():
        blank = next((i for i, value in enumerate(values) if is_missing(value)), None)
        if blank is None or describes_genes([label])[0]:
            continue
        if all(is_missing(value) or is_value(value, layout.numbers) for value in values):
            raise missing_value(f"'{layout.name}' ({shorten(row_names[blank])})", label)
    for labels, said in (
        (about, f"about the {'genes' if layout.genes_are_rows else 'cells'} are no counts and were kept apart"),
        (empty, "without a single value were left out"),
    ):
        if labels:
            notes.append(f"Columns {said}: {', '.join(repr(shorten(label)) for label in list(labels)[:6])}.")
    return about


def name_numbered_cells(
    row_names: list[str], texts: dict[str, list[str]], notes: list[str]
) -> tuple[list[str], dict[str, list[str]]]:
    """(names of the cells, columns beside them): where rows are only numbered, a column may name them."""
    if is_row_number(row_names):
        for label, values in texts.items():
            is_named = NAMES_OF_CELLS.search(label) is not None or looks_like(A_CELL, values)
            if is_named and len(set(values)) == len(values):
                notes.append(f"The rows are numbered; the cells are named by the column '{shorten(label)}'.")
                return values, {other: v for other, v in texts.items() if other != label}
    return row_names, texts


def missing_value(where: str, column: str) -> DatasetError:
    """The error for a count that is not there."""
    return DatasetError(
        f"{where} has no value in the column '{shorten(column)}'.",
        "Every cell and gene needs a count; write 0 where nothing was counted.",
        "Fill or remove missing values.",
    )


def typed(values: list[str]) -> np.ndarray:
    """A column of text, as numbers where all are."""
    try:
        return pd.to_numeric(pd.Series(values)).to_numpy()
    except ValueError:
        return pd.Series(["" if is_missing(v) else v for v in values], dtype=object).to_numpy()


def table_entries(
    layout: Layout, row_names: list[str], texts: dict[str, list[str]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(cells, genes, values) chunks of the body; names of rows and columns of text are collected on the way."""
    held, block = [], max(1, VALUES_PER_CHUNK // max(1, len(layout.columns)))
    with open_text(layout.path, western=True) as stream:
        for number, line in filled_lines(stream, layout.first_line, layout.delimiter):
            fields = fields_of(line, number, layout)
            name = "_".join(fields[i].strip() for i in layout.names) or f"cell{len(row_names) + 1}"
            for label, i in layout.others.items():
                texts[label].append(fields[i].strip())
            values = numbers_of(fields, name, number, layout)
            where = np.flatnonzero(values)
            held.append((np.full(len(where), len(row_names), dtype=np.int32), where.astype(np.int32), values[where]))
            row_names.append(name)
            if len(held) >= block:
                yield join(held, layout.genes_are_rows)
                held = []
    if held:
        yield join(held, layout.genes_are_rows)


def join(held: list, genes_are_rows: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines as one chunk, turned when genes are rows."""
    rows, columns, values = (np.concatenate(parts) for parts in zip(*held, strict=True))
    return (columns, rows, values) if genes_are_rows else (rows, columns, values)


def fields_of(line: str, number: int, layout: Layout) -> list[str]:
    """The fields of a line, as many as the first has."""
    plain = '"' not in line
    fields = line.rstrip("\r\n").split(layout.delimiter) if plain else split(line, layout.delimiter)
    if len(fields) != layout.width:
        raise DatasetError(
            f"Line {number:,} of '{layout.name}' has {len(fields):,} fields, the first row names {layout.width:,}.",
            "Every line must have the same number of fields.",
            "The file may be cut short: copy or export it again.",
        )
    return fields


def numbers_of(fields: list[str], name: str, number: int, layout: Layout) -> np.ndarray:
    """The values of a line, float64 (n_columns,): all at once, and one by one where that fails."""
    is_run = len(layout.kept) == layout.width - layout.kept[0]  # nothing but numbers from there on
    kept = fields[layout.kept[0] :] if is_run else [fields[i] for i in layout.kept]
    numbers = layout.numbers
    try:
        clean = kept if numbers.decimal == "." and not numbers.group else [numbers.clean(text) for text in kept]
        values = np.array(clean, dtype=np.float64)
        if not np.isnan(values).any():
            return values
    except ValueError:
        pass
    values = np.empty(len(kept))
    for i, text in enumerate(kept):
        where = f"Line {number:,} of '{layout.name}' ({shorten(name)})"
        if is_missing(text):
            raise missing_value(where, layout.columns[i])
        try:
            values[i] = numbers.value(text)
        except ValueError:
            raise DatasetError(
                f"{where} holds text, '{shorten(text.strip(), 40)}', in the column '{shorten(layout.columns[i])}', "
                "which holds numbers elsewhere.",
                "A column holds either numbers or text.",
                "Correct this value; if the column is no gene and no cell, remove it.",
            ) from None
    return values
