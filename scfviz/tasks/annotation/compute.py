"""Types of cells from labelled ones: the model's embedding and the dataset's own genes, weighed by their worth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.annotation.classifier import Classifier
from scfviz.tasks.annotation.conformal import disbelief, sets_of
from scfviz.tasks.annotation.features import CellFeatures, FeatureSpace
from scfviz.tasks.annotation.fit import BASELINE, calibrate, hold_out, learn, learning_curve, make_folds, score
from scfviz.tasks.annotation.methods import PORTABLE, VIEWS, Neighbours, Prototype
from scfviz.tasks.annotation.reference import LabelledCells

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.scfoundation import ScFoundation

UNKNOWN = "unknown"
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class CellAnnotation:
    """Types of cells, and how certain they are.

    Attributes
    ----------
    classes
        The K types that were possible.
    probabilities
        float32 (n, K), calibrated on held-out cells of the reference; rows sum to one.
    sets
        bool (n, K): types that cannot be excluded; none for a cell unlike the reference.
    credibility
        float32 (n,), 0 to 1: how many held-out cells of its likeliest fitting type are at least as strange.
    joint
        float32 (n, F): places of the cells in the space that both kinds of features make.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    sets: np.ndarray
    credibility: np.ndarray
    joint: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """object (n,): the likeliest type; `unknown` for a cell whose set is empty."""
        best = np.array(self.classes, dtype=object)[self.probabilities.argmax(axis=1)]
        return np.where(self.sets.any(axis=1), best, UNKNOWN)

    @property
    def confidence(self) -> np.ndarray:
        """float32 (n,): probability of the likeliest type."""
        return self.probabilities.max(axis=1)

    @property
    def runner_up(self) -> np.ndarray:
        """object (n,): the second likeliest type."""
        second = np.argsort(-self.probabilities, axis=1, kind="stable")[:, 1]
        return np.array(self.classes, dtype=object)[second]

    @property
    def set_texts(self) -> np.ndarray:
        """object (n,): the set in words, "CD4 T | CD8 T", the likeliest first; "none" where it is empty."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")
        texts: dict[tuple[int, ...], str] = {}

        def text(row: np.ndarray, inside: np.ndarray) -> str:
            chosen = tuple(k for k in row if inside[k])
            return texts.setdefault(chosen, " | ".join(self.classes[k] for k in chosen) or "none")

        return np.array([text(row, inside) for row, inside in zip(order, self.sets, strict=True)], dtype=object)


def fit_classifier(
    counts: "AlignedCounts",
    model: "ScFoundation",
    labelled: LabelledCells,
    *,
    checkpoint: "CheckpointInfo",
    takes_part: np.ndarray | None = None,
    method: str = "combination",
    portable: bool = False,
    coverage: float = 0.9,
    embedding: np.ndarray | None = None,
    with_curve: bool = True,
    same_batch: bool = False,
    report: Report = lambda share, stage: None,
) -> Classifier:
    """Learn types from labelled cells.

    What each method is worth is learned by cross-validation, with whole donors or batches held out where
    `labelled.units` says them, else cells; so are temperatures, the calibration of sets, and all scores.

    Parameters
    ----------
    counts
        Of the reference, in the model's gene order.
    labelled
        Which of its cells have which type, see `reference.choose_cells`.
    checkpoint
        Of the model: what the classifier will ask for.
    takes_part
        bool (n_genes,): genes that may be used, for example those that the dataset to annotate measures; all when left
        out.
    method
        "combination", one of `methods.VIEWS`, or "auto": the combination where batches were held out or are the same,
        else logistic regression on genes. What is learned within one batch says too much for the model's embedding,
        which moves with the batch (`benchmarks/NOTES.md`).
    portable
        Leave out methods that need the labelled cells themselves, so that it can be kept in a folder.
    coverage
        At which coverage of sets the measured one is given.
    embedding
        (len(labelled.rows), D) of these cells, where it is at hand.
    with_curve
        Measure how the scores grow with the number of labels.
    same_batch
        The cells to annotate are of the same batch as the labelled ones.
    report
        Called with the share done, 0 to 1, and with what is being done.

    Raises
    ------
    GeneError, DatasetError
        Too few genes take part, or cells do not differ.
    OptionError
        The method cannot be kept in a folder, and a portable classifier is wanted.
    """
    from scfviz.model.infer import embed_cells

    part = counts.subset(labelled.rows)
    measured = counts.is_measured if takes_part is None else counts.is_measured & takes_part
    if embedding is None:
        embedding = embed_cells(part, model).values
    report(0.1, "Variable genes and principal components of the reference")
    space = FeatureSpace.fit(part, embedding, measured)
    cells = space.transform(part, embedding)
    return fit_features(
        cells,
        space,
        labelled,
        part.obs.index.astype(str),
        checkpoint=checkpoint,
        method=method,
        portable=portable,
        coverage=coverage,
        with_curve=with_curve,
        same_batch=same_batch,
        report=report,
    )


def fit_features(
    cells: CellFeatures,
    space: FeatureSpace,
    labelled: LabelledCells,
    names: "np.ndarray | list[str]",
    *,
    checkpoint: "CheckpointInfo",
    method: str = "combination",
    portable: bool = False,
    coverage: float = 0.9,
    with_curve: bool = True,
    same_batch: bool = False,
    report: Report = lambda share, stage: None,
) -> Classifier:
    """The same from features that are at hand; see `fit_classifier`."""
    from scfviz.errors import OptionError

    views = PORTABLE if portable else VIEWS
    by_distance = same_batch or labelled.units is not None
    if method == "auto":
        method = "combination" if by_distance else BASELINE
    if method != "combination" and method not in views:
        raise OptionError(f"The method '{method}' cannot be kept in a folder.", f"Those that can: {', '.join(views)}.")
    truth, n_classes = labelled.truth, len(labelled.labels)
    units = np.arange(len(truth)) if labelled.units is None else labelled.units
    folds = make_folds(truth, labelled.units)
    wanted = views if method == "combination" else tuple(dict.fromkeys((method, views[0])))
    words = "Learning on a part of the reference, looking at the other"
    report(0.2, words)
    held = hold_out(cells, truth, n_classes, folds, wanted, lambda done, total: report(0.2 + 0.4 * done / total, words))
    report(0.6, "Weighing the methods")
    learned = learn(cells, truth, n_classes, held, units, method)
    scores = score(learned, held, truth, units, coverage, labelled.labels, by_distance)
    if with_curve:
        words = "Measuring how many labels are needed"
        report(0.7, words)
        scores["learning_curve"] = learning_curve(
            cells,
            truth,
            n_classes,
            labelled.units,
            names=views,
            progress=lambda done, total: report(0.7 + 0.3 * done / total, words),
        )
    profiles = _profiles(cells, truth, n_classes)
    about = {"method": method, "unit": labelled.unit, "n_cells": len(truth), "notes": list(labelled.notes)}
    about["by_distance"] = by_distance
    return Classifier(
        labelled.labels,
        dict(labelled.ontology),
        {"name": checkpoint.name, "hash": checkpoint.hash},
        space,
        learned,
        Prototype.fit("joint", cells, truth, n_classes),
        calibrate(learned, held, truth),
        profiles,
        np.bincount(truth, minlength=n_classes),
        scores,
        about,
        () if portable else tuple(map(str, names)),
        np.empty((0, 0), np.float32) if portable else cells.joint,
        np.empty(0, np.int64) if portable else truth,
    )


def annotate_cells(
    counts: "AlignedCounts",
    model: "ScFoundation",
    classifier: Classifier,
    *,
    checkpoint: "CheckpointInfo",
    coverage: float = 0.9,
    embedding: np.ndarray | None = None,
    report: Report = lambda share, stage: None,
) -> CellAnnotation:
    """Give each cell a type, and say how certain it is.

    Read a few cells at a time; a cell's answer does not depend on the others.

    Parameters
    ----------
    counts
        Raw counts in the model's gene order.
    classifier
        From `fit_classifier` or `read_classifier`.
    checkpoint
        Of the model.
    coverage
        How often the set of possible types should hold the right one, 0.5 to 0.99. It does so where the cells are like
        the reference; for another laboratory's, the scores on held-out donors say more.
    embedding
        (n_obs, D), where it is at hand; any kind of array.
    report
        Called with the share done, 0 to 1, and with what is being done.

    Raises
    ------
    CheckpointError
        The classifier was fitted with another model.
    GeneError, DatasetError
        The genes or the cells cannot be compared with the reference.
    """
    from scfviz.model.infer import embed_cells

    classifier.refuse_other_model(checkpoint.name, checkpoint.hash)
    if embedding is None:
        embedding = embed_cells(counts, model).values
    n_obs, n_classes = counts.n_obs, len(classifier.labels)
    probabilities = np.empty((n_obs, n_classes), np.float32)
    sets, credibility = np.empty((n_obs, n_classes), bool), np.empty(n_obs, np.float32)
    joint = np.empty((n_obs, classifier.typical.whitening.shape[0]), np.float32)
    for start, cells in classifier.space.blocks(counts, embedding):
        here = slice(start, start + len(cells))
        found = classifier.learned.probabilities(cells)
        scores = (disbelief(found), classifier.typical.strangeness(cells))[: 1 + classifier.about["by_distance"]]
        p_values = [known.p_values(part) for known, part in zip(classifier.calibration, scores, strict=False)]
        probabilities[here], sets[here], joint[here] = found, sets_of(p_values, coverage), cells.joint
        credibility[here] = np.minimum.reduce(p_values).max(axis=1)
        report((start + len(cells)) / n_obs, "Annotating the cells")
    return CellAnnotation(classifier.labels, probabilities, sets, credibility, joint)


def nearest_cells(classifier: Classifier, places: np.ndarray, k: int = 3) -> list[list[str]]:
    """Names and types of the reference's cells that lie nearest to some places; types alone where it holds no cells."""
    if not len(classifier.places):
        whitened = places @ classifier.typical.whitening
        distances = ((whitened[:, None, :] - classifier.typical.means[None]) ** 2).sum(axis=2)
        return [[classifier.labels[i] for i in row[:k]] for row in np.argsort(distances, axis=1)]
    features = CellFeatures(np.empty((0, 0)), np.empty(0), np.empty((0, 0)), places)
    search = Neighbours("model", classifier.places, classifier.truth, len(classifier.labels))
    return [
        [f"{classifier.cells[i]} ({classifier.labels[classifier.truth[i]]})" for i in row]
        for row in search.nearest(features, k)
    ]


def _profiles(cells: CellFeatures, truth: np.ndarray, n_classes: int) -> np.ndarray:
    return np.stack([np.asarray(cells.genes[truth == k].mean(axis=0)).ravel() for k in range(n_classes)]).astype(
        np.float32
    )
