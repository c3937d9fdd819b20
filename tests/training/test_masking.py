"""The pretraining objective, entry by entry."""

import numpy as np
import pytest

from scfviz.errors import OptionError
from scfviz.training.masking import cell_generator, mask_cell, thin_counts
from scfviz.training.options import MaskingOptions

N_GENES = 2_000


def cell(rng, n_expressed=600, depth=8):
    genes = np.sort(rng.choice(N_GENES, n_expressed, replace=False)).astype(np.int32)
    return genes, (1 + rng.poisson(depth, n_expressed)).astype(np.float32)


def many(options, n=300, **kind):
    """Masked cells with what they were made of."""
    for position in range(n):
        genes, counts = cell(np.random.default_rng(position), **kind)
        yield genes, counts, mask_cell(genes, counts, N_GENES, options, cell_generator(0, 0, position))


def test_masking_rates_are_the_configured_ones():
    options = MaskingOptions(down_sampling=0.0)
    shares = np.array(
        [
            [m.is_expressed.sum() / len(g), (~m.is_expressed).sum() / (N_GENES - len(g)), m.is_hidden.mean()]
            for g, _c, m in many(options)
        ]
    )
    assert shares.mean(axis=0) == pytest.approx([0.30, 0.03, 0.80], rel=0.02)
    other = MaskingOptions(down_sampling=0.0, masked_expressed=0.5, masked_zeros=0.2, mask_token=0.4)
    shares = np.array(
        [[m.is_expressed.mean() * len(m.targets) / len(g), m.is_hidden.mean()] for g, _c, m in many(other, 100)]
    )
    assert shares.mean(axis=0) == pytest.approx([0.5, 0.4], rel=0.03)


def test_of_shown_masked_entries_half_are_random_and_half_are_left_as_they_were():
    left, random, zeros_left, zeros_random = 0, 0, 0, 0
    for genes, counts, m in many(MaskingOptions(down_sampling=0.0)):
        truth = np.zeros(N_GENES, dtype=np.float32)
        truth[genes] = np.log1p(counts * np.float32(1e4 / counts.sum()))
        shown = np.zeros(N_GENES, dtype=np.float32)
        shown[m.genes] = m.values
        open_ = m.loss_genes[~m.is_hidden & m.is_expressed]
        same = np.isclose(shown[open_], truth[open_], rtol=1e-5)
        left, random = left + same.sum(), random + (~same).sum()
        open_ = m.loss_genes[~m.is_hidden & ~m.is_expressed]
        zeros_left, zeros_random = zeros_left + (shown[open_] == 0).sum(), zeros_random + (shown[open_] > 0).sum()
    # Small counts coincide: a random value equals the true one in about one case of ten.
    assert 0.38 < random / (left + random) < 0.52
    assert zeros_random / (zeros_left + zeros_random) == pytest.approx(0.5, abs=0.04)


def test_hidden_entries_never_reach_the_encoder():
    for _genes, _counts, m in many(MaskingOptions()):
        assert not np.isin(m.loss_genes[m.is_hidden], m.genes).any()
        assert (np.diff(m.genes) > 0).all()
        assert (m.values > 0).all()
        assert len(np.unique(m.loss_genes)) == len(m.loss_genes)


def test_no_target_leaks_into_the_input():
    """Change the counts of one gene that is asked for: nothing visible may change but by the common total."""
    options = MaskingOptions(down_sampling=0.0, mask_token=1.0, random_value=0.0)
    for position in range(50):
        genes, counts = cell(np.random.default_rng(position))
        before = mask_cell(genes, counts, N_GENES, options, cell_generator(0, 0, position))
        asked = before.loss_genes[0]
        changed = counts.copy()
        at, other = int(np.flatnonzero(genes == asked)[0]), int(np.flatnonzero(np.isin(genes, before.loss_genes))[1])
        moved = min(changed[other] - 1, 3)
        changed[at] += moved  # the total, which the tokens S and T tell, stays
        changed[other] -= moved
        after = mask_cell(genes, changed, N_GENES, options, cell_generator(0, 0, position))
        np.testing.assert_array_equal(before.genes, after.genes)
        np.testing.assert_allclose(before.values, after.values, rtol=1e-6)
        assert (before.targets[0] != after.targets[0]) == (moved > 0)


