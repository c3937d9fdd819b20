"""Do embeddings tell cell types apart: within a dataset, as clusters, and from one dataset to another?"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.baselines import N_NEIGHBORS, Cells, VariableGenePca
from scfviz.benchmark.comparison import Comparison, macro_f1, mutual_information, rand_index, resample_labels
from scfviz.benchmark.recovery import WITH_DATASET
from scfviz.errors import DatasetError
from scfviz.tasks.embedding.compute import JointEmbedding, cluster_cells

if TYPE_CHECKING:
    from scipy import sparse

WITHIN, ACROSS = "cell representation", "across datasets"
ACROSS_SEEN = "across datasets, from cells seen in pretraining"
PCA = "variable genes + PCA"
PROBES = ("kNN macro-F1", "linear-probe macro-F1")
CLUSTERINGS = {"Leiden ARI": rand_index, "Leiden NMI": mutual_information}
N_FOLDS = 5
N_CLUSTER_RUNS = 3
_BISECTIONS = 10

_Sides = tuple[np.ndarray, np.ndarray]  # float (n_train, D) and (n_test, D)
Embeddings = Mapping[str, np.ndarray]  # by name of the checkpoint: float32 (n_obs, D), rows as in the cells
Arrange = Mapping[str, Callable[[np.ndarray], np.ndarray]]  # by the same names: see `ScFoundation.arrange`


def score_probes(
    cells: Cells, embedded: np.ndarray, embeddings: Embeddings, *, arrange: Arrange | None = None, seed: int = 0
) -> list[Comparison]:
    """Macro-F1 of cell types predicted from the embedding, by stratified cross-validation.

    Scored alone, and together with the baseline's components (see `JointEmbedding`). All probes learn from the labels
    of the same cells. The baseline chooses its genes and components without labels, on all cells but the test cells of
    the fold, as a user would, and projects the test cells.

    Parameters
    ----------
    cells
        All cells at hand; labels with fewer embedded cells than there are folds are left out.
    embedded
        int (n,), the cells that the models embedded.
    arrange
        Of models that have a cell space: alone they are scored in it. Joined is the embedding itself, as in the app.

    Raises
    ------
    DatasetError
        Fewer than two labels have enough cells.
    """
    from sklearn.model_selection import StratifiedKFold

    rows, truth, note = labelled_rows(cells.take(embedded), N_FOLDS)
    values, members = cells.values, embedded[rows]
    names = (*embeddings, *map(_joint, embeddings), PCA)
    predicted = {metric: {name: np.empty_like(truth) for name in names} for metric in PROBES}
    for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(truth, truth):
        pca = VariableGenePca(seed=seed).fit(values[np.setdiff1d(np.arange(cells.n_obs), members[test])])
        simple = pca.transform(values[members[train]]), pca.transform(values[members[test]])
        sides = {name: (part[rows[train]], part[rows[test]]) for name, part in embeddings.items()}
        points = _points(simple, sides, arrange)
        for name, (of_train, of_test) in points.items():
            for metric, labels in probe(of_train, truth[train], of_test).items():
                predicted[metric][name][test] = labels
    return _macro_f1(WITHIN, cells, tuple(embeddings), predicted, truth, note, seed)


def score_clusters(
    cells: Cells, embedded: np.ndarray, embeddings: Embeddings, *, arrange: Arrange | None = None, seed: int = 0
) -> list[Comparison]:
    """Agreement of Leiden clusters with cell types, at the resolution that gives as many clusters as there are types.

    Neighbours are found where the app finds them. Labels are used for nothing but the number of
    clusters and the score. The baseline's components come from all cells at hand; clustered are the embedded ones.

    Parameters
    ----------
    cells, embedded, arrange
        See `score_probes`.

    Raises
    ------
    DatasetError
        Fewer than two labels have enough cells.

    Source: protocol after Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    rows, truth, note = labelled_rows(cells.take(embedded), N_FOLDS)
    simple = VariableGenePca(seed=seed).fit(cells.values).transform(cells.values[embedded[rows]])
    points = _points((simple, simple[:0]), {name: (part[rows], part[:0]) for name, part in embeddings.items()}, arrange)
    runs = {name: cluster_into(part, int(truth.max()) + 1, seed=seed) for name, (part, _) in points.items()}
    return [
        comparison
        for metric, statistic in CLUSTERINGS.items()
        for comparison in _compare(WITHIN, cells, metric, tuple(embeddings), runs, truth, statistic, note, seed)
    ]


