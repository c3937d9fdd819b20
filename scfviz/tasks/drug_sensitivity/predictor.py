"""The predictor: a linear reading of a cell's expression for each drug, and what its numbers are worth."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.drug_sensitivity.options import THRESHOLDS
from scfviz.tasks.parameters import FolderKind

PREDICTORS = FolderKind("sensitivity.json", "predictor", 1)
DEFAULT = "drug_sensitivity_gdsc2"
SHIPPED = PREDICTORS.assets / DEFAULT
_PLAIN = re.compile(r"[^a-z0-9]")
_ARRAYS = ("projection", "offset", "coefficients", "slope", "spread", "threshold")


@dataclass(frozen=True)
class CellPredictor:
    """How sensitivity is read from a cell.

    Attributes
    ----------
    genes
        Symbols of the genes read.
    drugs
        Their names.
    projection
        float32 (n_genes, n_parts): from the standardised expression of a cell to a few numbers.
    offset
        float32 (n_genes,): what a cell shows on average, z-scored within the cell.
    coefficients
        float32 (n_parts, n_drugs): from these numbers to scores; high is resistant.
    depths
        float64 (n_depths,): read depths, in counts on `genes`, for which the next two are given.
    slope, spread
        float32 (2, n_depths, n_drugs): a line's standardised ln(IC50) is `slope` times the score, give or take
        `spread`; for single cells, and for means over similar cells.
    threshold
        float32 (3, n_drugs): standardised ln(IC50) below which a line is called sensitive, see `THRESHOLDS`; NaN where
        there is none.
    about
        `drugs` (targets, pathway, number of training lines, scores), `data`, `licence`, `n_lines`.
    """

    genes: tuple[str, ...]
    drugs: tuple[str, ...]
    projection: np.ndarray
    offset: np.ndarray
    coefficients: np.ndarray
    depths: np.ndarray
    slope: np.ndarray
    spread: np.ndarray
    threshold: np.ndarray
    about: Mapping[str, Any]

    @cached_property
    def _by_plain_name(self) -> dict[str, int]:
        return {_plain(name): i for i, name in enumerate(self.drugs)}

    def find_drugs(self, names: Sequence[str]) -> list[int]:
        """Places of drugs by their names, in any spelling of case and punctuation, by a synonym or by how one begins.

        Raises
        ------
        OptionError
            A name is no drug that this predictor knows; the nearest are named.
        """
        synonyms = {
            _plain(other): self.drugs.index(name)
            for name, about in self.about.get("drugs", {}).items()
            for other in about.get("synonyms", ())
            if name in self.drugs
        }
        known = synonyms | self._by_plain_name
        found = []
        for name in names:
            text = _plain(name)
            begin = {known[other] for other in self._by_plain_name if len(text) >= 4 and other.startswith(text)}
            place = known.get(text, begin.pop() if len(begin) == 1 else None)
            if place is None:
                near = difflib.get_close_matches(text, known, n=5, cutoff=0.5)
                near_names = list(dict.fromkeys(self.drugs[known[other]] for other in near))
                meant = f"The nearest names are {', '.join(near_names)}." if near_names else "No name is near it."
                raise OptionError(
                    f"'{str(name)[:60]}' is none of the {len(self.drugs)} drugs of this predictor.",
                    meant,
                    "`scfviz drugs list` names all of them.",
                )
            found.append(place)
        return list(dict.fromkeys(found))

    def probabilities(
        self,
        scores: np.ndarray,
        depth: np.ndarray,
        *,
        threshold: str = "median",
        is_mean: bool = False,
        drugs: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Probability that a line with this expression is sensitive.

        Parameters
        ----------
        scores
            (n, n_drugs), see `coefficients`; of `drugs` only, where these are given.
        depth
            (n,), counts on the predictor's genes.
        threshold
            Where sensitive begins, one of `THRESHOLDS`.
        is_mean
            The scores are means over similar cells.

        Returns
        -------
        float32 (n, n_drugs), NaN for a drug without this threshold.
        """
        from scipy.special import ndtr

        chosen = np.arange(len(self.drugs)) if drugs is None else np.asarray(drugs)
        slope, spread = (self._at_depth(values[int(is_mean)][:, chosen], depth) for values in (self.slope, self.spread))
        limit = self.threshold[list(THRESHOLDS).index(threshold)][chosen]
        return ndtr((limit - slope * scores) / spread).astype(np.float32)

    def _at_depth(self, values: np.ndarray, depth: np.ndarray) -> np.ndarray:
        logs = np.log(self.depths)
        place = np.interp(np.log(np.maximum(depth, 1.0)), logs, np.arange(len(logs)))
        low = np.minimum(place.astype(np.int64), len(logs) - 2)
        share = (place - low)[:, None]
        return (1 - share) * values[low] + share * values[low + 1]


def save_predictor(predictor: CellPredictor, folder: Path | str, *, card: str) -> Path:
    """Write a folder, whole or not at all.

    Raises
    ------
    OptionError
        It exists already.
    """
    about = {"kind": "drug_sensitivity", "drug_names": list(predictor.drugs), "about": dict(predictor.about)}
    arrays = {name: getattr(predictor, name).astype(np.float16) for name in _ARRAYS}
    arrays |= {"depths": predictor.depths.astype(np.float64)}
    return PREDICTORS.write(folder, about, arrays, ["symbol", *predictor.genes], card)


def read_predictor(folder: Path | str | None = None) -> CellPredictor:
    """Read what `save_predictor` wrote; the one that ships when no folder is given.

    Raises
    ------
    CheckpointError
        It is no such folder, of another version, damaged, or its parts disagree.
    """
    return PREDICTORS.read(SHIPPED if folder is None else folder, _build)


def _build(about: dict[str, Any], genes: list[str], arrays: dict[str, np.ndarray]) -> CellPredictor:
    drugs = tuple(about["drug_names"])
    parts = {name: arrays[name].astype(np.float32) for name in _ARRAYS}
    if parts["projection"].shape[0] != len(genes) or parts["coefficients"].shape[1] != len(drugs):
        raise ValueError("parts of different shapes")
    return CellPredictor(tuple(genes), drugs, depths=arrays["depths"], about=about["about"], **parts)


def _plain(name: str) -> str:
    return _PLAIN.sub("", str(name).lower())
