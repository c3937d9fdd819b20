"""Variable genes: scanpy's criterion, read in pieces."""

import weakref

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from small_cells import make_cells

from scfviz.analysis.baselines import choose_variable_genes
from scfviz.data.normalise import log_normalise


@pytest.fixture(scope="module")
def values():
    counts = make_cells(120, n_genes=1500).X.tocsr().astype(np.float32)
    return log_normalise(counts, np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel())


@pytest.mark.parametrize("n_top_genes", [1, 50, 400])
def test_they_are_those_that_scanpy_chooses(values, n_top_genes):
    varies = np.flatnonzero(np.ptp(values.toarray(), axis=0) > 0)
    found = sc.pp.highly_variable_genes(ad.AnnData(values[:, varies]), n_top_genes=n_top_genes, inplace=False)
    expected = varies[found["highly_variable"].to_numpy()]
    np.testing.assert_array_equal(choose_variable_genes(values, n_top_genes), expected)


def test_the_pieces_do_not_change_them_and_one_at_a_time_is_held(values):
    read = []

    def pieces():
        for start in range(0, values.shape[0], 7):
            assert sum(one() is not None for one in read) <= 2, "memory grew with the number of cells"
            piece = values[start : start + 7]
            read.append(weakref.ref(piece.data))
            yield piece

    np.testing.assert_array_equal(choose_variable_genes(pieces(), 300), choose_variable_genes(values, 300))
    assert len(read) == 18


def test_a_gene_that_is_the_same_everywhere_is_none(values):
    constant = values.tolil()
    constant[:, 3] = 1.7
    assert 3 in choose_variable_genes(values, 10**6)
    assert 3 not in choose_variable_genes(constant.tocsr().astype(np.float32), 10**6)
