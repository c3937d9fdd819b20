"""Types of cells as kinds of each other: what can be said of a cell whose set holds several types.

`assets/cell_types.tsv` holds common types with their IDs in the Cell Ontology, which of them are kinds of which (steps
between are left out), and how files call them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from scfviz.places import ASSETS

FILE = ASSETS / "cell_types.tsv"


@dataclass(frozen=True)
class CellTypes:
    """The table.

    Attributes
    ----------
    names
        By ID.
    above
        By ID: itself, and what it is a kind of, the nearest first.
    ids
        By name or other word, as `normal` writes them.
    """

    names: Mapping[str, str]
    above: Mapping[str, tuple[str, ...]]
    ids: Mapping[str, str]


@cache
def cell_types() -> CellTypes:
    """The table that ships."""
    rows = [line.split("\t") for line in FILE.read_text(encoding="utf-8").splitlines()[1:]]
    names, above, ids = {}, {}, {}
    for cell_id, name, parent, words in rows:
        names[cell_id] = name
        above[cell_id] = (cell_id, *above.get(parent, ()))
        ids |= {normal(word): cell_id for word in (name, *words.split(";"))}
    return CellTypes(names, above, ids)


def normal(name: str) -> str:
    """A name without case, plural and punctuation that says nothing: "CD14+ Monocytes" is "cd14+ monocyte"."""
    words = name.strip().lower().replace("_", " ").replace("-positive", "+").split()
    if words and len(words[-1]) > 3 and words[-1].endswith("s") and not words[-1].endswith("ss"):
        words[-1] = words[-1][:-1]
    return " ".join(words)


def find_ids(labels: Sequence[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Cell Ontology ID by label: the given one, else that of a name which the table knows."""
    known = cell_types().ids
    found = {label: known[normal(label)] for label in labels if normal(label) in known}
    return found | {label: cell_id for label, cell_id in (given or {}).items() if label in labels}


def common_kind(labels: Sequence[str], ids: Mapping[str, str]) -> str | None:
    """Name of the closest kind that all labels are of, None where the table knows none; of one label itself."""
    if len(labels) == 1:
        return labels[0]
    above, names = cell_types().above, cell_types().names
    chains = [above.get(ids.get(label, "")) for label in labels]
    if not chains or any(chain is None for chain in chains):
        return None
    shared = [cell_id for cell_id in chains[0] if all(cell_id in chain for chain in chains[1:])]
    if not shared:
        return None
    own = next((label for label in labels if ids.get(label) == shared[0]), None)
    return own or names[shared[0]]


def describe_set(labels: Sequence[str], ids: Mapping[str, str]) -> str:
    """A set of possible types in words, as far as it is certain: "T cell; CD4 T or CD8 T undecided"."""
    if len(labels) < 2:
        return labels[0] if labels else "none"
    kind = common_kind(labels, ids)
    rest = [label for label in labels if label != kind]
    listed = " or ".join([", ".join(labels[:-1]), labels[-1]])
    if kind is None:
        return f"{listed} undecided"
    if len(rest) < len(labels):
        return f"{kind}; perhaps {' or '.join(rest)}"
    return f"{kind}; {listed} undecided"
