"""Learning what each view of a perturbation is worth, over held-out perturbations, by kind of question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scfviz.errors import DatasetError, GeneError
from scfviz.tasks.perturbation import scores
from scfviz.tasks.perturbation.effects import ScreenEffects
from scfviz.tasks.perturbation.graph import GeneSignals, GraphFactors, spread_signals
from scfviz.tasks.perturbation.methods import (
    ADDITIVE,
    COMBINATION,
    GRAPH,
    MEAN,
    MODEL_VIEWS,
    VIEWS,
    Views,
    refuse_unknown_method,
)
from scfviz.tasks.perturbation.spaces import GeneSpace
from scfviz.tasks.views import combine, gain_from, weigh

MEASURED, SINGLE = "measured", "single"
DOUBLES = ("double_0", "double_1", "double_2")
KINDS = (SINGLE, *DOUBLES)
KIND_TITLES = {
    MEASURED: "measured in training",
    SINGLE: "one gene, unseen",
    "double_0": "two genes, neither seen alone",
    "double_1": "two genes, one seen alone",
    "double_2": "two genes, both seen alone",
}
MIN_UNITS, N_FOLDS, MOST_HELD_OUT = 5, 5, 400
_PRIOR = 5.0  # held-out perturbations that the mean over genes counts beside a gene's own
COVERAGE = 0.9


@dataclass(frozen=True)
class PerturbationModel:
    """What was learned from a screen: parameters, no cells.

    Attributes
    ----------
    effects
        Measured changes of the training conditions.
    weights
        By kind of question, of each view.
    spread
        By kind of question, float64 (n_genes,): half width of the interval that 90 % of held-out changes lay in.
    held_out
        float32 (n_conditions, n_genes): what the combination said of each training condition without having seen it;
        NaN where it was not held out.
    scores
        What was measured on held-out conditions, by kind and view.
    checkpoint
        `name` and `hash` of the model whose gene embeddings were used.
    about
        Where it comes from.
    factors
        Of the view "graph"; None in predictors from before it.
    """

    effects: ScreenEffects
    weights: Mapping[str, Mapping[str, float]]
    spread: Mapping[str, np.ndarray]
    held_out: np.ndarray
    scores: Mapping[str, Any]
    checkpoint: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)
    factors: GraphFactors | None = None


@dataclass(frozen=True)
class PerturbationEffects:
    """Predicted changes of population means; nothing is said of single cells.

    Attributes
    ----------
    conditions, kinds
        Name of each row, and the kind of question that it is, see `KIND_TITLES`.
    genes
        Of the columns.
    change, low, high
        float64 (n, n_genes): mean change against control in ln(1 + counts per 10,000), and its 90 % interval.
    views
        By name, what each view alone says, float64 (n, n_genes).
    measured
        float64 (n, n_genes): the measured change of a training condition, NaN for the others.
    graph_spread
        float64 (n, n_genes): standard deviation of the networks of the view "graph"; NaN without that view.
    """

    conditions: tuple[str, ...]
    kinds: tuple[str, ...]
    genes: tuple[str, ...]
    change: np.ndarray
    low: np.ndarray
    high: np.ndarray
    views: Mapping[str, np.ndarray]
    measured: np.ndarray
    graph_spread: np.ndarray


@dataclass
class _HeldOut:
    """What views said of conditions that they had not seen, by kind."""

    rows: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    said: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    spread: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})  # of the graph's nets


def kind_of(targets: Sequence[str], known: "frozenset[str] | set[str]") -> str:
    """The kind of question that an unmeasured condition is, given the genes measured alone."""
    return SINGLE if len(targets) == 1 else f"double_{sum(gene in known for gene in targets)}"


def learn(
    effects: ScreenEffects,
    spaces: Mapping[str, GeneSpace],
    *,
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PerturbationModel:
    """Learn from measured changes.

    Parameters
    ----------
    effects
        Of a genetic screen.
    spaces
        "go" and "model", see `spaces`; "coexpression" where control cells are at hand.

    Raises
    ------
    DatasetError
        There are fewer than six conditions of one or two genes.
    """
    rows = np.array([i for i, one in enumerate(effects.targets) if 1 <= len(one) <= 2], dtype=np.int64)
    if len(rows) < MIN_UNITS + 1:
        raise DatasetError(
            f"There are {len(rows)} conditions of one or two genes with enough cells.",
            f"At least {MIN_UNITS + 1} are needed: some are held out to see what a prediction is worth.",
            "Look at the measured changes instead, or use a predictor that ships.",
        )
    effects = effects.take(rows)
    signals = spread_signals(spaces, sorted({gene for one in effects.targets for gene in one}))
    held = _hold_out(effects, spaces, signals, seed, progress)
    mask = effects.own_gene()
    weights, spread, table = {}, {}, {}
    said_of = np.full(effects.change.shape, np.nan, dtype=np.float32)
    for kind in reversed(KINDS):  # of a double, what was said with both genes known counts first
        place = np.array(held.rows[kind], dtype=np.int64)
        if len(place) < MIN_UNITS:
            continue
        hidden = mask[place]
        truth = np.where(hidden, 0, effects.change[place])
        views = {v: np.where(hidden, 0, np.array([said[v] for said in held.said[kind]])) for v in VIEWS}
        found = weigh(_different(views), truth, place, loss="squared", seed=seed)
        combined = combine(views, found.weights)
        weights[kind] = dict(found.weights)
        spread[kind], coverage = _interval(combined, truth, seed)
        table[kind] = _score(effects, place, hidden, views, combined) | {
            "n": len(place),
            "best": found.best,
            "losses": found.losses | {"combination": found.combined_loss},
            "gain_over_best": _plain(found.gain),
            "gain_of_model": _gain_of(MODEL_VIEWS, _different(views), truth, place, seed),
            "gain_of_graph": _gain_of((GRAPH,), _different(views), truth, place, seed),
            "graph_spread_rank": _rank_of_spread(held.spread[kind], views[GRAPH], truth),
            "coverage": {"nominal": COVERAGE, "measured": coverage},
        }
        unsaid = np.isnan(said_of[place]).all(axis=1)
        said_of[place[unsaid]] = np.where(hidden, np.nan, combined)[unsaid]
    _fill(weights, spread, effects)
    factors = Views(effects.genes, effects.targets, effects.change, spaces).with_graph(signals, seed).factors
    source = spaces["model"].source
    return PerturbationModel(effects, weights, spread, said_of, table, source, dict(about or {}), factors)


def predict_perturbation(
    model: PerturbationModel,
    conditions: Sequence[str],
    spaces: Mapping[str, GeneSpace] | None = None,
    *,
    method: str = COMBINATION,
) -> PerturbationEffects:
    """Predict the mean change of every gene when genes are perturbed as in the screen that was learned from.

    These are changes of population means, not of cells, for the line and the kind of perturbation (knock-down,
    knock-out, activation) of the screen.

    Parameters
    ----------
    model
        From `fit_perturbations` or `read_predictor`.
    conditions
        `KLF1`, or `BAK1+KLF1` for two genes at once.
    spaces
        "go" and "model", see `spaces_of`; those of the model that it was fitted with when left out.
    method
        "combination", or one of `methods.VIEWS` alone, as a baseline: then also measured conditions have what the view
        says of them, and `low` and `high` are NaN, since intervals were learned for the combination only.

    Raises
    ------
    OptionError
        There is no such method.
    GeneError
        More than two genes are combined.
    CheckpointError
        The predictor was fitted with another model.
    """
    from scfviz.data.perturbations import condition_name, parse_condition
    from scfviz.tasks.perturbation.spaces import refuse_other_model, spaces_of

    spaces = spaces_of(fitted=model.checkpoint) if spaces is None else spaces
    refuse_other_model(spaces, model.checkpoint)

    effects, targets = model.effects, [parse_condition(text) for text in conditions]
    if many := [text for text, one in zip(conditions, targets, strict=True) if len(one) > 2]:
        raise GeneError(
            f"'{many[0]}' combines more than two genes.", "One or two can be asked for.", "Leave some of them out."
        )
    views = Views(effects.genes, effects.targets, effects.change, spaces, model.factors)
    known = {one[0] for one in effects.targets if len(one) == 1}
    row_of = {one: i for i, one in enumerate(effects.targets)}
    said = views.predict(targets)
    refuse_unknown_method(method, said)
    shape = (len(targets), len(effects.genes))
    change, half, measured, kinds = np.zeros(shape), np.zeros(shape), np.full(shape, np.nan), []
    for i, one in enumerate(targets):
        row = row_of.get(one)
        kinds.append(MEASURED if row is not None else kind_of(one, known))
        if row is not None:
            measured[i] = change[i] = effects.change[row]
            half[i] = 1.645 * np.sqrt(effects.variance[row])
        else:
            change[i] = combine({name: values[i] for name, values in said.items()}, model.weights[kinds[i]])
            half[i] = model.spread[kinds[i]]
    if method != COMBINATION:
        change, half = said[method].copy(), np.full(shape, np.nan)
    names = tuple(condition_name(one) for one in targets)
    low, high = change - half, change + half
    apart = views.spread(targets)
    return PerturbationEffects(names, tuple(kinds), effects.genes, change, low, high, said, measured, apart)


def _hold_out(
    effects: ScreenEffects,
    spaces: Mapping[str, GeneSpace],
    signals: GeneSignals,
    seed: int,
    progress: Callable[[int, int], None],
) -> _HeldOut:
    """Leave genes out with all their conditions, then doubles alone; so that every kind of question is asked."""
    rng, found = np.random.default_rng(seed), _HeldOut()
    genes = np.array(sorted({gene for one in effects.targets for gene in one}))
    doubles = np.array([i for i, one in enumerate(effects.targets) if len(one) == 2], dtype=np.int64)
    gene_folds = np.array_split(rng.permutation(genes), min(N_FOLDS, len(genes)))
    double_folds = np.array_split(rng.permutation(doubles), min(N_FOLDS, len(doubles))) if len(doubles) else []
    total = len(gene_folds) + len(double_folds)
    for number, fold in enumerate(gene_folds):
        gone = set(fold.tolist())
        rows = np.array([i for i, one in enumerate(effects.targets) if gone & set(one)], dtype=np.int64)
        _ask(effects, spaces, signals, rows, found, seed)
        progress(number + 1, total)
    for number, rows in enumerate(double_folds):
        _ask(effects, spaces, signals, rows, found, seed)
        progress(len(gene_folds) + number + 1, total)
    return found


def _ask(
    effects: ScreenEffects,
    spaces: Mapping[str, GeneSpace],
    signals: GeneSignals,
    rows: np.ndarray,
    found: _HeldOut,
    seed: int,
) -> None:
    left = np.setdiff1d(np.arange(len(effects.targets)), rows)
    if len(left) < 2 or not len(rows):
        return
    views = Views(effects.genes, tuple(effects.targets[i] for i in left), effects.change[left], spaces)
    known = {effects.targets[i][0] for i in left if len(effects.targets[i]) == 1}
    asked = []
    for row in rows:
        kind = kind_of(effects.targets[row], known)
        if row not in found.rows[kind] and len(found.rows[kind]) < MOST_HELD_OUT:
            asked.append((int(row), kind))
    if not asked:
        return
    views, targets = views.with_graph(signals, seed), [effects.targets[row] for row, _ in asked]
    said, apart = views.predict(targets), views.spread(targets)
    for i, (row, kind) in enumerate(asked):
        found.rows[kind].append(row)
        found.spread[kind].append(float(np.sqrt((apart[i] ** 2).mean())))
        found.said[kind].append({name: values[i].astype(np.float32) for name, values in said.items()})


def _interval(predicted: np.ndarray, truth: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Half widths for each gene, and the share of held-out changes that lay inside when half of them set the width."""

    def width(rows: np.ndarray) -> np.ndarray:
        errors = (predicted[rows] - truth[rows]) ** 2
        spread = np.sqrt((errors.sum(axis=0) + _PRIOR * errors.mean()) / (len(rows) + _PRIOR)) + 1e-6
        return spread * np.quantile(np.sqrt(errors) / spread, COVERAGE)

    order = np.random.default_rng(seed).permutation(len(truth))
    parts = np.array_split(order, 2)
    inside = [np.abs(predicted[a] - truth[a]) <= width(b) for a, b in (parts, parts[::-1])]
    return width(order), float(np.concatenate(inside).mean())


