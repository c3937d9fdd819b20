"""A task that is one folder and one line, on every page: its own, Home, Workspace, Explorer."""

import json

import anndata as ad
import numpy as np
import pytest
from app_pages import check, open_explorer, text_of, work_off
from mito_share import MITO_SHARE
from small_cells import make_cells
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Threshold, to_json
from scfviz.data.vocabulary import MITOCHONDRIAL_PREFIX, load_vocabulary
from scfviz.errors import OptionError
from scfviz.jobs import queue
from scfviz.jobs.kinds import title_of_kind
from scfviz.reporting import script
from scfviz.reporting.session import read_session
from scfviz.tasks.registry import TASKS
from scfviz.ui.drawing import coloring
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.maps.colors import Chosen, Request
from scfviz.ui.explorer.reporting import report, session
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import routes, sources, state
from scfviz.ui.screens import home
from scfviz.ui.tasks import request, result, results

NAME, FILE, N_OBS = MITO_SHARE.name, "cells.h5ad", 60


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    """The one line, and a file with a map of its own."""
    monkeypatch.setitem(TASKS, NAME, MITO_SHARE)
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    cells = make_cells(N_OBS)
    mitochondrial = [gene for gene in load_vocabulary().symbols if gene.startswith(MITOCHONDRIAL_PREFIX)][:3]
    cells.var_names = [*mitochondrial, *(name for name in cells.var_names[3:])]
    counts = cells.X.tolil()
    counts[:, :3] = np.random.default_rng(0).poisson(40, (N_OBS, 3))
    cells.X = counts.tocsr().astype(np.float32)
    cells.obsm["X_umap"] = np.random.default_rng(1).normal(size=(N_OBS, 2))
    cells.write_h5ad(tmp_path / FILE)


def own_page() -> None:
    from scfviz.tasks.registry import TASKS
    from scfviz.ui.tasks import page

    page.show(TASKS["mito_share"])


def open_page(**query: str) -> AppTest:
    app = AppTest.from_function(own_page, default_timeout=120)
    app.query_params["dataset"] = f"folder:0/{FILE}"
    for name, value in query.items():
        app.query_params[name] = value
    return check(app.run())


def computed(**options) -> str:
    job_id = jobs.submit(jobs.Workspace(), NAME, {"dataset": str(sources.resolve(f"folder:0/{FILE}").path), **options})
    work_off()
    return job_id


def test_its_page_asks_follows_and_shows():
    app = open_page()
    assert app.title[0].value == MITO_SHARE.title and MITO_SHARE.question in text_of(app)
    assert MITO_SHARE.baseline in text_of(app) and "GB of memory" in text_of(app)
    assert {field.label for field in app.number_input} == {"Threshold (% of counts)"}
    assert app.radio[0].options == ["strict", "loose"]
    app.number_input[0].set_value(8.0)
    app.button(key=f"start-{NAME}").click()
    check(app.run())
    job = jobs.list_jobs(jobs.Workspace())[0]
    assert job.kind == NAME and job.options["threshold"] == 8.0 and app.query_params[f"job_{NAME}"] == job.id
    assert job.state == "queued" and app.button(key=f"stop-job-{NAME}").label == "Stop"
    work_off()
    app = open_page(**{f"job_{NAME}": job.id})
    text = text_of(app).replace("\\", "")
    assert "60 cells" in text and "threshold: 8.0" in text and "Some tissues have much by nature" in text
    assert app.session_state["x_value"] == "pct_mito", "the map is coloured by what was found"
    assert app.metric[0].label == "Mean"
    app.button(key=f"other-{NAME}").click()
    check(app.run())
    assert app.button(key=f"start-{NAME}")


def test_each_task_has_a_computation_of_its_own_in_session_and_address():
    first, second = computed(), "b" * 16
    app = open_page(**{f"job_{NAME}": first, "job": second})
    assert app.session_state["scfviz.jobs"] == {"embedding": second, NAME: first}
    assert app.query_params["job"] == second and app.query_params[f"job_{NAME}"] == first


def test_it_has_a_route_a_home_card_and_a_title():
    assert routes.all_routes()["mito_share"].title == MITO_SHARE.title
    assert home._cards()["mito_share"] == (MITO_SHARE.verb, MITO_SHARE.question)
    assert title_of_kind(NAME) == MITO_SHARE.title
    names = [name for name, route in routes.all_routes().items() if route.section == "Analyse"]
    assert names[0] == "cell_embedding" and names[-2:] == ["mito_share", "explorer"]


