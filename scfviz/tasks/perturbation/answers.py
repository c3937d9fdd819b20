"""Knock-downs of one line, answered from labels of a screen: is a gene changed, and which way?

Each view estimates a label from those of other knock-downs, as the gene's own frequency plus what similar knock-downs
add to it: nearest by processes of the Gene Ontology or by the model's gene embeddings, and the same with the labels of
genes that are read out alike counted in. What each view is worth is learned over held-out knock-downs. The labels
themselves are not kept, see `labels`.

Source of the labels' form: Wu et al. 2025, PerturbQA, doi:10.48550/arXiv.2502.21290.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.perturbation.labels import LabelSummary, LabelTable, overlap, similar, summarise
from scfviz.tasks.perturbation.methods import COMBINATION, refuse_unknown_method
from scfviz.tasks.perturbation.spaces import GeneSpace, refuse_other_model
from scfviz.tasks.views import ViewWeights, combine, gain_from, weigh

CHANGED, DIRECTION = "changed", "direction"
FREQUENCY = "frequency"
# View -> space of the perturbed gene, space of the genes read out (none: each by itself).
VIEWS: dict[str, tuple[str | None, str | None]] = {
    FREQUENCY: (None, None),
    "go": ("go", None),
    "go_readout_go": ("go", "go"),
    "go_readout_model": ("go", "model"),
    "model": ("model", None),
    "model_readout_model": ("model", "model"),
}
MODEL_VIEWS = ("go_readout_model", "model", "model_readout_model")
TITLES = {
    FREQUENCY: "How often the gene is changed by any knock-down",
    "go": "Nearest knock-downs by Gene Ontology",
    "go_readout_go": "Nearest knock-downs by Gene Ontology, similar genes pooled by Gene Ontology",
    "go_readout_model": "Nearest knock-downs by Gene Ontology, similar genes pooled by the model's embeddings",
    "model": "Nearest knock-downs by the model's embeddings",
    "model_readout_model": "Nearest knock-downs and similar genes, both by the model's embeddings",
}
N_FOLDS, N_READOUT = 5, 100
_SHRINKS = (0.1, 0.3, 1.0, 3.0)
_READOUT_POWERS = {"go": 2, "model": 4}
_READOUT_SHARE = 1.0  # of all similar genes together, beside the gene itself
_FLOOR = 1e-4


class Answerer:
    """Views of one table of labels.

    Parameters
    ----------
    table
        Labels that are known.
    spaces
        By name, see `spaces`.
    readout
        By space, see `readout_neighbors`; computed when left out.
    """

    def __init__(
        self,
        table: LabelTable | LabelSummary,
        spaces: Mapping[str, GeneSpace],
        readout: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ):
        self.table, self.spaces = table, spaces
        self.readout = readouts(table.genes, spaces) if readout is None else readout
        self.frequency = table.frequency

    def evidence(self, view: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Sums over similar knock-downs, float32 (n_names, n_genes) each: of what is above the frequency, of weights.

        A knock-down says nothing of itself.
        """
        of, read = VIEWS[view]
        total, weight = self._near(of, names)
        if read is None:
            return total, weight
        neighbors, shares = self.readout[read]
        total, weight = ([(row[neighbors] * shares).sum(axis=1) for row in part] for part in (total, weight))
        return np.array(total, dtype=np.float32), np.array(weight, dtype=np.float32)

    def evidence_of_pairs(
        self, view: str, names: Sequence[str], rows: np.ndarray, genes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of some pairs alone, float32 (n_pairs,) each: places among `names` and among the genes."""
        of, read = VIEWS[view]
        parts = self._near(of, names)
        if read is None:
            return parts[0][rows, genes], parts[1][rows, genes]
        neighbors, shares = self.readout[read]
        found = np.empty((2, len(rows)), dtype=np.float32)
        for start in range(0, len(rows), 20_000):
            some = slice(start, start + 20_000)
            columns, share = neighbors[genes[some]], shares[genes[some]]
            for k, part in enumerate(parts):
                found[k, some] = (part[rows[some][:, None], columns] * share).sum(axis=1)
        return found[0], found[1]

    def _near(self, of: str | None, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if of is None:
            zeros = np.zeros((len(names), len(self.table.genes)), dtype=np.float32)
            return zeros, zeros
        near = similar(self.spaces[of], names, self.table.perturbations)
        near[np.asarray(names)[:, None] == np.asarray(self.table.perturbations)[None, :]] = 0
        return self.table.sums(near)


@dataclass(frozen=True)
class Answers:
    """What was learned of one question about one line.

    Attributes
    ----------
    table
        What is kept of the labels.
    weights
        Of the views, at least 0, their sum is 1.
    shrinks
        Of each view: evidence at which half of what it says is believed.
    calibration
        float64 (4, n_bins): mean combined estimate of the bin, share of ones that it held, 95 % interval.
    scores
        What was measured on held-out knock-downs.
    checkpoint
        `name` and `hash` of the model whose gene embeddings were used.
    """

    table: LabelSummary
    weights: Mapping[str, float]
    shrinks: Mapping[str, float]
    calibration: np.ndarray
    scores: Mapping[str, Any]
    checkpoint: Mapping[str, str]


@dataclass(frozen=True)
class AnsweredGenes:
    """Estimates for knock-downs.

    Attributes
    ----------
    perturbations, genes
        Names of rows and columns.
    estimate
        float64 (n, n_genes): probability of a one (changed; up), calibrated, with `low` and `high`, the ends of the
        interval that the share of ones had where the same was said of held-out knock-downs.
    views
        By name, estimates before calibration, float32 (n, n_genes).
    """

    perturbations: tuple[str, ...]
    genes: tuple[str, ...]
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    views: Mapping[str, np.ndarray]


def fit_answers(
    table: LabelTable,
    spaces: Mapping[str, GeneSpace],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Answers:
    """Learn what each view is worth over held-out knock-downs.

    Parameters
    ----------
    table
        Labels of a screen.
    spaces
        "go" and "model", see `spaces`.

    Raises
    ------
    OptionError
        There are too few knock-downs.

    Source: nearest neighbours with shrinkage, after the baselines of Ahlmann-Eltze et al. 2025,
    doi:10.1038/s41592-025-02772-6.
    """
    n = len(table.perturbations)
    if n < 2 * N_FOLDS:
        raise OptionError(f"There are {n} knock-downs.", f"At least {2 * N_FOLDS} are needed.", "Use a larger screen.")
    readout, overlaps, pairs = readouts(table.genes, spaces), overlap(table.perturbations, spaces), []
    folds = np.array_split(np.random.default_rng(seed).permutation(n), N_FOLDS)
    for number, held in enumerate(folds):
        rest = np.setdiff1d(np.arange(n), held)
        known = Answerer(summarise(table.take(rest), overlaps[np.ix_(rest, rest)]), spaces, readout)
        pairs.append(_evidence_of_pairs(known, table, held))
        progress(number + 1, N_FOLDS)
    joined = {key: np.concatenate([part[key] for part in pairs]) for key in pairs[0]}
    truth, units, frequency = joined["truth"], joined["unit"], joined["frequency"]
    shrinks, views = {}, {}
    for view in VIEWS:
        total, weight = joined[f"total {view}"], joined[f"weight {view}"]
        scale = float(np.median(weight[weight > 0])) if (weight > 0).any() else 1.0
        tried = {s * scale: _estimate(frequency, total, weight, s * scale) for s in _SHRINKS}
        shrinks[view] = min(tried, key=lambda s: float(np.mean((tried[s] - truth) ** 2)))
        views[view] = tried[shrinks[view]]
    found = weigh(views, truth, units, loss="squared", seed=seed)
    gain = gain_from(MODEL_VIEWS, views, truth, units, loss="squared", seed=seed)
    others = {view: said for view, said in views.items() if view not in MODEL_VIEWS}
    without = weigh(others, truth, units, loss="squared", seed=seed).weights
    scores = (
        _describe(found)
        | {"weights_without_model": without}
        | {"gain_of_model": {"share": gain.share, "low": gain.low, "high": gain.high}}
    )
    calibration = _calibrate(combine(views, found.weights), truth)
    kept = summarise(table, overlaps)
    return Answers(kept, found.weights, shrinks, calibration, scores, spaces["model"].source)


def predict_answers(
    answers: Answers,
    perturbations: Sequence[str],
    spaces: Mapping[str, GeneSpace],
    answerer: Answerer | None = None,
    *,
    method: str = COMBINATION,
) -> AnsweredGenes:
    """Answer for knock-downs, one row each.

    Parameters
    ----------
    perturbations
        Genes that are knocked down.
    answerer
        Views of the same table, where they are at hand: making them takes a second.
    method
        "combination", or one of `VIEWS` alone, as a baseline: its estimate is not calibrated, and has no interval
        (`low` and `high` are NaN).

    Raises
    ------
    OptionError
        There is no such method.
    """
    refuse_unknown_method(method, VIEWS)
    refuse_other_model(spaces, answers.checkpoint)
    known = Answerer(answers.table, spaces) if answerer is None else answerer
    used = [view for view in VIEWS if answers.weights.get(view, 0) > 0] or [FREQUENCY]
    used = used if method == COMBINATION else [method]
    views = {
        view: _estimate(known.frequency[None, :], *known.evidence(view, perturbations), answers.shrinks[view])
        for view in used
    }
    if method != COMBINATION:
        said = np.asarray(views[method], dtype=np.float64)
        unknown = np.full(said.shape, np.nan)
        return AnsweredGenes(tuple(perturbations), answers.table.genes, said, unknown, unknown, views)
    combined = combine(views, {view: answers.weights.get(view, 1.0) for view in used})
    middle, *ends = answers.calibration
    estimate, low, high = (np.interp(combined, middle, end) for end in ends)
    return AnsweredGenes(tuple(perturbations), answers.table.genes, estimate, low, high, views)


def _evidence_of_pairs(known: Answerer, table: LabelTable, rows: np.ndarray) -> dict[str, np.ndarray]:
    labels, names = table.labels[rows].tocoo(), [table.perturbations[i] for i in rows]
    found = {"truth": labels.data - 1.0, "unit": rows[labels.row], "frequency": known.frequency[labels.col]}
    for view in VIEWS:
        found[f"total {view}"], found[f"weight {view}"] = known.evidence_of_pairs(view, names, labels.row, labels.col)
    return found


def _estimate(frequency: np.ndarray, total: np.ndarray, weight: np.ndarray, shrink: float) -> np.ndarray:
    return np.clip(frequency + total / (weight + shrink), _FLOOR, 1 - _FLOOR)


def _calibrate(estimate: np.ndarray, truth: np.ndarray, n_bins: int = 40) -> np.ndarray:
    """What held-out estimates turned out to be worth: shares of ones in bins of equal size, rising, with intervals."""
    from scipy.stats import beta
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(estimate, kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if len(part)]
    middle = np.array([estimate[part].mean() for part in parts])
    sizes = np.array([len(part) for part in parts])
    ones = np.array([truth[part].sum() for part in parts])
    share = IsotonicRegression().fit_transform(np.arange(len(parts)), ones / sizes, sample_weight=sizes)
    hits = share * sizes
    low, high = beta.ppf(0.025, hits + 0.5, sizes - hits + 0.5), beta.ppf(0.975, hits + 0.5, sizes - hits + 0.5)
    return np.stack([middle, share, low, high])


def _describe(found: ViewWeights) -> dict[str, Any]:
    gain = {"share": found.gain.share, "low": found.gain.low, "high": found.gain.high, "n": found.gain.n_units}
    return {
        "weights": dict(found.weights),
        "losses": found.losses | {"combination": found.combined_loss},
        "best": found.best,
        "gain_over_best": gain,
    }


def readouts(
    genes: Sequence[str], spaces: Mapping[str, GeneSpace], names: Sequence[str] | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each space, or those named: which genes count for each, and how much."""
    return {name: readout_neighbors(space, genes) for name, space in spaces.items() if names is None or name in names}


def readout_neighbors(
    space: GeneSpace, genes: Sequence[str], n_neighbors: int = N_READOUT
) -> tuple[np.ndarray, np.ndarray]:
    """Genes that are read out alike: each counts fully for itself, its nearest together as much again.

    Returns
    -------
    tuple
        int32 and float32 (n_genes, k): positions of the genes that count for each, itself first, and their shares.
    """
    n_genes, k = len(genes), max(min(n_neighbors, len(genes) - 1), 0)
    neighbors, shares = np.zeros((n_genes, k + 1), dtype=np.int32), np.zeros((n_genes, k + 1), dtype=np.float32)
    neighbors[:, 0], shares[:, 0] = np.arange(n_genes), 1
    for start in range(0, n_genes if k else 0, 500):
        block = space.similarity(genes[start : start + 500], genes)
        here = np.arange(start, start + len(block))
        block[np.arange(len(block)), here] = 0
        nearest = np.argpartition(-block, k - 1, axis=1)[:, :k]  # of many zeros the other end takes four times as long
        found = np.take_along_axis(block, nearest, axis=1) ** _READOUT_POWERS[space.name]
        neighbors[here, 1:] = nearest
        shares[here, 1:] = _READOUT_SHARE * found / np.maximum(found.sum(axis=1, keepdims=True), 1e-9)
    return neighbors, shares


def spaces_needed(*found: "Answers") -> tuple[str, ...]:
    """Spaces of genes read out that views with weight use."""
    used = {VIEWS[view][1] for one in found for view, weight in one.weights.items() if weight > 0}
    return tuple(sorted(name for name in used if name is not None))
