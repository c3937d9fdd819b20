"""Summaries: the numbers behind each figure are those of the plain matrix, and every cell is counted once."""

import numpy as np
import pandas as pd
import pytest
from datasets import make_adata, some_genes

from scfviz.analysis import expression as ex
from scfviz.analysis.groups import (
    compose,
    group_cells,
    make_violins,
    summarise_groups,
    violins_of,
)
from scfviz.data.align import align_genes
from scfviz.data.gene_store import build_gene_store
from scfviz.data.normalise import log_normalise
from scfviz.errors import GeneError, OptionError

N_OBS = 90


@pytest.fixture(scope="module")
def counts():
    adata = make_adata(N_OBS, seed=2)
    rng = np.random.default_rng(0)
    adata.obs["cluster"] = pd.Categorical(
        rng.choice(["b", "a", None], N_OBS, p=[0.5, 0.3, 0.2]), categories=["b", "unused", "a"]
    )
    adata.obs["sample"] = rng.choice(["s1", "s2", "s3"], N_OBS)
    return align_genes(adata)


@pytest.fixture(scope="module", params=["file", "store"])
def expression(request, counts, tmp_path_factory):
    if request.param == "file":
        return ex.AlignedExpression(counts)
    return build_gene_store(counts, tmp_path_factory.mktemp("s") / "store")


@pytest.fixture(scope="module")
def dense(counts):
    matrix = log_normalise(counts.rows(0, N_OBS)).toarray().astype(np.float64)
    return pd.DataFrame(matrix, columns=counts.genes.astype(str), index=counts.obs.index)


def test_groups_keep_the_order_of_categories_and_count_missing_cells(counts):
    grouping = group_cells(counts.obs["cluster"])
    assert grouping.names == ("b", "a", "missing")
    assert grouping.n_cells.sum() == N_OBS and grouping.n_cells[2] == counts.obs["cluster"].isna().sum()
    only = group_cells(counts.obs["cluster"], (counts.obs["cluster"] == "a").to_numpy())
    assert only.names == ("a",) and len(only.kept) == only.n_cells[0] == (counts.obs["cluster"] == "a").sum()
    assert group_cells(pd.Series([True, False, None])).names == ("False", "True", "missing")
    assert group_cells(pd.Series(["missing", None])).names == ("missing", "missing (no value)")
    with pytest.raises(OptionError, match="different values"):
        group_cells(pd.Series(np.arange(2000)))
    with pytest.raises(OptionError):
        group_cells(counts.obs["cluster"], np.ones(3, dtype=bool))


@pytest.mark.parametrize("masked", [False, True])
def test_means_and_fractions_are_those_of_the_matrix(expression, counts, dense, masked):
    mask = np.arange(N_OBS) % 4 > 0 if masked else None
    genes = [some_genes()[i] for i in (30, 2, 30, 7)]
    found = summarise_groups(expression, genes, group_cells(counts.obs["cluster"], mask))
    kept = dense[genes] if mask is None else dense.loc[mask, genes]
    by = counts.obs["cluster"].astype("string").fillna("missing")[kept.index]
    for i, group in enumerate(found.groups):
        np.testing.assert_allclose(found.mean[i], kept[by == group].mean(), rtol=1e-6)
        np.testing.assert_allclose(found.fraction[i], (kept[by == group] > 0).mean())
    assert found.genes == tuple(genes) and found.n_cells.sum() == len(kept)
    table = found.as_table()
    assert len(table) == len(found.groups) * 4
    row = table[(table["group"] == "a") & (table["gene"] == genes[3])]
    np.testing.assert_allclose(row["mean"], kept.loc[by == "a", genes[3]].mean(), rtol=1e-6)


def test_scaled_means_reach_from_zero_to_one(expression, counts):
    scaled = summarise_groups(expression, some_genes()[:5], group_cells(counts.obs["cluster"])).scaled()
    np.testing.assert_allclose(scaled[:, 1:].min(axis=0), 0)
    np.testing.assert_allclose(scaled[:, 1:].max(axis=0), 1)
    one = summarise_groups(expression, some_genes()[:2], group_cells(pd.Series(["x"] * N_OBS)))
    assert (one.scaled() == 0).all()


def test_a_gene_that_was_not_measured_has_no_summary(expression, counts):
    missing = str(counts.genes[~counts.is_measured][0])
    for ask in (summarise_groups, make_violins):
        with pytest.raises(GeneError, match="not measured"):
            ask(expression, [missing], group_cells(counts.obs["cluster"]))


def test_violins_count_every_cell_and_have_the_area_of_one(expression, counts, dense):
    genes = [some_genes()[i] for i in (0, 5, 0)]
    violins = make_violins(expression, genes, group_cells(counts.obs["sample"]))
    assert [(v.variable, v.group) for v in violins] == [(g, s) for g in genes for s in ("s1", "s2", "s3")]
    for violin in violins:
        values = dense.loc[counts.obs["sample"] == violin.group, violin.variable]
        assert violin.n_cells == len(values) and violin.n_zero == (values == 0).sum()
        assert violin.mean == pytest.approx(values.mean(), rel=1e-6)
        np.testing.assert_allclose(violin.quantiles, np.quantile(values, [0, 0.25, 0.5, 0.75, 1]), rtol=1e-6)
        if len(violin.at) > 1:
            assert (violin.density * (violin.at[1] - violin.at[0])).sum() == pytest.approx(1, abs=1e-6)
            assert (violin.density >= 0).all()


def test_violins_of_odd_values():
    values = np.array([1.0, 1.0, np.nan, np.nan, 2.0])
    same, empty, one = violins_of(values, "x", ["same", "empty", "one"], np.array([0, 0, 0, 1, 2]))
    assert same.n_cells == 2 and same.at.tolist() == [1.0]
    assert empty.n_cells == 0 and np.isnan(empty.mean) and not len(empty.at)
    assert one.mean == 2
    shape = violins_of(np.random.default_rng(0).normal(size=20_000), "x", ["n"], np.zeros(20_000, dtype=int))[0]
    np.testing.assert_allclose(shape.density, np.exp(-(shape.at**2) / 2) / np.sqrt(2 * np.pi), atol=0.02)


def test_composition_is_a_cross_table(counts):
    found = compose(group_cells(counts.obs["sample"]), group_cells(counts.obs["cluster"]))
    expected = pd.crosstab(counts.obs["sample"], counts.obs["cluster"].astype("string").fillna("missing"))
    np.testing.assert_array_equal(found.counts, expected[list(found.parts)].to_numpy())
    np.testing.assert_allclose(found.fractions.sum(axis=1), 1)
    assert found.counts.sum() == N_OBS


def test_composition_counts_cells_that_take_part_on_both_sides():
    rows = group_cells(pd.Series(["a", "a", "b"]), np.array([True, True, False]))
    parts = group_cells(pd.Series(["x", "y", "y"]), np.array([True, False, True]))
    found = compose(rows, parts)
    assert found.counts.tolist() == [[1, 0]] and found.fractions.tolist() == [[1, 0]]


def test_names_with_numbers_are_in_the_order_of_the_numbers():
    assert group_cells(pd.Series(["10", "2", "a", "1"])).names == ("1", "2", "10", "a")
    assert group_cells(pd.Series(pd.Categorical(["s10", "s9"]))).names == ("s9", "s10")
    given = pd.Series(pd.Categorical(["s10", "s9", "x"], categories=["x", "s10", "s9"]))
    found = group_cells(given)
    assert found.names == ("x", "s10", "s9") and found.codes.tolist() == [1, 2, 0]