def test_the_explorer_colours_selects_and_exports_by_what_it_found(tmp_path):
    job_id = computed(threshold=8.0)
    app = open_explorer(FILE)
    source = sources.resolve(f"folder:0/{FILE}")
    assert request_ids(app, source) == (job_id,)
    data = explorer_data.explore(source, None, None, (job_id,))
    assert "pct_mito" in data.values and "mito_level" in data.labels
    assert explorer_data.title_of("pct_mito") == "Share of mitochondrial counts"
    assert explorer_data.unit_of("pct_mito") == "% of counts"
    chosen = data.mask(Threshold("column", "pct_mito", ">", 8.0))
    assert chosen.sum() == (data.column("mito_level") == "high").sum() > 0
    rule = to_json(Threshold("column", "pct_mito", ">", 8.0))
    asked = {"dataset": str(source.path), "rule": rule, "task_jobs": [job_id]}
    export = jobs.submit(jobs.Workspace(), "export", asked)
    work_off()
    folder = jobs.result_dir(jobs.Workspace(), export)
    written = ad.read_h5ad(next(folder.glob("*.h5ad")))
    assert written.n_obs == chosen.sum() and (written.obs["pct_mito"] > 8.0).all()
    assert json.loads(written.uns["scfviz"][NAME])["options"]["threshold"] == 8.0


def request_ids(app: AppTest, source: sources.Source) -> tuple[str, ...]:
    """What the page found, asked again in the same workspace."""
    return request.finished_jobs(source)


def view_of(job_id: str) -> View:
    source = sources.resolve(f"folder:0/{FILE}")
    data = explorer_data.explore(source, None, None, (job_id,))
    history = SelectionHistory().select(Threshold("column", "pct_mito", ">", 8.0))
    labels = coloring.color_by_labels("mito_level", data.column("mito_level"))
    chosen = Chosen(["X_umap"], labels, "mito_level", Request("label", "mito_level"))
    return View(source, data, None, None, chosen, history, data.mask(history.current), (job_id,))


def test_report_methods_and_script_say_what_was_done_and_give_the_same_numbers(tmp_path, monkeypatch):
    view = view_of(computed(threshold=8.0, filters={"min_counts": 1450}))
    handed = report.take(view)
    text = report.report_html(view, handed)
    found = results.load_result(view.task_jobs[0])
    for words in (
        "Share of mitochondrial counts (% of counts)",
        MITO_SHARE.baseline,
        "threshold 8 % of counts",
        "Least counts of a cell that takes part".lower(),
        "Some tissues have much by nature",
        f"{found.cells['pct_mito'].mean():,.4g}",
        "mito_share_levels.csv",
    ):
        assert words in text, words
    assert f"Mitochondrial share: {len(found.kept)} cells" in text, "it stands in the record"
    cells = script.script_cells(report.gather(view, handed))
    code = script.as_python(cells)
    assert "scfviz.run_task('mito_share', dataset=DATASET" in code and str(tmp_path) not in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "script", "exec"), {"__name__": "script"})  # it stops where a number differs
    assert (tmp_path / "scfviz_results" / "mito_share_cells.csv").is_file()
    wrong = code.replace("mito_share.cells['pct_mito'].mean(), ", "99.0, ")
    assert wrong != code
    with pytest.raises(SystemExit, match="mean of pct_mito"):
        exec(compile(wrong, "script", "exec"), {"__name__": "script"})


def test_a_session_restores_it_elsewhere(tmp_path, monkeypatch):
    view = view_of(computed(threshold=8.0))
    saved = read_session(session.save(view, None).to_bytes())
    assert saved.tasks[NAME]["options"]["threshold"] == 8.0 and "dataset" not in saved.tasks[NAME]["options"]
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "elsewhere"))
    target = sources.resolve(f"folder:0/{FILE}")
    assert MITO_SHARE.title in session._missing_results(saved, target) and session._can_compute(saved)
    chosen = {}
    monkeypatch.setattr(state, "choose_job", lambda job_id, task: chosen.update({task: job_id}))
    for name in ("choose_dataset", "choose_filters", "choose_gene_column"):
        monkeypatch.setattr(state, name, lambda *_: None)
    monkeypatch.setattr(routes, "go", lambda *_: None)
    session._begin(saved, target, compute=True)
    work_off()
    assert session._missing_results(saved, target) == ""
    session._begin(saved, target)
    assert chosen == {NAME: view.task_jobs[0]} and request.finished_jobs(target) == view.task_jobs
    monkeypatch.delitem(TASKS, NAME)
    assert "not known here" in session._missing_results(saved, target)


def test_a_session_file_of_a_task_is_checked():
    saved = session.save(view_of(computed()), None).to_bytes()
    for old, new in ((b'"mito_share"', b'"../x"'), (b'"threshold": 5.0', b'"threshold": {"a": 1}')):
        assert old in saved
        with pytest.raises(OptionError, match="damaged"):
            read_session(saved.replace(old, new))


def test_its_download_is_the_file_with_the_result():
    job_id = computed()
    source = sources.resolve(f"folder:0/{FILE}")
    content = result.dataset_bytes(MITO_SHARE, results.load_result(job_id), source)
    path = jobs.Workspace().root / "out.h5ad"
    path.write_bytes(content)
    assert set(ad.read_h5ad(path).obs) >= {"pct_mito", "mito_level", "cell_type"}
