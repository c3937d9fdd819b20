"""Which genes and cells take part: variable or own genes, transcription factors, groups of cells."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.analysis.gene_sets import read_gmt
from scfviz.errors import DatasetError, GeneError, GeneNameError, OptionError
from scfviz.places import ASSETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from scfviz.data.align import AlignedCounts
    from scfviz.data.gene_index import GeneIndex

FEWEST_CELLS, FEWEST_GENES = 30, 20
FEWEST_PER_GROUP, MOST_GROUPS = 10, 40
MOST_EXPRESSION_CELLS = 20_000  # of which expression is held in memory
MOST_FACTORS, FACTOR_SHARE, LEAST_SHARE = 80, 0.05, 0.02
REST = "other cells"


@dataclass(frozen=True)
class ChosenGenes:
    """Genes that take part.

    Attributes
    ----------
    positions
        int64 (n_genes,): among the aligned genes, ascending.
    names
        Their symbols, (n_genes,).
    is_factor, is_own
        bool (n_genes,): whether a gene is a transcription factor that may regulate, and whether the user asked for it.
    mean, share
        float64 (n_genes,): mean ln(1 + counts per 10,000), and share of the cells with counts.
    """

    positions: np.ndarray
    names: np.ndarray
    is_factor: np.ndarray
    is_own: np.ndarray
    mean: np.ndarray
    share: np.ndarray


@functools.lru_cache(maxsize=1)
def transcription_factors() -> frozenset[str]:
    """Human transcription factors that bind DNA (GO:0003700), by the model's symbols; see `assets/README.md`."""
    (factors,) = read_gmt(ASSETS / "gene_sets" / "go_tf.gmt.gz")
    return frozenset(factors.genes)


def cell_keys(names: "Sequence[str]", seed: int, use: str) -> np.ndarray:
    """A random number for each cell that depends on nothing but its name, uint64 (n_obs,).

    So neither the order of the cells nor which others there are changes what is drawn for one.

    Parameters
    ----------
    use
        What it is drawn for; other uses get other numbers.
    """
    import pandas as pd

    return pd.util.hash_array(np.asarray(names, dtype=object), hash_key=f"{use[:8]:8}{seed % 10**8:08d}")


def sample_cells(groups: np.ndarray, keys: np.ndarray, n: int) -> np.ndarray:
    """int64, ascending: about `n` of the cells, every group with its share; all where there are no more.

    Parameters
    ----------
    groups, keys
        (n_obs,): of each cell its group, and its number of `cell_keys`.
    """
    if len(groups) <= n:
        return np.arange(len(groups))
    chosen = []
    for name, size in zip(*np.unique(groups, return_counts=True), strict=True):
        members = np.flatnonzero(groups == name)
        chosen.append(members[np.argsort(keys[members], kind="stable")[: max(round(n * size / len(groups)), 1)]])
    return np.sort(np.concatenate(chosen))


def quarters_of(keys: np.ndarray) -> np.ndarray:
    """int64 (n_obs,): a quarter of the cells for each, 0 to 3; none is empty."""
    quarter = (keys % 4).astype(np.int64)
    if len(np.unique(quarter)) < 4:  # a handful of cells
        quarter = np.argsort(np.argsort(keys, kind="stable")) % 4
    return quarter


def read_counts(counts: "AlignedCounts", rows: np.ndarray) -> sparse.csr_matrix:
    """Counts of some cells in memory, CSR float32 (n_rows, n_genes)."""
    part = counts.subset(rows)
    return sparse.vstack([block for _, block in part.blocks()], format="csr")


def choose_genes(
    values: sparse.csr_matrix,
    names: "Sequence[str]",
    is_measured: np.ndarray,
    *,
    choice: str,
    n_genes: int,
    own: "Sequence[str] | None",
    index: "GeneIndex",
) -> tuple[ChosenGenes, tuple[str, ...]]:
    """Choose genes, and say what was left out.

    Parameters
    ----------
    values
        (n_obs, n_all), ln(1 + counts per 10,000).
    names, is_measured
        Of all genes.
    choice, n_genes, own
        See `GeneModulesOptions`.
    index
        Every name that they go by.

    Raises
    ------
    GeneError
        Fewer than 20 genes can take part, or most of the own list is unknown.
    """
    from scfviz.analysis.baselines import choose_variable_genes

    names = np.asarray(names).astype(str)
    n_cells = np.asarray((values > 0).sum(axis=0)).ravel()
    mean = np.asarray(values.mean(axis=0, dtype=np.float64)).ravel()
    is_expressed = is_measured & (n_cells >= max(3, LEAST_SHARE * values.shape[0]))
    is_factor = np.isin(names, list(transcription_factors()))
    asked, notes = _find_own(own, index, is_measured, n_cells, names)
    if choice == "own":
        chosen = asked
    else:
        pool = np.flatnonzero(is_expressed)
        best = pool[np.argsort(-mean[pool], kind="stable")[:n_genes]]
        if choice == "variable" and len(pool):
            best = pool[choose_variable_genes(values[:, pool].tocsr(), n_genes)]
        factors = np.flatnonzero(is_expressed & is_factor & (n_cells >= FACTOR_SHARE * values.shape[0]))
        if len(factors) > MOST_FACTORS:
            factors = factors[choose_variable_genes(values[:, factors].tocsr(), MOST_FACTORS)]
        chosen = np.unique(np.concatenate([best, factors, asked]))
    if len(chosen) < FEWEST_GENES:
        raise GeneError(
            f"{len(chosen):,} genes can take part: measured, and expressed in at least "
            f"{LEAST_SHARE:.0%} of the {values.shape[0]:,} cells.",
            f"At least {FEWEST_GENES} are needed to find modules among them.",
            "Use a dataset with more genes, or a longer list.",
        )
    found = ChosenGenes(
        chosen.astype(np.int64),
        names[chosen],
        is_factor[chosen],
        np.isin(chosen, asked),
        mean[chosen],
        n_cells[chosen] / values.shape[0],
    )
    if not found.is_factor.any():
        notes.append("None of the genes is a transcription factor: there are modules, but no regulators.")
    return found, tuple(notes)


