"""How a table of text is laid out: comments, header, delimiter, names, columns of text, and what its rows are."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from scfviz.data.formats import shorten
from scfviz.data.gene_names import describe_names
from scfviz.data.genes import share_known
from scfviz.data.source import open_text
from scfviz.data.table_numbers import SPACES, Evidence, Numbers, is_missing
from scfviz.errors import DatasetError, GeneError

MAX_ABOVE = 30
MAX_LINE = 2**28
SAMPLE_LETTERS = 2_000_000
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # a first line that Excel writes
N_SAMPLE_LINES, N_TYPED_LINES = 300, 30
MARK = re.compile(rf"[,.](?=\d)|(?<=\d)[{SPACES}](?=\d{{3}})")  # of decimals or of thousands
# Below these shares, names are those of genes by chance (S1, S2, ...), or none is.
FEW_KNOWN, NONE_KNOWN = 0.2, 0.02
GCT = ("#1.2", "#1.3")
NAMES_OF_GENES = re.compile(r"gene|symbol|feature|ensembl|probe|transcript|hgnc|entrez", re.IGNORECASE)
NAMES_OF_CELLS = re.compile(r"cell|barcode|sample|^bc$|spot", re.IGNORECASE)
HEADER_WORD = re.compile(
    r"#?\s*(?:(?:gene|feature|transcript|probe|cell|barcode|sample|spot)s?(?:[_ .]?(?:id|name|symbol|index|barcode)s?)?"
    r"|symbol|ensembl\w*|hgnc\w*|entrez\w*|id|names?|index|cb|bc|fov|unnamed: ?0|counts?|umis?|n)",
    re.IGNORECASE,
)
A_CELL = re.compile(
    r"(?:[\w.]*[:_-])?[ACGTN]{8,}x?\d*(?:[._-]\w+)*|(?:cell|barcode|bc|sample|spot)[ _.-]?\d+", re.IGNORECASE
)
A_GENE = re.compile(r"ENS[A-Z]*[GT]\d{6,}(?:\.\d+)?|(?:FBgn|WBGene|AT\dG|LOC)\d+", re.IGNORECASE)
SHORT = re.compile(r"[A-Za-z]{1,2}\d{1,3}")
FOV, CELL_OF_FOV = ("fov",), ("cell_id", "cellid", "cell")


@dataclass(frozen=True)
class Layout:
    """How a table is laid out, found from its first lines; numbers of fields count from 0."""

    path: Path
    delimiter: str
    first_line: int  # number in the file of the first line of the body
    n_rows: int
    width: int  # fields of a line of the body
    columns: list[str]  # names of the columns of numbers
    kept: list[int]  # their fields
    names: tuple[int, ...]  # fields that name the rows, joined; () where nothing does
    others: dict[str, int]  # columns of text, and their fields
    genes_are_rows: bool
    numbers: Numbers
    above: dict[str, list[str]]  # what lines of text above the numbers say about each of `columns`

    @property
    def name(self) -> str:
        """What to call the file in messages."""
        return shorten(self.path.name)


@dataclass(frozen=True)
class Opening:
    """The first lines of a table, split: the header ([] where there is none) and some lines of its body."""

    delimiter: str
    header: list[str]
    body: list[list[str]]
    first_line: int
    above: dict[str, list[str]]  # lines of text between the two, which say something about the columns


def filled_lines(stream: TextIO, first: int = 1, delimiter: str = "") -> Iterator[tuple[int, str]]:
    """(number in the file, line) of the lines that hold something, from a line on; comments behind it are left out."""
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), ""), 1):
        if len(line) == MAX_LINE:  # a few packed kilobytes can unpack to a line that memory does not hold
            raise DatasetError(f"Line {number:,} is longer than {MAX_LINE:,} letters.", "A table has shorter lines.")
        if number >= first and not line.isspace():
            if delimiter and line.startswith("#") and delimiter not in line:
                continue
            yield number, line


def lay_out(path: Path, opening: Opening, notes: list[str]) -> Layout:
    """The layout that follows from the first lines and one pass over all of them.

    Raises
    ------
    DatasetError
        There are no names of columns, no columns of numbers, or numbers that can be read in two ways.
    GeneError
        Neither rows nor columns are named like genes.
    """
    name, header, body = shorten(path.name), opening.header, opening.body
    width = len(body[0])
    names = fields_of_names(header, body)
    # R leaves out the name of the column of names.
    labels = header if len(header) == width else ["", *header] if header else []
    n_rows, numbers = survey(path, opening, names, notes)
    values = [i for i in range(width) if i not in names]
    is_text = text_fields(body, values, labels, numbers)
    if labels_above(list(opening.above.values())):
        is_text[1] = True
    kept = [i for i in values if not is_text[i]]
    if not kept:
        raise DatasetError(
            f"'{name}' holds no numbers beside names: its columns are {', '.join(map(repr, labels[:6])) or 'text'}.",
            "A table of counts is needed, with one column or row for each cell.",
            "If it names the genes or cells of a matrix, open the folder of that matrix.",
        )
    others = {labels[i] if labels else f"column {i + 1}": i for i in values if is_text[i]}
    others = {label: i for label, i in others.items() if label or any(row[i].strip() for row in body)}
    row_names = ["_".join(row[i] for i in names) for row in body] if names else []
    columns = [labels[i] for i in kept] if labels else []
    # A column of a few words (T, B) is none of names, although T is a gene as well.
    texts = [[row[i] for row in body] for i in others.values()]
    candidates = [row_names, *(text for text in texts if len(set(text)) > len(text) / 2)]
    above = {label: [row[i] for i in kept] for label, row in opening.above.items()}
    columns, above = telling_names(columns, above)
    corner = [labels[i] for i in names] if labels else []
    genes_are_rows = find_orientation(candidates, [columns, *above.values()], corner, name, notes)
    if not columns:
        if not genes_are_rows:
            raise DatasetError(
                f"The columns of '{name}' have no names: the first row already holds numbers.",
                "The first row must hold the names of the genes (or of the cells).",
                "Add a row of names.",
            )
        notes.append("The columns have no names; the cells were numbered.")
        columns = [f"cell{i + 1}" for i in range(len(kept))]
    return Layout(
        path,
        opening.delimiter,
        opening.first_line,
        n_rows,
        width,
        columns,
        kept,
        names,
        others,
        genes_are_rows,
        numbers,
        above,
    )


def read_opening(path: Path) -> Opening:
    """The first lines of a table: comments are passed over, unless the last of them is the header."""
    lines, n_letters = [], 0
    with open_text(path, western=True) as stream:
        for line in filled_lines(stream):
            lines.append(line)
            n_letters += len(line[1])
            if len(lines) > N_SAMPLE_LINES + MAX_ABOVE or (len(lines) > 3 * MAX_ABOVE and n_letters > SAMPLE_LETTERS):
                break
    name, stated = shorten(path.name), SEPARATOR.fullmatch(lines[0][1].strip()) if lines else None
    lines = lines[1:] if stated else lines
    if any("\0" in line for _, line in lines[:5]):
        raise DatasetError(f"'{name}' is no text table: it holds binary data.", "", "Check the file and its name.")
    comments = [line for _, line in lines[: next((i for i, (_, x) in enumerate(lines) if x[0] != "#"), len(lines))]]
    rest = lines[len(comments) :]
    if comments and comments[0].strip() in GCT:
        rest = rest[1:]  # a line with its size
    if not rest:
        raise DatasetError(f"'{name}' holds no table.", "A table of cells and genes is needed.", "Check the file.")
    delimiter = stated[1] if stated else find_delimiter(rest[0][1], name)
    rows = [(number, split(line, delimiter)) for number, line in rest]
    header: list[str] = []
    if comments and not is_header(rows[0][1], rows[1:]):
        last = split(comments[-1].lstrip("#"), delimiter)
        header = last if len(last) > 1 and len(last) in (len(rows[0][1]), len(rows[0][1]) - 1) else []
    if not header and is_header(rows[0][1], rows[1:]):
        header, rows = rows[0][1], rows[1:]
        if not rows:
            raise DatasetError(f"'{name}' has a first line but no rows.", "A table of cells and genes is needed.")
    body = [row for _, row in rows[:N_SAMPLE_LINES]]
    header = fit_header(header, body)
    if header and len(header) not in (len(body[0]), len(body[0]) - 1):
        raise DatasetError(
            f"'{name}' is no table: its first line has {len(header):,} fields and its second {len(body[0]):,}.",
            "Names in the first row and the first column, numbers elsewhere, separated by commas or tabs.",
        )
    n_above = count_above(body) if header else 0
    is_labelled = labels_above(body[:n_above])
    above = {row[0] or (row[1] if is_labelled else f"row {i + 2}"): row for i, row in enumerate(body[:n_above])}
    body = [row for row in body[n_above:] if len(row) == len(body[0])]
    return Opening(delimiter, header, body, rows[n_above][0], above)


def count_above(body: list[list[str]]) -> int:
    """How many of the first lines hold text where the lines below hold numbers: cell types above the counts."""
    last, n_values = body[-1], len(body[0]) - 1
    numeric = [i for i in range(1, len(last)) if is_number(last[i])]

    def is_text(row: list[str]) -> bool:
        n_texts = sum(not is_number(row[i]) for i in numeric) if len(row) == len(last) else 0
        return 2 * n_texts > n_values or (n_texts > 0 and row[0] == "" != last[0])

    n_above = 0
    for i, row in enumerate(body[: MAX_ABOVE + 1]):
        if is_text(row):
            n_above = i + 1
        elif row[0]:  # numbers about cells (group, age) stand among texts only where no gene is named
            break
    return n_above if n_above <= MAX_ABOVE else 0


def labels_above(above: list[list[str]]) -> bool:
    """Whether the second field names the lines above the numbers, the first being empty there."""
    labels = [row[1] for row in above if row[0] == ""]
    is_text = len(labels) == len(above) > 1 and not any(is_number(label) for label in labels)
    return is_text and all(labels) and share_known(labels) == 0


def telling_names(columns: list[str], above: dict[str, list[str]]) -> tuple[list[str], dict[str, list[str]]]:
    """(names of the columns, what else is said of them): a line of its own names that differ is better than groups."""
    if len(set(columns)) > len(columns) / 2:
        return columns, above
    for label, row in above.items():
        if len(set(row)) == len(row):
            return row, {"column": columns} | {k: v for k, v in above.items() if k != label}
    return columns, above


def fit_header(header: list[str], body: list[list[str]]) -> list[str]:
    """The header, where lines end with a mark that names no column, in it or below it."""
    width = len(body[0])
    if len(header) == width + 1 and not header[-1]:
        return header[:-1]
    if len(header) == width - 1 and not any(row[-1] for row in body if len(row) == width):
        return [*header, ""]
    return header


def find_delimiter(line: str, name: str) -> str:
    """Tab, comma, semicolon, bar or space, from a line."""
    bare = re.sub(r'"[^"]*"', "", line)
    counts = {d: bare.count(d) for d in "\t,;| "}
    best = max(counts, key=lambda d: (counts[d] if d not in "| " else 0, counts[d]))  # names hold bars and spaces, too
    # Between semicolons commas are decimal marks; between tabs, too.
    best = next((d for d in "\t;" if counts[d] and counts[d] >= counts[best] / 2), best)
    if counts[best] == 0:
        raise DatasetError(
            f"'{name}' is no table: its first line is a single word.",
            "Columns separated by commas or tabs are needed.",
            "A list of genes or cells holds no counts: open the counts themselves, as .csv or .tsv.",
        )
    return best


def split(line: str, delimiter: str) -> list[str]:
    """The fields of a line, without their quotes and the spaces around them."""
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]


def is_number(text: str) -> bool:
    """Whether a field is a number, whatever its marks."""
    try:
        float(MARK.sub("", text))
    except ValueError:
        return False
    return True


def is_header(first: list[str], rest: list[tuple[int, list[str]]]) -> bool:
    """Whether the first line names the columns, and is no line of values itself."""
    values = first[1:]
    says_so = not first[0] or any(HEADER_WORD.fullmatch(v) for v in first)
    if all(is_number(v) for v in values):  # numbered cells, or the first line of a table without a header
        counts_up = values in ([str(i) for i in range(len(values))], [str(i + 1) for i in range(len(values))])
        return len(set(values)) == len(values) and (says_so or (counts_up and len(values) > 2))
    below = [row for _, row in rest[:N_TYPED_LINES] if len(row) == len(first)]
    if says_so or not below or not any(is_number(v) for v in values):
        return True
    # A line with numbers where the others have them (gene, cell, count) is one of them.
    return any(is_number(first[i]) != all(is_number(row[i]) for row in below) for i in range(1, len(first)))


def fields_of_names(header: list[str], body: list[list[str]]) -> tuple[int, ...]:
    """The fields that name the rows: the first; field of view and cell together (CosMx); none where all are values."""
    lower = [label.lower() for label in header]
    fov = next((i for i, label in enumerate(lower[:6]) if label in FOV), None)
    cell = next((i for i, label in enumerate(lower[:6]) if label in CELL_OF_FOV), None)
    shift = len(body[0]) - len(header) if header else 0
    if fov is not None and cell is not None:
        return (fov + shift, cell + shift)
    is_full = len(header) == len(body[0])
    if is_full and is_number(body[0][0]) and share_known(header[:1]) == 1 and share_known(header) > 0.5:
        return ()
    return (0,)


def survey(path: Path, opening: Opening, names: tuple[int, ...], notes: list[str]) -> tuple[int, Numbers]:
    """(lines of the body, how its numbers are written), from one pass over the file."""
    evidence, n_rows, delimiter = Evidence(), 0, opening.delimiter
    with open_text(path, western=True) as stream:
        for _, line in filled_lines(stream, opening.first_line, delimiter):
            n_rows += 1
            if evidence.is_decided:
                continue
            rest = line.partition(delimiter)[2]
            has_marks = '"' in rest and "," in rest if delimiter == "," else "," in rest or "." in rest
            if has_marks or not evidence.n_plain:
                fields = split(line, delimiter) if '"' in line else line.rstrip("\r\n").split(delimiter)
                evidence.add(field for i, field in enumerate(fields) if i not in names)
    return n_rows, evidence.decide(delimiter, shorten(path.name), notes)


def text_fields(body: list[list[str]], values: list[int], labels: list[str], numbers: Numbers) -> dict[int, bool]:
    """Whether each field holds text: no number in any of the first lines, or nothing at all under a name of no gene."""
    found = dict.fromkeys(values, False)
    rows = body[:N_TYPED_LINES]
    first = rows[0]
    for i in values:
        if not is_value(first[i], numbers):
            texts = [row[i] for row in rows if not is_missing(row[i])]
            no_number = not any(is_value(text, numbers) for text in texts)
            is_gene = not texts and bool(labels) and share_known([labels[i]]) == 1
            found[i] = no_number and not is_gene
    return found


def is_value(text: str, numbers: Numbers) -> bool:
    """Whether a field is a number in a table's way of writing."""
    try:
        numbers.value(text)
    except ValueError:
        return False
    return not is_missing(text)


