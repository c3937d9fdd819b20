"""A fitted classifier: in memory, and as a folder of parameters without a row of anybody's data.

classifier.json         types, what each method is worth, scores, the model that it needs, checksum of the parameters
genes.tsv               genes of the reference, and which of them vary
parameters.safetensors
README.md               its card
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import CheckpointError, OptionError
from scfviz.tasks.annotation.conformal import Calibration
from scfviz.tasks.annotation.features import FeatureSpace
from scfviz.tasks.annotation.fit import Learned
from scfviz.tasks.annotation.methods import Linear, Method, Neighbours, Prototype

FORMAT = 1
ABOUT, GENES, PARAMETERS, README = "classifier.json", "genes.tsv", "parameters.safetensors", "README.md"
SHIPPED = Path(__file__).resolve().parents[3] / "assets" / "classifiers"
DEFAULT = "blood"


@dataclass(frozen=True)
class Classifier:
    """What was learned from labelled cells.

    Attributes
    ----------
    labels, ontology
        The K types, sorted; Cell Ontology IDs of some.
    checkpoint
        `name` and `hash` of the model whose embedding it reads.
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
    """

    labels: tuple[str, ...]
    ontology: Mapping[str, str]
    checkpoint: Mapping[str, str]
    space: FeatureSpace
    learned: Learned
    typical: Prototype
    calibration: tuple[Calibration, Calibration]
    profiles: np.ndarray
    n_cells: np.ndarray
    scores: Mapping[str, Any]
    about: Mapping[str, Any]
    cells: tuple[str, ...] = ()
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    truth: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def refuse_other_model(self, name: str, content: str) -> None:
        """Refuse a model that is not the one it was fitted with.

        Raises
        ------
        CheckpointError
            It is another one.
        """
        if self.checkpoint["hash"] != content:
            raise CheckpointError(
                f"The classifier '{self.about.get('name', 'unnamed')}' was fitted on embeddings of "
                f"'{self.checkpoint['name']}' ({self.checkpoint['hash']}), the model in use is '{name}' ({content}).",
                "Embeddings of different models have nothing in common.",
                f"Use the checkpoint '{self.checkpoint['name']}', or fit the classifier again with this model.",
            )


def shipped() -> dict[str, Path]:
    """Folders of the classifiers that ship, by name."""
    found = sorted(SHIPPED.glob(f"*/{ABOUT}")) if SHIPPED.is_dir() else []
    return {path.parent.name: path.parent for path in found}


def is_classifier(path: str | Path) -> bool:
    """Whether a path is the folder of a fitted classifier."""
    return (Path(path) / ABOUT).is_file()


def find_classifier(given: str) -> Path | None:
    """The folder of a classifier by its path or by the name of a shipped one; None for anything else."""
    path = Path(given).expanduser()
    if path.exists():
        return path if is_classifier(path) else None
    return shipped().get(given)


def save_classifier(classifier: Classifier, folder: Path | str, *, name: str, card: str) -> Path:
    """Write a folder, whole or not at all.

    Raises
    ------
    OptionError
        It exists already, or the classifier holds cells: neighbours cannot be kept as parameters.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    if folder.exists():
        raise OptionError(f"'{folder}' exists already.", "A new folder is needed.", "Give another name.")
    if any(isinstance(method, Neighbours) for method in classifier.learned.methods.values()):
        raise OptionError(
            "This classifier looks up its labelled cells.", "A folder holds parameters only.", "Fit it as portable."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        arrays, kinds = _arrays(classifier)
        save_file({key: np.ascontiguousarray(values) for key, values in arrays.items()}, staging / PARAMETERS)
        is_variable = np.zeros(len(classifier.space.genes), dtype=int)
        is_variable[classifier.space.variable] = 1
        rows = [f"{gene}\t{flag}" for gene, flag in zip(classifier.space.genes, is_variable, strict=True)]
        (staging / GENES).write_text("\n".join(["symbol\tis_variable", *rows]) + "\n", encoding="utf-8")
        (staging / README).write_text(card, encoding="utf-8")
        stored = {
            "format": FORMAT,
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
            "sha256": _digest(staging),
        }
        (staging / ABOUT).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        staging.chmod(0o755)  # a temporary folder is private
        for file in staging.iterdir():
            file.chmod(0o644)
        os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def read_classifier(folder: Path | str) -> Classifier:
    """Read what `save_classifier` wrote.

    Raises
    ------
    CheckpointError
        It is no such folder, of another version, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    damaged = CheckpointError(
        f"The classifier in '{folder.name}' is incomplete or damaged.",
        f"A classifier is a folder with {ABOUT}, {GENES} and {PARAMETERS}, as scfviz wrote them.",
        "Copy the whole folder again, or fit it again.",
    )
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise CheckpointError(
                f"The classifier '{folder.name}' has format {about['format']}.", f"This scfviz reads format {FORMAT}."
            )
        if about["sha256"] != _digest(folder):
            raise damaged
        arrays = load_file(folder / PARAMETERS)
        lines = (folder / GENES).read_text(encoding="utf-8").splitlines()[1:]
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
            tuple(
                Calibration(tuple(arrays[f"calibration.{kind}.{k}"] for k in range(n_types)))
                for kind in ("disbelief", "strangeness")
            ),
            arrays["profiles"],
            np.array(about["n_cells"]),
            about["scores"],
            about["about"],
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise damaged from error


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
    for kind, calibration in zip(("disbelief", "strangeness"), classifier.calibration, strict=True):
        arrays |= {f"calibration.{kind}.{k}": values for k, values in enumerate(calibration.scores)}
    return arrays, kinds


def _parts(method: Method) -> tuple[list[str], dict[str, np.ndarray]]:
    if isinstance(method, Linear):
        return ["linear", method.of], {"coef": method.coef, "intercept": method.intercept}
    parts = {"means": method.means, "whitening": method.whitening, "overall": method.overall}
    return ["prototype", method.of], parts


def _method(kind: list[str], prefix: str, arrays: Mapping[str, np.ndarray]) -> Any:
    if kind[0] == "linear":
        return Linear(kind[1], arrays[f"{prefix}.coef"], arrays[f"{prefix}.intercept"])
    return Prototype(kind[1], *(arrays[f"{prefix}.{part}"] for part in ("means", "whitening", "overall")))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (GENES, PARAMETERS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
