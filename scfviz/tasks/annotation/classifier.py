"""A fitted classifier: in memory, and as a folder of parameters without a row of anybody's data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import CheckpointError, OptionError
from scfviz.tasks.annotation.conformal import Calibration, SetCalibration
from scfviz.tasks.annotation.features import FeatureSpace
from scfviz.tasks.annotation.fit import Learned
from scfviz.tasks.annotation.head import Head
from scfviz.tasks.annotation.methods import Linear, Method, Neighbours, Prototype
from scfviz.tasks.parameters import FolderKind

if TYPE_CHECKING:
    from scfviz.model.scfoundation import ScFoundation

CLASSIFIERS = FolderKind("classifier.json", "classifier", 1, "classifiers")
DEFAULT = "blood"
TUNED = "tuned"  # among the parameters
_CALIBRATED = ("disbelief", "strangeness")
_OF_HEAD = ("first", "first_bias", "second", "second_bias")


@dataclass(frozen=True)
class Classifier:
    """What was learned from labelled cells.

    Attributes
    ----------
    labels, ontology
        The K types, sorted; Cell Ontology IDs of some.
    checkpoint
        `name` and `hash` of the model in use when it was fitted; it reads that one's embedding, or none.
    space
        How cells become features.
    learned
        Methods, their weights and temperatures.
    typical
        Where each type lies, for what has no counterpart.
    calibration
        Of disbelief and of strangeness, on held-out cells.
    profiles
        float32 (K, G): mean ln(1 + counts per 10,000) of each type over the variable genes.
    n_cells
        int (K,): cells of each type that were learned from.
    scores
        What was measured on held-out cells.
    about
        Where it comes from.
    cells
        Names of the cells that were learned from, beside their `places` (n, F) in the joint space; not in a folder.
    tuned
        float32 (n,): what fine-tuning changed of the model, see `tuned_layer.pack`; else empty.
    """

    labels: tuple[str, ...]
    ontology: Mapping[str, str]
    checkpoint: Mapping[str, str]
    space: FeatureSpace
    learned: Learned
    typical: Prototype
    calibration: SetCalibration
    profiles: np.ndarray
    n_cells: np.ndarray
    scores: Mapping[str, Any]
    about: Mapping[str, Any]
    cells: tuple[str, ...] = ()
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    truth: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    tuned: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    def own_model(self, model: "ScFoundation") -> "ScFoundation":
        """The model that cells are embedded with: the given one, or a copy with its fine-tuned layer."""
        from scfviz.tasks.annotation.tuned_layer import unpack

        return unpack(model, self.tuned) if len(self.tuned) else model

    @property
    def needs_model(self) -> bool:
        """Whether cells must be embedded; not where only methods on genes have weight."""
        return self.space.reads_model

    def refuse_other_model(self, name: str, content: str) -> None:
        """Refuse a model that is not the one it was fitted with, where it needs one.

        Raises
        ------
        CheckpointError
            It is another one.
        """
        if self.needs_model and self.checkpoint["hash"] != content:
            raise CheckpointError(
                f"The classifier '{self.about.get('name', 'unnamed')}' was fitted on embeddings of "
                f"'{self.checkpoint['name']}' ({self.checkpoint['hash']}), the model in use is '{name}' ({content}).",
                "Embeddings of different models have nothing in common.",
                f"Use the checkpoint '{self.checkpoint['name']}', or fit the classifier again with this model.",
            )


def find_classifier(given: str) -> Path | None:
    """The folder of a classifier by its path or by the name of a shipped one; None for anything else."""
    path = Path(given).expanduser()
    return CLASSIFIERS.find(given) if CLASSIFIERS.is_one(path) or not path.exists() else None


def save_classifier(classifier: Classifier, folder: Path | str, *, name: str, card: str) -> Path:
    """Write a folder, whole or not at all.

    Raises
    ------
    OptionError
        It exists already, or the classifier holds cells: neighbours cannot be kept as parameters.
    """
    if any(isinstance(method, Neighbours) for method in classifier.learned.methods.values()):
        raise OptionError(
            "This classifier looks up its labelled cells.", "A folder holds parameters only.", "Fit it as portable."
        )
    arrays, kinds = _arrays(classifier)
    is_variable = np.zeros(len(classifier.space.genes), dtype=int)
    is_variable[classifier.space.variable] = 1
    rows = [f"{gene}\t{flag}" for gene, flag in zip(classifier.space.genes, is_variable, strict=True)]
    about = {
        "name": name,
        "labels": list(classifier.labels),
        "ontology": dict(classifier.ontology),
        "checkpoint": dict(classifier.checkpoint),
        "methods": kinds,
        "weights": dict(classifier.learned.weights),
        "temperatures": dict(classifier.learned.temperatures),
        "n_cells": [int(n) for n in classifier.n_cells],
        "typical": classifier.typical.of,
        "scores": dict(classifier.scores),
        "about": dict(classifier.about) | {"name": name},
    }
    return CLASSIFIERS.write(folder, about, arrays, ["symbol\tis_variable", *rows], card)


def read_classifier(folder: Path | str) -> Classifier:
    """Read what `save_classifier` wrote.

    Raises
    ------
    CheckpointError
        It is no such folder, of another version, or damaged.
    """
    return CLASSIFIERS.read(folder, _build)


def _build(about: dict[str, Any], lines: list[str], arrays: dict[str, np.ndarray]) -> Classifier:
    genes, flags = zip(*(line.split("\t") for line in lines), strict=True)
    space = FeatureSpace(
        tuple(genes),
        np.flatnonzero(np.array(flags) == "1"),
        *(arrays[f"space.{name}"] for name in ("means", "loadings", "shift", "model_mean", "model_loadings")),
    )
    methods = {name: _method(kind, f"method.{name}", arrays) for name, kind in about["methods"].items()}
    n_types = len(about["labels"])
    return Classifier(
        tuple(about["labels"]),
        about["ontology"],
        about["checkpoint"],
        space,
        Learned(methods, about["temperatures"], about["weights"]),
        _method(["prototype", about["typical"]], "typical", arrays),
        SetCalibration(
            *(Calibration(tuple(arrays[f"calibration.{kind}.{k}"] for k in range(n_types))) for kind in _CALIBRATED)
        ),
        arrays["profiles"],
        np.array(about["n_cells"]),
        about["scores"],
        about["about"],
        tuned=arrays.get(TUNED, np.empty(0, np.float32)),
    )


def _arrays(classifier: Classifier) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """All numbers by name, and the kind of each method."""
    space = classifier.space
    names = ("means", "loadings", "shift", "model_mean", "model_loadings")
    arrays = {f"space.{name}": getattr(space, name) for name in names} | {"profiles": classifier.profiles}
    kinds = {}
    for name, method in classifier.learned.methods.items():
        kinds[name], found = _parts(method)
        arrays |= {f"method.{name}.{part}": values for part, values in found.items()}
    arrays |= {f"typical.{part}": values for part, values in _parts(classifier.typical)[1].items()}
    for kind in _CALIBRATED:
        scores = getattr(classifier.calibration, kind).scores
        arrays |= {f"calibration.{kind}.{k}": values for k, values in enumerate(scores)}
    arrays |= {TUNED: classifier.tuned} if len(classifier.tuned) else {}
    return arrays, kinds


def _parts(method: Method) -> tuple[list[str], dict[str, np.ndarray]]:
    if isinstance(method, Linear):
        return ["linear", method.of], {"coef": method.coef, "intercept": method.intercept}
    if isinstance(method, Head):
        return ["head", "model"], {name: getattr(method, name) for name in _OF_HEAD}
    parts = {"means": method.means, "whitening": method.whitening, "overall": method.overall}
    return ["prototype", method.of], parts


def _method(kind: list[str], prefix: str, arrays: Mapping[str, np.ndarray]) -> Any:
    if kind[0] == "linear":
        return Linear(kind[1], arrays[f"{prefix}.coef"], arrays[f"{prefix}.intercept"])
    if kind[0] == "head":
        return Head(*(arrays[f"{prefix}.{part}"] for part in _OF_HEAD))
    return Prototype(kind[1], *(arrays[f"{prefix}.{part}"] for part in ("means", "whitening", "overall")))
