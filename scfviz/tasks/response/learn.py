"""Learning what each view of a cell type's response is worth, over types that were left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scfviz.errors import DatasetError
from scfviz.tasks.perturbation import scores
from scfviz.tasks.response.measure import Responses
from scfviz.tasks.response.methods import MEAN, MODEL_VIEWS, VIEWS, ResponseViews
from scfviz.tasks.views import combine, gain_from, weigh

MIN_TYPES, COVERAGE = 4, 0.9
STRATA = ((0.75, "strong"), (0.4, "weak"), (-1.0, "hardly repeated"))  # by r of one half of the cells with the other
_ROOM = 0.05  # by which a repeat is ahead of the mean shift in r, where there is room for a prediction
_PRIOR = 5.0  # types that the mean over genes counts beside a gene's own


@dataclass(frozen=True)
class ResponseModel:
    """What was learned of a treatment: means and weights, no cells.

    Attributes
    ----------
    responses
        Of all types, measured or not.
    embedding
        float32 (n_types, D): mean embedding of the control cells by the model; None without one.
    weights
        Of the views, at least 0, their sum is 1.
    spread
        float64 (n_genes,): half width of the interval that 90 % of the left-out changes lay in.
    held_out
        float64 (n_types, n_genes): what was said of each measured type without having seen its treated cells; NaN else.
    views_held_out
        By view, the same.
    scores
        `weights`, `gain_over_best`, `gain_of_model`, `coverage`, `views` (means over types).
    types
        One row a measured type: `type`, `view`, and the metrics.
    about
        Where it comes from.
    """

    responses: Responses
    embedding: np.ndarray | None
    weights: Mapping[str, float]
    spread: np.ndarray
    held_out: np.ndarray
    views_held_out: Mapping[str, np.ndarray]
    scores: Mapping[str, Any]
    types: tuple[Mapping[str, Any], ...]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictedResponse:
    """Change of population means, float64 (n_types, n_genes) each, with its 90 % interval; what each view says."""

    genes: tuple[str, ...]
    change: np.ndarray
    low: np.ndarray
    high: np.ndarray
    views: Mapping[str, np.ndarray]


def learn_responses(
    responses: Responses,
    embedding: np.ndarray | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> ResponseModel:
    """Learn from measured responses; every type is left out once.

    Parameters
    ----------
    responses
        See `measure_responses`.
    embedding
        (n_types, D): mean embedding of each type's control cells; without it the model's views are left out.

    Raises
    ------
    DatasetError
        Fewer than four types were measured in both conditions.

    Source: leave one cell type out, as Lotfollahi et al. 2019 (scGen), doi:10.1038/s41592-019-0494-8.
    """
    rows = np.flatnonzero(responses.is_measured)
    if len(rows) < MIN_TYPES:
        raise DatasetError(
            f"{len(rows)} cell types have enough cells of both conditions.",
            f"At least {MIN_TYPES} are needed: each is left out once to see what a prediction is worth.",
            "Use finer types, or look at the measured changes.",
        )
    known = responses.take(rows)
    places = None if embedding is None else np.asarray(embedding, dtype=np.float64)[rows]
    said, scaled, truth = leave_types_out(known, places)
    units = np.arange(len(rows))
    found = weigh(scaled, truth, units, loss="squared", seed=seed)
    combined = np.array(
        [
            combine(
                {name: values[i] for name, values in said.items()},
                weigh(
                    {name: np.delete(values, i, axis=0) for name, values in scaled.items()},
                    np.delete(truth, i, axis=0),
                    np.delete(units, i),
                    loss="squared",
                    seed=seed,
                ).weights,
            )
            for i in units
        ]
    )
    width, coverage = _interval(combined, known.change, seed)
    table = score_types(known, {**said, "combination": combined})
    added = [name for name in MODEL_VIEWS if name in said]
    gain = gain_from(added, scaled, truth, units, loss="squared", seed=seed) if added else None
    measured = {
        "n": len(rows),
        "best": found.best,
        "gain_over_best": _plain(found.gain),
        "gain_of_model": _plain(gain),
        "coverage": {"nominal": COVERAGE, "measured": coverage},
        "views": summarise(known, {**said, "combination": combined}, table),
    }
    shape = responses.change.shape
    held_out, views = np.full(shape, np.nan), {name: np.full(shape, np.nan) for name in said}
    held_out[rows] = combined
    for name, values in said.items():
        views[name][rows] = values
    return ResponseModel(
        responses, embedding, dict(found.weights), width, held_out, views, measured, tuple(table), dict(about or {})
    )


def predict_response(
    model: ResponseModel, basal: np.ndarray | None = None, embedding: np.ndarray | None = None
) -> PredictedResponse:
    """Predict the mean change of every gene in cell types from the responses of the measured ones.

    These are changes of population means, not of cells.

    Parameters
    ----------
    model
        From `learn_responses`.
    basal, embedding
        (n_asked, n_genes) and (n_asked, D) of the types that are asked for; those of the model's own when left out,
        each of its measured types as if it had been seen.
    """
    responses = model.responses
    rows = np.flatnonzero(responses.is_measured)
    known = responses.take(rows)
    places = None if model.embedding is None else np.asarray(model.embedding, dtype=np.float64)
    views = ResponseViews(known.basal, known.change, known.trust, None if places is None else places[rows])
    said = views.predict(
        responses.basal if basal is None else basal, places if embedding is None else np.asarray(embedding, np.float64)
    )
    change = combine(said, model.weights)
    return PredictedResponse(responses.genes, change, change - model.spread, change + model.spread, said)


def score_types(known: Responses, said: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row a type and view: correlation of the changes, error against that of no change, the replicate beside."""
    reference = np.array([_mean_of_others(known, i) for i in range(len(known.types))])
    first, second = known.halves
    replicate = scores.pearson(first, second)
    table = []
    for name, values in said.items():
        against_control = scores.pearson(values, known.change)
        against_mean = np.array(
            [scores.pearson(values[[i]], known.change[[i]], reference[i])[0] for i in range(len(known.types))]
        )
        rank = scores.discrimination(values, known.change)
        for i, one in enumerate(known.types):
            ratio = scores.error_ratio(values[[i]], known.change[[i]], known.variance[[i]])
            table.append(
                {
                    "type": one,
                    "view": name,
                    "n_controls": int(known.n_controls[i]),
                    "n_treated": int(known.n_treated[i]),
                    "replicate": float(replicate[i]),
                    "stratum": stratum(float(replicate[i])),
                    "pearson_control": float(against_control[i]),
                    "pearson_mean": float(against_mean[i]),
                    "discrimination": float(rank[i]),
                    "error_ratio": ratio,
                }
            )
    return table


