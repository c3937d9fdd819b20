"""Why a sample is said to respond: genes that carry a prediction, and how two groups of samples differ."""

from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.drug_response.predictor import DrugPredictor, DrugResponses
from scfviz.tasks.drug_response.scale import ScaledSamples

if TYPE_CHECKING:
    import pandas as pd

N_RESAMPLES = 1_000


def gene_contributions(
    predictor: DrugPredictor, scaled: ScaledSamples, sample: int, drug: int | None = None
) -> "pd.DataFrame":
    """What each gene adds to a prediction, exactly, for it is linear in them: an association, not a cause.

    Parameters
    ----------
    drug
        Place of the drug; None: the general sensitivity.

    Returns
    -------
    DataFrame
        `gene`, `expression` (standard deviations from the mean line), `contribution` in ln(uM): below zero the gene
        makes the sample more sensitive. The largest first; the sum is the prediction less that of a line with the mean
        expression.
    """
    import pandas as pd

    factors, regression = predictor.factors, predictor.regression
    used = np.flatnonzero(np.isfinite(scaled.values[sample]))
    weights = regression.general if drug is None else regression.general + regression.specific[:, drug]
    loadings = factors.loadings[used].astype(np.float64)
    if len(used) < len(predictor.genes):
        prior = factors.noise / np.maximum(factors.variance - factors.noise, 1e-6)
        weights = np.linalg.solve(loadings.T @ loadings + np.diag(prior), weights)
    expression = scaled.values[sample, used].astype(np.float64)
    found = expression * (loadings @ weights)
    table = pd.DataFrame({"gene": [predictor.genes[i] for i in used], "expression": expression, "contribution": found})
    order = np.argsort(-np.abs(found), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def compare_groups(found: DrugResponses, one: np.ndarray, other: np.ndarray, seed: int = 0) -> "pd.DataFrame":
    """Difference of ln(IC50) between two groups of samples, one less the other: one row a drug, the lowest first.

    Parameters
    ----------
    one, other
        bool (n_samples,).

    Returns
    -------
    DataFrame
        `drug`, `difference` in ln(uM) with `low` and `high` (95 %, by resampling samples; NaN where a group has fewer
        than three), and `specific`, the difference less that of the general sensitivity.
    """
    import pandas as pd

    a, b = np.flatnonzero(one), np.flatnonzero(other)
    values = found.ln_ic50
    ends = np.full((2, values.shape[1]), np.nan)
    if min(len(a), len(b)) >= 3:
        rng = np.random.default_rng(seed)
        drawn = [
            values[rng.choice(a, len(a))].mean(axis=0) - values[rng.choice(b, len(b))].mean(axis=0)
            for _ in range(N_RESAMPLES)
        ]
        ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        {
            "drug": found.drugs,
            "difference": values[a].mean(axis=0) - values[b].mean(axis=0),
            "low": ends[0],
            "high": ends[1],
            "specific": found.specific[a].mean(axis=0) - found.specific[b].mean(axis=0),
        }
    )
    return table.sort_values("difference", kind="stable", ignore_index=True)