def test_random_values_do_not_depend_on_the_entry_they_replace():
    options = MaskingOptions(down_sampling=0.0, mask_token=0.0, random_value=1.0)
    pairs = [
        (target, m.values[np.searchsorted(m.genes, gene)])
        for _g, _c, m in many(options, 100)
        for gene, target in zip(m.loss_genes[m.is_expressed], m.targets[m.is_expressed], strict=True)
    ]
    within = np.array(pairs)
    assert abs(np.corrcoef(within.T)[0, 1]) < 0.05


def test_targets_are_the_raw_vector_even_when_the_input_is_thinned():
    thinned = 0
    for genes, counts, m in many(MaskingOptions(down_sampling=1.0)):
        raw = np.zeros(N_GENES)
        raw[genes] = np.log1p(counts * (1e4 / counts.sum()))
        np.testing.assert_allclose(m.targets, raw[m.loss_genes], rtol=1e-5)
        assert m.target_token == pytest.approx(np.log10(counts.sum()), abs=1e-6)
        thinned += m.source_token < m.target_token
    assert thinned == 300


def test_source_depth_never_exceeds_target_depth():
    assert all(m.source_token <= m.target_token for _g, _c, m in many(MaskingOptions()))


def test_thinning_keeps_totals_as_beta_binomial():
    options = MaskingOptions(down_sampling=1.0)
    shares = []
    for position in range(2_000):
        genes, counts = cell(np.random.default_rng(position))
        thinned = thin_counts(counts, options, cell_generator(1, 0, position))
        assert (thinned <= counts).all()
        assert (thinned == np.rint(thinned)).all()
        shares.append(thinned.sum() / counts.sum())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    assert np.std(shares) == pytest.approx(np.sqrt(1 / 20), abs=0.02)  # Beta(2, 2)


def test_half_of_the_cells_are_thinned_and_none_below_the_gate():
    options = MaskingOptions()
    deep = [m.source_token < m.target_token for _g, _c, m in many(options, 1_000)]
    assert np.mean(deep) == pytest.approx(0.5, abs=0.05)
    shallow = [(c.sum(), m.source_token == m.target_token) for _g, c, m in many(options, 300, n_expressed=450, depth=1)]
    assert all(same for total, same in shallow if total < 1000)
    assert sum(total < 1000 for total, _same in shallow) > 250


def test_zeros_of_unmeasured_genes_are_not_asked_for():
    is_measured = np.arange(N_GENES) % 2 == 0
    genes, counts = cell(np.random.default_rng(0))
    counts, genes = counts[is_measured[genes]], genes[is_measured[genes]]
    rng = cell_generator(0, 0, 0)
    m = mask_cell(genes, counts, N_GENES, MaskingOptions(masked_zeros=1.0), rng, is_measured=is_measured)
    assert is_measured[m.loss_genes].all()
    asked = MaskingOptions(masked_zeros=1.0, unmeasured_zeros=True)
    m = mask_cell(genes, counts, N_GENES, asked, cell_generator(0, 0, 0), is_measured=is_measured)
    assert not is_measured[m.loss_genes].all()


def test_the_same_seed_epoch_and_cell_give_the_same_masking():
    genes, counts = cell(np.random.default_rng(0))
    one, same, epoch, seed = (
        mask_cell(genes, counts, N_GENES, MaskingOptions(), cell_generator(*key))
        for key in ((3, 1, 7), (3, 1, 7), (3, 2, 7), (4, 1, 7))
    )
    np.testing.assert_array_equal(one.loss_genes, same.loss_genes)
    np.testing.assert_array_equal(one.values, same.values)
    assert not np.array_equal(one.loss_genes, epoch.loss_genes)
    assert not np.array_equal(one.loss_genes, seed.loss_genes)


@pytest.mark.parametrize("wrong", [{"masked_expressed": 1.2}, {"mask_token": 0.8, "random_value": 0.3}])
def test_impossible_shares_are_refused(wrong):
    with pytest.raises(OptionError):
        MaskingOptions(**wrong)


def test_a_cell_of_few_genes_keeps_one_in_sight():
    """A cell thinned to a handful of genes, all of them drawn for masking, once left the encoder nothing to look at."""
    options = MaskingOptions(masked_expressed=1.0, mask_token=1.0, random_value=0.0, down_sampling=0.0)
    for _genes, counts, m in many(options, 20, n_expressed=3):
        assert len(m.genes) == 1 and not m.is_hidden[0] and m.genes[0] == m.loss_genes[0]
        assert m.values[0] == pytest.approx(np.log1p(1e4 * counts[0] / counts.sum()), rel=1e-5)
