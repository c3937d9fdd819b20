"""Labels of cells as tables: written and read as CSV by barcode, with a report of what met and what did not."""

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scfviz.analysis.labels.labels import Annotation, check_label
from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    import pandas as pd

MAX_CSV_BYTES = 500_000_000
N_EXAMPLES = 5


@dataclass(frozen=True)
class ImportReport:
    """How a file of labels met the cells of a dataset.

    Attributes
    ----------
    column
        Column of the file that was read.
    n_matched
        Cells that got a value (also "no label").
    n_unmatched_cells
        Cells of the dataset that the file does not name; they keep their label.
    n_unmatched_rows
        Rows of the file whose barcode is not in the dataset; `examples` shows some.
    n_changed
        Cells whose label is now another.
    note
        How barcodes were matched, if not as they are.
    """

    column: str
    n_matched: int
    n_unmatched_cells: int
    n_unmatched_rows: int
    n_changed: int
    examples: tuple[str, ...]
    note: str

    def describe(self) -> str:
        """The report in words."""
        text = (
            f"{self.n_matched:,} cells were found by barcode, {self.n_changed:,} changed their label. "
            f"{self.n_unmatched_rows:,} "
            f"rows of the file name no cell of this dataset, {self.n_unmatched_cells:,} cells are not in the file."
        )
        examples = f" Not found: {', '.join(self.examples)}." if self.examples else ""
        return text + examples + (f" {self.note}" if self.note else "")


def labels_to_csv(annotation: Annotation, cells: "pd.Index") -> str:
    """Two columns, `barcode` and the name of the annotation; cells without a label have an empty field.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which `import_labels` removes.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["barcode", _plain(annotation.name)])
    texts = [*map(_plain, annotation.labels), ""]
    writer.writerows(
        [_plain(cell), texts[code]] for cell, code in zip(cells.astype(str), annotation.codes, strict=True)
    )
    return out.getvalue()


def label_columns(content: bytes, *, file: str = "the file") -> list[str]:
    """Columns of a table that can hold labels: all but the first. DatasetError when it is no table."""
    first = _decode(content, file).partition("\n")[0]
    names = next(csv.reader(io.StringIO(first), delimiter=_separator(first)), [])
    return [_unplain(name.strip()) for name in names[1:]]


def import_labels(
    annotation: Annotation,
    cells: "pd.Index",
    content: bytes,
    *,
    column: str | None = None,
    file: str = "the file",
    author: str = "",
) -> tuple[Annotation, ImportReport]:
    """Take labels by barcode from a table (CSV or TSV, the first column holds barcodes).

    An empty field clears the label. Cells that the file does not name keep theirs. When no barcode is found as
    it is, endings such as `-1` are ignored on both sides, if that stays unique.

    Parameters
    ----------
    cells
        Names of the dataset's cells, in the order of the annotation.
    column
        Column of the labels; None takes the second.

    Raises
    ------
    DatasetError
        It is no table, names a barcode twice with different labels, or has no barcode of the dataset.
    OptionError
        The column is not there, or a label cannot be one.
    """
    names, rows = _read_table(content, column, file)
    given: dict[str, str] = {}
    for number, (barcode, label) in enumerate(rows, start=2):
        if given.setdefault(barcode, label) != label:
            raise DatasetError(
                f"Line {number:,} of {file} names '{barcode[:60]}' again, with another label.",
                "Each cell can have one label.",
                "Remove one of the two lines.",
            )
    keys, given, note = _match_barcodes([str(cell) for cell in cells], given, file)
    labels = list(annotation.labels)
    numbers = {label: i for i, label in enumerate(labels)}
    codes = annotation.codes.copy()
    matched = [(i, given[key]) for i, key in enumerate(keys) if key in given]
    for i, text in matched:
        if text and text not in numbers:
            numbers[check_label(text)] = len(labels)
            labels.append(text)
        codes[i] = numbers[text] if text else -1
    present = set(keys)
    unknown = [barcode for barcode in given if barcode not in present]
    changed = annotation.change(tuple(labels), codes, "Import labels", how=f"{file}, column {names[1]}", author=author)
    report = ImportReport(
        names[1],
        len(matched),
        annotation.n_obs - len(matched),
        len(unknown),
        int((codes != annotation.codes).sum()),
        tuple(barcode[:60] for barcode in unknown[:N_EXAMPLES]),
        note,
    )
    return changed, report


def _plain(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@\t\r" and text else text


def _unplain(text: str) -> str:
    return text[1:] if len(text) > 1 and text[0] == "'" and text[1] in "=+-@\t\r" else text


def _read_table(content: bytes, column: str | None, file: str) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """((name of the first column, of the chosen one), their rows)."""
    text = _decode(content, file)
    separator = _separator(text.partition("\n")[0])
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    except csv.Error as error:
        raise DatasetError(f"{file} cannot be read as a table ({error}).", "Barcodes and labels are needed.") from None
    if len(rows) < 2 or len(rows[0]) < 2:
        raise DatasetError(
            f"{file} has no table of two columns.", "A line of names, then barcodes and labels are needed."
        )
    names = [_unplain(name.strip()) for name in rows[0]]
    if column is not None and column not in names[1:]:
        raise OptionError(f"{file} has no column '{column}'.", f"Its columns are {', '.join(names[1:11])}.")
    place = 1 if column is None else names.index(column, 1)
    short = next((i for i, row in enumerate(rows[1:], start=2) if len(row) <= place), None)
    if short is not None:
        raise DatasetError(
            f"Line {short:,} of {file} has only {len(rows[short - 1])} field(s).", f"{place + 1} are needed."
        )
    return (names[0], names[place]), [(_unplain(row[0].strip()), _unplain(row[place].strip())) for row in rows[1:]]


def _decode(content: bytes, file: str) -> str:
    if len(content) > MAX_CSV_BYTES:
        raise DatasetError(
            f"{file} has {len(content) / 1e6:,.0f} MB.", f"At most {MAX_CSV_BYTES / 1e6:,.0f} MB are read."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(
            f"{file} is no text (UTF-8).", "A table of barcodes and labels is needed.", "Save it as CSV (UTF-8)."
        ) from None


def _separator(first_line: str) -> str:
    return max("\t;,", key=first_line.count)


def _match_barcodes(cells: list[str], given: dict[str, str], file: str) -> tuple[list[str], dict[str, str], str]:
    """(key of each cell, labels by key, what was done to the barcodes)."""
    if not given.keys().isdisjoint(cells):
        return cells, given, ""
    bare_cells, bare_given = (
        [_bare(cell) for cell in cells],
        {_bare(barcode): label for barcode, label in given.items()},
    )
    is_unique = len(set(bare_cells)) == len(cells) and len(bare_given) == len(given)
    if is_unique and not bare_given.keys().isdisjoint(bare_cells):
        return bare_cells, bare_given, "Barcodes were matched without their endings (such as -1)."
    raise DatasetError(
        f"None of the {len(given):,} barcodes in {file} is a cell of this dataset, the first is "
        f"'{next(iter(given))[:60]}'.",
        f"Barcodes such as '{cells[0]}' are needed." if cells else "The dataset has no cells.",
        "Check that the file belongs to this dataset and that its first column holds barcodes.",
    )


def _bare(barcode: str) -> str:
    head, dash, tail = barcode.rpartition("-")
    return head if dash and tail.isdigit() else barcode
