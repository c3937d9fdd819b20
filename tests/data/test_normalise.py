"""Log-normalisation is written once."""

import re
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from scfviz.data.normalise import log_normalise, log_values

ROOT = Path(__file__).resolve().parents[2]


def test_values_are_ln_of_one_plus_counts_per_10000():
    counts = csr_matrix(np.array([[1, 0, 3], [0, 2, 0], [5, 0, 0]], dtype=np.float32))
    got = log_normalise(counts)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.indices, counts.indices)
    expected = np.log1p([[2500.0, 0, 7500], [0, 10000, 0], [10000, 0, 0]])
    np.testing.assert_allclose(got.toarray(), expected, rtol=1e-7)
    np.testing.assert_array_equal(
        log_normalise(counts[:, [2, 0]], np.array([4, 2, 5])).toarray(), got[:, [2, 0]].toarray()
    )
    assert log_values(np.float32([3]), 4.0)[0] == got[0, 2]


def test_a_cell_without_counts_stays_zero_also_with_stored_zeros():
    counts = csr_matrix((np.zeros(2, dtype=np.float32), [0, 1], [0, 2, 2]), shape=(2, 3))
    with np.errstate(all="raise"):
        assert not log_normalise(counts).toarray().any()


def test_no_other_module_writes_it():
    """It was written five times, in two precisions."""
    number = re.compile(r"\b(1e4|10_?000(\.0)?) / |\bCOUNTS_PER_CELL / ")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "scfviz").rglob("*.py")
        if any("log1p" in line and number.search(line) for line in path.read_text(encoding="utf-8").splitlines())
    ]
    # enhancement takes the expectation over all numbers of counts, in float64
    assert set(found) <= {"scfviz/data/normalise.py", "scfviz/tasks/enhancement/fit.py"}


def test_variable_genes_and_principal_components_have_one_place():
    """Page and benchmark had two, with different tolerances."""
    used = re.compile(r"highly_variable_genes\(|\.pca\(|\bPCA\(|TruncatedSVD|\bsvds\b|randomized_svd")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "scfviz").rglob("*.py")
        if used.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"scfviz/analysis/baselines.py"}
