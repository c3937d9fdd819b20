"""The page of enhancement: the verdict first, a gene before and after, any depth from one that is stored."""

from pathlib import Path

import numpy as np
import pytest
from app_pages import check, text_of, work_off
from small_cells import make_cells, save_tiny_checkpoint
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.data.normalise import log_values
from scfviz.jobs import queue
from scfviz.tasks.result import Result, read_result
from scfviz.ui.tasks.enhancement.screen import Depths, _say_invented, say_verdict

PAGE = Path(__file__).resolve().parents[2] / "pages" / "enhancement.py"
N_OBS = 80


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A file without a map of its own."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    cells = make_cells(N_OBS)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    save_tiny_checkpoint(tmp_path / "checkpoint")
    return tmp_path


def open_page(**query: str) -> AppTest:
    app = AppTest.from_file(str(PAGE), default_timeout=120)
    app.query_params["dataset"] = "folder:0/cells.h5ad"
    for key, value in query.items():
        app.query_params[key] = value
    return check(app.run())


def test_the_page_asks_computes_and_says_the_verdict_first(world):
    app = open_page()
    # the form could not be drawn for a task that asks for genes
    assert sorted(make_cells(N_OBS).var_names) == app.multiselect(key="enhancement-genes").options
    assert app.radio(key="enhancement-method").value == "dataset alone", "the model would take minutes"
    check(app.button(key="start-enhancement").click().run())
    work_off()
    job = next(job for job in jobs.list_jobs(jobs.Workspace()) if job.kind == "enhancement")
    assert job.state == "done", job
    app = check(app.run())
    text = text_of(app)
    assert "What this is worth on your cells" in text and "times" in text and "90 % interval" in text
    assert text.index("What this is worth") < text.index("Before and after") < text.index("Two genes")
    assert "Do not test for differential expression" in text or "No verdict" in text or "cannot be told" in text
    result = read_result(jobs.result_dir(jobs.Workspace(), job.id))
    assert app.selectbox(key="enhancement-gene").options[0] in result.tables["genes"]["gene"].tolist()
    slider = app.select_slider(key="enhancement-depth")
    assert any("own depth" in option for option in slider.options)
    work_off()
    # with another task's result beside it, the quick map was thrown away and drawn for again without end
    app = check(slider.set_value(1.0).run())
    assert "Both maps have one colour scale" in text_of(app)
    assert app.selectbox(key="enhancement-groups").options
    check(app.button(key="enhancement-add-model").click().run())
    asked = [job.options["method"] for job in jobs.list_jobs(jobs.Workspace()) if job.kind == "enhancement"]
    assert sorted(asked) == ["combination", "dataset alone"]


def made(fold: float, **options) -> Result:
    """A result whose share of the gene is 0.001 in every cell."""
    import pandas as pd
    from scipy import sparse

    depth, seen = np.array([1000.0, 2000.0]), np.array([3.0, 0.0])
    target = fold * depth
    enhanced = log_values(seen + 1e-3 * (target - depth), target)
    return Result(
        np.arange(2),
        pd.DataFrame({"source_depth": depth, "target_depth": target}),
        {"enhanced": enhanced[:, None], "counts": sparse.csr_matrix(seen[:, None])},
        {"genes": pd.DataFrame({"gene": ["A"]})},
        report={"options": {"method": "neighbours"} | options},
    )


@pytest.mark.parametrize("stored", [2.0, 7.0])
def test_any_depth_follows_from_the_one_that_is_stored(stored):
    for fold in (1.0, 3.0, 20.0):
        np.testing.assert_allclose(Depths(made(stored)).gene("A", fold), Depths(made(fold)).gene("A"), atol=1e-5)
    before, at_own = Depths(made(stored)).gene("A", 1.0)
    np.testing.assert_allclose(before, at_own, atol=1e-6)


def test_the_verdict_names_the_careful_method_where_many_correlations_are_invented():
    import pandas as pd

    table = pd.DataFrame(
        {
            "method": ["input", "combination", "posterior"],
            "invented_per_1000": [1.0, 528.0, 26.0],
            "false_positives": [5.0, 60.0, 20.0],
        }
    )
    result = Result(np.arange(1), None, tables={"methods": table})
    assert "*posterior* invents 26" in _say_invented(result, "combination")
    assert "posterior" not in _say_invented(result, "posterior")


def test_the_verdict_speaks_of_what_was_measured():
    from dataclasses import replace

    scores = {
        "effective_fold": 0.7,
        "effective_fold_low": 0.5,
        "effective_fold_high": 0.9,
        "best_simple_method": "input",
        "effective_fold_of_best_simple_method": 1.0,
        "genes_to_use": 1,
        "genes_not_to_be_used": 5,
        "gain_by_the_model": 0.001,
        "gain_by_the_model_low": -0.01,
        "gain_by_the_model_high": 0.01,
    }
    import pandas as pd

    table = pd.DataFrame(
        {"method": ["input", "neighbours"], "invented_per_1000": [1.0, 40.0], "false_positives": [5.0, 60.0]}
    )
    result = replace(made(2.0), scores=scores)
    result = replace(result, tables=dict(result.tables) | {"methods": table})
    said = " ".join(say_verdict(result))
    assert "makes them worse" in said and "adds nothing certain" in said
    assert "40 correlations per 1,000 pairs" in said and "60 % of genes" in said and "of the counts 5 %" in said
    assert "No verdict" in say_verdict(replace(result, scores={}))[0]
    told = {"correlation_per_gene": 0.21, "correlation_per_gene_of_input": 0.16}
    assert "cannot be told" in say_verdict(replace(result, scores=told))[0]
