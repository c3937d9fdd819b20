"""The commands of perturbations: they give the numbers of Python and of the page, and refuse in one sentence."""

import json

import numpy as np
import pandas as pd
import pytest
from perturbed_cells import make_screen

import scfviz
from scfviz.__main__ import main
from scfviz.data.open import OpenDataset
from scfviz.tasks.perturbation.predictor import find_predictor, read_predictor


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    make_screen().write_h5ad(path)
    return path


def test_check_fit_and_predict_as_python_does(screen, tmp_path, capsys):
    assert main(["perturb", "check", str(screen), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["column"] == "condition" and report["n_conditions"] == 14 and report["controls"] == ["ctrl"]
    assert {row["condition"] for row in report["conditions"]} >= {"KLF1", "KLF1+MAPK1"}
    folder, table = tmp_path / "mine", tmp_path / "changes.csv"
    assert main(["perturb", "fit", str(screen), "--out", str(folder)]) == 0
    assert "It rests on" in capsys.readouterr().out
    assert main(["perturb", "predict", str(folder), "SOX2", "TP53+KLF1", "--out", str(table), "--json"]) == 0
    kinds = json.loads(capsys.readouterr().out)["conditions"]
    assert kinds == {"SOX2": "one gene, unseen", "KLF1+TP53": "two genes, both seen alone"}
    counts = OpenDataset(make_screen()).counts
    model = scfviz.fit_perturbations(counts)
    found = scfviz.predict_perturbation(model, ["SOX2", "TP53+KLF1"])
    alone = scfviz.predict_perturbation(model, ["SOX2", "TP53+KLF1"], method="graph")
    np.testing.assert_array_equal(alone.change, found.views["graph"])
    written = pd.read_csv(table)
    np.testing.assert_allclose(written["change"], found.change.ravel(), atol=1e-5)
    np.testing.assert_allclose(written["high"], found.high.ravel(), atol=1e-5)


def test_what_ships_answers_by_its_name(tmp_path, capsys):
    out = tmp_path / "klf1.csv"
    assert main(["perturb", "predict", "activation_k562", "KLF1", "GATA1", "--out", str(out)]) == 0
    assert "GATA1: one gene, unseen" in capsys.readouterr().out and len(pd.read_csv(out)) == 500


def test_a_gene_that_nothing_knows_and_one_that_was_not_measured_are_said(screen, tmp_path, capsys):
    for name in ("activation_k562", "knockdown_k562"):
        out = tmp_path / "new" / f"{name}.csv"
        assert main(["perturb", "predict", name, "KLF1", "NOSUCHGENE", "--out", str(out), "--json"]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert len(notes) == 1 and "NOSUCHGENE is known neither" in notes[0] and out.exists()
    cells = make_screen()
    cells[:, ~cells.var_names.isin(["KLF1", "TP53"])].write_h5ad(tmp_path / "without.h5ad")
    for path, said in ((tmp_path / "without.h5ad", True), (screen, False)):
        assert main(["perturb", "check", str(path)]) == 0
        assert ("2 of 8 perturbed genes are not among the genes of the file" in capsys.readouterr().out) == said


@pytest.mark.parametrize("method", ["no_change", "mean", "additive", "ridge_go", "nearest_model"])
def test_a_view_alone_is_a_method_without_an_interval(method, tmp_path, capsys):
    model, asked = read_predictor(find_predictor("activation_k562")), ["SOX2", "KLF1+MAPK1"]
    combined, found = (scfviz.predict_perturbation(model, asked, method=m) for m in ("combination", method))
    np.testing.assert_allclose(found.change, combined.views[method], atol=1e-9)
    assert np.isnan(found.low).all() and np.isnan(found.high).all() and np.isfinite(combined.low).all()
    argv = ["perturb", "predict", "activation_k562", *asked, "--method", method, "--json"]
    assert main([*argv, "--out", str(tmp_path / "a.csv")]) == 0
    report, written = json.loads(capsys.readouterr().out), pd.read_csv(tmp_path / "a.csv")
    assert report["method"] == method and "no interval was learned" in report["notes"][-1]
    np.testing.assert_allclose(written["change"], found.change.ravel(), atol=1e-5)
    assert written[["low", "high"]].isna().all(axis=None)


def test_a_view_of_answers_alone_is_a_method(tmp_path):
    for method in ("combination", "frequency", "go"):
        argv = ["perturb", "predict", "knockdown_k562", "KLF1", "NANOG", "--method", method]
        assert main([*argv, "--out", str(tmp_path / f"{method}.csv")]) == 0
    of = {path.stem: pd.read_csv(path).set_index("gene") for path in tmp_path.glob("*.csv")}
    parts = [of["frequency"].query("condition == @name") for name in ("KLF1", "NANOG")]
    assert (parts[0]["p_changed"] == parts[1]["p_changed"]).all() and of["go"]["low"].isna().all()
    assert of["combination"]["low"].notna().all()
    assert (of["go"]["p_changed"] != of["frequency"]["p_changed"]).any()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["check", "SCREEN", "--column", "sample"], "no control group"),
        (["check", "SCREEN", "--control", "NT"], "no value 'NT'"),
        (["fit", "SCREEN", "--out", "."], "exists already"),
        (["predict", "nowhere", "KLF1", "--out", "a.csv"], "is no predictor"),
        (["predict", "activation_k562", "A+B+C", "--out", "a.csv"], "more than two genes"),
        (["predict", "activation_k562", "KLF1", "--method", "best", "--out", "a.csv"], "combination, no_change, mean"),
        (["predict", "knockdown_k562", "KLF1", "--method", "mean", "--out", "a.csv"], "combination, frequency, go"),
    ],
)
def test_bad_input_is_one_sentence(screen, tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    assert main(["perturb", *(str(screen) if part == "SCREEN" else part for part in argv)]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_guides_in_a_table_make_the_conditions(screen, tmp_path, capsys):
    obs = make_screen().obs
    names = ["NTg1", "KLF1g1", "MAPK1g1", "TP53g2"]
    table = pd.DataFrame(0, index=obs.index, columns=names)
    for guide, one in zip(names, ["ctrl", "KLF1", "MAPK1", "TP53"], strict=True):
        table.loc[obs["condition"] == one, guide] = 9
    table.loc[obs["condition"] == "KLF1+MAPK1", ["KLF1g1", "MAPK1g1"]] = 9
    table.to_csv(tmp_path / "guides.csv")
    argv = ["perturb", "check", str(screen), "--guides", str(tmp_path / "guides.csv")]
    assert main([*argv, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["condition"] for row in report["conditions"]} == {"KLF1", "MAPK1", "TP53", "KLF1+MAPK1"}
    table.index = [f"other{i}" for i in range(len(table))]
    table.to_csv(tmp_path / "guides.csv")
    assert main(argv) == 2 and "None of the guide table's barcodes" in capsys.readouterr().err
    assert main([*argv, "--column", "condition"]) == 2 and "Leave one out" in capsys.readouterr().err
    (tmp_path / "guides.csv").write_text("barcode,KLF1g1\ncell0,many\n")
    assert main(argv) == 2 and "cannot be read" in capsys.readouterr().err
