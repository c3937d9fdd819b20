"""Long tables: one line for each gene of each cell (gene, cell, count), as umi_tools, BD Rhapsody and others write."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from scfviz.data.assemble import assemble
from scfviz.data.formats import shorten
from scfviz.data.genes import share_known
from scfviz.data.source import open_text
from scfviz.data.table_layout import A_CELL, Opening, filled_lines, is_number, split
from scfviz.errors import DatasetError

MAX_FIELDS = 16
LINES_PER_CHUNK = 1_000_000
GENE = re.compile(r"(?:gene|feature|target)s?(?:[_ .]?(?:name|symbol|id))?s?|symbol|geneid|hgnc_symbol", re.IGNORECASE)
CELL = re.compile(
    r"cells?(?:[_ .]?(?:index|id|name|barcode))?s?|barcodes?|cb|bc|(?:sample|spot)(?:[_ .]?(?:id|name))?s?",
    re.IGNORECASE,
)
# Columns of counts, the best first: corrected molecules before raw ones, molecules before reads.
COUNTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:rsec|dbec)_adjusted_molecules",
        r"(?:n_?)?umis?(?:_?counts?)?|(?:raw_)?molecules?",
        r"counts?|n|value|values|x|expression|freq|nreads|reads?",
    )
)
PLACE = re.compile(
    r"(?:global_?|local_?)?[xyz](?:_?(?:location|global|local|position)(?:_?(?:px|um))?)?|transcript_id", re.IGNORECASE
)


# Row and column of an entry, by their numbers, as R's summary() of a sparse matrix writes them.
NUMBERED = re.compile(
    r"i|j|rows?|cols?|columns?|(?:gene|cell|feature|barcode)s?(?:[_ .]?(?:idx|index|id|no|nr))?", re.IGNORECASE
)


@dataclass(frozen=True)
class LongTable:
    """Fields of a long table, counted from 0."""

    gene: int
    cell: int
    count: int
    count_label: str


def find_long(path: Path, opening: Opening) -> LongTable | None:
    """The fields of a long table, or None for a matrix.

    Raises
    ------
    DatasetError
        It is a list of single molecules, or it cannot be told which of its columns holds the counts.
    """
    body, width = opening.body, len(opening.body[0])
    labels = opening.header if len(opening.header) == width else [""] * width
    if not 3 <= width <= MAX_FIELDS or len(body) < 2:
        return None
    columns = list(zip(*body, strict=True))
    is_numeric = [all(is_number(v) for v in column) for column in columns]
    if width == 3 and all(is_numeric) and all(NUMBERED.fullmatch(v) for v in labels[:2]) and repeats(*columns[:2]):
        raise DatasetError(
            f"'{shorten(path.name)}' lists the entries of a matrix by the numbers of row and column ({labels[0]}, "
            f"{labels[1]}, {labels[2]}), without names of genes and cells.",
            "The names belong to the counts.",
            "Open the matrix.mtx of the same data together with its features and barcodes, or write names for numbers.",
        )
    gene = first_of(
        [i for i in range(width) if GENE.fullmatch(labels[i]) and not is_numeric[i]],
        [i for i in range(width) if not is_numeric[i] and share_known(set(columns[i])) > 0.5],
    )
    if gene is None:
        return None
    cell = first_of(
        [i for i in range(width) if i != gene and CELL.fullmatch(labels[i])],
        [i for i in range(width) if i != gene and share_of(A_CELL, columns[i]) > 0.5],
        [i for i in range(width) if i != gene and not is_numeric[i] and not labels[i]],
    )
    if cell is None or not repeats(columns[gene], columns[cell]):
        return None
    rest = [i for i in range(width) if i not in (gene, cell) and is_numeric[i]]
    places = sum(PLACE.fullmatch(labels[i]) is not None for i in range(width))
    by_name = next((found for p in COUNTS if (found := [i for i in rest if p.fullmatch(labels[i])])), [])
    if places >= 2 and not any(COUNTS[-1].fullmatch(labels[i]) and labels[i].lower() != "x" for i in rest):
        raise DatasetError(
            f"'{shorten(path.name)}' is a list of single molecules with their places, one a line, not yet counts of "
            "cells.",
            "Counts of each gene in each cell are needed.",
            "Open the table of counts of the same experiment (cell_by_gene, exprMat, cell_feature_matrix).",
        )
    if not by_name and len(rest) != 1:
        shown = ", ".join(repr(labels[i] or f"column {i + 1}") for i in rest) or "none is a number"
        raise DatasetError(
            f"'{shorten(path.name)}' is a long table (gene, cell, count), but it cannot be told which column holds the "
            f"counts: {shown}.",
            "Three columns are needed: gene, cell and count.",
            "Leave one column of numbers, or name it 'count'.",
        )
    count = (by_name or rest)[0]
    return LongTable(gene, cell, count, labels[count])


def first_of(*choices: list[int]) -> int | None:
    """The first of the first choices that are not empty."""
    return next((found[0] for found in choices if found), None)


def share_of(pattern: re.Pattern, values: Sequence[str]) -> float:
    """Share of values of a form."""
    return sum(pattern.fullmatch(v) is not None for v in values) / len(values)


def repeats(genes: Sequence[str], cells: Sequence[str]) -> bool:
    """Whether pairs of gene and cell are distinct while genes or cells come again, as they do in no matrix."""
    fewer = min(len(set(genes)), len(set(cells)))
    return fewer < len(genes) and len(set(zip(genes, cells, strict=True))) > 0.5 * len(genes)


def read_long(path: Path, opening: Opening, table: LongTable, notes: list[str]) -> AnnData:
    """The cells x genes matrix of a long table; lines of the same gene and cell are added.

    Raises
    ------
    DatasetError
        A line has another number of fields, or no number where the count belongs.
    """
    genes: dict[str, int] = {}
    cells: dict[str, int] = {}
    for _ in long_entries(path, opening, table, cells, genes):  # names first: the size of the matrix must be known
        pass
    what = f" ('{shorten(table.count_label)}')" if table.count_label else ""
    notes.append(f"The table is long: each line names a gene, a cell and a count{what}. It was made a matrix.")
    X = assemble(long_entries(path, opening, table, cells, genes), (len(cells), len(genes)), notes)
    obs, var = (pd.DataFrame(index=pd.Index(list(names), dtype=object)) for names in (cells, genes))
    return AnnData(X=X, obs=obs, var=var)


def long_entries(
    path: Path, opening: Opening, table: LongTable, cells: dict[str, int], genes: dict[str, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(cells, genes, values) chunks; names that are new get the next number."""
    width, delimiter = len(opening.body[0]), opening.delimiter
    rows, columns, values = [], [], []
    with open_text(path, western=True) as stream:
        for number, line in filled_lines(stream, opening.first_line, delimiter):
            fields = split(line, delimiter) if '"' in line else line.rstrip("\r\n").split(delimiter)
            try:
                if len(fields) != width:
                    raise ValueError(f"{len(fields):,} fields")
                values.append(float(fields[table.count]))
            except ValueError:
                found = repr(shorten(fields[table.count], 40)) if len(fields) > table.count else "too few fields"
                raise DatasetError(
                    f"Line {number:,} of '{shorten(path.name)}' has {len(fields):,} fields and {found} where the count "
                    "belongs.",
                    f"Every line of this long table has {width} fields with a number as the count.",
                    "The file may be cut short: copy or export it again.",
                ) from None
            rows.append(cells.setdefault(fields[table.cell].strip(), len(cells)))
            columns.append(genes.setdefault(fields[table.gene].strip(), len(genes)))
            if len(rows) >= LINES_PER_CHUNK:
                yield np.array(rows, np.int32), np.array(columns, np.int32), np.array(values)
                rows, columns, values = [], [], []
    if rows:
        yield np.array(rows, np.int32), np.array(columns, np.int32), np.array(values)
