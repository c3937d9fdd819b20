"""Differential expression: scanpy's numbers from pieces, its layout, donors as replicates, and the job around it."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from datasets import make_adata, some_genes

from scfviz import jobs
from scfviz.analysis import expression as ex
from scfviz.analysis import pseudobulk
from scfviz.analysis.differential_expression import METHODS, compare_cells, rank_sum_test, to_rank_genes_groups
from scfviz.analysis.pseudobulk import compare_donors, donor_columns, find_replicates, what_to_trust
from scfviz.analysis.selection.rules import Categories, Polygon, Query, to_json
from scfviz.data.align import align_genes
from scfviz.data.gene_store import build_gene_store
from scfviz.data.normalise import log_normalise
from scfviz.data.read import read_dataset
from scfviz.errors import GeneError, JobError, OptionError, Stopped
from scfviz.jobs.kinds import differential_expression as kind

N_OBS = 240


@pytest.fixture(scope="module")
def counts():
    """240 cells of 400 genes; B cells hold more of the first twenty."""
    adata = make_adata(N_OBS, seed=3)
    matrix = adata.X.toarray()
    is_b = (adata.obs["cell_type"] == "B").to_numpy()
    matrix[np.ix_(is_b, np.arange(1, 21))] += np.random.default_rng(0).poisson(1.5, (is_b.sum(), 20))
    adata.X = sp.csr_matrix(matrix)
    adata.obs["donor"] = pd.Categorical([f"d{i % 6}" for i in range(0, 2 * N_OBS, 2)])
    return align_genes(adata)


@pytest.fixture(scope="module")
def is_b(counts):
    return (counts.obs["cell_type"] == "B").to_numpy()


@pytest.fixture(scope="module")
def whole(counts):
    """The same cells as scanpy wants them: one normalised matrix in memory."""
    matrix = counts.rows(0, counts.n_obs)[:, counts.is_measured]
    var = pd.DataFrame(index=counts.genes[counts.is_measured].astype(str))
    adata = ad.AnnData(matrix, obs=counts.obs.copy(), var=var)
    adata.X = log_normalise(counts.rows(0, counts.n_obs))[:, counts.is_measured]
    return adata


def scanpy_table(whole, group, others, **options):
    adata = whole.copy()
    if options["method"] == "t-test":
        adata.X = adata.X.astype(np.float64)  # scanpy squares in the precision of the matrix
    labels = np.where(group, "in", np.where(others, "out", "none"))
    adata.obs["side"] = pd.Categorical(labels)
    sc.tl.rank_genes_groups(adata, "side", groups=["in"], pts=True, **options)
    return sc.get.rank_genes_groups_df(adata, "in").set_index("names"), adata.uns["rank_genes_groups"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rest", [True, False])
@pytest.mark.parametrize(("method", "tie_correct"), [("wilcoxon", True), ("wilcoxon", False), ("t-test", True)])
def test_the_numbers_are_scanpys(counts, whole, is_b, method, tie_correct, rest, monkeypatch):
    monkeypatch.setattr(ex, "ENTRIES_PER_CHUNK", 2_000)
    reference = ~is_b if rest else ~is_b & (np.arange(N_OBS) % 3 > 0)
    theirs, uns = scanpy_table(
        whole, is_b, reference, method=method, tie_correct=tie_correct, reference="rest" if rest else "out"
    )
    ours = compare_cells(
        ex.AlignedExpression(counts), is_b, None if rest else reference, method=method, tie_correct=tie_correct
    )
    table = ours.table.set_index("names").loc[theirs.index]
    np.testing.assert_allclose(table["scores"], theirs["scores"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table["logfoldchanges"], theirs["logfoldchanges"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table["pvals"], theirs["pvals"], rtol=1e-5)
    np.testing.assert_allclose(table["pvals_adj"], theirs["pvals_adj"], rtol=1e-5)
    np.testing.assert_allclose(table["pct_in"], uns["pts"]["in"].loc[table.index])
    assert (ours.n_group, ours.n_reference) == (is_b.sum(), reference.sum())
    assert ours.table["scores"].is_monotonic_decreasing


def test_the_pieces_do_not_change_a_number(counts, is_b, monkeypatch, tmp_path):
    expression = ex.AlignedExpression(counts)
    expected = {method: compare_cells(expression, is_b, method=method).table for method in METHODS}
    store = build_gene_store(counts, tmp_path / "store")
    for name, value in (("ENTRIES_PER_CHUNK", 100), ("MAX_BYTES_PER_PASS", 20_000)):
        monkeypatch.setattr(ex, name, value)
    monkeypatch.setattr(
        type(counts), "blocks", lambda self, rows=None: ((i, self.rows(i, i + 7)) for i in range(0, self.n_obs, 7))
    )
    assert len(list(expression.blocks())) > 20
    for method, table in expected.items():
        pd.testing.assert_frame_equal(compare_cells(expression, is_b, method=method).table, table, rtol=1e-9)
        pd.testing.assert_frame_equal(compare_cells(store, is_b, method=method).table, table, rtol=1e-9)


def test_the_rank_sum_is_scipys_for_ties_and_zeros():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    values = rng.poisson(0.7, (90, 40)).astype(np.float32)
    values[:, 0], values[:, 1] = 0, 2  # nothing varies
    group = rng.random(90) < 0.4
    scores, pvals = rank_sum_test(sp.csc_matrix(values), group)
    assert scores[0] == scores[1] == 0 and pvals[0] == pvals[1] == 1
    for j in range(2, 40):
        test = mannwhitneyu(
            values[group, j].astype(float), values[~group, j].astype(float), use_continuity=False, method="asymptotic"
        )
        assert pvals[j] == pytest.approx(test.pvalue, rel=1e-9)
        expected = group.sum() * (~group).sum() / 2
        assert np.sign(scores[j]) == np.sign(test.statistic - expected)


def test_swapping_the_groups_turns_the_signs(counts, is_b):
    expression = ex.AlignedExpression(counts)
    forth, back = (compare_cells(expression, mask).table.set_index("names") for mask in (is_b, ~is_b))
    back = back.loc[forth.index]
    np.testing.assert_allclose(forth["scores"], -back["scores"], atol=1e-9)
    np.testing.assert_allclose(forth["pvals"], back["pvals"], rtol=1e-9)
    np.testing.assert_allclose(forth["pct_in"], back["pct_out"])


def test_genes_that_were_raised_come_first_and_only_measured_genes_are_tested(counts, is_b):
    table = compare_cells(ex.AlignedExpression(counts), is_b).table
    measured = set(counts.genes[counts.is_measured])
    assert set(table["names"]) == measured and len(table) == len(measured)
    assert len(set(table["names"][:20]) & set(some_genes()[1:21])) >= 18


def test_random_groups_give_uniform_p_values(counts):
    rng = np.random.default_rng(5)
    expression = ex.AlignedExpression(counts)
    small = [
        (compare_cells(expression, rng.permutation(N_OBS) < N_OBS // 2).table["pvals"] < 0.1).mean() for _ in range(5)
    ]
    assert 0.04 < np.mean(small) < 0.16


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reference", ["rest", "other cells"])
def test_the_layout_is_scanpys_also_after_a_round_trip(counts, whole, is_b, reference, tmp_path):
    table = compare_cells(ex.AlignedExpression(counts), is_b).table
    adata = whole.copy()
    adata.uns["rank_genes_groups"] = to_rank_genes_groups(
        table, group="B cells", reference=reference, method="wilcoxon", tie_correct=True
    )
    adata.write_h5ad(tmp_path / "out.h5ad")
    for data in (adata, ad.read_h5ad(tmp_path / "out.h5ad")):
        found = sc.get.rank_genes_groups_df(data, "B cells")
        assert found["names"].tolist() == table["names"].tolist()
        np.testing.assert_allclose(found["pvals"], table["pvals"])
        np.testing.assert_allclose(found["scores"], table["scores"].astype("f4"))
        np.testing.assert_allclose(found["pct_nz_group"], table["pct_in"])
        if reference == "rest":
            np.testing.assert_allclose(found["pct_nz_reference"], table["pct_out"])


def test_progress_goes_up_to_one_and_stopping_stops(counts, is_b):
    seen = []
    compare_cells(ex.AlignedExpression(counts), is_b, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1)
    with pytest.raises(Stopped):
        compare_cells(ex.AlignedExpression(counts), is_b, should_stop=lambda: True)


def test_groups_that_make_no_comparison_are_refused(counts, is_b):
    expression = ex.AlignedExpression(counts)
    nothing = np.zeros(N_OBS, dtype=bool)
    for group, reference in (
        (nothing, None),
        (~nothing, None),
        (is_b, is_b),
        (is_b, nothing),
        (is_b[:5], None),
        (is_b.astype(int), None),
    ):
        with pytest.raises(OptionError):
            compare_cells(expression, group, reference)
    with pytest.raises(OptionError):
        compare_cells(expression, is_b, method="magic")


def test_few_cells_are_remarked_on(counts, is_b):
    few = is_b & (np.cumsum(is_b) <= 5)
    notes = " ".join(compare_cells(ex.AlignedExpression(counts), few).notes)
    assert "only 5 cells" in notes and "not replicates" in notes


def test_genes_are_found_by_any_name_and_not_measured_is_not_zero(counts):
    expression = ex.AlignedExpression(counts)
    symbol = str(counts.genes[np.flatnonzero(counts.is_measured)[7]])
    position = ex.find_genes(expression, [symbol])[0]
    expected = log_normalise(counts.rows(0, N_OBS))[:, [position]].toarray().ravel()
    np.testing.assert_array_equal(ex.read_gene(expression, f" {symbol} "), expected)
    with pytest.raises(GeneError, match="not measured"):
        ex.read_gene(expression, str(counts.genes[~counts.is_measured][0]))
    with pytest.raises(GeneError, match="no gene"):
        ex.read_gene(expression, "NOT_A_GENE")


def test_columns_come_in_the_order_asked_for(counts):
    expression = ex.AlignedExpression(counts)
    genes = np.flatnonzero(counts.is_measured)[[9, 2, 30]]
    cells = np.array([5, 0, 77])
    expected = log_normalise(counts.rows(0, N_OBS)).toarray()[np.ix_(cells, genes)]
    np.testing.assert_array_equal(ex.read_columns(expression, genes, cells=cells).toarray(), expected)


# donors


def test_columns_of_donors_are_found_by_name():
    obs = pd.DataFrame(
        {
            "cell_type": list("abab"),
            "sample": list("aabb"),
            "donor_id": list("xyxy"),
            "n": [1, 2, 3, 4],
            "patient": list("aaaa"),
            "mouse.id": list("abca"),
        }
    )
    assert donor_columns(obs) == ["donor_id", "mouse.id", "sample"]


def make_donors(effect: float, seed: int = 0):
    """Eight donors, four a side, 20 cells each, 120 genes; donors differ, and the first ten genes by `effect`."""
    rng = np.random.default_rng(seed)
    genes, donor = some_genes(120), np.repeat(np.arange(8), 20)
    rate = rng.gamma(2, 1, 120) * rng.lognormal(0, 0.5, (8, 120))
    rate[4:, :10] *= np.exp(effect)
    matrix = rng.poisson(rate[donor]).astype(np.float32)
    obs = pd.DataFrame({"donor": pd.Categorical([f"P {d}" for d in donor])}, index=[f"c{i}" for i in range(160)])
    adata = ad.AnnData(sp.csr_matrix(matrix), obs=obs, var=pd.DataFrame(index=genes))
    return align_genes(adata, genes=genes), donor >= 4


def test_cells_of_few_donors_fool_the_test_of_cells_but_not_the_test_of_donors():
    counts, group = make_donors(effect=0)
    cells = compare_cells(ex.AlignedExpression(counts), group).table
    donors = compare_donors(counts, group, None, "donor")
    assert (cells["pvals_adj"] < 0.05).mean() > 0.3
    assert (donors.table["pvals_adj"] < 0.05).mean() < 0.05
    assert donors.design == "~side" and len(donors.samples) == 8
    assert donors.samples["n_cells"].tolist() == [20] * 8
    assert donors.samples["total_counts"].sum() == counts.total_counts.sum()
    assert donors.notes[0].startswith("Trust the test of donors (4 against 4")


def test_donors_find_what_differs_between_donors():
    counts, group = make_donors(effect=2.5)
    table = compare_donors(counts, group, None, "donor").table.set_index("names")
    raised = some_genes(120)[:10]
    assert (table.loc[raised, "pvals_adj"] < 0.05).sum() >= 8
    assert (table.loc[raised, "logfoldchanges"] > 1).all()
    assert (table.drop(raised)["pvals_adj"] < 0.05).mean() < 0.1


def test_donors_on_both_sides_are_compared_with_themselves(counts, is_b):
    obs_donor = np.arange(N_OBS) // 2 % 4
    paired = align_genes(_with_donors(counts, [f"d{d}" for d in obs_donor]))
    result = compare_donors(paired, is_b, None, "donor")
    assert result.design == "~donor + side" and result.replicates.is_paired
    assert len(set(result.table["names"][:20]) & set(some_genes()[1:21])) >= 15
    assert json.dumps(result.as_dict())


def test_without_replicates_the_test_of_donors_is_refused_and_the_text_says_so(counts, is_b, monkeypatch):
    single = align_genes(_with_donors(counts, np.where(is_b, "one", "two")))
    replicates = find_replicates(single.obs, is_b, None, "donor")
    assert not replicates.can_test
    assert "candidates only" in what_to_trust(replicates) and "not replicates" in what_to_trust(None)
    with pytest.raises(OptionError, match="donors"):
        compare_donors(single, is_b, None, "donor")
    with pytest.raises(OptionError, match="no column"):
        find_replicates(counts.obs, is_b, None, "nope")
    with pytest.raises(OptionError, match="different values"):
        monkeypatch.setattr(pseudobulk, "MAX_DONORS", 100)
        find_replicates(counts.obs.assign(barcode=counts.obs.index), is_b, None, "barcode")


def _with_donors(counts, donors):
    obs = counts.obs.assign(donor=pd.Categorical(donors))
    measured = counts.is_measured
    var = pd.DataFrame(index=counts.genes[measured].astype(str))
    return ad.AnnData(counts.rows(0, counts.n_obs)[:, measured], obs=obs, var=var)


# the job


@pytest.fixture
def dataset(tmp_path, counts):
    adata = _with_donors(counts, [f"d{i // 2 % 4}" for i in range(N_OBS)])
    adata.obsm["X_umap"] = np.random.default_rng(0).normal(size=(N_OBS, 2)).astype(np.float32)
    path = tmp_path / "data.h5ad"
    adata.write_h5ad(path)
    return path


def run_job(workspace, options, should_stop=lambda: False):
    """The job in this process: (table, report, progress)."""
    options, identity = kind.prepare(dict(options), workspace)
    folder = workspace.jobs / "0123456789abcdef"
    (folder / "result.partial").mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"identity": identity}))
    seen = []
    kind.run(folder, options, lambda share, stage: seen.append((share, stage)), should_stop)
    result = folder / "result.partial"
    return pd.read_parquet(result / "table.parquet"), json.loads((result / "report.json").read_text()), seen


def test_the_job_compares_selections_and_says_what_to_trust(dataset, tmp_path, counts, is_b):
    workspace = jobs.Workspace(tmp_path / "w")
    table, report, seen = run_job(
        workspace, {"dataset": str(dataset), "group": to_json(Categories("cell_type", ("B",)))}
    )
    expected = compare_cells(ex.AlignedExpression(align_genes(read_dataset(dataset))), is_b).table
    pd.testing.assert_frame_equal(table, expected)
    assert (report["n_group"], report["n_reference"]) == (is_b.sum(), (~is_b).sum())
    assert report["selections"] == {"group": "cell_type is B", "reference": "all other cells"}
    assert report["donor_columns"] == ["donor"] and "Trust the test of donors" in report["trust"]
    shares = [share for share, _ in seen]
    assert shares == sorted(shares) and shares[-1] < 1


def test_the_job_reads_the_files_own_map_and_a_gene_store(dataset, tmp_path, counts):
    workspace = jobs.Workspace(tmp_path / "w")
    build_gene_store(align_genes(read_dataset(dataset)), tmp_path / "store")
    lasso = Polygon("X_umap", ((-3.0, -3.0), (0.2, -3.0), (0.2, 3.0), (-3.0, 3.0)))
    options = {
        "dataset": str(dataset),
        "group": to_json(lasso),
        "reference": to_json(Query("not cell_type == 'B'")),
        "method": "t-test",
    }
    xy = read_dataset(dataset).obsm["X_umap"]
    with pytest.raises(OptionError, match="both selections"):
        run_job(workspace, options)
    options["reference"] = to_json(Polygon("X_umap", ((0.2, -3.0), (3.0, -3.0), (3.0, 3.0), (0.2, 3.0))))
    plain, report, _ = run_job(workspace, options)
    assert report["n_group"] == ((xy[:, 0] < 0.2) & (np.abs(xy) < 3).all(axis=1)).sum()
    stored, _, _ = run_job(workspace, options | {"gene_store": str(tmp_path / "store")})
    pd.testing.assert_frame_equal(plain, stored, rtol=1e-9)


def test_the_job_sees_the_clusters_of_an_embedding_and_only_its_cells(dataset, tmp_path, counts):
    workspace = jobs.Workspace(tmp_path / "w")
    result = workspace.jobs / "aaaaaaaaaaaaaaaa" / "result"
    (result / "arrays").mkdir(parents=True)
    kept = np.arange(10, N_OBS)
    np.save(result / "kept.npy", kept)
    for name in ("umap_model", "umap_baseline"):
        np.save(result / "arrays" / f"{name}.npy", np.zeros((len(kept), 2), np.float32))
    clusters = pd.Categorical(np.where(kept % 3 == 0, "0", "1"))
    cells = pd.DataFrame({"clusters_model": clusters, "n_genes": kept}, index=counts.obs.index[kept])
    cells.to_parquet(result / "cells.parquet")
    (result / "report.json").write_text(json.dumps({"n_removed": 10, "notes": [], "scores": {}}))
    options = {"dataset": str(dataset), "group": to_json(Query('clusters_model == "0"')), "embed_job": "a" * 16}
    _, report, _ = run_job(workspace, options)
    assert report["n_group"] == (kept % 3 == 0).sum()
    assert report["n_group"] + report["n_reference"] == len(kept)
    (result / "report.json").write_text(json.dumps({"n_removed": 0, "notes": [], "scores": {}}))
    with pytest.raises(JobError, match="another dataset"):
        run_job(workspace, options)
    with pytest.raises(JobError, match="not there"):
        run_job(workspace, options | {"embed_job": "b" * 16})


def test_the_job_compares_donors(dataset, tmp_path):
    options = {
        "dataset": str(dataset),
        "group": to_json(Query('cell_type == "B"')),
        "method": "pseudobulk",
        "donor_column": "donor",
    }
    workspace = jobs.Workspace(tmp_path / "w")
    table, report, _ = run_job(workspace, options)
    assert report["design"] == "~donor + side" and report["donors_in"] == ["d0", "d1", "d2", "d3"]
    assert np.isfinite(table["scores"]).all()
    assert (workspace.jobs / "0123456789abcdef" / "result.partial" / "samples.parquet").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"group": None},
        {"group": {"rule": "nonsense"}},
        {"method": "magic"},
        {"method": "pseudobulk"},
        {"donor_column": "donor"},
        {"embed_job": "../../etc"},
        {"unknown": 1},
    ],
)
def test_wrong_options_are_refused_when_asked(dataset, wrong):
    options = {"dataset": str(dataset), "group": to_json(Query("n > 1"))}
    with pytest.raises(OptionError):
        kind.prepare(options | wrong, jobs.Workspace())


def test_the_same_request_is_the_same_job_wherever_the_file_lies(dataset, tmp_path):
    options = {"dataset": str(dataset), "group": to_json(Query("n > 1"))}
    copy = tmp_path / "copy.h5ad"
    copy.write_bytes(dataset.read_bytes())
    one = kind.prepare(dict(options), jobs.Workspace())[1]
    assert one == kind.prepare(options | {"dataset": str(copy), "gene_store": "/somewhere"}, jobs.Workspace())[1]
    assert one != kind.prepare(options | {"method": "t-test"}, jobs.Workspace())[1]


def test_the_job_stops_when_asked(dataset, tmp_path):
    with pytest.raises(Stopped):
        run_job(
            jobs.Workspace(tmp_path / "w"),
            {"dataset": str(dataset), "group": to_json(Categories("cell_type", ("B",)))},
            lambda: True,
        )


def test_on_real_cells_the_known_markers_come_first(shared):
    counts = align_genes(read_dataset(shared / "data" / "evaluation" / "pbmc3k.h5ad"))
    is_b = (counts.obs["cell_type"] == "B").to_numpy()
    assert is_b.sum() > 300
    table = compare_cells(ex.AlignedExpression(counts), is_b).table
    assert {"CD79A", "MS4A1", "CD79B"} <= set(table["names"][:5])