def score_across(
    train: Cells,
    test: Cells,
    train_embeddings: Embeddings,
    test_embeddings: Embeddings,
    *,
    arrange: Arrange | None = None,
    unlabelled: Cells | None = None,
    score: str = ACROSS,
    note: str = "",
    seed: int = 0,
) -> list[Comparison]:
    """Macro-F1 of cell types in one dataset, predicted by probes that were trained on another.

    The baseline takes genes that both datasets measure, chooses variable ones and components on the training dataset
    without labels, and projects the test dataset. Nothing is corrected for the difference between the datasets, on
    either side.

    Parameters
    ----------
    train, test
        The embedded cells, with labels in the same words; labels of one side only are left out.
    arrange
        See `score_probes`.
    unlabelled
        More cells of the training dataset, those of `train` among them, on which the baseline chooses its genes and
        components; only those of `train` when left out.
    note
        How the labels were made to agree.

    Raises
    ------
    DatasetError
        Fewer than two labels are shared.
    """
    shared = {label for label in train.labels if label is not None} & set(test.labels)
    of_train, of_test = (np.flatnonzero([label in shared for label in cells.labels]) for cells in (train, test))
    if len(shared) < 2:
        raise DatasetError(
            f"'{train.name}' and '{test.name}' share {len(shared)} labels.",
            "At least two are needed to tell cells apart.",
            "Give datasets with the same cell types, named in the same way.",
        )
    words = sorted(shared)
    codes = {word: code for code, word in enumerate(words)}
    train_y, truth = (
        np.array([codes[label] for label in cells.labels[rows]]) for cells, rows in ((train, of_train), (test, of_test))
    )
    both = np.flatnonzero(train.is_measured & test.is_measured)
    train_values, test_values = train.values[of_train][:, both], test.values[of_test][:, both]
    all_values = train_values if unlabelled is None else unlabelled.values[:, both]
    pca = VariableGenePca(seed=seed).fit(all_values)
    simple = pca.transform(train_values), pca.transform(test_values)
    sides = {name: (part[of_train], test_embeddings[name][of_test]) for name, part in train_embeddings.items()}
    points = _points(simple, sides, arrange)
    found = {name: probe(a, train_y, b) for name, (a, b) in points.items()}
    predicted = {metric: {name: labels[metric] for name, labels in found.items()} for metric in PROBES}
    said = f"trained on {len(train_y):,} cells; labels {', '.join(words)}" + (f"; {note}" if note else "")
    pair = replace(test, name=f"{train.name} → {test.name}")
    return _macro_f1(score, pair, tuple(train_embeddings), predicted, truth, said, seed)


def probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Labels of test cells from two plain classifiers, neither of them tuned.

    kNN: majority of 15 neighbours (Euclidean, points as they are). Linear: logistic regression (L2, C = 1) on features
    scaled to the training cells.

    Parameters
    ----------
    train, test
        (n_train, D) and (n_test, D).
    labels
        int (n_train,).

    Returns
    -------
    dict
        int (n_test,) by the names in `PROBES`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifiers = (
        KNeighborsClassifier(min(N_NEIGHBORS, len(train))),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3)),
    )
    return {
        name: classifier.fit(train, labels).predict(test) for name, classifier in zip(PROBES, classifiers, strict=True)
    }


def cluster_into(points: np.ndarray, n_clusters: int, *, seed: int = 0) -> np.ndarray:
    """Leiden clusters at the resolution whose number of clusters comes closest to the one wanted.

    Returns
    -------
    np.ndarray
        int64 (runs, n_obs): the same resolution with other seeds.
    """
    graph = neighbor_graph(points, seed=seed)
    low, high = 1e-2, 1e1
    best, resolution = np.inf, 1.0
    for _ in range(_BISECTIONS):
        middle = float(np.sqrt(low * high))
        found = len(np.unique(cluster_cells(graph, resolution=middle, seed=seed)))
        if abs(found - n_clusters) < best:
            best, resolution = abs(found - n_clusters), middle
        if found == n_clusters:
            break
        low, high = (middle, high) if found < n_clusters else (low, middle)
    runs = range(seed, seed + N_CLUSTER_RUNS)
    return np.stack([cluster_cells(graph, resolution=resolution, seed=run).astype(np.int64) for run in runs])


