"""Questions with statistics on the explorer page: comparisons of cells and of donors, gene sets, scores of sets."""

import io
import json
import time
from pathlib import Path

import anndata as ad
import gseapy
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from app_pages import check, open_explorer, spec_of, text_of, work_off
from datasets import make_counts, some_genes
from PIL import Image
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.analysis.enrichment import enrich_list, enrich_ranking, top_genes
from scfviz.analysis.expression import AlignedExpression
from scfviz.analysis.gene_sets import GeneSet, score_set
from scfviz.analysis.pseudobulk import compare_donors
from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Categories, Polygon, to_json
from scfviz.data.align import align_genes
from scfviz.data.normalise import log_normalise
from scfviz.data.read import read_dataset
from scfviz.errors import AccessError, JobError, OptionError
from scfviz.jobs import gene_set_files
from scfviz.jobs.kinds import enrichment as enrichment_job
from scfviz.jobs.kinds import set_score
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer import layout
from scfviz.ui.explorer.panels import compare, comparison, gene_sets, result_downloads, result_figures
from scfviz.ui.explorer.selection import selections
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import sources

FILE = "<i>own<i> $cells$.h5ad"
N = 240
OTHER = "<b>T</b> *x* a/b"
LEFT = [[-2.0, -2.0], [0.0, -2.0], [0.0, 2.0], [-2.0, 2.0]]  # holds the cells of type "B"
MARKERS = slice(5, 25)
GENES = some_genes(200)


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Path:
    """Six donors with cells of two types, one of which expresses more of twenty genes; names that look like markup."""
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    rng = np.random.default_rng(0)
    is_b = np.arange(N) % 2 == 0
    counts = make_counts(N, len(GENES)).toarray()
    counts[np.ix_(is_b, np.arange(len(GENES))[MARKERS])] += rng.poisson(6, (is_b.sum(), 20))
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.where(is_b, "B", OTHER)),
            "donor_id": pd.Categorical([f"<u>P{i // 2 % 6}</u>" for i in range(N)]),
            "side": pd.Categorical(np.where(is_b, "x", "y")),
        },
        index=[f"cell {i}" for i in range(N)],
    )
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=GENES))
    adata.obsm["X_umap"] = np.stack([np.where(is_b, -1, 1) + rng.normal(0, 0.1, N), rng.normal(0, 0.3, N)], axis=1)
    (tmp_path / "data").mkdir()
    adata.write_h5ad(tmp_path / "data" / FILE)
    return tmp_path / "data" / FILE


def open_page(session: dict | None = None, **query: str) -> AppTest:
    return open_explorer(FILE, session, **query)


def unescaped(app: AppTest) -> str:
    return text_of(app).replace("\\", "")


def lasso(app: AppTest) -> AppTest:
    event = {"id": str(time.monotonic_ns()), "operation": "replace", "kind": "lasso", "map": "X_umap", "polygon": LEFT}
    app.session_state[layout.KEY] = {"event": event}
    return check(app.run())


def work(app: AppTest) -> AppTest:
    """All waiting jobs done in this process; then the page once more."""
    work_off()
    for job in jobs.list_jobs(jobs.Workspace()):
        assert job.state in ("done", "failed"), job
    return check(app.run())


def compared(app: AppTest) -> AppTest:
    check(app.button(key="x_compare").click().run())
    return work(app)


def choose(app: AppTest, group: str, reference: str) -> AppTest:
    for key, value in (("x_group", group), ("x_reference", reference)):
        app.selectbox(key=key).set_value(value)
        check(app.run())
    return app


def table_of(app: AppTest) -> pd.DataFrame:
    return next(frame.value for frame in app.dataframe if "names" in frame.value)


def test_two_groups_of_a_label_are_compared_without_a_selection(dataset):
    app = open_page()
    assert app.selectbox(key="x_sides").value == "cell_type"
    compared(choose(app, "B", OTHER))
    assert set(table_of(app)["names"][:20]) == set(GENES[MARKERS])
    assert "120 against 120 cells" in text_of(app)
    assert "cell\\_type is B against cell\\_type is \\<b\\>T\\<\\/b\\>" in text_of(app)


def test_the_sides_are_swapped(dataset):
    app = open_page()
    choose(app, "B", "\0rest")
    assert app.button(key="x_swap").disabled
    choose(app, "B", OTHER)
    check(app.button(key="x_swap").click().run())
    assert (app.selectbox(key="x_group").value, app.selectbox(key="x_reference").value) == (OTHER, "B")
    compared(app)
    assert set(table_of(app)["names"][-20:]) == set(GENES[MARKERS])


