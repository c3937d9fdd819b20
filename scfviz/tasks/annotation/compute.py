"""Types of cells from labelled ones: the model's embedding and the dataset's own genes, weighed by their worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.tasks.annotation.classifier import Classifier
from scfviz.tasks.annotation.conformal import SetCalibration, disbelief
from scfviz.tasks.annotation.features import CellFeatures, FeatureSpace
from scfviz.tasks.annotation.fit import BASELINE, Learned, calibrate, hold_out, learn, learning_curve, make_folds, score
from scfviz.tasks.annotation.methods import ALONE, PORTABLE, VIEWS, Neighbours, Prototype
from scfviz.tasks.annotation.ontology import common_kind, describe_set, find_ids
from scfviz.tasks.annotation.reference import LabelledCells

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.scfoundation import ScFoundation

UNKNOWN, UNDECIDED = "unknown", "undecided"
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
        float32 (n, F): places of the cells in the space that both kinds of features make, or genes alone.
    ontology
        Cell Ontology ID of some of the types.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    sets: np.ndarray
    credibility: np.ndarray
    joint: np.ndarray
    ontology: Mapping[str, str] = field(default_factory=dict)

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
        """object (n,): the set in words, "T cell; CD4 T or CD8 T undecided"; "none" where it is empty."""
        return self._of_sets(lambda labels: describe_set(labels, self.ontology))

    @property
    def certain(self) -> np.ndarray:
        """object (n,): the closest kind that all types of the set are of; `undecided`, or `unknown` where it is empty.

        It holds the right type as often as the set does.
        """
        return self._of_sets(lambda labels: (common_kind(labels, self.ontology) or UNDECIDED) if labels else UNKNOWN)

    def _of_sets(self, say: Callable[[list[str]], str]) -> np.ndarray:
        kinds, number = np.unique(self.sets, axis=0, return_inverse=True)
        texts = [say([name for name, is_in in zip(self.classes, row, strict=True) if is_in]) for row in kinds]
        return np.array(texts, dtype=object)[number.ravel()]


def reads_model(method: str) -> bool:
    """Whether a method looks at the model's embedding."""
    return method == "combination" or method.startswith("model_")


def resolve_method(method: str, *, by_distance: bool) -> str:
    """What "auto" stands for, see `fit_classifier`; `by_distance`: batches are held out, or are the same."""
    if method != "auto":
        return method
    return "combination" if by_distance else BASELINE


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
        (len(labelled.rows), D) of these cells, where it is at hand; not looked at where the method reads genes alone.
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
    method = resolve_method(method, by_distance=same_batch or labelled.units is not None)
    measured = counts.is_measured if takes_part is None else counts.is_measured & takes_part
    if not reads_model(method):
        embedding = None
    elif embedding is None:
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


def refuse_methods_but(method: str, views: tuple[str, ...] = PORTABLE) -> None:
    """Refuse what is neither the combination nor one of these views, or what stands alone.

    Raises
    ------
    OptionError
        It needs the labelled cells, or changes the model as fine-tuning does, and cannot be kept in a folder.
    """
    from scfviz.errors import OptionError

    could = ("auto", "combination", *views, *ALONE)
    if method not in could:
        raise OptionError(f"The method '{method}' cannot be kept in a folder.", f"Those that can: {', '.join(could)}.")


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
    by_distance = same_batch or labelled.units is not None
    method = resolve_method(method, by_distance=by_distance)
    views = tuple(name for name in (PORTABLE if portable else VIEWS) if space.reads_model or not reads_model(name))
    refuse_methods_but(method, views)
    truth, n_classes = labelled.truth, len(labelled.labels)
    units = np.arange(len(truth)) if labelled.units is None else labelled.units
    folds = make_folds(truth, labelled.units)
    wanted = views if method == "combination" else tuple(dict.fromkeys((method, views[0])))
    words = "Learning on a part of the reference, looking at the other"
    report(0.2, words)
    held = hold_out(cells, truth, n_classes, folds, wanted, lambda done, total: report(0.2 + 0.4 * done / total, words))
    report(0.6, "Weighing the methods")
    learned = learn(cells, truth, n_classes, held, units, method)
    of_all = cells
    if not any(weight > 0 and reads_model(name) for name, weight in learned.weights.items()):
        # nothing of an answer needs the embedding then: places and distances are those of genes
        cells, space = cells.without_model(), space.without_model()
        held = replace(held, strangeness=hold_out(cells, truth, n_classes, folds, ()).strangeness)
    scores = score(learned, held, truth, units, coverage, labelled.labels, by_distance)
    if with_curve:
        words = "Measuring how many labels are needed"
        report(0.7, words)
        scores["learning_curve"] = learning_curve(
            of_all,
            truth,
            n_classes,
            labelled.units,
            names=views,
            progress=lambda done, total: report(0.7 + 0.3 * done / total, words),
        )
    return assemble(
        cells,
        space,
        labelled,
        () if portable else names,
        checkpoint=checkpoint,
        learned=learned,
        calibration=calibrate(learned, held, truth),
        scores=scores,
        about={"method": method, "unit": labelled.unit, "by_distance": by_distance},
    )


def assemble(
    cells: CellFeatures,
    space: FeatureSpace,
    labelled: LabelledCells,
    names: "np.ndarray | list[str] | tuple[str, ...]",
    *,
    checkpoint: "CheckpointInfo",
    learned: Learned,
    calibration: SetCalibration,
    scores: dict[str, Any],
    about: dict[str, Any],
) -> Classifier:
    """A classifier from its parts; it holds no cells where no `names` are given."""
    truth, n_classes = labelled.truth, len(labelled.labels)
    holds_cells = len(names) > 0
    return Classifier(
        labelled.labels,
        find_ids(labelled.labels, labelled.ontology),
        {"name": checkpoint.name, "hash": checkpoint.hash},
        space,
        learned,
        Prototype.fit("joint", cells, truth, n_classes),
        calibration,
        _profiles(cells, truth, n_classes),
        np.bincount(truth, minlength=n_classes),
        scores,
        {"n_cells": len(truth), "notes": list(labelled.notes)} | about,
        tuple(map(str, names)),
        cells.joint if holds_cells else np.empty((0, 0), np.float32),
        truth if holds_cells else np.empty(0, np.int64),
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
        (n_obs, D), where it is at hand; any kind of array. Cells are embedded only where the classifier needs it.
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
    if embedding is None and classifier.needs_model:
        embedding = embed_cells(counts, classifier.own_model(model)).values
    n_obs, n_classes = counts.n_obs, len(classifier.labels)
    probabilities = np.empty((n_obs, n_classes), np.float32)
    sets, credibility = np.empty((n_obs, n_classes), bool), np.empty(n_obs, np.float32)
    joint = np.empty((n_obs, classifier.typical.whitening.shape[0]), np.float32)
    for start, cells in classifier.space.blocks(counts, embedding):
        here = slice(start, start + len(cells))
        found = classifier.learned.probabilities(cells)
        strangeness = classifier.typical.strangeness(cells) if classifier.about["by_distance"] else None
        credibility[here] = classifier.calibration.credibility(disbelief(found), strangeness)
        sets[here] = classifier.calibration.sets(disbelief(found), strangeness, coverage)
        probabilities[here], joint[here] = found, cells.joint
        report((start + len(cells)) / n_obs, "Annotating the cells")
    ids = find_ids(classifier.labels, classifier.ontology)
    return CellAnnotation(classifier.labels, probabilities, sets, credibility, joint, ids)


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