def stratum(replicate: float) -> str:
    """How well a repeat of the experiment agrees: `strong`, `weak` or `hardly repeated`."""
    return next((name for least, name in STRATA if replicate >= least), STRATA[-1][1])


def summarise(
    known: Responses, said: Mapping[str, np.ndarray], table: list[dict[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """Means over types of each view, the collapse check, and the place between the mean shift and the replicate."""
    found: dict[str, dict[str, float | None]] = {}
    for name, values in said.items():
        rows = [row for row in table if row["view"] == name]
        mean = {row["type"]: row["pearson_control"] for row in table if row["view"] == MEAN}
        room = [row for row in rows if row["replicate"] - mean[row["type"]] >= _ROOM]
        raw, of_mean, repeat = (
            float(np.mean(one)) if room else float("nan")
            for one in (
                [np.nan_to_num(row["pearson_control"]) for row in room],
                [mean[row["type"]] for row in room],
                [row["replicate"] for row in room],
            )
        )
        found[name] = {
            "pearson_control": _mean([row["pearson_control"] for row in rows]),
            "pearson_mean": _mean([row["pearson_mean"] for row in rows]),
            "discrimination": _mean([row["discrimination"] for row in rows]),
            "error_ratio": _finite(scores.error_ratio(values, known.change, known.variance)),
            "on_scale": _finite(scores.on_scale(raw, of_mean, repeat)),
        } | {key: _finite(value) for key, value in scores.collapse(values, known.change).items()}
    return found


def leave_types_out(
    known: Responses, places: np.ndarray | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """What each view says of each type without its treated cells; and that and the truth as they count in weights.

    Parameters
    ----------
    known
        Measured types alone.
    places
        (n_types, D): embeddings of their control cells.
    """
    parts: list[dict[str, np.ndarray]] = []
    for i in range(len(known.types)):
        rest = np.delete(np.arange(len(known.types)), i)
        embedded = None if places is None else places[rest]
        views = ResponseViews(known.basal[rest], known.change[rest], known.trust[rest], embedded)
        parts.append(views.predict(known.basal[[i]], None if places is None else places[[i]]))
    names = [name for name in VIEWS if name in parts[0]]
    said = {name: np.concatenate([part[name] for part in parts]) for name in names}
    scale = np.sqrt(known.trust)[:, None]  # types of few cells count less
    return said, {name: values * scale for name, values in said.items()}, known.change * scale


def _mean_of_others(known: Responses, i: int) -> np.ndarray:
    rest = np.delete(np.arange(len(known.types)), i)
    return known.trust[rest] @ known.change[rest] / known.trust[rest].sum()


def _interval(predicted: np.ndarray, truth: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Half widths for each gene, and the share of left-out changes that lay inside when other types set the width."""

    def width(rows: np.ndarray) -> np.ndarray:
        errors = (predicted[rows] - truth[rows]) ** 2
        spread = np.sqrt((errors.sum(axis=0) + _PRIOR * errors.mean()) / (len(rows) + _PRIOR)) + 1e-6
        return spread * np.quantile(np.sqrt(errors) / spread, COVERAGE)

    order = np.random.default_rng(seed).permutation(len(truth))
    inside = [
        np.abs(predicted[held] - truth[held]) <= width(np.setdiff1d(order, held))
        for held in np.array_split(order, min(5, len(order)))
    ]
    return width(order), float(np.concatenate(inside).mean())


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(gain: Any) -> dict[str, float | None]:
    if gain is None:
        return {"share": None, "low": None, "high": None, "n": 0}
    return {"share": _finite(gain.share), "low": _finite(gain.low), "high": _finite(gain.high), "n": gain.n_units}