def test_what_is_drawn_becomes_the_first_side(dataset):
    app = lasso(open_page())
    assert app.selectbox(key="x_sides").value.endswith("selections")
    assert app.selectbox(key="x_group").value.endswith("current")
    app.selectbox(key="x_sides").set_value("side")
    check(app.run())
    assert app.selectbox(key="x_group").options == ["x (120 cells)", "y (120 cells)"]


def test_labels_of_truth_values_and_numbers_are_groups_too(dataset):
    adata = ad.read_h5ad(dataset)
    is_b = (adata.obs["cell_type"] == "B").to_numpy()
    adata.obs["flag"] = is_b
    adata.obs["cluster"] = pd.Categorical(np.where(is_b, 10, 9))
    adata.write_h5ad(dataset)
    app = open_page()
    for label, first in (("flag", "True"), ("cluster", "10")):
        app.selectbox(key="x_sides").set_value(label)
        check(app.run())
        compared(choose(app, first, "\0rest"))
        assert set(table_of(app)["names"][:20]) == set(GENES[MARKERS])


def test_nothing_selected_is_explained(dataset):
    app = open_page()
    app.selectbox(key="x_sides").set_value("\0selections")
    check(app.run())
    button = app.button(key="x_compare")
    assert button.disabled and "Nothing is selected" in button.help and not app.error


def test_a_comparison_outlives_the_session_and_is_in_the_address(dataset):
    app = compared(lasso(open_page()))
    job_id = app.query_params["comparison"]
    again = open_page(comparison=job_id)
    assert "a lasso of 4 points" in text_of(again) and len(table_of(again)) == 200
    data = explorer_data.explore(sources.resolve(f"folder:0/{FILE}"), None, None)
    history = SelectionHistory().select(Polygon("X_umap", tuple(map(tuple, LEFT)))).keep("left *cells*", 120, N)
    selections._path(data.dataset).write_text(json.dumps(history.as_dict()))
    named = open_page(comparison=job_id)
    assert "left \\*cells\\* against all other cells" in text_of(named)
    assert named.selectbox(key="x_group").value == "left *cells*", "the controls say what the result is of"


@pytest.mark.parametrize("wrong", ["0" * 16, "../../etc", "<b>"])
def test_an_address_that_names_no_comparison_is_ignored(dataset, wrong):
    app = open_page({"x_panel": "enrichment"}, comparison=wrong, enrichment=wrong)
    assert not app.error and "comparison" not in app.query_params


def test_donors_are_compared_with_pydeseq2s_numbers(dataset):
    app = open_page()
    compared(choose(app, "B", "\0rest"))
    assert "Trust the test of donors (6 against 6 from 'donor_id')" in unescaped(app)
    app.segmented_control(key="x_level").set_value("donors")
    check(app.run())
    work(app)
    counts = align_genes(read_dataset(dataset))
    is_b = (counts.obs["cell_type"] == "B").to_numpy()
    expected = compare_donors(counts, is_b, None, "donor_id")
    shown = table_of(app)
    assert "base_mean" in shown
    whole = expected.table.set_index("names").loc[shown["names"]]
    np.testing.assert_allclose(shown["pvals"], whole["pvals"])
    np.testing.assert_allclose(whole["pvals"], deseq(counts, is_b).loc[shown["names"], "pvalue"], rtol=1e-6)
    again = open_page(comparison=app.query_params["comparison"], x_level=compare._LEVELS["donors"])
    assert "base_mean" in table_of(again)


