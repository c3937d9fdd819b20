"""A fitted predictor as a folder of parameters, without a cell of anybody's data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.parameters import FolderKind
from scfviz.tasks.perturbation.answers import CHANGED, DIRECTION, Answers
from scfviz.tasks.perturbation.effects import ScreenEffects
from scfviz.tasks.perturbation.fit import KINDS, PerturbationModel
from scfviz.tasks.perturbation.graph import GraphFactors
from scfviz.tasks.perturbation.labels import LabelSummary
from scfviz.tasks.perturbation.methods import GRAPH

PREDICTORS = FolderKind("predictor.json", "predictor", 1)
EFFECTS, ANSWERS = "effects", "answers"
PARTS = ("above", "ones")  # of a `LabelSummary`


@dataclass(frozen=True)
class LineAnswers:
    """What a screen of one line says of knock-downs.

    Attributes
    ----------
    changed, direction
        Answers to "is this gene changed?" and, where it is, "up?".
    about
        Where they come from: `name`, `title`, `line`, `source`, `licence`.
    """

    changed: Answers
    direction: Answers
    about: Mapping[str, Any]


def find_predictor(given: str | Path) -> Path:
    """The folder of a predictor by its path or by the name of one that ships.

    Raises
    ------
    OptionError
        There is none.
    """
    if (found := PREDICTORS.find(given)) is not None:
        return found
    shipped = ", ".join(PREDICTORS.shipped()) or "none"
    raise OptionError(
        f"'{given}' is no predictor.",
        f"A folder that `scfviz perturb fit` wrote is needed, or one that ships: {shipped}.",
        "Correct the path.",
    )


def save_predictor(model: PerturbationModel | LineAnswers, folder: Path | str, *, card: str) -> Path:
    """Write a folder, whole or not at all.

    Parameters
    ----------
    card
        Its README.md: data, licence, scores, limits.

    Raises
    ------
    OptionError
        It exists already.
    """
    about, genes, arrays = _parts(model)
    return PREDICTORS.write(folder, about, arrays, ["symbol", *genes], card)


def read_predictor(folder: Path | str) -> PerturbationModel | LineAnswers:
    """Read what `save_predictor` wrote.

    Raises
    ------
    CheckpointError
        It is no such folder, of another version, damaged, or its parts disagree.
    """
    return PREDICTORS.read(folder, _build)


def _build(about: dict[str, Any], genes: list[str], arrays: dict[str, np.ndarray]) -> PerturbationModel | LineAnswers:
    read = _read_effects if about["kind"] == EFFECTS else _read_answers
    return read(about, tuple(genes), arrays)


def _parts(model: PerturbationModel | LineAnswers) -> tuple[dict[str, Any], Sequence[str], dict[str, np.ndarray]]:
    if isinstance(model, LineAnswers):
        return _answer_parts(model)
    effects = model.effects
    arrays = {
        "control": effects.control.astype(np.float32),
        "change": effects.change.astype(np.float32),
        "variance": effects.variance.astype(np.float32),
        "held_out": model.held_out.astype(np.float32),
        "n_cells": effects.n_cells.astype(np.int64),
    }
    arrays |= {f"spread.{kind}": model.spread[kind].astype(np.float32) for kind in KINDS}
    arrays |= model.factors.arrays() if model.factors is not None else {}
    about = {
        "kind": EFFECTS,
        "targets": [list(one) for one in effects.targets],
        "n_controls": effects.n_controls,
        "weights": {kind: dict(weights) for kind, weights in model.weights.items()},
        "scores": dict(model.scores),
        "checkpoint": dict(model.checkpoint),
        "about": dict(model.about),
    }
    return about, effects.genes, arrays


def _read_effects(
    about: Mapping[str, Any], genes: tuple[str, ...], arrays: Mapping[str, np.ndarray]
) -> PerturbationModel:
    targets = tuple(tuple(one) for one in about["targets"])
    names = tuple("+".join(one) for one in targets)
    shape = (len(targets), len(genes))
    if any(arrays[name].shape != shape for name in ("change", "variance", "held_out")):
        raise ValueError("parts of different shapes")
    change, variance, control = (arrays[name].astype(np.float64) for name in ("change", "variance", "control"))
    effects = ScreenEffects(
        genes, names, targets, arrays["n_cells"], int(about["n_controls"]), control, change, variance
    )
    spread = {kind: arrays[f"spread.{kind}"].astype(np.float64) for kind in KINDS}
    factors = GraphFactors.of_arrays(arrays)
    if factors is None and any(weights.get(GRAPH, 0) > 0 for weights in about["weights"].values()):
        raise ValueError("a weight for a view that is not there")
    return PerturbationModel(
        effects,
        about["weights"],
        spread,
        arrays["held_out"],
        about["scores"],
        about["checkpoint"],
        about["about"],
        factors,
    )


def _answer_parts(model: LineAnswers) -> tuple[dict[str, Any], Sequence[str], dict[str, np.ndarray]]:
    genes = model.changed.table.genes
    arrays: dict[str, np.ndarray] = {}
    about: dict[str, Any] = {
        "kind": ANSWERS,
        "about": dict(model.about),
        "checkpoint": dict(model.changed.checkpoint),
        "questions": {},
    }
    for name, answers in ((CHANGED, model.changed), (DIRECTION, model.direction)):
        kept = answers.table
        arrays |= {
            f"{name}.frequency": kept.frequency.astype(np.float32),
            f"{name}.calibration": answers.calibration.astype(np.float64),
        }
        arrays |= {f"{name}.{part}.{i}": getattr(kept, part)[i] for part in PARTS for i in range(2)}
        about["questions"][name] = {
            "perturbations": list(kept.perturbations),
            "n_labels": kept.n_labels,
            "weights": dict(answers.weights),
            "shrinks": dict(answers.shrinks),
            "scores": dict(answers.scores),
        }
        if kept.genes != genes:
            raise OptionError("Both questions need the same list of genes.", "", "Build both tables with it.")
    return about, genes, arrays


def _read_answers(about: Mapping[str, Any], genes: tuple[str, ...], arrays: Mapping[str, np.ndarray]) -> LineAnswers:
    found = {}
    for name in (CHANGED, DIRECTION):
        one = about["questions"][name]
        parts = [tuple(arrays[f"{name}.{part}.{i}"] for i in range(2)) for part in PARTS]
        shape = (len(one["perturbations"]), len(genes))
        if any((left.shape[0], right.shape[1]) != shape or left.shape[1] != right.shape[0] for left, right in parts):
            raise ValueError("parts of different shapes")
        frequency = arrays[f"{name}.frequency"].astype(np.float64)
        table = LabelSummary(tuple(one["perturbations"]), genes, frequency, *parts, one["n_labels"])
        calibration = arrays[f"{name}.calibration"]
        found[name] = Answers(table, one["weights"], one["shrinks"], calibration, one["scores"], about["checkpoint"])
    return LineAnswers(found[CHANGED], found[DIRECTION], about["about"])
