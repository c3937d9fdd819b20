"""The page of perturbations: it answers at once from what ships, and takes a screen from check to a kept predictor."""

import shlex
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from app_pages import check, text_of, work_off
from perturbed_cells import DOUBLES, make_screen
from small_cells import make_cells, save_tiny_checkpoint
from streamlit.testing.v1 import AppTest
from treated_cells import make_treated

from scfviz import jobs
from scfviz.__main__ import main
from scfviz.jobs import queue
from scfviz.jobs.scenarios import list_kept
from scfviz.reporting.script import script_of
from scfviz.tasks.perturbation.alike import cluster
from scfviz.tasks.perturbation.predictor import PREDICTORS
from scfviz.tasks.perturbation.run import predictor_of
from scfviz.tasks.perturbation.scenarios import Scenario
from scfviz.ui.explorer.reporting import report as dataset_report
from scfviz.ui.frame import state
from scfviz.ui.tasks.perturbation import words as perturbation_words
from scfviz.ui.tasks.perturbation.in_silico import grid_moves
from scfviz.ui.tasks.perturbation.result import predictor_bytes
from scfviz.ui.tasks.perturbation.scenarios import Asked, report_html, script_text
from scfviz.ui.tasks.results import load_result


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    """A screen in the server's folder, a small model, no worker."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    make_screen().write_h5ad(tmp_path / "screen.h5ad")


def own_page() -> None:
    from scfviz.ui.frame import page
    from scfviz.ui.tasks.perturbation import screen as perturbation

    with page.screen("perturbation", perturbation.TASK.question):
        perturbation.show()


def open_page(**query: str) -> AppTest:
    app = AppTest.from_function(own_page, default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    return check(app.run())


def test_it_answers_without_any_data():
    app = open_page()
    assert "measured in training" in text_of(app) and "It rests on" in text_of(app)
    assert "official test knock-downs" in text_of(app), "what was measured stands on the page"
    genes = app.multiselect(key="perturbation-genes-activation_k562")
    check(genes.set_value(["KLF1", "MAPK1"]).run())
    assert "two genes, both seen alone" in text_of(app)
    check(app.button(key="keep-activation_k562").click().run())
    check(app.multiselect(key="perturbation-genes-activation_k562").set_value(["NOSUCHGENE"]).run())
    assert "unknown to the model" in text_of(app) and "Scenarios side by side" in text_of(app)
    later = AppTest.from_function(own_page, default_timeout=120)
    later.session_state[state._VISITOR] = app.session_state[state._VISITOR]
    assert "Kept in the workspace for you alone" in text_of(check(later.run())), "beyond the visit"
    assert "Kept in the workspace" not in text_of(open_page()), "another visitor"


@pytest.mark.parametrize("name", [name for name in PREDICTORS.shipped() if name.startswith("knockdown")])
def test_every_line_that_ships_answers(name):
    app = open_page()
    check(app.selectbox(key="perturbation-predictor").set_value(name).run())
    assert "Which genes change?" in text_of(app) and "Probabilities as they held" in text_of(app)


_SHOWN = {"Gene": "gene", "Change": "change", "5 %": "low", "95 %": "high", "Changed": "p_changed"}
_SHOWN |= {"2.5 %": "low", "97.5 %": "high", "Up, if changed": "p_up"}


def agree(app: AppTest, folder: str, genes: list[str], out: Path) -> None:
    """Every gene, value and interval in the page's table is the command's, beyond the three digits shown."""
    assert main(["perturb", "predict", folder, "+".join(genes), "--out", str(out)]) == 0
    written = pd.read_csv(out).set_index("gene")
    shown = next(one.value for one in app.dataframe if {"Gene", "Change"} <= {*one.value} or "Changed" in one.value)
    shown = shown[[name for name in _SHOWN if name in shown]].rename(columns=_SHOWN).set_index("gene")
    assert len(shown.columns) >= 3 and shown.index.is_unique and len(shown) > 50
    if "change" in shown:
        assert set(shown.index) == set(written.index)
    else:  # the knocked-down gene is not shown; of many genes the likeliest
        left_out = written.index.difference([*shown.index, *genes])
        assert not (written["p_changed"][left_out] > shown["p_changed"].min() + 1e-6).any()
    np.testing.assert_allclose(shown, written.loc[shown.index, shown.columns], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        ("activation_k562", (["KLF1"], ["SOX2"], ["KLF1", "MAPK1"], ["KLF1", "SOX2"], ["CBL", "CNN1"])),
        ("knockdown_k562", (["GATA1"], ["NANOG"])),
    ],
)
def test_the_command_gives_the_numbers_of_the_page(name, questions, tmp_path):
    app = open_page()
    check(app.selectbox(key="perturbation-predictor").set_value(name).run())
    for genes in questions:
        key = f"perturbation-genes-{name.removeprefix('knockdown_')}"
        check(app.multiselect(key=key).set_value(genes).run())
        agree(app, name, genes, tmp_path / f"{'-'.join(genes)}.csv")


def test_the_command_gives_the_numbers_of_the_page_for_an_own_screen(tmp_path):
    app = open_page(dataset="folder:0/screen.h5ad")
    check(app.segmented_control(key="perturbation-part").set_value("My own screen").run())
    check(app.button(key="start-perturbation").click().run())
    work_off(jobs.Workspace())
    check(app.run())
    assert main(["perturb", "fit", str(tmp_path / "screen.h5ad"), "--out", str(tmp_path / "fitted")]) == 0
    model = predictor_of(load_result(jobs.list_jobs(jobs.Workspace())[0].id))
    zipfile.ZipFile(BytesIO(predictor_bytes(model, "kept", "screen"))).extractall(tmp_path)
    for genes in (["KLF1"], ["SOX2"], ["CDKN1A", "KLF1"], ["KLF1", "SOX2"]):
        check(app.multiselect(key="perturbation-genes-own").set_value(genes).run())
        for folder in ("fitted", "kept"):
            agree(app, str(tmp_path / folder), genes, tmp_path / f"{folder}-{'-'.join(genes)}.csv")


@pytest.mark.parametrize(
    ("name", "genes", "method"),
    [
        ("activation_k562", ["KLF1"], "mean"),
        ("activation_k562", ["KLF1", "SOX2"], "nearest_model"),
        ("knockdown_k562", ["GATA1"], "go_readout_model"),
    ],
)
def test_a_view_alone_is_chosen_and_has_no_interval(name, genes, method, tmp_path):
    app, key = open_page(), name.removeprefix("knockdown_")
    check(app.selectbox(key="perturbation-predictor").set_value(name).run())
    check(app.multiselect(key=f"perturbation-genes-{key}").set_value(genes).run())
    check(app.radio(key=f"perturbation-method-{key}").set_value(method).run())
    assert "alone, as a baseline" in text_of(app) and "Scenarios are kept of the combination" in text_of(app)
    out = tmp_path / "a.csv"
    assert main(["perturb", "predict", name, "+".join(genes), "--method", method, "--out", str(out)]) == 0
    written = pd.read_csv(out).set_index("gene")
    shown = next(one.value for one in app.dataframe if {"Gene", "Change"} <= {*one.value} or "Changed" in one.value)
    assert not {"5 %", "2.5 %"} & {*shown}
    title, column = ("Change", "change") if "Change" in shown else ("Changed", "p_changed")
    np.testing.assert_allclose(shown[title], written.loc[shown["Gene"], column], atol=1e-5)


def kept_of(app: AppTest) -> list[Scenario]:
    return list_kept(jobs.Workspace(), app.session_state[state._VISITOR])[::-1]


@pytest.mark.parametrize(
    ("name", "questions"), [("activation_k562", (["KLF1"], ["KLF1", "SOX2"])), ("knockdown_k562", (["GATA1"],))]
)
def test_kept_scenarios_stand_in_report_command_and_script(name, questions, tmp_path, monkeypatch):
    app = open_page()
    check(app.selectbox(key="perturbation-predictor").set_value(name).run())
    key = name.removeprefix("knockdown_")
    for genes in questions:
        check(app.multiselect(key=f"perturbation-genes-{key}").set_value(genes).run())
        check(app.button(key=f"keep-{key}").click().run())
    kept, source = kept_of(app), Asked("a predictor", name, name)
    assert [one.asked for one in kept] == ["+".join(genes) for genes in questions]
    monkeypatch.chdir(tmp_path)
    (line,) = [one.value for one in app.code if one.value.startswith("scfviz perturb")]
    assert main(shlex.split(line)[1:]) == 0
    written = pd.read_csv("scenarios.csv")
    for one in kept:
        own, table = written[written["condition"] == one.asked].set_index("gene"), pd.DataFrame(one.columns)
        value = "change" if "change" in own else "p_changed"
        np.testing.assert_allclose(table["change"].abs(), own.loc[table["gene"], value].abs(), atol=1e-5)
    html, script = report_html(kept, source), script_text(kept, source)
    assert all(f"{row:.3f}" in html for one in kept for row in one.columns["low"][:10])
    exec(compile(script, "script", "exec"), {})
    assert set(pd.read_csv("scfviz_results/scenarios.csv")["scenario"]) == {one.name for one in kept}
    kept[0].columns["change"][0] += 0.1
    with pytest.raises(SystemExit, match="in the report"):
        exec(compile(script_text(kept, source), "script", "exec"), {})


def test_scenarios_of_an_own_screen_stand_in_the_report_of_its_dataset(tmp_path, monkeypatch):
    app = open_page(dataset="folder:0/screen.h5ad")
    check(app.segmented_control(key="perturbation-part").set_value("My own screen").run())
    check(app.button(key="start-perturbation").click().run())
    work_off(jobs.Workspace())
    check(app.run())
    check(app.multiselect(key="perturbation-genes-own").set_value(["KLF1", "SOX2"]).run())
    check(app.button(key="keep-own").click().run())
    assert any("screen_predictor KLF1+SOX2" in one.value for one in app.code)
    visitor, job_id = app.session_state[state._VISITOR], jobs.list_jobs(jobs.Workspace())[0].id
    monkeypatch.setattr(state, "visitor", lambda: visitor)
    view = SimpleNamespace(task_jobs=(job_id,), source=SimpleNamespace(title="screen.h5ad"))
    (said,) = dataset_report._scenarios(view)
    assert not dataset_report._scenarios(SimpleNamespace(task_jobs=("another",), source=view.source))
    assert "KLF1+SOX2" in str(said.sections[0].blocks) and "KLF1+SOX2" in said.done
    monkeypatch.chdir(tmp_path)
    head, *_ = script_of(said)
    space: dict = {"perturbation": load_result(job_id)}
    exec(head.code, space)
    exec(said.cells[0].code, space)
    assert len(space["found"]["KLF1+SOX2"]) > 50


def test_a_screen_is_recognised_corrected_learned_and_kept():
    app = open_page(dataset="folder:0/screen.h5ad")
    check(app.segmented_control(key="perturbation-part").set_value("My own screen").run())
    assert "against 40 control cells" in text_of(app)
    check(app.selectbox(key="perturbation-column").set_value("sample").run())
    assert "has no control group" in text_of(app), "a column that is none is refused in words, in the form"
    check(app.selectbox(key="perturbation-column").set_value("condition").run())
    check(app.button(key="start-perturbation").click().run())
    work_off(jobs.Workspace())
    app = check(app.run())
    text = text_of(app)
    for words in ("What a prediction is worth", "Did the perturbations work", "Which perturbations look alike"):
        assert words in text
    assert "pairs with both genes measured alone" in text and "That is too few" in text
    check(app.segmented_control(key="alike-picture").set_value("Network").run())
    check(app.toggle(key="perturbation-next").set_value(True).run())
    assert "nearness of genes" in text_of(app)
    app.session_state["scfviz.asked"] = ["KLF1", "TAL1"]  # as a click on the matrix of pairs does
    check(app.run())
    assert app.multiselect(key="perturbation-genes-own").value == ["KLF1", "TAL1"]
    check(app.selectbox(key="steer-column-own").set_value("condition").run())
    check(app.selectbox(key="steer-start-own-condition").set_value("ctrl").run())
    check(app.selectbox(key="steer-goal-own-condition").set_value("KLF1").run())
    assert "clearly towards the goal" in text_of(app)
    check(app.multiselect(key="perturbation-genes-own").set_value(["MAPK1"]).run())
    assert "measured in training" in text_of(app)
    model = predictor_of(load_result(jobs.list_jobs(jobs.Workspace())[0].id))
    packed = zipfile.ZipFile(BytesIO(predictor_bytes(model, "mine", "screen")))
    assert sorted(packed.namelist())[0] == "mine/README.md" and len(packed.namelist()) == 4


def without_counts() -> AnnData:
    """A screen whose genes were divided by their spread after the logarithm."""
    cells = make_screen()
    values = np.log1p(cells.X.toarray())
    cells.X = (values / values.std(axis=0)).astype(np.float32)
    return cells


def of_one_cell() -> AnnData:
    """A screen of guides with a cell each."""
    cells = make_screen()[:100].copy()
    cells.obs["condition"] = ["ctrl"] * 40 + [f"GENE{i}" for i in range(60)]
    return cells


@pytest.mark.parametrize(
    "make", [lambda: make_screen()[37:].copy(), of_one_cell, without_counts], ids=["control of 3", "one cell", "values"]
)
def test_page_and_command_refuse_a_screen_in_the_same_words(make, tmp_path, capsys):
    make().write_h5ad(tmp_path / "bad.h5ad")
    assert main(["perturb", "check", str(tmp_path / "bad.h5ad")]) == 2
    said = capsys.readouterr().err.strip().removeprefix("scfviz: ")
    app = open_page(dataset="folder:0/bad.h5ad")
    check(app.segmented_control(key="perturbation-part").set_value("My own screen").run())
    shown = text_of(app).replace("\\", "")
    sentences = said.split(". ")
    assert len(sentences) >= 3 and all(one.strip(".") in shown for one in sentences)


def test_nothing_but_pairs_and_an_unmeasured_gene_are_said_and_predicted(tmp_path):
    pairs = (*DOUBLES, "RAF1+TP53", "MAP2K1+RAF1")
    cells = make_screen(doubles=pairs)
    cells = cells[cells.obs["condition"].isin(["ctrl", *pairs]), cells.var_names != "KLF1"]
    cells.copy().write_h5ad(tmp_path / "pairs.h5ad")
    app = open_page(dataset="folder:0/pairs.h5ad")
    check(app.segmented_control(key="perturbation-part").set_value("My own screen").run())
    assert "Every condition combines genes" in text_of(app)
    check(app.button(key="start-perturbation").click().run())
    work_off(jobs.Workspace())
    text = text_of(check(app.run()))
    assert "1 of 8 perturbed genes are not among the genes of the file" in text.replace("\\", "")
    check(app.multiselect(key="perturbation-genes-own").set_value(["KLF1"]).run())
    assert "measured in pairs only" in text_of(app) and "No condition of this kind could be held out" in text_of(app)


def test_a_gene_is_changed_in_silico(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_CHECKPOINT", str(save_tiny_checkpoint(tmp_path / "model")))
    drawn = SimpleNamespace(umap=np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32))
    monkeypatch.setattr("scfviz.tasks.embedding.compute.build_map", lambda *args, **options: drawn)
    cells = make_cells(12)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    app = open_page(dataset="folder:0/cells.h5ad")
    assert "It rests on" in text_of(app), "what ships answers, whichever model is in use"
    check(app.segmented_control(key="perturbation-part").set_value("In silico").run())
    check(app.selectbox(key="in-silico-gene").set_value(str(cells.var_names[3])).run())
    check(app.button(key="start-in_silico").click().run())
    work_off(jobs.Workspace())
    text = text_of(check(app.run()))
    assert "Exploration, not a prediction" in text and "Where the cells move" in text
    moves = grid_moves(np.zeros((3, 2)) + [[0, 0], [0, 0], [9, 9]], np.array([[1.0, 0], [3, 0], [9, 9]]))
    assert len(moves) == 1 and moves["dx"][0] == pytest.approx(9 / 22) and moves["dy"][0] == 0


def test_every_line_is_asked_for_own_cells_that_were_not_perturbed(tmp_path):
    make_cells(30).write_h5ad(tmp_path / "cells.h5ad")
    app = open_page(dataset="folder:0/cells.h5ad")
    check(app.selectbox(key="perturbation-predictor").set_value("own cells").run())
    assert "Extrapolation" in text_of(app) and "nothing was measured" in text_of(app)
    check(app.multiselect(key="perturbation-genes-own-cells").set_value(["GATA1"]).run())
    text = text_of(app)
    assert "Knock-down of GATA1** was measured in K562" in text and "line by line" in text


def test_a_response_is_predicted_for_a_type_that_was_not_treated(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_CHECKPOINT", str(save_tiny_checkpoint(tmp_path / "model")))
    make_treated().write_h5ad(tmp_path / "treated.h5ad")
    app = open_page(dataset="folder:0/treated.h5ad")
    check(app.segmented_control(key="perturbation-part").set_value("Drug or cytokine, by cell type").run())
    assert app.selectbox(key="response-types-stim").value == "cell_type", "found by its name"
    check(app.button(key="start-response").click().run())
    work_off(jobs.Workspace())
    text = text_of(check(app.run()))
    assert "It rests on" in text and "in a type left out" in text
    assert app.selectbox(key="response-type").value == "B2", "the type that was not measured is shown first"
    assert "Its treated cells were not measured" in text
    check(app.selectbox(key="response-type").set_value("M1").run())
    assert "Predicted against measured" in text_of(app)


def test_alike_conditions_stand_beside_each_other():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2, 50))
    change = base[[0, 1, 0, 1, 0, 1]] + 0.1 * rng.normal(size=(6, 50))
    order, alike = cluster(change)
    assert {tuple(sorted(order[:3])), tuple(sorted(order[3:]))} == {(0, 2, 4), (1, 3, 5)}
    assert np.allclose(np.diag(alike), 1)


def test_what_was_measured_is_said_of_the_model_that_was_measured():
    measured = perturbation_words.read_results()["checkpoint"]["hash"]
    said = perturbation_words.sentences(measured)
    assert len(said) == 6 and not perturbation_words.sentences("0" * 16)
    lines = perturbation_words.read_results()["perturbqa"].values()
    seeds = [run for row in lines for run in row.get("ahead_of_best_by_seed", [])]
    assert f"in {sum(run['high'] < 0 for run in seeds)} of {len(seeds)} runs" in said[2] and len(seeds) >= 5
    transfer = perturbation_words.transfer_sentences()
    assert len(transfer) == 4 and "K562 to RPE1, the 585 knock-downs" in transfer[2]
    for run in (
        run
        for one in perturbation_words.read_results("perturbation_transfer")["ranks"].values()
        for run in one["by_seed"]
    ):
        assert run["views"]["frequency"] == 0.5, "what says the same of every knock-down is chance"
    table = perturbation_words.table_of_lines()
    assert len(table) == 6 and (table["Gene frequency"] == 0.5).all()
