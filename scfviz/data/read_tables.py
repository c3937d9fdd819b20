"""Read .csv and .tsv tables line by line, whichever way round they are."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


@dataclass(frozen=True)
class Layout:
    """How a table is laid out, found from its first lines."""

    path: Path
    delimiter: str
    columns: list[str]
    has_row_names: bool
    genes_are_rows: bool


def read_table(path: Path, notes: list[str]) -> AnnData:
    """A table with names in its first row and first column; genes may be rows or columns, found out by their names.

    Blank lines and lines that begin with # are skipped. Between semicolons a comma is a decimal comma.

    Raises
    ------
    DatasetError
        Text among the numbers, missing values, lines of unequal length, or no table at all. The message names the
        line and column.
    """
    layout = find_layout(path)
    if layout.genes_are_rows:
        notes.append("Rows are genes and columns are cells; the table was turned.")
    else:
        notes.append("Rows are cells and columns are genes.")
    if not layout.has_row_names:
        notes.append("The rows have no names; the cells were numbered.")
    row_names: list[str] = []
    n_rows, n_columns = count_lines(path) - 1, len(layout.columns)
    shape = (n_columns, n_rows) if layout.genes_are_rows else (n_rows, n_columns)
    X = assemble(table_entries(layout, row_names), shape, notes)
    rows, columns = (pd.DataFrame(index=pd.Index(names, dtype=object)) for names in (row_names, layout.columns))
    return AnnData(X, obs=columns, var=rows) if layout.genes_are_rows else AnnData(X, obs=rows, var=columns)


def find_layout(path: Path) -> Layout:
    """Delimiter, column names and orientation of a table, or the reason why it is none."""
    delimiter = find_delimiter(path)
    with open_text(path) as stream:
        lines = [line for (_, line), _ in zip(filled_lines(stream), range(N_SAMPLE_LINES + 1), strict=False)]
    header, *sample = lines
    if not sample:
        raise DatasetError(f"'{path.name}' has a first line but no rows.", "A table of cells and genes is needed.")
    header, first = ([field.strip() for field in split(line, delimiter)] for line in (header, sample[0]))
    has_row_names = not (
        len(header) == len(first) and is_number(first[0]) and share_known(header[:1]) == 1 and share_known(header) > 0.5
    )
    # R leaves out the name of the column of names.
    columns = header[1:] if has_row_names and len(header) == len(first) else header
    if len(columns) == 0 or len(columns) != len(first) - has_row_names:
        raise DatasetError(
            f"'{path.name}' is no table: its first line has {len(header):,} fields and its second {len(first):,}.",
            "Names in the first row and the first column, numbers elsewhere, separated by commas or tabs.",
        )
    row_names = [line.partition(delimiter)[0].strip().strip('"') for line in sample]
    genes_are_rows = has_row_names and share_known(row_names) > share_known(columns)
    if all(is_number(name) for name in columns) and not genes_are_rows:
        raise DatasetError(
            f"The columns of '{path.name}' have no names: the first row already holds numbers.",
            "The first row must hold the names of the genes (or of the cells).",
            "Add a row of names.",
        )
    return Layout(path, delimiter, columns, has_row_names, genes_are_rows)


def filled_lines(stream: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(number in the file, line) of the lines that hold something."""
    for number, line in enumerate(stream, 1):
        if not line.isspace() and not line.startswith("#"):
            yield number, line


def find_delimiter(path: Path) -> str:
    """Tab, comma, semicolon or space, from the first line."""
    with open_text(path) as stream:
        _, line = next(filled_lines(stream), (0, ""))
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


def split(line: str, delimiter: str) -> list[str]:
    """The fields of a line, without their quotes."""
    return next(csv.reader([line], delimiter=delimiter))


def count_lines(path: Path) -> int:
    """Lines that hold something."""
    with open_text(path) as stream:
        return sum(1 for _ in filled_lines(stream))


def is_number(text: str) -> bool:
    """Whether a field is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def table_entries(layout: Layout, row_names: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(cells, genes, values) chunks of the body; row names are collected on the way."""
    held, block = [], max(1, VALUES_PER_CHUNK // len(layout.columns))
    with open_text(layout.path) as stream:
        lines = filled_lines(stream)
        next(lines)
        for number, line in lines:
            if not layout.has_row_names:
                line = f"cell{len(row_names) + 1}{layout.delimiter}{line}"
            name, values = parse_line(line, number, layout)
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


def parse_line(line: str, number: int, layout: Layout) -> tuple[str, np.ndarray]:
    """(row name, values) of one line; the quick way first, and field by field where that fails."""
    delimiter, width, file_name = layout.delimiter, len(layout.columns), layout.path.name
    if delimiter == ";":
        line = line.replace(",", ".")
    name, _, rest = line.rstrip("\r\n").partition(delimiter)
    if '"' not in line and rest.count(delimiter) == width - 1:
        try:
            values = np.array(rest.split(delimiter), dtype=np.float64)
            if not np.isnan(values).any():
                return name.strip(), values
        except ValueError:
            pass
    fields = split(line, delimiter)
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
                f"Line {number:,} of '{file_name}' ({fields[0]}) has no value in the column '{layout.columns[i]}'.",
                "Every cell and gene needs a count; write 0 where nothing was counted.",
                "Fill or remove missing values.",
            )
        try:
            values[i] = float(text)
        except ValueError:
            has_comma = DECIMAL_COMMA.fullmatch(text.strip())
            raise DatasetError(
                f"Line {number:,} of '{file_name}' ({fields[0]}) holds text, '{text[:40]}', in the column "
                f"'{layout.columns[i]}'.",
                "Names belong in the first row and the first column only; everything else must be numbers.",
                "Write numbers with a decimal point, not a comma."
                if has_comma
                else "Remove columns of text, such as cell types, from the table.",
            ) from None
    return fields[0].strip(), values
