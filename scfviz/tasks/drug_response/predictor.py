"""A predictor of drug response: what it holds, and how it answers for samples.

Parameters only, no row of a line, unless whoever fitted it kept the lines (`lines`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scfviz.tasks.drug_response.completion import condition
from scfviz.tasks.drug_response.factors import Factors
from scfviz.tasks.drug_response.ridge import Regression
from scfviz.tasks.drug_response.samples import FEW_GENES, MIN_GENES, Samples
from scfviz.tasks.drug_response.scale import LINES, RNASEQ, TABLE, Calibration, ScaledSamples, scale_samples
from scfviz.tasks.drug_response.tables import Drug
from scfviz.tasks.drug_response.unseen import UnseenRule

LEVEL = 0.9
GRID = np.linspace(0, 1, 101)  # of every quantile function here


@dataclass(frozen=True)
class KnownLines:
    """Lines that a predictor was learned from.

    Attributes
    ----------
    names
        Of the lines.
    scores
        float32 (n_lines, k): of their expression, see `Factors.scores`.
    ln_ic50
        float32 (n_lines, n_drugs): what was measured, ln(IC50 in uM), NaN elsewhere.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    ln_ic50: np.ndarray


@dataclass(frozen=True)
class DrugPredictor:
    """What is learned of lines and drugs.

    Attributes
    ----------
    genes
        Symbols of the model.
    factors, regression
        From expression to scores, from scores to ln(IC50 in uM).
    drugs
        In the order of all arrays.
    n_lines
        int (n_drugs,): lines that each drug was measured on.
    measured
        float64 (n_drugs, 101): quantiles of ln(IC50) over the training lines.
    errors
        float64 (n_drugs, 101): quantiles of measured less predicted over lines that were held out.
    shared, own
        (n_drugs, k) and (n_drugs,): covariance of these errors, see `completion.condition`.
    general
        float64 (101,): quantiles over held-out lines of the predicted sensitivity that drugs have in common.
    distances
        float64 (101,): quantiles over held-out lines of `Factors.distance`.
    spread_by_genes
        float64 (2, n): numbers of measured genes, and by how much they make errors larger.
    unseen
        How drugs that were not measured are predicted; None without structures.
    calibration
        From RNA-seq to the arrays of the training lines; None where no line was measured both ways.
    scores
        What was measured on held-out lines: of each drug under "drugs", and overall.
    about
        Where it comes from: `title`, `source`, `licence`.
    lines
        The training lines with what was measured on them; None where they were not kept, as in all that ship.
    """

    genes: tuple[str, ...]
    factors: Factors
    regression: Regression
    drugs: tuple[Drug, ...]
    n_lines: np.ndarray
    measured: np.ndarray
    errors: np.ndarray
    shared: np.ndarray
    own: np.ndarray
    general: np.ndarray
    distances: np.ndarray
    spread_by_genes: np.ndarray
    unseen: UnseenRule | None
    calibration: Calibration | None
    scores: Mapping[str, Any]
    about: Mapping[str, Any]
    lines: KnownLines | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the drugs."""
        return tuple(drug.name for drug in self.drugs)


@dataclass(frozen=True)
class DrugResponses:
    """Predictions for samples and drugs.

    Attributes
    ----------
    samples, drugs
        Names of rows and columns.
    ln_ic50, low, high
        float64 (n_samples, n_drugs): ln(IC50 in uM) and the ends of its 90 % interval.
    percentile, percentile_low, percentile_high
        float64 (n_samples, n_drugs), 0 to 100: expected share of the training lines that are more sensitive (need less
        of the drug), and that share at the ends of the interval. Low: the sample is among the sensitive ones.
    potency
        float64 (n_drugs,): mean ln(IC50) of the drug over lines, less that of all drugs.
    general
        float64 (n_samples,): what all drugs have in common in this sample, in ln(uM); below zero: sensitive.
    specific
        float64 (n_samples, n_drugs): what is left. All three and `level` add up to `ln_ic50`.
    level
        Mean ln(IC50) over all drugs.
    general_percentile
        float64 (n_samples,): share of the training lines whose predicted general part is lower.
    distance, distance_percentile
        float64 (n_samples,): unlikeness to the training lines, and the share of the held-out lines that are less so.
    is_measured
        bool (n_samples, n_drugs): the user's own measurement stands there.
    n_genes
        Genes of the predictor that are read.
    scale
        How the samples are compared with the training lines, see `scale_samples`.
    notes
        What should be known, in sentences.
    """

    samples: tuple[str, ...]
    drugs: tuple[str, ...]
    ln_ic50: np.ndarray
    low: np.ndarray
    high: np.ndarray
    percentile: np.ndarray
    percentile_low: np.ndarray
    percentile_high: np.ndarray
    potency: np.ndarray
    general: np.ndarray
    specific: np.ndarray
    level: float
    general_percentile: np.ndarray
    distance: np.ndarray
    distance_percentile: np.ndarray
    is_measured: np.ndarray
    n_genes: int
    scale: str
    notes: tuple[str, ...] = ()

    @property
    def is_far(self) -> np.ndarray:
        """bool (n_samples,): less like the training lines than 99 % of them are."""
        return self.distance_percentile >= 99


def predict_samples(
    predictor: DrugPredictor, samples: Samples, measured: np.ndarray | None = None, scale: str | None = None
) -> DrugResponses:
    """Predict the response of samples to all drugs of a predictor.

    Parameters
    ----------
    samples
        See `read_samples`.
    measured
        (n_samples, n_drugs): ln(IC50 in uM) that the user measured, NaN elsewhere; the other drugs follow them.
    scale
        How samples are compared with the training lines, see `scale_samples`.

    Raises
    ------
    GeneError, OptionError
        Table and predictor share too few genes, or the scale cannot be used.
    """
    factors = predictor.factors
    scaled = scale_samples(samples, predictor.genes, factors, predictor.calibration, scale)
    n_genes = int(np.isfinite(scaled.values[0]).sum())
    expected = predictor.regression.predict(factors.scores(scaled.values))
    own = np.full(expected.shape, np.nan) if measured is None else np.asarray(measured, dtype=np.float64)
    wider = widening(predictor, scaled.scale, n_genes)
    expected, left = condition(expected, own, predictor.shared, predictor.own)
    left = left * wider
    mean = predictor.regression.drug_mean
    general = (expected - mean).mean(axis=1)
    distance, usual = domain_distance(predictor, samples, scaled)
    ends = _percentiles(predictor, expected, left)
    return DrugResponses(
        samples.names,
        predictor.names,
        expected,
        *_interval(predictor, expected, left),
        *ends,
        mean - mean.mean(),
        general,
        expected - mean - general[:, None],
        float(mean.mean()),
        100 * share_below(predictor.general, general),
        distance,
        100 * share_below(usual, distance),
        np.isfinite(own),
        n_genes,
        scaled.scale,
        (*samples.notes, *scaled.notes, *_notes(predictor, n_genes, wider)),
    )


def widening(predictor: DrugPredictor, scale: str, n_genes: int) -> float:
    """By how much errors are larger than those of lines on all genes of the arrays."""
    counts, factor = predictor.spread_by_genes
    found = float(np.interp(np.log(n_genes), np.log(counts), factor))
    measured = None if predictor.calibration is None else predictor.calibration.wider.get(scale)
    return found if measured is None else max(found, measured)


def domain_distance(predictor: DrugPredictor, samples: Samples, scaled: ScaledSamples) -> tuple[np.ndarray, np.ndarray]:
    """Unlikeness to the training lines, float64 (n,), and its quantiles over lines that were held out.

    Of a table whose genes were centred it is taken before that was done.
    """
    factors, both = predictor.factors, predictor.calibration
    if scaled.scale == TABLE:
        is_possible = (
            both is not None and len(set(samples.genes) & {predictor.genes[i] for i in both.columns}) >= MIN_GENES
        )
        scaled = scale_samples(samples, predictor.genes, factors, both, RNASEQ if is_possible else LINES)
    return factors.distance(scaled.values), both.distances if scaled.scale == RNASEQ else predictor.distances


def _interval(predictor: DrugPredictor, expected: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = conformal_ends(predictor.errors, predictor.n_lines)
    return expected + left * low, expected + left * high


def conformal_ends(errors: np.ndarray, n_lines: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Ends of an interval around zero that holds `level` of new errors: float64 (n_drugs,) each.

    Parameters
    ----------
    errors
        (n_drugs, 101): quantiles of errors of lines that were held out.
    n_lines
        (n_drugs,): their number, for the correction of few.

    Source: split conformal prediction, Vovk et al. 2005, doi:10.1007/b106715.
    """
    tail = (1 - level) / 2
    wide = np.minimum((1 - tail) * (1 + 1 / np.maximum(n_lines, 1)), 1)
    high = np.array([np.interp(w, GRID, row) for w, row in zip(wide, errors, strict=True)])
    low = np.array([np.interp(1 - w, GRID, row) for w, row in zip(wide, errors, strict=True)])
    return low, high


def _percentiles(predictor: DrugPredictor, expected: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, ...]:
    low, high = _interval(predictor, expected, left)
    middle, first, last = (np.empty(expected.shape) for _ in range(3))
    some = predictor.errors[:, 5:100:10]  # ten errors of equal probability
    for drug, known in enumerate(predictor.measured):
        reached = expected[:, drug, None] + left[:, drug, None] * some[drug]
        middle[:, drug] = share_below(known, reached).mean(axis=1)
        first[:, drug], last[:, drug] = share_below(known, low[:, drug]), share_below(known, high[:, drug])
    return 100 * middle, 100 * first, 100 * last


def share_below(quantiles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of a distribution that lies below, 0 to 1."""
    rising = np.maximum.accumulate(quantiles + 1e-12 * np.arange(len(quantiles)))
    return np.interp(values, rising, GRID)


def _notes(predictor: DrugPredictor, n_genes: int, wider: float) -> list[str]:
    if n_genes >= FEW_GENES and wider < 1.02:
        return []
    return [
        f"{n_genes:,} of the predictor's {len(predictor.genes):,} genes are read, and intervals are {wider - 1:.0%} "
        "wider than with all of them on the training platform."
    ]
