"""Counts that a file holds in parts, such as spliced and unspliced molecules: the whole is their sum."""

import re
from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp

# Names of the parts, by the program that writes them: velocyto, kb and STARsolo; kb nac; alevin-fry; zUMIs and dropEst.
PART_SETS = (
    ("spliced", "unspliced", "ambiguous", "spanning"),
    ("mature", "nascent", "ambiguous"),
    ("s", "u", "a"),
    ("exon", "intron", "spanning"),
    ("exonic", "intronic", "spanning"),
)
DECORATION = re.compile(r"^(?:raw|counts?|umis?|layer)[_.-]|[_.-](?:raw|counts?|umis?|reads?|matrix)$")
PLUS = " + "


def bare_name(layer: str) -> str:
    """The name of a layer in small letters, without what surrounds the name of a part (`spliced_counts`)."""
    return DECORATION.sub("", layer.lower())


def part_layers(layers: Iterable[str]) -> list[str]:
    """The layers that are parts of the counts, in the order of `PART_SETS`; none when the names are no parts."""
    best: list[str] = []
    by_name = {bare_name(name): name for name in sorted(layers, reverse=True)}
    for names in PART_SETS:
        found = [by_name[name] for name in names if name in by_name]
        is_set = names[0] in by_name or names[1] in by_name
        if len(names[0]) == 1:  # single letters mean parts only when they come together
            is_set = names[0] in by_name and names[1] in by_name
        if is_set and len(found) > len(best):
            best = found
    return best


def equals_part(values: sp.csr_matrix, parts: list[sp.csr_matrix]) -> list[int] | None:
    """Which parts a matrix is the sum of, if not of all; the same cells in both, None where it is no such sum."""
    n = len(parts)
    for mask in range(1, 2**n - 1):
        chosen = [i for i in range(n) if mask >> i & 1]
        if is_same(values, sum((parts[i] for i in chosen[1:]), start=parts[chosen[0]])):
            return chosen
    return None


def is_same(one: sp.csr_matrix, other: sp.csr_matrix) -> bool:
    """Whether two matrices hold the same counts, up to what getting counts back from rounded values may change."""
    difference = abs(one.astype(np.float64) - other.astype(np.float64))
    return float((difference.data > 0.5).sum()) <= 0.01 * max(one.nnz, other.nnz, 1)