def deseq(counts, is_b: np.ndarray) -> pd.DataFrame:
    """The library called by hand: sums per donor and side, each donor compared with itself."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    matrix = pd.DataFrame(counts.rows(0, N).toarray()[:, counts.is_measured], columns=counts.genes[counts.is_measured])
    keys = [counts.obs["donor_id"].astype(str).to_numpy(), np.where(is_b, "group", "reference")]
    sums = matrix.groupby(keys, sort=False).sum()
    sums = sums.sort_index(level=[1, 0], ascending=[False, True])
    about = pd.DataFrame(list(sums.index), columns=["donor", "side"])
    sums = sums.loc[:, sums.sum() >= 10].astype(int).reset_index(drop=True)
    names = [f"s{i}" for i in range(len(sums))]
    sums.index, about.index = names, names
    factors = "ratio" if (sums > 0).all().any() else "poscounts"
    fit = DeseqDataSet(
        counts=sums,
        metadata=about,
        design="~donor + side",
        size_factors_fit_type=factors,
        n_cpus=1,
        quiet=True,
        low_memory=True,
    )
    fit.deseq2()
    stats = DeseqStats(fit, contrast=["side", "group", "reference"], n_cpus=1, quiet=True)
    stats.summary()
    return stats.results_df


def test_without_replicates_the_page_says_so_in_one_sentence(dataset):
    adata = ad.read_h5ad(dataset)
    adata.obs["donor_id"] = pd.Categorical(np.where(adata.obs["cell_type"] == "B", "one", "two"))
    adata.write_h5ad(dataset)
    app = compared(open_page())
    assert "1 donors with at least 10 cells" in unescaped(app) and "candidates only" in text_of(app)
    assert not [c for c in app.segmented_control if c.key == "x_level"]
    del adata.obs["donor_id"]
    adata.write_h5ad(dataset)
    app = compared(open_page())
    assert "no column of the file names several donors" in text_of(app)


def result_of(app: AppTest, level: str = "cells"):
    source = sources.resolve(f"folder:0/{FILE}")
    data = explorer_data.explore(source, None, None)
    history = SelectionHistory()
    view = View(source, data, None, None, None, history, None)
    job = jobs.status(jobs.Workspace(), app.query_params["comparison"])
    if level == "donors":
        job = comparison.newest_of_donors(view, job)
    return view, comparison.read_result(job, view)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("level", ["cells", "donors"])
def test_the_dataset_with_the_result_is_read_by_scanpy(dataset, tmp_path, level):
    adata = ad.read_h5ad(dataset)
    adata.uns["rank_genes_groups"] = {"mine": 1}
    adata.write_h5ad(dataset)
    app = open_page()
    compared(choose(app, OTHER, "\0rest"))
    if level == "donors":
        app.segmented_control(key="x_level").set_value("donors")
        work(check(app.run()))
    view, result = result_of(app, level)
    path = tmp_path / "out.h5ad"
    path.write_bytes(result_downloads.dataset_bytes(view, result))
    written = ad.read_h5ad(path)
    assert written.uns["rank_genes_groups"] == {"mine": 1}
    found = sc.get.rank_genes_groups_df(written, None, key="rank_genes_groups_scfviz")
    assert found["names"].tolist() == result.table["names"].tolist()
    np.testing.assert_allclose(found["pvals"], result.table["pvals"])
    column = written.uns["rank_genes_groups_scfviz"]["params"]["groupby"]
    assert written.obs[column].value_counts().tolist() == [120, 120]
    first = str(written.obs[column][adata.obs["cell_type"] == OTHER].iloc[0])
    assert first in written.uns["rank_genes_groups_scfviz"]["names"].dtype.names


def test_volcano_plots_are_files_that_open(dataset):
    view, result = result_of(compared(open_page()))
    svg = result_figures.print_volcano(result.table, "svg", f"{OTHER} $x$")
    assert b"<svg" in svg and b"adjusted p value" in svg and b"$x$" in svg
    assert Image.open(io.BytesIO(result_figures.print_volcano(result.table, "png", ""))).size[0] > 1_500
    drawn = result_figures.draw_volcano(result.table)
    assert sum(len(trace.x) for trace in drawn.data) == len(result.table)
    broken = result.table.assign(pvals_adj=np.nan)
    assert sum(len(trace.x) for trace in result_figures.draw_volcano(broken).data) == 0


# gene sets


def sets_of(names: list[str], n: int = 30) -> list[GeneSet]:
    rng = np.random.default_rng(1)
    sets = [GeneSet("<b>markers</b> $m$", "d", tuple(names[MARKERS]))]
    return sets + [GeneSet(f"random {i}", "", tuple(rng.choice(names, 20, replace=False))) for i in range(n)]


def gmt_of(sets: list[GeneSet]) -> bytes:
    return "".join("\t".join((one.name, one.description, *one.genes)) + "\n" for one in sets).encode()


def give_sets(app: AppTest, key: str, content: bytes, name: str = "my sets.gmt") -> AppTest:
    app.file_uploader(key=f"{key}_file").set_value((name, content, "text/plain"))
    return check(app.run())


def test_the_top_genes_of_a_comparison_are_found_in_their_set(dataset):
    app = open_page()
    compared(choose(app, "B", OTHER))
    app.segmented_control(key="x_panel").set_value("enrichment")
    check(app.run())
    sets = sets_of(GENES)
    give_sets(app, "x_enrich_sets", gmt_of(sets))
    assert "31 sets" in text_of(app) and "20 genes of 200 tested ones" in text_of(app)
    check(app.button(key="x_enrich").click().run())
    work(app)
    table = result_of_enrichment(app)
    expected = enrich_list(GENES[MARKERS], sets, GENES)
    pd.testing.assert_frame_equal(table, expected)
    assert table["name"][0] == "<b>markers</b> $m$" and table["pvals_adj"][0] < 1e-10
    assert "of 31 sets" in text_of(app)
    kept = {name: app.query_params[name] for name in ("comparison", "enrichment")}
    visitor = {"scfviz.visitor": app.session_state["scfviz.visitor"]}  # the file of sets is theirs alone
    again = open_page({"x_panel": "enrichment"} | visitor, **kept)
    assert "**1 of 31 sets**" in text_of(again) and not again.warning


def result_of_enrichment(app: AppTest) -> pd.DataFrame:
    folder = jobs.result_dir(jobs.Workspace(), app.query_params["enrichment"])
    return pd.read_parquet(folder / "table.parquet")


def test_the_whole_ranking_is_tested_and_thresholds_that_nothing_meets_are_explained(dataset):
    app = open_page()
    compared(choose(app, "B", OTHER))
    app.segmented_control(key="x_panel").set_value("enrichment")
    check(app.run())
    app.number_input(key="x_enrich_change").set_value(20.0)
    app.selectbox(key="x_enrich_side").set_value("lower")
    check(app.run())
    assert "No gene is beyond these thresholds" in text_of(app) and app.button(key="x_enrich").disabled
    app.segmented_control(key="x_enrich_way").set_value("ranking")
    check(app.run())
    give_sets(app, "x_enrich_sets", gmt_of(sets_of(GENES)))
    app.number_input(key="x_enrich_shuffles").set_value(200)
    check(app.run())
    check(app.button(key="x_enrich").click().run())
    work(app)
    table = result_of_enrichment(app)
    assert table["name"][0] == "<b>markers</b> $m$" and table["fdr"][0] < 0.05 and table["nes"][0] > 1.5


def test_a_set_that_was_found_colours_the_maps_by_its_score(dataset):
    app = open_page()
    compared(choose(app, "B", OTHER))
    app.segmented_control(key="x_panel").set_value("enrichment")
    check(app.run())
    give_sets(app, "x_enrich_sets", gmt_of(sets_of(GENES)))
    check(app.button(key="x_enrich").click().run())
    work(app)
    job_id = app.query_params["enrichment"]
    app.session_state[f"x_sets_{job_id}"] = {"selection": {"rows": [0], "columns": []}}
    check(app.run())
    assert "20 genes of the list in it" in text_of(app)
    check(app.button(key="x_color_set").click().run())
    assert spec_of(app)["colors"]["title"] == "<b>markers</b> $m$ (20 of 20 genes measured)"
    check(app.run())
    assert spec_of(app)["colors"]["title"] == "<b>markers</b> $m$ (20 of 20 genes measured)"


def test_without_a_comparison_the_panel_of_gene_sets_says_what_to_do(dataset):
    app = open_page({"x_panel": "enrichment"})
    assert "No comparison yet" in text_of(app)
    check(app.button(key="x_go_compare").click().run())
    assert app.button(key="x_compare")


@pytest.mark.parametrize(
    ("content", "words"), [(b"only a name\n", "Line 1"), (b"", "empty"), (b"\x89PNG\r\n\x00", "plain text")]
)
def test_a_broken_gmt_file_is_explained_and_not_kept(dataset, content, words):
    app = open_page({"x_color": "set"})
    give_sets(app, "x_set_source", content)
    assert words in app.error[0].value
    assert len(app.selectbox(key="x_set_source").options) == 2
    assert not [path for path in (jobs.Workspace().root / "gene_sets").rglob("*") if path.is_file()]


def test_the_bars_show_the_best_sets_and_print():
    rng = np.random.default_rng(0)
    names = [f"G{i}" for i in range(300)]
    table = enrich_ranking(names, rng.normal(size=300), sets_of(names, 40), n_permutations=50)
    for way, found in (("ranking", table), ("list", enrich_list(names[:30], sets_of(names, 40), names))):
        figure = result_figures.draw_bars(found, way, 12)
        assert len(figure.data[0].x) == 12
        bars = result_figures.lay_out_bars(found, way, 12)
        assert found["name"].iloc[bars.rows].tolist() == bars.names and bars.rows[0] == 0
        assert "<b>markers" not in str(figure.to_json())
        assert b"<svg" in result_figures.print_bars(found, way, 12, "svg", "a $caption$")


def test_the_ranking_has_gseapys_scores_and_its_p_values_up_to_chance():
    rng = np.random.default_rng(0)
    names = [f"G{i}" for i in range(600)]
    scores = rng.normal(size=600)
    scores[:30] += 1.0
    scores[30:50] -= 1.5
    sets = [GeneSet("up", "", tuple(names[:30])), GeneSet("down", "", tuple(names[30:50]))]
    sets += [GeneSet(f"r{i}", "", tuple(rng.choice(names, 15 + i, replace=False))) for i in range(40)]
    ours = enrich_ranking(names, scores, sets, n_permutations=1000).set_index("name")
    theirs = (
        gseapy.prerank(
            rnk=pd.Series(scores, index=names).sort_values(ascending=False),
            seed=0,
            outdir=None,
            no_plot=True,
            threads=1,
            gene_sets={one.name: list(one.genes) for one in sets},
            permutation_num=1000,
            min_size=15,
            max_size=500,
        )
        .res2d.set_index("Term")
        .loc[ours.index]
    )
    np.testing.assert_allclose(ours["es"], theirs["ES"].astype(float), rtol=1e-9)
    np.testing.assert_allclose(ours["nes"], theirs["NES"].astype(float), atol=0.15)
    np.testing.assert_allclose(ours["pvals"], theirs["NOM p-val"].astype(float), atol=0.12)
    assert (ours["fdr"] - theirs["FDR q-val"].astype(float)).abs().median() < 0.05
    leading = theirs["Lead_genes"].str.split(";").map(set)
    assert (ours["genes"].str.split(", ").map(set) == leading).all()
    assert ours.index[0] == "up" and ours.index[-1] == "down"


def test_sets_of_a_ranking_without_any_signal_are_rarely_found():
    rng = np.random.default_rng(3)
    names = [f"G{i}" for i in range(500)]
    sets = [GeneSet(f"r{i}", "", tuple(rng.choice(names, 20, replace=False))) for i in range(200)]
    table = enrich_ranking(names, rng.normal(size=500), sets, n_permutations=500)
    assert 0.02 < (table["pvals"] < 0.1).mean() < 0.2 and (table["fdr"] < 0.05).sum() <= 2


def test_top_genes_keep_their_side_and_thresholds():
    table = pd.DataFrame({"names": list("abcde"), "scores": [5.0, 3.0, 0.0, -2.0, -4.0],
                          "logfoldchanges": [2.0, 0.5, 0.0, -1.5, -3.0],
                          "pvals_adj": [0.001, 0.01, 1.0, 0.01, np.nan]})  # fmt: skip
    assert top_genes(table, "higher", 0.05, 0.0, 10) == ["a", "b"]
    assert top_genes(table, "higher", 0.05, 1.0, 10) == ["a"]
    assert top_genes(table, "lower", 0.05, 1.0, 10) == ["d"], "a gene without an adjusted p is not on the list"
    assert top_genes(table, "higher", 1.0, 0.0, 1) == ["a"]
    with pytest.raises(OptionError):
        top_genes(table, "sideways", 0.05, 1.0, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"comparison": "x"},
        {"way": "magic"},
        {"gmt": "/nowhere.gmt"},
        {"max_padj": 0.0},
        {"smallest": 0},
        {"direction": "up"},
        {"n_permutations": 1},
        {"nothing": 1},
    ],
)
def test_wrong_options_of_an_enrichment_are_refused(wrong):
    with pytest.raises(OptionError):
        enrichment_job.prepare({"comparison": "0" * 16} | wrong, jobs.Workspace())


def test_an_enrichment_of_a_comparison_that_is_gone_says_so(tmp_path):
    options, _ = enrichment_job.prepare({"comparison": "0" * 16}, jobs.Workspace())
    with pytest.raises(JobError, match="not there"):
        enrichment_job.run(tmp_path / "job", options, lambda share, stage: None, lambda: False)


# colours by a set


def score_by_scanpy(dataset: Path, genes: list[str]) -> np.ndarray:
    counts = align_genes(read_dataset(dataset))
    measured = counts.is_measured
    matrix = log_normalise(counts.rows(0, counts.n_obs))[:, measured].astype(np.float64)
    adata = ad.AnnData(matrix, var=pd.DataFrame(index=counts.genes[measured].astype(str)))
    sc.tl.score_genes(adata, genes, score_name="score", random_state=0)
    return adata.obs["score"].to_numpy()


def shown_score(genes: list[str]) -> np.ndarray:
    source = sources.resolve(f"folder:0/{FILE}")
    return gene_sets.score(source, explorer_data.explore(source, None, None), None, genes).values


def test_the_maps_are_coloured_by_ones_own_genes_with_scanpys_score(dataset):
    genes = GENES[MARKERS]
    app = open_page({"x_color": "set", "x_set_source": gene_sets.OWN, "x_set_genes": ", ".join([*genes, "NOT_A_GENE"])})
    colors = spec_of(app)["colors"]
    assert colors["title"] == "own genes (20 of 21 genes measured)" and "control genes" in json.dumps(colors)
    np.testing.assert_allclose(shown_score([*genes, "NOT_A_GENE"]), score_by_scanpy(dataset, genes), atol=1e-5)
    wrong = open_page({"x_color": "set", "x_set_source": gene_sets.OWN, "x_set_genes": "NOT_A_GENE"})
    assert "None of the 1 genes" in wrong.error[0].value and spec_of(wrong)["n"] == N, "the maps stay"


def test_an_ontology_set_is_in_the_address(dataset):
    app = open_page(x_color="Gene set", x_set="T cell activation")
    assert spec_of(app)["colors"]["title"].startswith("T cell activation (")
    app.session_state["x_ramp"] = "cividis"  # the address holds what is chosen, whole
    assert "set.T cell activation" in check(app.run()).query_params["view"]
    nothing = open_page(x_color="Gene set", x_set="no such set")
    assert spec_of(nothing)["colors"]["title"] == "cell_type", "the last colours stay"


def test_sets_of_a_file_colour_the_maps_also_for_who_gets_the_address(dataset):
    app = open_page({"x_color": "set", "x_set": "T cell activation"})
    give_sets(app, "x_set_source", gmt_of(sets_of(GENES)), "../<b>sets</b>.gmt")
    assert spec_of(app)["colors"]["title"].startswith("T cell activation"), "the last colours stay"
    app.selectbox(key="x_set").set_value("<b>markers</b> $m$")
    check(app.run())
    title = spec_of(app)["colors"]["title"]
    assert title == "<b>markers</b> $m$ (20 of 20 genes measured)"
    ref = app.session_state["x_set_source"]
    link = {"x_color": "Gene set", "x_set_source": ref, "x_set": "<b>markers</b> $m$"}
    other = open_page(**link)
    assert "markers" not in spec_of(other)["colors"]["title"] and "is not shared" in other.toast[0].value
    check(app.toggle(key=f"x_set_source_share_{ref}").set_value(True).run())
    assert spec_of(open_page(**link))["colors"]["title"] == title
    for wrong in ("../../etc/passwd", "0" * 32 + "/x.gmt", "0" * 32 + "/../../x"):
        lost = open_page(x_color="Gene set", x_set_source=wrong)
        assert not lost.error and lost.selectbox(key="x_set_source").value == gene_sets.ONTOLOGY


def test_a_comparison_says_what_memory_it_needs_and_warns_where_it_cannot_fit(dataset, monkeypatch):
    monkeypatch.setattr("scfviz.data.memory.free_memory", lambda: 40 * 10**9)
    app = open_page()
    assert "GB of memory needed, 40.0 GB free." in text_of(app) and not app.warning
    monkeypatch.setattr("scfviz.data.memory.free_memory", lambda: 10**8)
    check(app.run())
    assert "It will be refused as it is" in app.warning[0].value


def test_files_of_gene_sets_are_listed_for_who_gave_them_and_removed(dataset):
    app = open_page({"x_color": "set"})
    content = gmt_of(sets_of(GENES))
    give_sets(app, "x_set_source", content)
    assert "my sets\\.gmt · 31 sets · " in text_of(app)
    ref = app.session_state["x_set_source"]
    folder = jobs.Workspace().root / "gene_sets" / ref.partition("/")[0]
    other = open_page({"x_color": "set"})
    assert "Your files of gene sets" not in text_of(other)
    assert len(other.selectbox(key="x_set_source").options) == 2
    with pytest.raises(AccessError, match="another visitor"):
        gene_set_files.remove(ref, "somebody")
    assert gene_set_files.save(content, "renamed.gmt", "somebody") == ref
    check(app.button(key=f"x_set_source_remove_{ref}").click().run())
    assert "Your files of gene sets" not in text_of(app)
    assert "one of the choices above" not in text_of(app)
    assert app.selectbox(key="x_set_source").value == gene_sets.ONTOLOGY
    assert folder.exists(), "somebody else gave it, too"
    gene_set_files.remove(ref, "somebody")
    assert not folder.exists()


def test_many_cells_are_scored_outside_the_page_with_the_same_numbers(dataset, monkeypatch):
    genes = GENES[MARKERS]
    session = {"x_color": "set", "x_set_source": gene_sets.OWN, "x_set_genes": " ".join(genes)}
    inside = spec_of(open_page(session))["colors"]
    monkeypatch.setattr(gene_sets, "INLINE_CELLS", 10)
    app = open_page(session)
    assert spec_of(app)["colors"]["title"] == "cell_type", "the last colours stay meanwhile"
    assert "Scoring the cells" in text_of(app)
    outside = spec_of(work(app))["colors"]
    assert outside["title"] == inside["title"] and outside["channel"] == inside["channel"]


def test_a_score_that_failed_outside_the_page_can_be_left(dataset, monkeypatch):
    monkeypatch.setattr(gene_sets, "INLINE_CELLS", 10)
    app = open_page({"x_color": "set", "x_set_source": gene_sets.OWN, "x_set_genes": "NOT_A_GENE"})
    work(app)
    assert "None of the 1 genes" in app.error[0].value
    check(app.button(key="leave-job-set").click().run())
    assert not app.error and app.text_input(key="x_set_genes").value == ""


def test_a_comparison_between_donors_that_failed_can_be_left(dataset, monkeypatch):
    def fail(*args, **options):
        raise OptionError("DESeq2 found no way.", "", "Take other groups.")

    app = open_page()
    compared(choose(app, "B", OTHER))
    monkeypatch.setattr("scfviz.analysis.pseudobulk.compare_donors", fail)
    app.segmented_control(key="x_level").set_value("donors")
    work(check(app.run()))
    assert "no way" in app.error[0].value
    check(app.button(key="leave-job-compare").click().run())
    assert not app.error and "mean_in" in table_of(app)


def test_wrong_options_of_a_score_are_refused(dataset):
    for wrong in ({"genes": []}, {"genes": None}, {"dataset": None}, {"more": 1}):
        with pytest.raises(OptionError):
            set_score.prepare({"dataset": str(dataset), "genes": ["CD3D"]} | wrong, jobs.Workspace())
    one, two = (
        set_score.prepare({"dataset": str(dataset), "genes": ["CD3D"], "gene_store": s}, jobs.Workspace())[1]
        for s in (None, "x")
    )
    assert one == two


def test_known_means_change_no_score(dataset):
    from scfviz.analysis.gene_sets import mean_expression

    expression = AlignedExpression(align_genes(read_dataset(dataset)))
    genes = GENES[MARKERS]
    means = mean_expression(expression)
    np.testing.assert_array_equal(score_set(expression, genes).values, score_set(expression, genes, means=means).values)


def test_a_rule_of_a_label_is_told_from_others(dataset):
    source = sources.resolve(f"folder:0/{FILE}")
    view = View(source, explorer_data.explore(source, None, None), None, None, None, SelectionHistory(), None)
    assert not comparison._is_of(jobs.status(jobs.Workspace(), ask_other(dataset)), view.data)


def ask_other(dataset: Path) -> str:
    """A comparison of another file."""
    adata = ad.read_h5ad(dataset)[:100].copy()
    adata.write_h5ad(dataset.with_name("other.h5ad"))
    options = {"dataset": str(dataset.with_name("other.h5ad")), "group": to_json(Categories("cell_type", ("B",)))}
    return jobs.submit(jobs.Workspace(), "differential_expression", options)
