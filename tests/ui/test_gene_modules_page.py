"""The page of gene modules: form, picture, what was clicked, filters, comparison, downloads."""

import json
from pathlib import Path

import numpy as np
import pytest
from app_pages import check, text_of, work_off
from small_cells import make_cells
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.jobs import queue
from scfviz.tasks.registry import get_task
from scfviz.tasks.reporting import Answered
from scfviz.ui.drawing import charts
from scfviz.ui.frame import sources
from scfviz.ui.tasks.results import load_result

PAGE = Path(__file__).resolve().parents[2] / "pages" / "gene_modules.py"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with a finished quick look at cells of three groups."""
    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "start_worker", lambda _: None)
        patch.setenv("SCFVIZ_WORKSPACE", str(folder / "workspace"))
        patch.setenv("SCFVIZ_DATA", str(folder))
        cells = make_cells(240, depth=3000.0)
        cells.obsm["X_umap"] = np.random.default_rng(0).normal(size=(240, 2)).astype(np.float32)
        cells.obs["donor"] = [f"d{i % 4}" for i in range(240)]
        cells.write_h5ad(folder / "cells.h5ad")
        make_cells(60).write_h5ad(folder / "other.h5ad")
        path = str(sources.resolve("folder:0/cells.h5ad").path)
        options = {"dataset": path, "view": "coexpression", "group_by": "cell_type", "n_genes": 200}
        job_id = jobs.submit(jobs.Workspace(), "gene_modules", options)
        work_off()
        yield job_id


def open_page(file: str = "cells.h5ad", **query: str) -> AppTest:
    app = AppTest.from_file(str(PAGE), default_timeout=120)
    app.query_params["dataset"] = f"folder:0/{file}"
    for name, value in query.items():
        app.query_params[name] = value
    return check(app.run())


def chart_of(app: AppTest) -> dict:
    """What the picture was told."""
    return json.loads(app.get("echarts_chart")[0].proto.spec)


def test_it_offers_a_quick_look_before_the_model(workspace):
    app = open_page("other.h5ad")
    assert "seconds" in text_of(app)
    app.text_area(key="gene_modules-genes").set_value("A1BG, A2M\nA1BG")
    app.button(key="start-gene-modules-quick").click()
    check(app.run())
    job = jobs.list_jobs(jobs.Workspace())[0]
    assert job.kind == "gene_modules" and job.options["view"] == "coexpression"
    assert tuple(job.options["genes"]) == ("A1BG", "A2M")


def test_a_finished_result_shows_picture_module_and_gene(workspace):
    app = open_page(job_gene_modules=workspace)
    text = text_of(app).replace("\\", "")
    for words in ("Co-expression only", "distance means nothing", "Module 1", "Hubs", "Modules and groups of cells"):
        assert words in text, words
    result = load_result(workspace)
    gene = result.tables["genes"]["gene"].iloc[5]
    app.multiselect(key="gene_modules-marked").set_value([gene])
    check(app.run())
    app.session_state["gene_modules-clicked"] = ("gene", gene)
    check(app.run())
    assert f"#### {gene}" in text_of(app).replace("\\", "")
    app.segmented_control(key="gene_modules-view").set_value("difference")
    check(app.run())
    assert "3 standard errors" in text_of(app)


def test_a_result_without_the_model_names_none(workspace):
    """The line of facts and the report once named a model that had read none of the cells."""
    result = load_result(workspace)
    assert result.report["checkpoint"] is None
    answered = Answered(get_task("gene_modules"), result)
    said = answered.say("methods")
    for words in ("no model was used", "Leiden", "transcription factors", "adjusted Rand"):
        assert words in said, words
    assert "scfoundation" not in answered.say("citations")
    assert answered.say("section").blocks[0].text == said
    compile(answered.say("script").code, "script", "exec")
    assert any("lead for an experiment" in text for text in answered.say("caveats")) == bool(
        len(result.tables["network"])
    )


def test_the_line_of_facts_says_options_in_plain_words(workspace):
    """It once said "what links genes: coexpression" and "boosted trees: False"."""
    facts = next(text for text in text_of(open_page(job_gene_modules=workspace)).split("\n") if "computed in" in text)
    facts = facts.replace("\\", "")
    for words in ("what links genes: co-expression", "groups of cells: cell_type", "number of genes: 200"):
        assert words in facts, facts


def test_buttons_of_a_figure_lie_on_nothing(workspace):
    """They lay on the last columns of the heatmap and on its scale."""
    figures = [json.loads(element.proto.spec) for element in open_page(job_gene_modules=workspace).get("plotly_chart")]
    assert len(figures) >= 2
    for figure in figures:
        assert figure["layout"]["margin"]["t"] >= charts.TOOLBAR_PIXELS


def test_a_regulator_is_shown_on_the_map(workspace):
    app = open_page(job_gene_modules=workspace)
    result = load_result(workspace)
    if "regulators" not in result.tables:
        pytest.skip("no factor has five targets in these cells")
    factor = str(result.tables["regulators"]["factor"].iloc[0])
    app.selectbox(key="gene_modules-regulator").set_value(factor)
    check(app.run())
    assert f"Activity of {factor}" in str([element.proto for element in app.get("bidi_component")])


def test_groups_are_compared_over_donors(workspace):
    app = open_page(job_gene_modules=workspace)
    app.selectbox(key="gene_modules-donors").set_value("donor")
    check(app.run())
    assert "paired t test over donors" in text_of(app)
