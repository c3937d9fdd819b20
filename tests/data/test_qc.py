"""Quality figures are right, and filters keep what they say."""

import datasets
import numpy as np
import pytest
import scipy.sparse as sp

from scfviz.data.align import align_genes
from scfviz.data.qc import filter_cells, qc_metrics, refuse_unusable
from scfviz.errors import DatasetError, OptionError


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


# --- human and mouse cells in one file -----------------------------------------------------------------------------


def barnyard(human: str, mouse: str, genome: bool = False):
    """20 human cells, 20 mouse cells with a few human counts, one without any; prefixes before the names."""
    import anndata as ad
    import datasets
    import pandas as pd
    import scipy.sparse as sp

    symbols = datasets.some_genes(400)
    counts = datasets.make_counts(41, 400, seed=1).toarray()
    own, other = counts.copy(), counts.copy()
    own[20:] = 0
    own[20:40, :3] = 1
    other[:20] = 0
    other[40] = 0
    names = [*(human + s for s in symbols), *(mouse + s.capitalize() for s in symbols)]
    var = pd.DataFrame({"genome": ["GRCh38"] * 400 + ["mm10"] * 400} if genome else {}, index=names)
    obs = pd.DataFrame(index=[f"CELL{i}" for i in range(41)])
    return ad.AnnData(sp.csr_matrix(np.hstack([own, other])), obs=obs, var=var), own


@pytest.mark.parametrize(
    ("human", "mouse", "genome"),
    [
        ("GRCh38_", "mm10___", False),
        ("GRCh38-", "mm10---", False),
        ("hg19_", "mm9_", False),
        ("HUMAN_", "MOUSE_", False),
        ("", "mm10_", False),
        ("", "", True),
        ("", "x", True),
    ],
)
def test_mouse_cells_are_named_and_never_stay(human, mouse, genome):
    adata, own = barnyard(human, mouse, genome)
    aligned = align_genes(adata)
    assert np.array_equal(aligned.total_counts, own.sum(axis=1))
    assert np.array_equal(np.flatnonzero(aligned.is_other_species), np.arange(20, 40))
    report = aligned.counts_report
    assert (report.n_empty, report.n_other_species) == (1, 20)
    warnings = " ".join(n.text for n in report.notices if n.level == "warning")
    assert "20 of 41 cells" in warnings and "CELL20" in warnings
    assert np.array_equal(filter_cells(qc_metrics(aligned)), np.arange(41) < 20)
    with pytest.raises(DatasetError, match="CELL40.*CELL20.*--min-counts"):
        refuse_unusable(aligned)
    refuse_unusable(aligned.subset(np.arange(20)))


def test_empty_means_empty_on_the_genes_of_the_model_everywhere():
    import anndata as ad
    import datasets
    import pandas as pd
    import scipy.sparse as sp

    counts = datasets.make_counts(30, 400).toarray()
    counts[25:] = 0
    values = np.hstack([counts, np.ones((30, 40))])  # all cells have counts on genes that the model does not know
    names = [*datasets.some_genes(400), *(f"LNC{i}" for i in range(40))]
    obs = pd.DataFrame(index=[f"CELL{i}" for i in range(30)])
    aligned = align_genes(ad.AnnData(sp.csr_matrix(values), obs=obs, var=pd.DataFrame(index=names)))
    assert aligned.counts_report.n_empty == (aligned.total_counts == 0).sum() == 5
    assert filter_cells(qc_metrics(aligned)).sum() == 25
    with pytest.raises(DatasetError, match="5 of 30 cells have no counts on the model's genes .for example CELL25"):
        refuse_unusable(aligned)
