"""Quantiles of counts are scipy's."""

import numpy as np
import pytest
from scipy.stats import nbinom

from scfviz.tasks.enhancement.quantiles import count_quantile


@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.95])
def test_quantiles_are_scipys(quantile):
    """Also where no count has next to no chance, and where the mean is next to nothing."""
    rng = np.random.default_rng(0)
    size = np.exp(rng.uniform(np.log(1e-2), np.log(2e3), (40, 50)))
    mean = np.exp(rng.uniform(np.log(1e-12), np.log(2e3), (40, 50)))
    found = count_quantile(quantile, size, mean)
    np.testing.assert_array_equal(found, nbinom.ppf(quantile, size, size / (size + mean)))
    assert found.max() > 1_000 and (found == 0).any()
