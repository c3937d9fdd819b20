"""Networks that are known already, read from a file of the user's: which of our edges they hold.

None ships with scfviz: CollecTRI, DoRothEA and the like have licences of their own.
"""

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from scfviz.errors import DatasetError, GeneError

if TYPE_CHECKING:
    import pandas as pd

SOURCES = ("source", "tf", "regulator", "from", "gene1", "transcription_factor")
TARGETS = ("target", "gene", "target_gene", "to", "gene2", "genesymbol")
SIGNS = ("weight", "mor", "sign", "effect", "mode")
MOST_EDGES = 2_000_000


@dataclass(frozen=True)
class PriorNetwork:
    """Known edges.

    Attributes
    ----------
    name
        Of the file.
    edges
        By (source, target), symbols of the model: 1 activates, -1 represses, 0 where the file does not say.
    notes
        What was found in the file.
    """

    name: str
    edges: dict[tuple[str, str], int]
    notes: tuple[str, ...]


def read_prior(path: str | Path) -> PriorNetwork:
    """Read a network: a table with a column of sources and one of targets, and perhaps one of signs; plain or gzip.

    Names may be symbols, aliases or Ensembl IDs. Known edges of genes that the model lacks are left out.

    Raises
    ------
    DatasetError
        The file is missing, no table, without such columns, or has more than two million edges.
    GeneError
        None of its names is a gene.
    """
    from scfviz.data.source import open_text, resolve_source

    real = resolve_source(path)
    try:
        with open_text(real) as file:
            return read_prior_text(file, real.name)
    except (UnicodeDecodeError, EOFError, OSError) as error:
        raise DatasetError(f"'{real.name}' cannot be read as text.", "A table is needed.", "Copy it again.") from error


def read_prior_bytes(content: bytes, name: str) -> PriorNetwork:
    """The same from the content of a file, plain or gzip; see `read_prior`."""
    is_packed = content[:2] == b"\x1f\x8b"
    raw = gzip.GzipFile(fileobj=io.BytesIO(content)) if is_packed else io.BytesIO(content)
    try:
        return read_prior_text(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), name)
    except (UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"'{name}' cannot be read as text.", "A table is needed.", "Choose another file.") from error


def read_prior_text(file: TextIO, name: str) -> PriorNetwork:
    """The same from an open file; see `read_prior`."""
    from scfviz.data.vocabulary import load_vocabulary

    lookup = load_vocabulary().lookup
    head = file.readline()
    separator = max("\t,;", key=head.count)
    columns = [column.strip().lower() for column in next(csv.reader([head], delimiter=separator), [])]
    source, target = (_find(columns, words, name) for words in (SOURCES, TARGETS))
    sign = next((columns.index(word) for word in SIGNS if word in columns), None)
    symbols: dict[str, str | None] = {}
    edges: dict[tuple[str, str], int] = {}
    n_rows = n_unknown = n_signs = 0
    for row in csv.reader(file, delimiter=separator):
        if len(row) <= max(source, target):
            continue
        n_rows += 1
        if n_rows > MOST_EDGES:
            raise DatasetError(
                f"'{name}' has more than {MOST_EDGES:,} edges.",
                "A network in which everything regulates everything says nothing of an edge.",
                "Keep the edges with the best evidence.",
            )
        both = []
        for text in (row[source].strip(), row[target].strip()):
            if text not in symbols:
                symbols[text] = lookup(text) if text else None
            both.append(symbols[text])
        if None in both:
            n_unknown += 1
            continue
        value = _sign(row[sign]) if sign is not None and sign < len(row) else 0
        n_signs += value != 0
        edges[(both[0], both[1])] = value
    if not n_rows:
        raise DatasetError(f"'{name}' has no edges.", "A row for each edge is needed.", "Choose another file.")
    if not edges:
        raise GeneError(
            f"None of the {n_rows:,} edges of '{name}' is between genes that are known.",
            "Human gene symbols or Ensembl IDs are needed.",
            "Entrez numbers and other organisms' genes have to be converted first.",
        )
    notes = [f"'{name}' holds {len(edges):,} edges between known genes."]
    if n_unknown:
        notes.append(f"{n_unknown:,} of its edges are of genes that the model does not know; they are left out.")
    if not n_signs:
        notes.append("It has no signs: whether an edge activates or represses is not compared.")
    return PriorNetwork(name, edges, tuple(notes))


def mark_known(network: "pd.DataFrame", prior: PriorNetwork) -> "pd.DataFrame":
    """A network with the columns `is_known` and `known_sign` (0 where the prior network does not say)."""
    pairs = list(zip(network["source"].astype(str), network["target"].astype(str), strict=True))
    found = [prior.edges.get(pair) for pair in pairs]
    return network.assign(is_known=[one is not None for one in found], known_sign=[one or 0 for one in found])


def _find(columns: list[str], words: tuple[str, ...], name: str) -> int:
    for word in words:
        if word in columns:
            return columns.index(word)
    raise DatasetError(
        f"'{name}' has the columns {', '.join(columns[:10]) or 'none'}.",
        f"One called {' or '.join(words[:3])} is needed.",
        "Name the columns in the first line.",
    )


def _sign(text: str) -> int:
    text = text.strip().lower()
    if text in ("+", "activation", "activator", "up"):
        return 1
    if text in ("-", "repression", "repressor", "down"):
        return -1
    try:
        value = float(text)
    except ValueError:
        return 0
    return (value > 0) - (value < 0)
