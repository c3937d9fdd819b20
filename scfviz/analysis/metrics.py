"""Scores of an embedding or a clustering against labels that are already known."""

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scfviz.errors import OptionError

MAX_SILHOUETTE_CELLS = 5_000
_UNITS = re.compile(r"donor|patient|individual|subject|batch|sample|library|replicate|orig\.?ident|dataset|chip", re.I)
# Columns that hold cell types for certain; `sounds_like_types` is the wider question.
CELL_TYPE_COLUMNS = ("cell_type", "celltype", "CellType", "cell.type", "cell_ontology_class")


@dataclass(frozen=True)
class Agreement:
    """How well an embedding and its clusters agree with labels.

    Attributes
    ----------
    ari
        Adjusted Rand index of clusters and labels: 0 by chance, 1 when they are the same.
    nmi
        Normalised mutual information of clusters and labels, 0 to 1 (arithmetic mean of the entropies).
    silhouette
        Mean silhouette width of the labels in the embedding, -1 to 1, Euclidean; `None` where it is not
        defined.
    n
        Cells with a label, which are the cells scored.
    n_unlabelled
        Cells without a label, left out.
    n_silhouette
        Cells the silhouette was computed on.
    n_labels, n_clusters
        Distinct values among the cells scored.
    notes
        What could not be computed, and why.
    """

    ari: float | None
    nmi: float | None
    silhouette: float | None
    n: int
    n_unlabelled: int
    n_silhouette: int
    n_labels: int
    n_clusters: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The scores as values that JSON can hold."""
        return asdict(self) | {"notes": list(self.notes)}


def score_agreement(
    embedding: np.ndarray,
    clusters: np.ndarray,
    labels: Any,
    *,
    max_silhouette_cells: int = MAX_SILHOUETTE_CELLS,
    seed: int = 0,
) -> Agreement:
    """Score an embedding and its clusters against labels.

    Parameters
    ----------
    embedding
        (n_obs, D), any scale.
    clusters
        (n_obs,), one cluster per cell.
    labels
        (n_obs,), one label per cell; cells with a missing label are left out and counted.
    max_silhouette_cells
        The silhouette compares all pairs of cells; above this number it is computed on a random sample of
        this size.

    Raises
    ------
    OptionError
        The three do not have the same number of cells.

    Source: Hubert & Arabie 1985 (ARI), Rousseeuw 1987 (silhouette), both as in scikit-learn.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

    labels, clusters = pd.Series(np.asarray(labels, dtype=object)), np.asarray(clusters)
    if not len(embedding) == len(clusters) == len(labels):
        raise OptionError(
            f"There are {len(embedding):,} cells in the embedding, {len(clusters):,} clusters, {len(labels):,} labels.",
            "Each cell needs one of each.",
            "Take all three from the same result.",
        )
    labelled = np.flatnonzero(labels.notna().to_numpy())
    n, n_unlabelled = len(labelled), len(labels) - len(labelled)
    names, cluster_names = labels.iloc[labelled].astype(str).to_numpy(), clusters[labelled].astype(str)
    n_labels, n_clusters = len(np.unique(names)), len(np.unique(cluster_names))
    notes = []
    ari = nmi = silhouette = None
    if n_labels < 2:
        notes.append(f"{n:,} labelled cells with {n_labels} distinct labels: agreement needs at least two labels.")
    else:
        ari = float(adjusted_rand_score(names, cluster_names))
        nmi = float(normalized_mutual_info_score(names, cluster_names))
    sample = np.arange(n)
    if n > max_silhouette_cells:
        sample = np.sort(np.random.default_rng(seed).choice(n, max_silhouette_cells, replace=False))
        notes.append(f"Silhouette on a random sample of {max_silhouette_cells:,} of {n:,} cells.")
    n_sampled_labels = len(np.unique(names[sample]))
    if 2 <= n_sampled_labels < len(sample):
        points = np.asarray(embedding)[labelled[sample]]
        silhouette = float(silhouette_score(points, names[sample]))
    elif n_labels >= 2:
        notes.append("No silhouette: every cell has a label of its own." if n > 1 else "No silhouette of one cell.")
    n_silhouette = len(sample) if silhouette is not None else 0
    return Agreement(ari, nmi, silhouette, n, n_unlabelled, n_silhouette, n_labels, n_clusters, tuple(notes))


def choose_labels(obs: pd.DataFrame, *, most: int = 100) -> tuple[list[str], dict[str, str]]:
    """Find the columns that hold labels of cells: text, categories or yes/no, with 2 to `most` distinct values.

    Returns
    -------
    tuple
        Names of the columns, and for each other column of text the reason why it was left out.
    """
    chosen, left_out = [], {}
    for name in map(str, obs.columns):
        column = obs[name]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            continue
        n_values = column.dropna().astype(str).nunique()
        if 2 <= n_values <= most and n_values < column.notna().sum():
            chosen.append(name)
        elif n_values < 2:
            left_out[name] = "no values" if n_values == 0 else "the same value for every cell"
        elif n_values > most:
            left_out[name] = f"{n_values:,} distinct values; labels have at most {most}"
        else:
            left_out[name] = "another value for every cell"
    return chosen, left_out


def sounds_like_units(name: str) -> bool:
    """Whether the name of a column sounds like donors or batches: `donor_id`, `sample`, `orig.ident`."""
    return _UNITS.search(name) is not None


def sounds_like_types(name: str) -> bool:
    """Whether the name of a column sounds like types of cells: `cell_type`, `bulk_labels`, `annotation`."""
    return name in CELL_TYPE_COLUMNS or any(word in name.lower() for word in ("type", "label", "annot"))


def rank_of_types(name: str) -> int:
    """Place of a column where those with types of cells go first: 0 for certain ones, 1 by its sound, 2 otherwise."""
    return 0 if name in CELL_TYPE_COLUMNS else 1 if sounds_like_types(name) else 2
