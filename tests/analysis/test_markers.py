"""Markers of all groups: scanpy's numbers for every group, its layout, and one-sided genes marked as such."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from small_cells import make_cells

from scfviz.analysis import expression as ex
from scfviz.analysis.differential_expression import compare_cells
from scfviz.analysis.groups import group_cells
from scfviz.analysis.markers import find_markers, to_scanpy, top_markers
from scfviz.data.normalise import log_normalise
from scfviz.data.open import OpenDataset
from scfviz.errors import OptionError


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    cells = make_cells(150, n_genes=400)
    values = cells.X.toarray()
    is_b = (cells.obs["cell_type"] == "B cell").to_numpy()
    values[:, 399] = np.where(is_b, 3, 0)
    cells.X = values
    return cells


@pytest.fixture(scope="module")
def expression(cells) -> ex.AlignedExpression:
    return ex.AlignedExpression(OpenDataset(cells).counts)


@pytest.mark.parametrize("method", ["wilcoxon", "t-test"])
def test_every_group_has_scanpys_numbers(cells, expression, method):
    import scanpy as sc

    found = find_markers(expression, group_cells(cells.obs["cell_type"]), method=method)
    logged = ad.AnnData(log_normalise(OpenDataset(cells).counts.rows(0, 150)), cells.obs, cells.var)
    logged.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(logged, "cell_type", method=method, tie_correct=method == "wilcoxon", pts=True)
    assert sorted(found.tables) == sorted(cells.obs["cell_type"].cat.categories)
    for group, table in found.tables.items():
        expected = sc.get.rank_genes_groups_df(logged, group).set_index("names")
        ours = table.set_index("names").loc[expected.index]
        for column in ("scores", "pvals", "pvals_adj", "logfoldchanges"):
            np.testing.assert_allclose(ours[column], expected[column], rtol=2e-4, atol=1e-5, err_msg=column)
        np.testing.assert_allclose(ours["pct_in"], expected["pct_nz_group"], atol=1e-6)


def test_a_group_is_what_the_comparison_with_all_others_says(cells, expression):
    grouping = group_cells(cells.obs["cell_type"])
    markers = find_markers(expression, grouping)
    for number, name in enumerate(grouping.names):
        pd.testing.assert_frame_equal(
            markers.tables[name], compare_cells(expression, grouping.codes == number).table, rtol=1e-9
        )
    assert set(markers.as_table()["group"]) == set(grouping.names) and markers.n_cells["B cell"] > 1


def test_a_gene_without_a_count_on_the_other_side_is_marked(cells, expression):
    """A log2 fold change of 32 is a gene that one side does not have, not a measurement."""
    tables = find_markers(expression, group_cells(cells.obs["cell_type"])).tables
    gene = cells.var_names[399]
    row = tables["B cell"].set_index("names").loc[gene]
    assert row["only_in"] == "first" and row["logfoldchanges"] > 20 and row["pct_out"] == 0
    both = tables["B cell"][(tables["B cell"]["pct_in"] > 0) & (tables["B cell"]["pct_out"] > 0)]
    assert (both["only_in"] == "").all()
    only_b = tables["T cell"].set_index("names").loc[gene]
    assert only_b["pct_in"] == 0 and only_b["only_in"] == "second"


def test_top_genes_are_higher_in_their_group(cells, expression):
    top = top_markers(find_markers(expression, group_cells(cells.obs["cell_type"])).tables, 5)
    genes = list(cells.var_names)
    for group, start in (("T cell", 40), ("monocyte", 80)):
        assert all(start <= genes.index(gene) < start + 40 for gene in top[group])


def test_scanpy_reads_the_layout(cells, expression, tmp_path):
    import scanpy as sc

    tables = find_markers(expression, group_cells(cells.obs["cell_type"])).tables
    copy = cells.copy()
    copy.uns["rank_genes_groups"] = to_scanpy(tables, groupby="cell_type", method="wilcoxon")
    copy.write_h5ad(tmp_path / "marked.h5ad")
    read = ad.read_h5ad(tmp_path / "marked.h5ad")
    for group, table in tables.items():
        found = sc.get.rank_genes_groups_df(read, group)
        assert found["names"].tolist() == table["names"].tolist()
        np.testing.assert_allclose(found["scores"], table["scores"], rtol=1e-5)
    sc.pl.rank_genes_groups_dotplot(read, n_genes=3, show=False)


def test_one_group_is_no_comparison(cells, expression):
    with pytest.raises(OptionError, match="1 groups"):
        find_markers(expression, group_cells(pd.Series(["a"] * 150)))
    few = pd.Series(["a"] * 149 + ["lonely"])
    few[:70] = "b"
    found = find_markers(expression, group_cells(few))
    assert "lonely" not in found.tables and "lonely" in " ".join(found.notes)
