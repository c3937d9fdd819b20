"""Quality figures are right, and filters keep what they say."""

import datasets
import numpy as np
import pytest
import scipy.sparse as sp

from scfviz.data.align import align_genes
from scfviz.data.qc import filter_cells, qc_metrics
from scfviz.errors import OptionError


@pytest.fixture
def adata():
    names = ["MT-ND1", "MT-CO1", *(s for s in datasets.some_genes(400) if not s.startswith("MT-"))]
    return datasets.make_adata(names=names)


def test_metrics_are_those_of_the_counts(adata):
    dense = adata.X.toarray()
    metrics = qc_metrics(align_genes(adata))
    assert list(metrics.index) == list(adata.obs_names)
    assert metrics["total_counts"].to_numpy() == pytest.approx(dense.sum(axis=1))
    assert (metrics["n_genes"].to_numpy() == (dense > 0).sum(axis=1)).all()
    assert metrics["pct_counts_mt"].to_numpy() == pytest.approx(100 * dense[:, :2].sum(axis=1) / dense.sum(axis=1))


def test_the_mitochondrial_share_is_unknown_where_nothing_mitochondrial_was_measured():
    names = [s for s in datasets.some_genes(400) if not s.startswith("MT-")]
    metrics = qc_metrics(align_genes(datasets.make_adata(names=names)))
    assert metrics["pct_counts_mt"].isna().all()
    assert filter_cells(metrics, max_pct_mt=5).all()


def test_a_cell_without_counts_never_stays(adata):
    dense = adata.X.toarray()
    dense[3] = 0
    adata.X = sp.csr_matrix(dense)
    metrics = qc_metrics(align_genes(adata))
    assert np.isnan(metrics["pct_counts_mt"].iloc[3])
    assert np.flatnonzero(~filter_cells(metrics)).tolist() == [3]


def test_limits_include_their_value(adata):
    metrics = qc_metrics(align_genes(adata))
    for column, option in (("total_counts", "min_counts"), ("n_genes", "min_genes")):
        limit = metrics[column].median()
        assert (filter_cells(metrics, **{option: limit}) == (metrics[column] >= limit)).all()
    limit = metrics["pct_counts_mt"].median()
    assert (filter_cells(metrics, max_pct_mt=limit) == (metrics["pct_counts_mt"] <= limit)).all()


def test_filters_work_together(adata):
    metrics = qc_metrics(align_genes(adata))
    options = {
        "min_counts": metrics["total_counts"].quantile(0.3),
        "max_pct_mt": metrics["pct_counts_mt"].quantile(0.7),
    }
    both = filter_cells(metrics, **options)
    assert (both == np.logical_and(*(filter_cells(metrics, **{k: v}) for k, v in options.items()))).all()
    assert 0 < both.sum() < len(both)


@pytest.mark.parametrize("option", [{"min_counts": -1}, {"min_genes": -5}, {"max_pct_mt": 101}, {"max_pct_mt": -1}])
def test_senseless_limits_are_refused(option, adata):
    with pytest.raises(OptionError):
        filter_cells(qc_metrics(align_genes(adata)), **option)
