"""`enhance_counts`: the same numbers however cells and genes are cut, in bounded memory."""

import tracemalloc
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import nbinom

import scfviz
from scfviz.errors import DatasetError, GeneError, OptionError, Stopped
from scfviz.model.scfoundation import ScFoundation
from scfviz.tasks.enhancement.around import Surroundings
from scfviz.tasks.enhancement.compute import INTERVAL, Enhancer, expect_expression, read_counts
from scfviz.tasks.enhancement.fit import CONCENTRATIONS, TYPICAL

N_CELLS, N_GENES, N_MEASURED = 70, 64, 60


@pytest.fixture(scope="module")
def symbols():
    from scfviz.data.vocabulary import load_vocabulary

    return list(load_vocabulary().symbols[:N_GENES])


def cells(symbols, n_cells=N_CELLS, scale=1.0):
    rng = np.random.default_rng(0)
    shares = rng.gamma(0.5, 1.0, (4, N_MEASURED))[np.arange(n_cells) % 4]
    depth = rng.uniform(80, 300, (n_cells, 1))
    counts = scale * (rng.poisson(depth * shares / shares.sum(axis=1, keepdims=True)) + (np.arange(N_MEASURED) == 0))
    names = pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)])
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), names, pd.DataFrame(index=symbols[:N_MEASURED]))
    return scfviz.align_genes(adata, genes=symbols)


@pytest.fixture(scope="module")
def aligned(symbols):
    return cells(symbols)


@pytest.fixture
def model(small_model, symbols):
    renamed = ScFoundation(small_model.config, symbols).eval()
    renamed.load_state_dict(small_model.state_dict())
    return renamed


def same(one, other, columns=slice(None)):
    for name in ("values", "low", "high"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name)[:, columns], rtol=1e-5, atol=1e-6)
    assert one.weights == other.weights and one.mixture == other.mixture