def _find_own(
    own: "Sequence[str] | None", index: "GeneIndex", is_measured: np.ndarray, n_cells: np.ndarray, names: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Positions of the user's genes that have counts, and what there is to say about the others."""
    if not own:
        return np.zeros(0, dtype=np.int64), []
    own = [part.strip() for name in own for part in name.split(",") if part.strip()] or list(own)  # a list as one word
    positions, unknown = index.known(own)
    positions = np.array(sorted(set(positions)), dtype=np.int64)
    usable = positions[is_measured[positions] & (n_cells[positions] > 0)] if len(positions) else positions
    if not len(usable):
        raise GeneError(
            f"None of the {len(own):,} genes of your list has counts in these cells; the first is '{own[0]}'.",
            "Human gene symbols or Ensembl IDs of measured genes are needed.",
            _meant(unknown, index) or "Correct the list.",
        )
    notes = []
    if unknown:
        shown = ", ".join(unknown[:6])
        notes.append(f"{len(unknown):,} of your genes are unknown: {shown}. {_meant(unknown, index)}".strip())
    if len(silent := positions[~np.isin(positions, usable)]):
        notes.append(f"{len(silent):,} of your genes have no counts here: {', '.join(names[silent][:6])}.")
    return usable, notes


def _meant(unknown: "Sequence[str]", index: "GeneIndex") -> str:
    """Which genes unknown names may have meant, in a sentence."""
    parts = []
    for name in unknown[:3]:
        try:
            index.find(name)
        except GeneNameError as error:
            if error.candidates:
                parts.append(f"{name[:30]} may be {' or '.join(error.candidates[:2])}")
    return f"{'; '.join(parts)}." if parts else ""


def read_groups(obs: "pd.DataFrame", column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Groups of a column, small ones joined; str (n_obs,), and what there is to say.

    Raises
    ------
    OptionError
        There is no such column, it has too many values, or no group has enough cells.
    """
    if column not in obs.columns:
        raise OptionError(
            f"The dataset has no column '{column}'.",
            f"Its columns are {', '.join(map(str, obs.columns[:20])) or 'none'}.",
            "Choose one of them, or leave the option out.",
        )
    labels = obs[column].astype(object).where(obs[column].notna(), REST).astype(str).to_numpy(dtype=object)
    names, codes, sizes = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    is_small = (sizes < FEWEST_PER_GROUP) & (names != REST)
    if (sizes < FEWEST_PER_GROUP).all():
        raise OptionError(
            f"The column '{column}' has {len(names):,} groups, the largest with {sizes.max()} cells.",
            f"Groups of at least {FEWEST_PER_GROUP} cells are needed: means of a few cells say nothing.",
            "Choose another column, or leave the option out.",
        )
    if (n := int((~is_small).sum())) > MOST_GROUPS:
        raise OptionError(
            f"The column '{column}' has {n:,} groups.", f"At most {MOST_GROUPS} are compared.", "Choose another column."
        )
    labels = np.where(is_small[codes], REST, names[codes]).astype(str)
    if not is_small.any():
        return labels, ()
    small = ", ".join(f"{name} ({size})" for name, size in zip(names[is_small][:6], sizes[is_small][:6], strict=True))
    note = f"Groups of fewer than {FEWEST_PER_GROUP} cells are taken together as '{REST}': {small}."
    return labels, (note,)


def find_groups(values: sparse.csr_matrix, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of cells, float64 (n_obs, k), and their Leiden clusters, str (n_obs,).

    Parameters
    ----------
    values
        ln(1 + counts per 10,000) of the chosen genes.
    """
    from scfviz.analysis.baselines import find_components
    from scfviz.tasks.embedding.compute import cluster_cells

    loadings, shift = find_components(values, 30, seed)
    components = values @ loadings - shift
    return components, cluster_cells(neighbor_graph(components, 15), seed=seed)


def neighbor_graph(points: np.ndarray, k: int) -> sparse.csr_matrix:
    """Who is among the `k` nearest of whom, 1 in (n, n); every point is its own nearest."""
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(points))
    return NearestNeighbors(n_neighbors=k).fit(points).kneighbors_graph(points)


def refuse_few_cells(n_obs: int) -> None:
    """Refuse cells too few for similarities between genes.

    Raises
    ------
    DatasetError
        There are fewer than 30.
    """
    if n_obs < FEWEST_CELLS:
        raise DatasetError(
            f"There are {n_obs:,} cells.",
            f"At least {FEWEST_CELLS} are needed: which genes go together is seen across cells.",
            "Use a larger dataset, or loosen the filters.",
        )
