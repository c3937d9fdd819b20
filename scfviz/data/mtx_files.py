"""Which files belong together: a matrix in Matrix Market form and the names of its cells and genes.

Programs and archives name them in many ways: `matrix.mtx`, `barcodes.tsv`, `features.tsv` (Cell Ranger, STARsolo, BD
Rhapsody), `cells_x_genes.mtx` (kb), `quants_mat.mtx` (alevin-fry), `count_matrix.mtx` (Parse). A sample's name may
stand before or behind (`GSM1_s-matrix.mtx.gz`, `matrix_s.mtx`), and one file of genes may serve all samples (GEO).
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from scfviz.data.formats import is_hidden, is_matrix_file

PARTS = ("spliced", "unspliced", "ambiguous", "mature", "nascent")  # layers that add up to the counts
TOTAL = ("total",)
SUMS_OF_PARTS = ("cell", "nucleus")  # kb count --sum
EDGE, REAR = r"(?:^|(?<=[^a-z0-9]))", r"(?=[^a-z0-9]|$)"
NAMES_ENDING = re.compile(r"\.(tsv|txt|csv|bed|tab)$")
# Words of a file's name, the most certain first.
MATRIX_WORDS = (
    r"cells_x_genes|cells_x_tcc|quants_mat|count_matrix|counts_matrix|gene_sorted-matrix|matrix|dge|counts?|expression"
)
CERTAIN = (
    ("genes", r"quants_mat_cols|gene_?names|genes[._]names|all_genes|features?|genes?|peaks?"),
    ("cells", r"quants_mat_rows|cell_?metadata|cell_?barcodes|barcodes?"),
)
LESS_CERTAIN = (
    ("genes", r"row_?names|var_?names|rows?|var"),
    ("cells", r"col_?names|obs_?names|cell_?names|cell_?ids?|cells?|columns|cols?|metadata|meta|obs"),
)
ALTERNATIVES = re.compile(r"uniqueandmult|cells_x_tcc")  # other estimates beside the usual matrix


@dataclass
class MtxSet:
    """One sample: file names of its matrices (by layer, "" is the main one), cells (by layer) and genes."""

    sample: str
    matrices: dict[str, str] = field(default_factory=dict)
    cells: dict[str, list[str]] = field(default_factory=dict)
    genes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # other matrices, not read


@dataclass(frozen=True)
class Named:
    """A file's role: what it holds, of which sample and layer."""

    name: str
    folder: str
    sample: str
    layer: str
    role: str  # "matrix" | "genes" | "cells"
    is_certain: bool = True


def describe(name: str) -> Named | None:
    """The role of a file by its name, or None."""
    path = PurePosixPath(name)
    base, folder = path.name.removesuffix(".gz"), path.parent.as_posix()
    folder = "" if folder == "." else folder
    if is_hidden(name):
        return None
    if is_matrix_file(name):
        stem = base[: -len(".mtx")]
        rest, layer = take_layer(stem)
        return Named(name, folder, tidy(cut(rest, MATRIX_WORDS)), layer, "matrix")
    if not NAMES_ENDING.search(base.lower()):
        return None
    stem = base[: base.rindex(".")]
    for certain, table in ((True, CERTAIN), (False, LESS_CERTAIN)):
        # kb writes cells_x_genes.genes.txt: the first part names the matrix.
        bare = re.sub(r"cells_x_genes[._]", "", stem, flags=re.IGNORECASE)
        found = [(last, role) for role, words in table if (last := last_place(bare, words)) >= 0]
        if found:
            role, words = max(found)[1], dict(table)
            rest, layer = take_layer(cut(bare, words[role]))
            return Named(name, folder, tidy(rest), layer, role, certain)
    return None


def last_place(stem: str, words: str) -> int:
    """Where the last of some words stands in a name, -1 if nowhere."""
    return max((m.start() for m in re.finditer(f"{EDGE}(?:{words}){REAR}", stem.lower())), default=-1)