def _score(
    effects: ScreenEffects, place: np.ndarray, hidden: np.ndarray, views: Mapping[str, np.ndarray], combined: np.ndarray
) -> dict[str, Any]:
    """Each view, the combination and the replicate by the metrics of `scores`; the own gene is left out."""
    truth = np.where(hidden, 0, effects.change[place])
    variance = np.where(hidden, 0, effects.variance[place])
    first, second = (np.where(hidden, 0, half) for half in effects.halves[:, place])
    reference = np.where(hidden.any(axis=0), 0, views[MEAN].mean(axis=0))

    def judge(said: np.ndarray, against: np.ndarray) -> dict[str, float]:
        found = {
            "pearson_control": scores.pearson(said, against),
            "pearson_mean": scores.pearson(said, against, reference),
            "discrimination": scores.discrimination(said, against),
        }
        return {name: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for name, v in found.items()}

    table = {}
    for name, said in (*views.items(), ("combination", combined)):
        ratio = {"error_ratio": scores.error_ratio(said, truth, variance)}
        table[name] = judge(said, truth) | ratio | scores.collapse(said, truth)
    table["replicate"] = judge(first, second)
    return {"views": {name: {key: _finite(value) for key, value in row.items()} for name, row in table.items()}}


def _different(views: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Views without those that say the very same as one before them: of a double with both genes known, most do."""
    found: dict[str, np.ndarray] = {}
    for name, said in views.items():
        if not any(np.allclose(said, other, atol=1e-9) for other in found.values()):
            found[name] = said
    return found


def _gain_of(
    names: Sequence[str], views: Mapping[str, np.ndarray], truth: np.ndarray, units: np.ndarray, seed: int
) -> dict[str, float | None]:
    """What some views add to the others."""
    added = [name for name in names if name in views]
    if not added:
        return {"share": 0.0, "low": 0.0, "high": 0.0, "n": len(units)}
    return _plain(gain_from(added, views, truth, units, loss="squared", seed=seed))


def _rank_of_spread(spread: Sequence[float], said: np.ndarray, truth: np.ndarray) -> float | None:
    """Spearman's r over held-out conditions: are those with networks far apart those with a large error?"""
    from scipy.stats import spearmanr

    error = ((said - truth) ** 2).mean(axis=1)
    return _finite(spearmanr(spread, error).statistic) if np.ptp(spread) > 0 else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(gain: Any) -> dict[str, float | None]:
    return {"share": _finite(gain.share), "low": _finite(gain.low), "high": _finite(gain.high), "n": gain.n_units}


def _fill(weights: dict[str, Any], spread: dict[str, Any], effects: ScreenEffects) -> None:
    """Kinds of questions that could not be held out take over what is nearest to them."""
    overall = np.sqrt((effects.change**2).mean(axis=0)) * 2 + 1e-6
    for kind in KINDS:
        others = [other for other in KINDS if other in weights]
        if kind in weights:
            continue
        if kind == "double_2":  # without doubles nothing speaks against adding up
            weights[kind] = {ADDITIVE: 1.0}
            spread[kind] = overall * np.sqrt(2)
        elif others:
            near = SINGLE if SINGLE in weights else others[0]
            weights[kind] = dict(weights[near])
            spread[kind] = spread[near] * (np.sqrt(2) if near == SINGLE and kind != SINGLE else 1)
        else:
            weights[kind], spread[kind] = {MEAN: 1.0}, overall
