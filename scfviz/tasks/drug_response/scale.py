"""Bringing samples to the scale of the training lines, which were measured by arrays.

Every unit keeps the order of genes within a sample, so the genes that table and predictor share are ranked within it
and each rank gets the value that it has in a typical line. That leaves what is peculiar to a platform: arrays and
RNA-seq rank the same gene of the same line differently. Three remedies:

lines    none: for arrays like those of the training lines.
rnaseq   only genes for which lines were measured both ways, each with its regression; for any number of samples.
table    each gene centred and scaled over the samples of the table, as is usual in the field; what all samples share is
         lost, so that samples are compared with each other and not with the lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scfviz.errors import GeneError, OptionError
from scfviz.tasks.drug_response.factors import Factors
from scfviz.tasks.drug_response.samples import COUNTS, MIN_GENES, Samples

LINES, RNASEQ, TABLE = "lines", "rnaseq", "table"
SCALES = (LINES, RNASEQ, TABLE)
SCALE_TITLES = {
    LINES: "As the training lines (arrays)",
    RNASEQ: "RNA-seq, by lines that were measured both ways",
    TABLE: "Within this table",
}
MIN_TABLE, MANY_SAMPLES = 5, 10
_POINTS = np.array([-1.645, -1.036, -0.674, -0.385, -0.126, 0.126, 0.385, 0.674, 1.036, 1.645])  # of a normal curve


@dataclass(frozen=True)
class Calibration:
    """Genes of which lines were measured by RNA-seq, too.

    Attributes
    ----------
    columns
        int (k,): their places among the predictor's genes.
    intercept, slope
        float64 (k,): from the rank's value in RNA-seq to that of the array, by regression over lines.
    wider
        By how much errors of held-out lines grow, by scale.
    distances
        float64 (101,): quantiles over held-out lines of `Factors.distance` by these genes.
    n_lines
        Lines that were measured both ways.
    """

    columns: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    wider: dict[str, float]
    distances: np.ndarray
    n_lines: int


@dataclass(frozen=True)
class ScaledSamples:
    """Samples as the training lines are, standardised.

    Attributes
    ----------
    values
        float32 (n_samples, n_genes), NaN where a gene is not used.
    scale
        One of `SCALES`.
    notes
        What was done and what it means.
    """

    values: np.ndarray
    scale: str
    notes: tuple[str, ...]


def rank_values(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Values that the ranks of genes within each sample have in a typical line: float64 of the same shape.

    Parameters
    ----------
    values
        (n_samples, k), in any unit.
    mean, spread
        (k,): of these genes over the training lines.
    """
    from scipy.stats import rankdata

    typical = np.sort((mean[:, None] + spread[:, None] * _POINTS).ravel())
    at = (np.arange(len(typical)) + 0.5) / len(typical)
    ranks = (rankdata(values, axis=1) - 0.5) / values.shape[1]
    return np.interp(ranks, at, typical)


def scale_samples(
    samples: Samples, genes: Sequence[str], factors: Factors, calibration: Calibration | None, scale: str | None = None
) -> ScaledSamples:
    """Bring samples to the training scale.

    Parameters
    ----------
    genes
        Of the predictor.
    scale
        One of `SCALES`; None chooses: "lines" where the samples look like arrays, else "rnaseq", or for counts (which
        hold the lengths of genes) "table", each where there is enough for it.

    Raises
    ------
    GeneError
        Table and predictor share too few genes.
    OptionError
        The scale is unknown, or cannot be used with this table.
    """
    if scale is not None and scale not in SCALES:
        raise OptionError(f"The scale is '{scale}'.", f"One of {', '.join(SCALES)} is needed.", "Choose one of them.")
    shared, columns = _shared(samples, genes)
    n_calibrated = 0 if calibration is None else len(np.intersect1d(calibration.columns, shared))
    direct = None
    if scale in (None, LINES):
        direct = _spread_out(rank_values(samples.values[:, columns], *_of(factors, shared)), shared, factors)
        usual = np.median(factors.distance(direct)) < 4
        if scale is None:
            scale = _choose(samples, n_calibrated, bool(usual))
    if scale == LINES:
        return ScaledSamples(direct, LINES, _direct_notes(direct, factors))
    if scale == TABLE:
        if samples.n_samples < MIN_TABLE:
            raise OptionError(
                f"The table holds {samples.n_samples} samples.",
                f"Genes are centred over at least {MIN_TABLE}.",
                "Choose another scale, or add samples.",
            )
        return _within_table(samples, shared, columns, factors)
    if calibration is None or n_calibrated < MIN_GENES:
        raise OptionError(
            f"{n_calibrated:,} genes of the table were measured both ways.",
            f"At least {MIN_GENES} are needed.",
            "Choose another scale.",
        )
    return _calibrated(samples, genes, factors, calibration)