def find_orientation(
    rows: list[list[str]], columns: list[list[str]], corner: list[str], name: str, notes: list[str]
) -> bool:
    """Whether the rows are genes: by names that are known, else by what names look like.

    Parameters
    ----------
    rows, columns
        Names from each column (or row) that may hold them, the usual one first.
    corner
        What the columns of names are called.

    Raises
    ------
    GeneError
        Nothing tells which side the genes are.
    """
    known_rows, known_columns = (max(map(share_of_genes, side), default=0.0) for side in (rows, columns))
    if max(known_rows, known_columns) >= FEW_KNOWN and known_rows != known_columns:
        return known_rows > known_columns
    votes = [
        (any(NAMES_OF_GENES.search(c) for c in corner), any(NAMES_OF_CELLS.search(c) for c in corner)),
        (looks_like(A_CELL, columns[0]), looks_like(A_CELL, rows[0])),
        (looks_like(A_GENE, rows[0]), looks_like(A_GENE, columns[0])),
        (are_numbers(rows[0]) and not are_numbers(columns[0]), False),
    ]
    for genes_are_rows, genes_are_columns in votes:
        if genes_are_rows != genes_are_columns:
            if max(known_rows, known_columns) < NONE_KNOWN:
                shown = [", ".join(map(shorten, names[:3])) for names in (rows[0], columns[0])]
                notes.append(
                    f"Neither side is named by genes that are known (rows: {shown[0]}; columns: {shown[1]}); the "
                    f"{'rows' if genes_are_rows else 'columns'} were taken for the genes."
                )
            return genes_are_rows
    known_rows, known_columns = (max(map(share_known, side), default=0.0) for side in (rows, columns))
    if max(known_rows, known_columns) > 0:
        return known_rows > known_columns
    shown = [", ".join(map(shorten, names[:3])) or "without names" for names in (rows[0], columns[0])]
    kinds = [(side, describe_names(names)) for side, (names, *_) in (("rows", rows), ("columns", columns))]
    said = "".join(f" The names of the {side} are {kind}." for side, kind in kinds if kind)
    raise GeneError(
        f"Neither the rows nor the columns of '{name}' are named by genes that are known: the rows are {shown[0]}, the "
        f"columns {shown[1]}.{said}",
        "Gene symbols or Ensembl IDs, of human or mouse, are needed on one side.",
        "Name the genes, or write 'gene' or 'cell' above the first column.",
    )


def share_of_genes(names: list[str]) -> float:
    """Share of names that are genes; short ones (S1, A12) are those of samples and wells as well and do not count."""
    telling = [name for name in names if not SHORT.fullmatch(name)]
    return share_known(telling) * len(telling) / len(names) if telling else 0.0


def looks_like(pattern: re.Pattern, names: list[str]) -> bool:
    """Whether most names have a form."""
    return bool(names) and sum(pattern.fullmatch(n) is not None for n in names) > len(names) / 2


def are_numbers(names: list[str]) -> bool:
    """Whether all names are whole numbers that do not just count (NCBI GeneIDs)."""
    return bool(names) and all(n.isdigit() for n in names) and [int(n) for n in names] != sorted(map(int, names))
