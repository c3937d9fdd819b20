"""Counts by genes: the same numbers as by cells, complete or not there, and fast."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfviz.analysis.expression import AlignedExpression, read_columns
from scfviz.data.align import align_genes
from scfviz.data.gene_store import build_gene_store, open_gene_store
from scfviz.errors import GeneError, Stopped

GENES = [f"G{i}" for i in range(40)]


def make_counts(n_obs=300, *, of_first=0, seed=0):
    """An aligned dataset of 30 of 40 genes in another order; one cell has no counts."""
    rng = np.random.default_rng(seed)
    matrix = rng.poisson(0.7, (n_obs, 30)).astype(np.float32)
    matrix[:, 0] += np.round(of_first * rng.uniform(1, 3, n_obs))  # cells of one total are no counts
    matrix[5] = 0
    names = [GENES[i] for i in rng.permutation(40)[:30]]
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n_obs)])
    return align_genes(ad.AnnData(sp.csr_matrix(matrix), obs=obs, var=pd.DataFrame(index=names)), genes=GENES)


@pytest.fixture
def counts():
    return make_counts()


def test_every_gene_has_the_counts_that_the_cells_have(counts, tmp_path):
    store = build_gene_store(counts, tmp_path / "store")
    dense = counts.rows(0, counts.n_obs).toarray()
    for position in np.flatnonzero(counts.is_measured):
        cells, values = store.counts(int(position))
        expected = np.flatnonzero(dense[:, position])
        assert np.array_equal(cells, expected)
        assert np.array_equal(values, dense[expected, position])
    assert np.array_equal(store.is_measured, counts.is_measured)
    assert np.allclose(store.total_counts, counts.total_counts)


def test_blocks_of_cells_do_not_change_a_number(counts, tmp_path, monkeypatch):
    whole = build_gene_store(counts, tmp_path / "whole")
    blocks = counts.blocks
    monkeypatch.setattr(counts, "blocks", lambda: blocks(rows=7))
    parts = build_gene_store(counts, tmp_path / "parts")
    for name in ("cells.bin", "counts.bin", "indptr.npy", "total_counts.npy"):
        assert (whole.folder / name).read_bytes() == (parts.folder / name).read_bytes()


def test_values_are_log_normalised_and_unknown_without_counts(counts, tmp_path):
    store = build_gene_store(counts, tmp_path / "store")
    gene = str(counts.genes[counts.is_measured][3])
    dense = counts.rows(0, counts.n_obs).toarray()
    column = dense[:, list(counts.genes).index(gene)]
    with np.errstate(invalid="ignore"):
        expected = np.log1p(column / dense.sum(axis=1) * 1e4)
    assert np.isnan(store.values(gene)[5]) and np.isnan(expected[5])
    assert np.allclose(store.values(gene), expected, rtol=1e-6, equal_nan=True)


def test_a_gene_that_was_not_measured_is_refused_not_zero(counts, tmp_path):
    store = build_gene_store(counts, tmp_path / "store")
    missing = str(counts.genes[~counts.is_measured][0])
    with pytest.raises(GeneError, match="not measured"):
        store.values(missing)
    with pytest.raises(GeneError, match="no gene"):
        store.values("NOGENE")


@pytest.mark.parametrize("cells", [None, np.array([200, 5, 17, 18])])
def test_a_store_reads_like_the_dataset(counts, tmp_path, monkeypatch, cells):
    """Differential expression takes either; the order of the cells asked for is kept."""
    monkeypatch.setattr("scfviz.data.gene_store.ENTRIES_PER_BLOCK", 500)
    store = build_gene_store(counts, tmp_path / "store")
    genes = np.flatnonzero(counts.is_measured)
    ours, theirs = (read_columns(source, genes, cells=cells) for source in (store, AlignedExpression(counts)))
    assert ours.shape == theirs.shape
    assert np.allclose(ours.toarray(), theirs.toarray(), rtol=1e-6)


def test_large_counts_are_kept_exactly(tmp_path):
    store = build_gene_store(make_counts(of_first=70_000), tmp_path / "large")
    assert max(store.counts(int(g))[1].max(initial=0) for g in np.flatnonzero(store.is_measured)) >= 70_000


def test_a_stopped_build_leaves_nothing(counts, tmp_path):
    with pytest.raises(Stopped):
        build_gene_store(counts, tmp_path / "store", should_stop=lambda: True)
    assert list(tmp_path.iterdir()) == []
    assert open_gene_store(tmp_path / "store") is None


def test_a_damaged_store_is_built_again(counts, tmp_path):
    folder = tmp_path / "store"
    build_gene_store(counts, folder)
    assert open_gene_store(folder) is not None
    with open(folder / "counts.bin", "r+b") as file:
        file.truncate(10)
    assert open_gene_store(folder) is None
    progress = []
    build_gene_store(counts, folder, progress=progress.append)
    assert open_gene_store(folder).counts(str(counts.genes[counts.is_measured][0]))[0].size > 0
    assert progress[-1] == 1.0 and progress == sorted(progress)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_dataset_without_any_counts_of_some_genes_can_be_stored(tmp_path):
    counts = make_counts(20)
    counts.is_measured[:] = True
    store = build_gene_store(counts, tmp_path / "store")
    empty = [g for g in range(40) if not store.counts(g)[0].size]
    assert empty and (np.nan_to_num(store.values(empty[0])) == 0).all()
