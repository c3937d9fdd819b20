"""A predictor of drug response as a folder of parameters: no row of a line, unless the lines were asked to be kept."""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.drug_response.factors import Factors
from scfviz.tasks.drug_response.predictor import DrugPredictor, KnownLines
from scfviz.tasks.drug_response.ridge import Regression
from scfviz.tasks.drug_response.scale import Calibration
from scfviz.tasks.drug_response.tables import Drug
from scfviz.tasks.drug_response.unseen import UnseenRule
from scfviz.tasks.parameters import PARAMETERS, FolderKind

PREDICTORS = FolderKind("drug_predictor.json", "predictor", 1)
DEFAULT = "drug_response_gdsc2"


def find_drug_predictor(given: str | Path | None = None) -> Path:
    """The folder of a predictor by its path or by the name of one that ships; None is the one that ships.

    Raises
    ------
    OptionError
        There is none.
    """
    name = DEFAULT if given is None else str(given)
    if (found := PREDICTORS.find(name)) is not None:
        return found
    shipped = ", ".join(PREDICTORS.shipped()) or "none"
    raise OptionError(
        f"'{name}' is no predictor of drug response.",
        f"A folder that `scfviz drugs fit` wrote is needed, or one that ships: {shipped}.",
        "Correct the path.",
    )


def save_drug_predictor(predictor: DrugPredictor, folder: Path | str, *, card: str) -> Path:
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
    rule = predictor.unseen
    about = {
        "noise": predictor.factors.noise,
        "penalties": list(predictor.regression.penalties),
        "drugs": [asdict(drug) | {"synonyms": list(drug.synonyms)} for drug in predictor.drugs],
        "unseen": None
        if rule is None
        else {name: getattr(rule, name) for name in ("power", "shrink", "penalty", "scores")},
        "calibration": None
        if predictor.calibration is None
        else {"wider": dict(predictor.calibration.wider), "n_lines": predictor.calibration.n_lines},
        "scores": dict(predictor.scores),
        "about": dict(predictor.about),
        "lines": None if predictor.lines is None else list(predictor.lines.names),
    }
    return PREDICTORS.write(folder, about, _arrays(predictor), ["symbol", *predictor.genes], card)


def read_drug_predictor(folder: Path | str | None = None) -> DrugPredictor:
    """Read what `save_drug_predictor` wrote; the one that ships when no folder is named. Read once, never changed.

    Raises
    ------
    OptionError
        There is none.
    CheckpointError
        It is of another version, damaged, or its parts disagree.
    """
    path = find_drug_predictor(folder)
    return _read(path, (path / PARAMETERS).stat().st_mtime_ns if (path / PARAMETERS).is_file() else 0)


@lru_cache(maxsize=3)
def _read(folder: Path, changed_at: int) -> DrugPredictor:
    return PREDICTORS.read(folder, _build)


def _arrays(predictor: DrugPredictor) -> dict[str, np.ndarray]:
    factors, regression, unseen = predictor.factors, predictor.regression, predictor.unseen
    arrays = {
        "factors.mean": factors.mean.astype(np.float16),
        "factors.spread": factors.spread.astype(np.float16),
        "factors.loadings": factors.loadings.astype(np.float16),
        "factors.variance": factors.variance.astype(np.float32),
        "regression.general": regression.general.astype(np.float32),
        "regression.specific": regression.specific.astype(np.float16),
        "regression.drug_mean": regression.drug_mean.astype(np.float32),
        "n_lines": predictor.n_lines.astype(np.int32),
        "shared": predictor.shared.astype(np.float32),
        "own": predictor.own.astype(np.float32),
        "spread_by_genes": predictor.spread_by_genes.astype(np.float32),
    }
    arrays |= {
        name: getattr(predictor, name).astype(np.float32) for name in ("measured", "errors", "general", "distances")
    }
    if predictor.calibration is not None:
        arrays |= {
            f"calibration.{name}": np.asarray(getattr(predictor.calibration, name), dtype=np.float32)
            for name in ("columns", "intercept", "slope", "distances")
        }
    if predictor.lines is not None:
        arrays |= {f"lines.{name}": getattr(predictor.lines, name).astype(np.float32) for name in ("scores", "ln_ic50")}
    return arrays if unseen is None else arrays | {"unseen.errors": unseen.errors.astype(np.float32)}


def _build(about: dict[str, Any], genes: list[str], arrays: dict[str, np.ndarray]) -> DrugPredictor:
    n_lines = arrays.pop("n_lines")
    lines = _lines(about, arrays)
    wide = {name: values.astype(np.float64) for name, values in arrays.items()}
    drugs = tuple(Drug(**(drug | {"synonyms": tuple(drug["synonyms"])})) for drug in about["drugs"])
    k, n_drugs = wide["regression.specific"].shape
    if wide["factors.loadings"].shape != (len(genes), k) or n_drugs != len(drugs):
        raise ValueError("parts of different shapes")
    factors = Factors(
        wide["factors.mean"].astype(np.float32),
        wide["factors.spread"].astype(np.float32),
        wide["factors.loadings"].astype(np.float32),
        wide["factors.variance"],
        float(about["noise"]),
    )
    parts = (wide[f"regression.{name}"] for name in ("general", "specific", "drug_mean"))
    rule = about["unseen"]
    unseen = None if rule is None else UnseenRule(**rule, errors=wide["unseen.errors"])
    both = about["calibration"]
    calibration = None
    if both is not None:
        columns, *rest = (wide[f"calibration.{name}"] for name in ("columns", "intercept", "slope"))
        calibration = Calibration(columns.astype(np.int64), *rest, **both, distances=wide["calibration.distances"])
    return DrugPredictor(
        tuple(genes),
        factors,
        Regression(*parts, tuple(about["penalties"])),
        drugs,
        n_lines,
        *(wide[name] for name in ("measured", "errors", "shared", "own", "general", "distances", "spread_by_genes")),
        unseen,
        calibration,
        about["scores"],
        about["about"],
        lines,
    )


def _lines(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> KnownLines | None:
    """Those that were kept; folders of before that was possible have none."""
    if (names := about.get("lines")) is None:
        return None
    scores, ln_ic50 = (arrays.pop(f"lines.{name}") for name in ("scores", "ln_ic50"))
    if not len(names) == len(scores) == len(ln_ic50):
        raise ValueError("parts of different shapes")
    return KnownLines(tuple(names), scores, ln_ic50)
