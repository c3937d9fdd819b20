"""Enhancement: seen counts are kept, views get the weight they deserve, intervals hold what they say."""

import numpy as np
import pytest
from scipy import sparse

from scfviz.benchmark.recovery import thin
from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.enhancement.compute import MODEL, Enhancer
from scfviz.tasks.enhancement.fit import counts_behind

N_CELLS, N_GENES = 80, 300


@pytest.fixture(scope="module")
def truth():
    """Shares of genes in cells of four types, gamma around their type, and counts at full depth."""
    rng = np.random.default_rng(0)
    means = rng.gamma(0.4, 1.0, (4, N_GENES))[np.arange(N_CELLS) % 4]
    shares = rng.gamma(2.0, means / 2.0)
    shares /= shares.sum(axis=1, keepdims=True)
    counts = rng.poisson(shares * rng.uniform(4000, 8000, (N_CELLS, 1))).astype(np.float32)
    return shares, sparse.csr_matrix(counts)


@pytest.fixture(scope="module")
def shallow(truth):
    return thin(truth[1], 0.1, np.random.default_rng(1))


def depths(counts):
    return np.asarray(counts.sum(axis=1)).ravel().astype(np.float64)


def values(counts):
    return np.log1p(counts.toarray().astype(np.float64) / depths(counts)[:, None] * 1e4)


def expect(shares, order):
    """A model that knows the shares of each cell, found by the depth it is asked for."""

    def predict(prepared, hidden):
        assert hidden is None
        rows = [int(np.argmin(np.abs(np.log10(order) - target))) for target in prepared.target_token]
        return np.log1p(1e4 * shares[rows]).astype(np.float32)

    return predict


def test_enhanced_cells_are_closer_to_the_deep_ones_and_their_interval_holds_them(truth, shallow):
    target, rows = depths(truth[1]), np.arange(N_CELLS)
    enhancer = Enhancer(shallow, np.ones(N_GENES, bool))
    found = enhancer.enhance(rows, target, enhancer.learn(target))
    deep = values(truth[1])
    assert np.abs(found.median - deep).mean() < 0.8 * np.abs(values(shallow) - deep).mean()
    assert (found.low <= found.median).all() and (found.median <= found.high).all()
    inside = (found.low <= deep + 1e-6) & (deep <= found.high + 1e-6)
    assert 0.85 < inside.mean() <= 1


def test_seen_counts_are_never_taken_away(truth, shallow):
    target = depths(truth[1])
    enhancer = Enhancer(shallow, np.ones(N_GENES, bool))
    found = enhancer.enhance(np.arange(N_CELLS), target, enhancer.learn(target))
    kept = np.log1p(shallow.toarray() / target[:, None] * 1e4)
    assert (found.low >= kept - 1e-5).all()


def test_at_its_own_depth_a_cell_stays_as_it_is(shallow):
    own, enhancer = depths(shallow), Enhancer(shallow, np.ones(N_GENES, bool))
    found = enhancer.enhance(np.arange(5), own, enhancer.learn(own))
    np.testing.assert_allclose(found.median, values(shallow)[:5], atol=1e-4)
    np.testing.assert_allclose(found.low, found.high, atol=1e-4)


def test_a_model_gets_the_weight_it_deserves(truth, shallow):
    shares, counts = truth
    target = depths(counts)
    enhancer = Enhancer(shallow, np.ones(N_GENES, bool))
    knowing = enhancer.learn(target, expect(shares, target))
    wrong = enhancer.learn(target, expect(np.random.default_rng(2).permuted(shares, axis=1), target))
    assert knowing.exponents[MODEL] > 0.8 > 0.1 > wrong.exponents[MODEL]
    rows = np.arange(N_CELLS)
    deep, alone = values(counts), enhancer.enhance(rows, target, enhancer.learn(target))
    helped = enhancer.enhance(rows, target, knowing, expect(shares, target))
    assert np.abs(helped.median - deep).mean() < 0.95 * np.abs(alone.median - deep).mean()


def test_a_cell_tells_nothing_about_its_other_half(shallow):
    """What the dataset says of a cell must not change when the cell does: its halves would know each other."""
    rows = np.array([3])
    changed = shallow.tolil(copy=True)
    changed[3] = 2 * shallow[3]
    before, after = Enhancer(shallow, np.ones(N_GENES, bool)), Enhancer(changed.tocsr(), np.ones(N_GENES, bool))
    after.around.step = before.around.step  # neighbours are chosen by the whole cell
    views = [e._views(rows, e.counts[rows], depths(shallow)[rows], None, np.arange(N_GENES)) for e in (before, after)]
    for name in views[0]:
        np.testing.assert_allclose(views[0][name], views[1][name])


def test_unmeasured_genes_stay_zero_and_do_not_matter(truth, shallow):
    target = depths(truth[1])
    wide = sparse.hstack([shallow, sparse.csr_matrix((N_CELLS, 20))]).tocsr().astype(np.float32)
    is_measured = np.arange(N_GENES + 20) < N_GENES
    found = [
        (e := Enhancer(counts, mask)).enhance(np.arange(4), target, e.learn(target))
        for counts, mask in ((shallow, np.ones(N_GENES, bool)), (wide, is_measured))
    ]
    np.testing.assert_allclose(found[1].median[:, :N_GENES], found[0].median, atol=1e-5)
    assert not found[1].median[:, N_GENES:].any() and not found[1].high[:, N_GENES:].any()


def test_mean_counts_are_found_again():
    rng = np.random.default_rng(0)
    for mean in (0.01, 0.5, 3.0, 40.0, 200.0):
        drawn = rng.poisson(mean, 400_000)
        assert counts_behind(np.log1p(drawn * (1e4 / 3000)).mean(), 3000.0) == pytest.approx(mean, rel=0.03)
    assert counts_behind(np.array([-1.0, 0.0]), 3000.0).tolist() == [0, 0]


def test_impossible_depths_are_refused_in_words(shallow):
    enhancer = Enhancer(shallow, np.ones(N_GENES, bool))
    own = depths(shallow)
    weights = enhancer.learn(own)
    with pytest.raises(OptionError, match="target depth of cell 3 "):
        enhancer.enhance(np.arange(5), np.where(np.arange(N_CELLS) == 2, own / 2, own), weights)
    with pytest.raises(DatasetError, match="two counts"):
        Enhancer(sparse.eye(12, N_GENES, format="csr"), np.ones(N_GENES, bool)).learn(np.ones(12))