def cut(stem: str, words: str) -> str:
    """A name without the last of some words."""
    found = list(re.finditer(f"{EDGE}(?:{words}){REAR}", stem.lower()))
    return stem[: found[-1].start()] + stem[found[-1].end() :] if found else stem


def take_layer(stem: str) -> tuple[str, str]:
    """(the name without it, the word for a part of the counts in a name)."""
    words = (*PARTS, *TOTAL, *(SUMS_OF_PARTS if "cells_x_genes" in stem.lower() else ()))
    found = re.search(f"{EDGE}({'|'.join(words)}){REAR}", stem.lower())
    if not found:
        return stem, ""
    layer = found.group(1)
    return stem[: found.start()] + stem[found.end() :], "" if layer in TOTAL else layer


def tidy(sample: str) -> str:
    """A sample's name without the marks that joined it to what was cut off."""
    return re.sub(r"([ _.\-])[ _.\-]+", r"\1", sample).strip(" _.-")


def find_sets(names: Iterable[str]) -> list[MtxSet]:
    """The samples among file names (with folders, in archives), in order of their names."""
    roles = [found for name in sorted(names) if (found := describe(name)) is not None]
    sets: dict[tuple[str, str], MtxSet] = {}
    for item in (r for r in roles if r.role == "matrix"):
        label = "/".join(p for p in (item.folder, item.sample) if p)
        group = sets.setdefault((item.folder, item.sample), MtxSet(label))
        if ALTERNATIVES.search(item.name.lower()) or item.layer in group.matrices:
            group.left.append(item.name)
        else:
            group.matrices[item.layer] = item.name
    sets = merge_alternatives(sets)
    for (folder, sample), group in sets.items():
        if "" in group.matrices or any(layer in PARTS for layer in group.matrices):
            for layer in [k for k in group.matrices if k in SUMS_OF_PARTS]:
                group.left.append(group.matrices.pop(layer))
        beside = [r for r in roles if r.folder == folder and r.role != "matrix"]
        group.genes = [r.name for r in best_fitting([r for r in beside if r.role == "genes"], sample)]
        by_layer = defaultdict(list)
        for r in best_fitting([r for r in beside if r.role == "cells"], sample):
            by_layer[r.layer].append(r.name)
        group.cells = dict(by_layer)
    return [sets[key] for key in sorted(sets)]


def merge_alternatives(sets: dict[tuple[str, str], MtxSet]) -> dict[tuple[str, str], MtxSet]:
    """Other estimates of the same counts (STARsolo's UniqueAndMult-EM.mtx) are no samples of their own."""
    usual = {key: group for key, group in sets.items() if group.matrices}
    for (folder, _), group in sets.items():
        if not group.matrices:
            beside = next((g for (f, _), g in usual.items() if f == folder), None)
            if beside is not None:
                beside.left += group.left
            else:
                group.matrices[""] = group.left.pop(0)
                usual[(folder, group.sample)] = group
    return usual


def best_fitting(files: list[Named], sample: str) -> list[Named]:
    """The files of names of one sample: of the same name, else of a part of it, else the only ones there are."""
    files = [f for f in files if f.is_certain] or files
    exact = [f for f in files if f.sample == sample]
    if exact:
        return exact
    tokens = set(re.split(r"[ _.\-]+", sample))
    partly = [f for f in files if f.sample and set(re.split(r"[ _.\-]+", f.sample)) <= tokens]
    if partly:
        longest = max(len(f.sample) for f in partly)
        return [f for f in partly if len(f.sample) == longest]
    return files if len({f.sample for f in files}) == 1 else []


def list_samples(names: list[str]) -> list[str]:
    """The samples among the files of a folder, by the names that choose them; empty where there is but one."""
    samples = [found.sample for found in find_sets(names)]
    return samples if len(samples) > 1 else []
