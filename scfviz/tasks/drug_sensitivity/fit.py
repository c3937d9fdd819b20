"""Learn a predictor for cells from the responses of bulk lines.

Ridge regression on the lines' expression, standardised gene by gene; probabilities from pseudo-cells of lines that the
regression did not see.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scfviz.errors import DatasetError
from scfviz.tasks.drug_sensitivity.predictor import CellPredictor
from scfviz.tasks.drug_sensitivity.simulate import DEPTHS, draw_cells, rates_of

PENALTY = 3.0  # times the mean squared length of a line; chosen by cross-validation over training lines
N_PARTS, N_FOLDS, N_LIKE = 100, 5, 15
_LEAST_SD = 0.1
_LEAST_LINES = 20


def standardise_cell(values: np.ndarray) -> np.ndarray:
    """z-scores within each row, float32; a row without variation stays zero."""
    spread = values.std(axis=1, keepdims=True)
    return ((values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)


def standardise_responses(ln_ic50: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(z-scores over lines for each drug, NaN where not measured; mean; standard deviation of each drug)."""
    mean, spread = np.nanmean(ln_ic50, axis=0), np.nanstd(ln_ic50, axis=0)
    return (ln_ic50 - mean) / spread, mean, spread


def ridge_weights(features: np.ndarray, targets: np.ndarray, penalty: float = PENALTY) -> np.ndarray:
    """Weights (n_genes, n_targets) of a ridge regression without intercept, by its dual.

    Parameters
    ----------
    features
        (n, n_genes), centred.
    targets
        (n, n_targets), centred; what was not measured is 0.
    """
    features = features.astype(np.float32)
    kernel = (features @ features.T).astype(np.float64)
    dual = np.linalg.solve(kernel + penalty * np.trace(kernel) / len(kernel) * np.eye(len(kernel)), targets)
    return features.T @ dual.astype(np.float32)


def fit_predictor(
    values: np.ndarray,
    genes: Sequence[str],
    ln_ic50: np.ndarray,
    drugs: Sequence[str],
    *,
    offset: np.ndarray,
    mean_shares: np.ndarray,
    published: np.ndarray | None = None,
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> CellPredictor:
    """Learn from bulk lines.

    Parameters
    ----------
    values
        float32 (n_lines, n_genes), z-scores of expression within each line.
    ln_ic50
        (n_lines, n_drugs), NaN where not measured.
    offset
        (n_genes,), what cells show on average, z-scored within the cell.
    mean_shares
        (n_genes,), how much each gene is counted in cells on average; 0 where it was never seen.
    published
        (n_drugs,), ln(IC50) below which a line is called sensitive; NaN where there is none.

    Raises
    ------
    DatasetError
        There are too few lines.
    """
    if len(values) < _LEAST_LINES:
        raise DatasetError(f"{len(values)} lines have responses.", f"At least {_LEAST_LINES} are needed.")
    truth, mean, spread = standardise_responses(ln_ic50)
    targets = np.nan_to_num(truth)
    scale = values.std(axis=0) + _LEAST_SD
    weights = ridge_weights((values - values.mean(axis=0)) / scale, targets)
    left, lengths, right = np.linalg.svd(weights, full_matrices=False)
    n_parts = min(N_PARTS, len(lengths))
    projection = left[:, :n_parts] * np.sqrt(lengths[:n_parts]) / scale[:, None]
    coefficients = np.sqrt(lengths[:n_parts])[:, None] * right[:n_parts]
    slope, rest = calibrate(values, targets, truth, mean_shares, seed=seed)
    nothing = np.full(len(drugs), np.nan)
    limits = nothing if published is None else (published - mean) / spread
    threshold = np.stack([np.nanmedian(truth, axis=0), np.nanquantile(truth, 0.25, axis=0), limits])
    return CellPredictor(
        tuple(genes),
        tuple(drugs),
        *(part.astype(np.float32) for part in (projection, offset, coefficients)),
        np.array(DEPTHS),
        *(part.astype(np.float32) for part in (slope, rest, threshold)),
        {"n_lines": len(values)} | dict(about or {}),
    )


def calibrate(
    values: np.ndarray, targets: np.ndarray, truth: np.ndarray, mean_shares: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """How a score relates to the response of a line that was held out, at each read depth.

    Returns
    -------
    tuple
        slope, spread, float64 (2, n_depths, n_drugs), see `CellPredictor`.
    """
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(values)) % N_FOLDS
    rates = rates_of(values, mean_shares)
    scores = np.zeros((2, len(DEPTHS), *truth.shape))
    folds = []
    for k in range(N_FOLDS):
        rows = fold != k
        scale = values[rows].std(axis=0) + _LEAST_SD
        folds.append(ridge_weights((values[rows] - values[rows].mean(axis=0)) / scale, targets[rows]) / scale[:, None])
    everyone = np.arange(len(values))
    for d, depth in enumerate(DEPTHS):
        few = N_LIKE if depth < DEPTHS[-2] else 2  # deep pseudo-cells of a line are all alike
        mean = np.zeros((len(values), values.shape[1]), dtype=np.float32)
        for copy in range(few):
            cells = standardise_cell(draw_cells(rates, everyone, depth, seed + 1000 * d + copy))
            mean += cells / few
            if copy == 0:
                first = cells
        for kind, cells in enumerate((first, mean)):
            cells = cells - cells.mean(axis=0)
            for k in range(N_FOLDS):
                scores[kind, d, fold == k] = cells[fold == k] @ folds[k]
    return _regress(scores, truth)


def _regress(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(truth)
    filled, n = np.where(known, truth, 0.0), known.sum(axis=0)
    counted = np.where(known, scores, 0.0)
    slope = np.maximum((counted * filled).sum(axis=-2) / np.maximum((counted**2).sum(axis=-2), 1e-12), 0.0)
    rest = np.where(known, filled - slope[..., None, :] * counted, 0.0)
    return slope, np.sqrt((rest**2).sum(axis=-2) / np.maximum(n, 1))
