"""Read .csv and .tsv tables line by line, whichever way round they are."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from scfviz.data.assemble import assemble
from scfviz.data.genes import share_known
from scfviz.data.source import open_text
from scfviz.errors import DatasetError

N_SAMPLE_LINES = 300
VALUES_PER_CHUNK = 4_000_000
MISSING = ("", "na", "nan", "null", "none", "n/a")


def read_table(path: Path, notes: list[str]) -> AnnData:
    """A table with names in its first row and first column; genes may be rows or columns, found out by their names.

    Raises
    ------
    DatasetError
        Text among the numbers, missing values, lines of unequal length, or no table at all. The message names the
        line and column.
    """
    delimiter = find_delimiter(path)
    with open_text(path) as stream:
        header = next(csv.reader([stream.readline()], delimiter=delimiter), [])
        sample = [line for _, line in zip(range(N_SAMPLE_LINES), stream, strict=False) if line.strip()]
    if not sample:
        raise DatasetError(f"'{path.name}' has a first line but no rows.", "A table of cells and genes is needed.")
    first = next(csv.reader(sample[:1], delimiter=delimiter))
    # R leaves out the name of the column of names.
    columns = [name.strip() for name in (header if len(header) == len(first) - 1 else header[1:])]
    if len(columns) == 0 or len(columns) != len(first) - 1:
        raise DatasetError(
            f"'{path.name}' is no table: its first line has {len(header):,} fields and its second {len(first):,}.",
            "Names in the first row and the first column, numbers elsewhere, separated by commas or tabs.",
        )
    row_names = [next(csv.reader([line], delimiter=delimiter))[0].strip() for line in sample]
    genes_are_rows = share_known(row_names) > share_known(columns)
    if all(is_number(name) for name in columns) and not genes_are_rows:
        raise DatasetError(
            f"The columns of '{path.name}' have no names: the first row already holds numbers.",
            "The first row must hold the names of the genes (or of the cells).",
            "Add a row of names.",
        )
    notes.append(
        "Rows are genes and columns are cells; the table was turned."
        if genes_are_rows
        else "Rows are cells and columns are genes."
    )
    names: list[str] = []
    body = table_entries(path, delimiter, len(columns), names, genes_are_rows, columns)
    n_lines = count_lines(path) - 1
    shape = (len(columns), n_lines) if genes_are_rows else (n_lines, len(columns))
    X = assemble(body, shape, notes)
    rows, others = (
        pd.DataFrame(index=pd.Index(names, dtype=object)),
        pd.DataFrame(index=pd.Index(columns, dtype=object)),
    )
    return AnnData(X=X, obs=others, var=rows) if genes_are_rows else AnnData(X=X, obs=rows, var=others)


def find_delimiter(path: Path) -> str:
    """Tab, comma, semicolon or space, from the first line."""
    with open_text(path) as stream:
        line = stream.readline()
    if "\0" in line:
        raise DatasetError(f"'{path.name}' is no text table: it holds binary data.", "", "Check the file and its name.")
    counts = {d: line.count(d) for d in "\t,; "}
    best = max(counts, key=lambda d: (counts[d] if d != " " else 0, counts[d]))
    if counts[best] == 0:
        raise DatasetError(
            f"'{path.name}' is no table: its first line is a single word.",
            "Columns separated by commas or tabs are needed.",
            "Save it as .csv or .tsv.",
        )
    return best


def count_lines(path: Path) -> int:
    """Lines that are not blank."""
    with open_text(path) as stream:
        return sum(1 for line in stream if not line.isspace())


def is_number(text: str) -> bool:
    """Whether a field is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def table_entries(
    path: Path, delimiter: str, width: int, names: list[str], genes_are_rows: bool, columns: list[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(cells, genes, values) chunks of the body; row names are collected on the way."""
    held, n_held, block = [], 0, max(1, VALUES_PER_CHUNK // width)
    with open_text(path) as stream:
        stream.readline()
        for line in stream:
            if line.isspace():
                continue
            name, values = parse_line(line, delimiter, width, len(names) + 2, columns, path.name)
            where = np.flatnonzero(values)
            held.append((np.full(len(where), len(names), dtype=np.int32), where.astype(np.int32), values[where]))
            names.append(name)
            n_held += 1
            if n_held >= block:
                yield join(held, genes_are_rows)
                held, n_held = [], 0
    if held:
        yield join(held, genes_are_rows)


def join(held: list, genes_are_rows: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines as one chunk, turned when genes are rows."""
    rows, columns, values = (np.concatenate(parts) for parts in zip(*held, strict=True))
    return (columns, rows, values) if genes_are_rows else (rows, columns, values)


def parse_line(
    line: str, delimiter: str, width: int, number: int, columns: list[str], file_name: str
) -> tuple[str, np.ndarray]:
    """(row name, values) of one line; the quick way first, and field by field where that fails."""
    name, _, rest = line.rstrip("\r\n").partition(delimiter)
    if '"' not in line and rest.count(delimiter) == width - 1:
        try:
            values = np.array(rest.split(delimiter), dtype=np.float64)
            if not np.isnan(values).any():
                return name.strip(), values
        except ValueError:
            pass
    fields = next(csv.reader([line], delimiter=delimiter))
    if len(fields) != width + 1:
        raise DatasetError(
            f"Line {number:,} of '{file_name}' has {len(fields):,} fields, the first row names {width + 1:,}.",
            "Every line must have the same number of fields.",
            "The file may be cut short: copy or export it again.",
        )
    values = np.empty(width)
    for i, text in enumerate(fields[1:]):
        if text.strip().lower() in MISSING:
            raise DatasetError(
                f"Line {number:,} of '{file_name}' ({fields[0]}) has no value in the column '{columns[i]}'.",
                "Every cell and gene needs a count; write 0 where nothing was counted.",
                "Fill or remove missing values.",
            )
        try:
            values[i] = float(text)
        except ValueError:
            raise DatasetError(
                f"Line {number:,} of '{file_name}' ({fields[0]}) holds text, '{text[:40]}', in the column "
                f"'{columns[i]}'.",
                "Names belong in the first row and the first column only; everything else must be numbers.",
                "Remove columns of text, such as cell types, from the table.",
            ) from None
    return fields[0].strip(), values
