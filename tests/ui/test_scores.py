"""The Model page shows the scores that lie in a checkpoint's folder, and nothing that was not measured."""

import json
from pathlib import Path

import pytest
from small_cells import give_cell_space, save_tiny_checkpoint
from streamlit.testing.v1 import AppTest

from scfviz.benchmark.report import summarise
from scfviz.model.checkpoint import checkpoint_info

PAGE = Path(__file__).resolve().parents[2] / "pages" / "model.py"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    folder = tmp_path / "workspace" / "checkpoints" / "test" / "tiny"
    save_tiny_checkpoint(folder)
    return folder


def write_scores(folder: Path, **changes) -> None:
    row = {
        "score": "masked recovery",
        "dataset": "<b>own</b> | set",
        "metric": "MSE",
        "model": 0.25,
        "spread": 0.01,
        "baselines": {"gene mean": 0.5, "zero": 0.9},
        "best_baseline": "gene mean",
        "verdict": "ahead",
        "verdicts": {"gene mean": "ahead", "zero": "ahead"},
        "n_cells": 7,
        "n_available": 9,
        "higher_is_better": False,
        "without_model": 0.4,
        "model_adds": "ahead",
    }
    report = {
        "format": 1,
        "checkpoint": {"name": "tiny", "hash": checkpoint_info(folder).hash},
        "rows": [row],
        "summary": summarise([row]),
    } | changes
    (folder / "scores.json").write_text(json.dumps(report), encoding="utf-8")


def open_model_page() -> AppTest:
    app = AppTest.from_file(str(PAGE), default_timeout=60)
    app.query_params["model"] = "test/tiny"
    return app.run()


def test_scores_in_the_folder_are_shown_beside_the_best_baseline(checkpoint):
    write_scores(checkpoint)
    app = open_model_page()
    assert not app.exception and not app.error
    assert any("**This checkpoint is better than simple methods at" in text.value for text in app.markdown)
    summary, rows = (next(t.value for t in app.dataframe if column in t.value) for column in ("Ahead", "Its value"))
    assert list(summary.loc[0, ["Ahead", "No clear difference", "Behind"]]) == [1, 0, 0]
    shown = rows.loc[0].to_dict()
    assert (shown["Model"], shown["Its value"], shown["Best simple method"]) == (0.25, 0.5, "gene mean")
    assert shown["Dataset"] == "<b>own</b> | set" and shown["The model is"] == "ahead"


def test_the_page_begins_with_a_sentence_and_at_most_eight_lines(checkpoint):
    def counted(score, ahead, behind):
        return {
            "score": score,
            "metric": "x",
            "ahead": ahead,
            "behind": behind,
            "no clear difference": 10 - ahead - behind,
        }

    summary = [
        counted("masked recovery", 1, 8), counted("masked recovery, with the dataset", 3, 1),
        counted("masked recovery, with the dataset", 4, 0), counted("read-depth recovery, with the dataset", 9, 1),
        *(counted(f"question {i}", 0, 0) for i in range(9)),
    ]  # fmt: skip
    write_scores(checkpoint, summary=summary)
    app = open_model_page()
    assert not app.exception and not app.error
    table = app.table[0].value
    assert len(table) <= 8
    assert list(table["Model with your dataset"])[:2] == [
        "**no clear difference** (7 better, 1 worse of 20)",
        "**better** (9 better, 1 worse of 10)",
    ]
    assert list(table["Model alone"])[:2] == ["**worse** (1 better, 8 worse of 10)", "not measured"]
    sentence = next(text.value for text in app.markdown if "simple methods" in text.value)
    assert "better than simple methods at restoring cells of low read depth" in sentence
    assert "Used alone, it is worse than a simple method in 1 of 1" in sentence


def test_settings_of_a_training_are_words_and_no_dicts(checkpoint):
    from scfviz.ui.screens.model_card import flatten

    told = {"steps": 2500, "corpus": {"datasets": 40, "held_out": ["a", "b"]}, "optimiser": {"patience": None}}
    assert flatten(told) == {
        "steps": "2,500",
        "corpus: datasets": "40",
        "corpus: held out": "a, b",
        "optimiser: patience": "none",
    }
    page = Path(__file__).resolve().parents[2] / "assets" / "checkpoints" / "scfviz-small" / "config.json"
    shipped = flatten(json.loads(page.read_text(encoding="utf-8"))["training"])
    assert not any("{" in f"{name}{value}" or "_" in name for name, value in shipped.items())


def test_without_scores_the_page_promises_nothing_and_says_how_to_measure(checkpoint):
    app = open_model_page()
    assert not app.exception and not app.error
    assert any("scfviz benchmark" in text.value for text in app.markdown)


def test_scores_of_other_weights_are_marked(checkpoint):
    write_scores(checkpoint, checkpoint={"name": "x", "hash": "0" * 16})
    assert any("other weights" in warning.value for warning in open_model_page().warning)


@pytest.mark.parametrize(
    "content", ["no json", "[]", '{"format": 2}', '{"format": 1, "checkpoint": {"hash": "x"}, "rows": [{}]}']
)
def test_a_broken_file_is_one_panel_and_the_page_goes_on(checkpoint, content):
    (checkpoint / "scores.json").write_text(content, encoding="utf-8")
    app = open_model_page()
    assert not app.exception
    assert len(app.error) == 1 and "scores.json" in app.error[0].value.replace("\\", "")
    assert any("Pretraining" in text.value for text in app.markdown)


def test_a_cell_space_is_named_and_scores_of_another_one_are_marked(checkpoint):
    write_scores(checkpoint)
    assert not any("Cell space" in text.value for text in open_model_page().markdown)
    space = give_cell_space(checkpoint)
    app = open_model_page()
    assert any("fitted on 5 cells of 2 datasets" in t.value and space.hash in t.value for t in app.markdown)
    assert any("another cell space" in warning.value for warning in app.warning)
    info = checkpoint_info(checkpoint)
    write_scores(checkpoint, checkpoint={"name": info.name, "hash": info.hash, "cell_space": space.hash})
    app = open_model_page()
    assert not app.exception and not any("another cell space" in warning.value for warning in app.warning)