def fit_calibration(samples: Samples, genes: Sequence[str], factors: Factors, arrays: np.ndarray) -> Calibration:
    """Learn from lines that were measured both ways.

    Parameters
    ----------
    samples
        RNA-seq of the lines.
    arrays
        (n_lines, n_genes): the same lines on the predictor's genes and scale.
    """
    shared, columns = _shared(samples, genes)
    said = rank_values(samples.values[:, columns], *_of(factors, shared))
    true = arrays[:, shared].astype(np.float64)
    centre, goal = said.mean(axis=0), true.mean(axis=0)
    together = ((said - centre) * (true - goal)).mean(axis=0)
    slope = np.clip(together / np.maximum(said.var(axis=0), 1e-4), 0, 2)
    return Calibration(shared, goal - slope * centre, slope, {}, np.full(101, np.nan), samples.n_samples)


def _shared(samples: Samples, genes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Places among the predictor's genes of those that the table holds, and their columns in the table."""
    place = {gene: i for i, gene in enumerate(samples.genes)}
    shared = np.array([i for i, gene in enumerate(genes) if gene in place], dtype=np.int64)
    if len(shared) < MIN_GENES:
        raise GeneError(
            f"The table holds {len(shared):,} of the predictor's {len(genes):,} genes.",
            f"At least {MIN_GENES} are needed.",
            "Give a table with more of the measured genes.",
        )
    return shared, np.array([place[genes[i]] for i in shared])


def _choose(samples: Samples, n_calibrated: int, is_usual: bool) -> str:
    if is_usual:
        return LINES
    enough = samples.n_samples >= MANY_SAMPLES
    if samples.kind == COUNTS and enough:
        return TABLE
    if n_calibrated >= MIN_GENES:
        return RNASEQ
    return TABLE if enough else LINES


def _calibrated(samples: Samples, genes: Sequence[str], factors: Factors, calibration: Calibration) -> ScaledSamples:
    place = {gene: i for i, gene in enumerate(samples.genes)}
    used = np.array([i for i, column in enumerate(calibration.columns) if genes[column] in place])
    rows = calibration.columns[used]
    said = rank_values(samples.values[:, [place[genes[i]] for i in rows]], *_of(factors, rows))
    values = _spread_out(calibration.intercept[used] + calibration.slope[used] * said, rows, factors)
    notes = [
        f"RNA-seq: read by the {len(used):,} genes of which {calibration.n_lines:,} lines were measured by arrays and "
        "by RNA-seq; the others are filled in from them."
    ]
    if samples.kind == COUNTS:
        notes.append(
            "Counts hold the lengths of genes, which TPM and FPKM do not: give TPM if you have it. Differences between "
            "samples hold better than their place among the lines."
        )
    return ScaledSamples(values, RNASEQ, tuple(notes))


def _within_table(samples: Samples, shared: np.ndarray, columns: np.ndarray, factors: Factors) -> ScaledSamples:
    said = rank_values(samples.values[:, columns], *_of(factors, shared))
    spread = said.std(axis=0)
    floor = 0.3 * float(np.median(spread))
    standard = (said - said.mean(axis=0)) / np.maximum(spread, max(floor, 1e-6))
    values = np.full((samples.n_samples, len(factors.mean)), np.nan, dtype=np.float32)
    values[:, shared] = standard
    note = (
        "Each gene was centred and scaled over the samples of this table: they are compared with each other, as if "
        "together they were an average set of lines. What all of them share is not seen."
    )
    return ScaledSamples(values, TABLE, (note,))


def _direct_notes(values: np.ndarray, factors: Factors) -> tuple[str, ...]:
    if np.median(factors.distance(values)) < 4:
        return ()
    return (
        "The platform could not be taken into account: read differences between samples, not their place among the "
        "lines.",
    )


def _of(factors: Factors, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return factors.mean[rows].astype(np.float64), factors.spread[rows].astype(np.float64)


def _spread_out(values: np.ndarray, rows: np.ndarray, factors: Factors) -> np.ndarray:
    mean, spread = _of(factors, rows)
    found = np.full((len(values), len(factors.mean)), np.nan, dtype=np.float32)
    found[:, rows] = (values - mean) / spread
    return found