def test_counts_gathered_at_once_are_those_gathered_cell_by_cell(aligned):
    counts = read_counts(aligned)
    genes = np.arange(3, 40)
    whole, single = (Surroundings(counts, np.asarray(counts.sum(axis=1)).ravel().astype(float)) for _ in range(2))
    whole.smooth_all(genes, np.empty((N_CELLS, len(genes)), dtype=np.float32))
    rows = np.array([0, 5, 69])
    own = counts[rows][:, genes].toarray().astype(float)
    for one, other in zip(whole.sums(rows, own, genes), single.sums(rows, own, genes), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    # the cell itself is left out: a gene that it alone has gives nothing
    alone = counts.copy().tolil()
    alone[:, 3] = 0
    alone[5, 3] = 9
    left_out = Surroundings(alone.tocsr(), np.asarray(alone.sum(axis=1)).ravel().astype(float))
    left_out.smooth_all(genes, np.empty((N_CELLS, len(genes)), dtype=np.float32))
    near, _ = left_out.sums(np.array([5]), alone[[5]][:, genes].toarray().astype(float), genes)
    assert abs(near[0, 0]) < 1e-4


def test_neither_windows_nor_other_genes_change_a_number(aligned, model, symbols):
    whole = scfviz.enhance_counts(aligned, model, depth_fold=4, cells_at_once=N_CELLS)
    assert whole.values.shape == (N_CELLS, N_GENES) and whole.values.dtype == np.float32
    for size in (1, 7, 64):
        same(scfviz.enhance_counts(aligned, model, depth_fold=4, cells_at_once=size), whole)
    columns = [50, 3, 62, 17]
    some = scfviz.enhance_counts(aligned, model, depth_fold=4, genes=[symbols[i] for i in columns], cells_at_once=7)
    same(some, whole, columns)
    assert some.genes == tuple(symbols[i] for i in columns) and some.is_measured.tolist() == [True, True, False, True]
    np.testing.assert_allclose(some.target_depth, 4 * some.source_depth)


def test_blocks_equal_the_calculation_cell_by_cell(aligned, model):
    """The loop over cells that the blocks stand for."""
    counts, target = aligned.rows(0, N_CELLS), 3 * aligned.total_counts
    enhancer, expect, rows = Enhancer(counts, aligned.is_measured), expect_expression(model), np.arange(N_CELLS)
    weights = enhancer.learn(target, expect)
    found = enhancer.enhance(rows, target, weights, expect)
    views = enhancer._views(rows, counts, target, expect, np.flatnonzero(aligned.is_measured))
    log_share = sum(weights.exponents[name] * view for name, view in views.items()) + weights.offset
    log_share = np.clip(log_share, -30.0, 0.0)
    size_of = np.exp(np.clip(weights.log_concentration + weights.slope * (log_share - TYPICAL), *CONCENTRATIONS))
    for i, depth in enumerate(aligned.total_counts):
        seen = counts[i].toarray().ravel()[aligned.is_measured].astype(np.float64)
        size = size_of[i] + seen
        mean = size / (size_of[i] / np.exp(log_share[i]) + depth) * (target[i] - depth)
        for part, quantile in ((found.median, 0.5), (found.low, INTERVAL[0]), (found.high, INTERVAL[1])):
            more = nbinom.ppf(quantile, size, size / (size + np.maximum(mean, 1e-12)))
            expected = np.log1p((seen + np.maximum(more, 0.0)) * (1e4 / target[i])).astype(np.float32)
            np.testing.assert_array_equal(part[i, aligned.is_measured], expected)


def test_unmeasured_genes_are_no_zeros(aligned):
    found = scfviz.enhance_counts(aligned, None, target_depth=1000)
    assert found.is_measured.sum() == N_MEASURED
    for part in (found.values, found.low, found.high):
        assert np.isnan(part[:, N_MEASURED:]).all() and np.isfinite(part[:, :N_MEASURED]).all()


def test_estimated_counts_are_rounded(symbols, aligned):
    fractions = cells(symbols, scale=1.1)
    fractions.counts_report = SimpleNamespace(**vars(fractions.counts_report) | {"is_whole": False})
    found = scfviz.enhance_counts(fractions, None, depth_fold=2)
    assert (found.source_depth == np.rint(found.source_depth)).all() and np.isfinite(found.values[:, :4]).all()


def test_impossible_requests_are_refused_in_words(aligned, model, small_model, symbols, monkeypatch):
    with pytest.raises(OptionError, match="target depth of cell cell"):
        scfviz.enhance_counts(aligned, None, target_depth=100)
    with pytest.raises(OptionError, match="target depth of cell cell"):
        scfviz.enhance_counts(aligned, None, depth_fold=0.5)
    with pytest.raises(OptionError, match="No target depth"):
        scfviz.enhance_counts(aligned, None)
    with pytest.raises(OptionError, match="without a model"):
        scfviz.enhance_counts(aligned, None, depth_fold=2, method="combination")
    with pytest.raises(OptionError, match="no method 'neighbours' with intervals"):
        scfviz.enhance_counts(aligned, None, depth_fold=2, method="neighbours")
    with pytest.raises(GeneError, match="NO_GENE"):
        scfviz.enhance_counts(aligned, None, depth_fold=2, genes=["NO_GENE"])
    with pytest.raises(GeneError, match="not this model's"):
        scfviz.enhance_counts(aligned, small_model, depth_fold=2)
    with pytest.raises(DatasetError, match="At least 3 are needed"):
        scfviz.enhance_counts(aligned.subset(np.arange(2)), None, depth_fold=2)
    monkeypatch.setattr("scfviz.tasks.enhancement.prediction.MOST_RESULT_BYTES", 12 * N_CELLS * 10)
    with pytest.raises(OptionError, match="at most 10 genes"):
        scfviz.enhance_counts(aligned, None, depth_fold=2)


def test_progress_is_told_and_a_stop_obeyed(aligned):
    seen = []
    options = {"depth_fold": 2, "cells_at_once": 30, "progress": lambda *now: seen.append(now)}
    scfviz.enhance_counts(aligned, None, **options)
    assert seen == [(30, N_CELLS), (60, N_CELLS), (N_CELLS, N_CELLS)]
    with pytest.raises(Stopped):
        scfviz.enhance_counts(aligned, None, **options, should_stop=lambda: len(seen) == 4)
    assert seen[3:] == [(30, N_CELLS)]


def test_memory_grows_with_results_not_with_cells_times_cells(symbols):
    """The whole walk of 5,000 cells alone would take far more."""
    many = cells(symbols, 5000)
    scfviz.enhance_counts(many.subset(np.arange(100)), None, depth_fold=3, genes=symbols[:8])  # imports
    tracemalloc.start()
    scfviz.enhance_counts(many, None, depth_fold=3, genes=symbols[:8])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