def neighbor_graph(points: np.ndarray, *, seed: int = 0) -> "sparse.csr_matrix":
    """scanpy's neighbour weights, (n_obs, n_obs), for clusters."""
    import anndata as ad
    import scanpy as sc

    import scfviz.tasks.embedding.kept_umap  # noqa: F401

    adata = ad.AnnData(shape=(len(points), 0), obsm={"X": points})
    sc.pp.neighbors(adata, n_neighbors=min(N_NEIGHBORS, len(points) - 1), use_rep="X", random_state=seed)
    return adata.obsp["connectivities"].tocsr()


def labelled_rows(cells: Cells, fewest: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Cells whose label has at least `fewest` cells.

    Returns
    -------
    tuple
        int64 (n,) rows; int64 (n,) number of each one's label; what was left out, in words.

    Raises
    ------
    DatasetError
        Fewer than two labels remain.
    """
    words, sizes = np.unique([label for label in cells.labels if label is not None], return_counts=True)
    kept, small = list(words[sizes >= fewest]), words[sizes < fewest]
    if len(kept) < 2:
        raise DatasetError(
            f"'{cells.name}' has {len(kept)} labels with at least {fewest} cells.",
            "Two such labels are needed to tell cells apart.",
            "Use a dataset with known cell types.",
        )
    codes = {word: code for code, word in enumerate(kept)}
    rows = np.flatnonzero([label in codes for label in cells.labels])
    note = f"{len(kept)} labels" + (f"; left out, fewer than {fewest} cells: {', '.join(small)}" if len(small) else "")
    return rows, np.array([codes[label] for label in cells.labels[rows]], dtype=np.int64), note


def _joint(name: str) -> str:
    """What a checkpoint is called among the methods where the baseline's components stand beside it."""
    return name + WITH_DATASET


def _points(simple: _Sides, embeddings: Mapping[str, _Sides], arrange: Arrange | None) -> dict[str, _Sides]:
    """Every method's points of both sides: the baseline, each model alone, and each with the baseline.

    Parameters
    ----------
    simple, embeddings
        Of training and test cells. Weights of the joint embedding come from the training cells.
    """
    points = {PCA: simple}
    for name, sides in embeddings.items():
        points[name] = tuple(map(arrange[name], sides)) if arrange is not None and name in arrange else sides
    for name, (of_train, of_test) in embeddings.items():
        joint = JointEmbedding().fit(simple[0], of_train)
        points[_joint(name)] = joint.transform(simple[0], of_train), joint.transform(simple[1], of_test)
    return points


def _macro_f1(
    score: str,
    cells: Cells,
    models: tuple[str, ...],
    predicted: Mapping[str, Mapping[str, np.ndarray]],
    truth: np.ndarray,
    note: str,
    seed: int,
) -> list[Comparison]:
    return [
        comparison
        for metric, labels in predicted.items()
        for comparison in _compare(score, cells, metric, models, labels, truth, macro_f1, note, seed)
    ]


def _compare(
    score: str,
    cells: Cells,
    metric: str,
    models: tuple[str, ...],
    labels: Mapping[str, np.ndarray],
    truth: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    note: str,
    seed: int,
) -> list[Comparison]:
    """The models alone against the baseline, and the models with it against it."""
    values, resampled = resample_labels(labels, truth, statistic, seed=seed)
    n, available = len(truth), cells.n_available
    found = []
    for name, method, without in ((score, str, None), (score + WITH_DATASET, _joint, PCA)):
        methods = {PCA: PCA} | {model: method(model) for model in models}
        of_methods = ({label: part[key] for label, key in methods.items()} for part in (values, resampled))
        found.append(Comparison(name, cells.name, metric, *of_methods, models, n, available, True, note, without))
    return found
