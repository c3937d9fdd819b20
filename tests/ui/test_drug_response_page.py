"""The page of drug response: an empty state that says what to do, a table with answers, bad input in words."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from app_pages import check, text_of
from small_cells import make_cells
from streamlit.testing.v1 import AppTest

from scfviz.__main__ import main
from scfviz.errors import DatasetError, OptionError
from scfviz.jobs import queue
from scfviz.tasks.drug_response.compute import predict_ic50, responses_table
from scfviz.tasks.drug_response.predictor import KnownLines
from scfviz.tasks.drug_response.samples import open_samples
from scfviz.tasks.drug_response.store import read_drug_predictor, save_drug_predictor
from scfviz.ui.tasks.drug_response import cells_figures, figures
from scfviz.ui.tasks.drug_response.details import report_text, script_text


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    """Samples drawn around the mean line, as log2(TPM + 1), and single cells."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    model = read_drug_predictor()
    rng = np.random.default_rng(0)
    values = 5 + 2 * (model.factors.mean + model.factors.spread * rng.normal(size=(6, len(model.genes))))
    table = pd.DataFrame(np.maximum(values, 0), index=[f"tumour{i}" for i in range(6)], columns=list(model.genes))
    table.to_csv(tmp_path / "tumours.csv", float_format="%.3f")
    make_cells(60, n_genes=2500).write_h5ad(tmp_path / "cells.h5ad")


def own_page() -> None:
    from scfviz.ui.frame import page
    from scfviz.ui.tasks.drug_response import samples as drug_response_samples

    with page.screen("drug_response", "Which drugs?"):
        drug_response_samples.show()


def open_page(**query: str) -> AppTest:
    app = AppTest.from_function(own_page, default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    return check(app.run())


def test_without_a_table_it_says_which_one_is_needed():
    assert "One sample is enough" in text_of(open_page())


def test_a_table_gets_ranked_drugs_genes_groups_and_a_new_drug(tmp_path):
    app = open_page(dataset="folder:0/tumours.csv")
    text = text_of(app)
    assert "values are logarithms" in text and "never for treatment" in text and "each held out once" in text
    assert "specific to the pair" in text and "Genes that carry the prediction" in text
    check(app.selectbox(key="drug-sample").set_value("tumour3").run())
    check(app.selectbox(key="drug-of-sample").set_value("Gefitinib").run())
    check(app.segmented_control(key="drug-details").set_value("One drug").run())
    assert (app.selectbox(key="drug-one").value, app.selectbox(key="drug-marked").value) == ("Gefitinib", "tumour3")
    check(app.selectbox(key="drug-one").set_value("Lapatinib").run())
    check(app.segmented_control(key="drug-details").set_value("One sample").run())
    assert app.selectbox(key="drug-of-sample").value == "Lapatinib"
    assert app.selectbox(key="drug-sample").value == "tumour3"
    check(app.segmented_control(key="drug-details").set_value("Two groups").run())
    check(app.multiselect(key="drug-group-a").set_value(["tumour0"]).run())
    check(app.multiselect(key="drug-group-b").set_value(["tumour1"]).run())
    assert "1 against 1 samples" in text_of(app)
    check(app.segmented_control(key="drug-details").set_value("New drug").run())
    assert "choose it among the drugs instead" in text_of(app), "the example is gefitinib, which was measured"
    check(app.text_input(key="drug-smiles").set_value("no drug").run())
    assert "is no SMILES" in text_of(app)
    check(app.radio(key="drug-scale").set_value("table").run())
    assert "centred and scaled over the samples" in text_of(app)


def test_a_predictor_of_ones_own_shows_the_nearest_lines_with_measured_values(tmp_path, monkeypatch):
    assert "holds no line" in text_of(open_page(dataset="folder:0/tumours.csv"))
    model, rng = read_drug_predictor(), np.random.default_rng(0)
    measured = rng.normal(size=(20, len(model.drugs))).astype(np.float32)
    measured[rng.random(measured.shape) < 0.3] = np.nan
    scores = rng.normal(size=(20, len(model.factors.variance))).astype(np.float32)
    names = tuple(f"LINE {i} <b>" for i in range(20))
    regression = replace(model.regression, drug_mean=model.regression.drug_mean + rng.normal(size=len(model.drugs)))
    own = replace(model, regression=regression, lines=KnownLines(names, scores, measured))
    save_drug_predictor(own, tmp_path / "mine", card="# mine")
    app = open_page(dataset="folder:0/tumours.csv")
    check(app.selectbox(key="drug-predictor").set_value("mine (data folder)").run())
    shown = next(one.value for one in app.dataframe if "Similarity" in one.value)
    assert len(shown) == 10 and shown["Similarity"].is_monotonic_decreasing
    drug = app.selectbox(key="drug-of-sample").value
    column = model.names.index(drug)
    values = [measured[names.index(name), column] for name in shown["Line"]]
    np.testing.assert_allclose(shown["Measured ln IC50"], values, rtol=1e-5)
    samples = open_samples(tmp_path / "tumours.csv")
    found = predict_ic50(samples, predictor=own)
    rows = report_text("tumours.csv", samples, found, own).partition("### tumour0")[2].splitlines()
    drugs = [cell.strip() for cell in rows[2].strip("|").split("|")][2:]
    table = responses_table(found, own)
    assert drugs == list(table[table["sample"] == "tumour0"]["drug"][:10]), "the drugs that the report names of it"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[4:14]]
    assert [row[0] for row in cells] == [name.replace("<", "&lt;") for name in shown["Line"]]
    for row, line in zip(cells, shown["Line"], strict=True):
        values = measured[names.index(line), [model.names.index(one) for one in drugs]]
        assert [cell and float(cell.split()[0]) for cell in row[2:]] == [
            "" if np.isnan(value) else round(float(value), 2) for value in values
        ]
    command = next(one.value for one in app.code if one.value.startswith("scfviz drugs predict"))
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    written = pd.read_csv("predictions.csv")
    np.testing.assert_allclose(written["ln_ic50"], table["ln_ic50"], rtol=1e-4, atol=1e-4)


def test_single_cells_are_told_apart_and_can_be_added_up(tmp_path, monkeypatch):
    app = open_page(dataset="folder:0/cells.h5ad")
    assert "look like single cells" in text_of(app)
    check(app.selectbox(key="drug-sum").set_value("cell_type").run())
    assert "sums of single cells are no bulk samples" in text_of(app)
    command = next(one.value for one in app.code if one.value.startswith("scfviz drugs predict"))
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    found = predict_ic50("cells.h5ad", by="cell_type")
    written = pd.read_csv("predictions.csv")
    assert set(written["sample"]) == set(found.samples)
    np.testing.assert_allclose(written["ln_ic50"], responses_table(found, read_drug_predictor())["ln_ic50"], rtol=1e-4)
    exec(
        compile(script_text("cells.h5ad", found, by="cell_type").replace("predictions", "script"), "script", "exec"), {}
    )
    assert Path("script.csv").read_bytes() == Path("predictions.csv").read_bytes()
    with pytest.raises(DatasetError, match="no column 'donor'"):
        predict_ic50("cells.h5ad", by="donor")


def test_report_and_script_say_what_the_page_says(tmp_path, monkeypatch):
    model = read_drug_predictor()
    found = predict_ic50(tmp_path / "tumours.csv", predictor=model)
    samples = open_samples(tmp_path / "tumours.csv")
    report = report_text("tumours.csv", samples, found, model)
    assert "holds no line" in report
    assert "## Methods" in report and "tumour3" in report and "conformal" in report
    monkeypatch.chdir(tmp_path)
    exec(compile(script_text("tumours.csv", found), "script", "exec"), {})
    written = pd.read_csv(tmp_path / "predictions.csv")
    first = written[written["sample"] == "tumour2"].set_index("drug")["ln_ic50"]
    np.testing.assert_allclose(first[list(found.drugs)], found.ln_ic50[2], rtol=1e-4, atol=1e-4)


def test_script_command_and_report_carry_what_was_measured(tmp_path, monkeypatch):
    model = read_drug_predictor()
    measured = {("tumour2", model.names[0]): -3.25, ("tumour2", model.names[7]): 4.5}
    found = predict_ic50(tmp_path / "tumours.csv", predictor=model, measured=measured)
    without = predict_ic50(tmp_path / "tumours.csv", predictor=model)
    assert np.abs(found.ln_ic50[2] - without.ln_ic50[2])[8:].max() > 0.01, "the other drugs follow"
    page = responses_table(found, model)
    monkeypatch.chdir(tmp_path)
    exec(compile(script_text("tumours.csv", found, measured=measured), "script", "exec"), {})
    rows = [(*pair, value) for pair, value in measured.items()]
    pd.DataFrame(rows, columns=["sample", "drug", "ln_ic50"]).to_csv("measured.csv", index=False)
    command = f"drugs predict tumours.csv --out command.csv --scale {found.scale} --measured measured.csv"
    assert main(command.split()) == 0
    for file in ("predictions.csv", "command.csv"):
        written = pd.read_csv(file)
        assert list(written["drug"]) == list(page["drug"]) and written["is_measured"].sum() == 2
        np.testing.assert_allclose(written["ln_ic50"], page["ln_ic50"], rtol=1e-4, atol=1e-4)
    report = report_text("tumours.csv", open_samples("tumours.csv"), found, model)
    assert f"| tumour2 | {model.names[7]} | +4.500 |" in report


def test_the_page_takes_the_responses_that_python_takes(monkeypatch, tmp_path):
    limits = {}
    column = st.column_config.NumberColumn

    def listen(*args, **options):
        limits.update({key: value for key, value in options.items() if key.endswith("_value")})
        return column(*args, **options)

    monkeypatch.setattr(st.column_config, "NumberColumn", listen)
    open_page(dataset="folder:0/tumours.csv")
    model = read_drug_predictor()
    for value in limits["min_value"], limits["max_value"]:
        predict_ic50(tmp_path / "tumours.csv", predictor=model, measured={("tumour0", model.names[0]): value})
        with pytest.raises(OptionError, match="between -20 and 20"):
            beyond = {("tumour0", model.names[0]): 1.001 * value}
            predict_ic50(tmp_path / "tumours.csv", predictor=model, measured=beyond)


def test_names_that_are_numbers_are_drawn_as_names(tmp_path):
    """Samples called 905975 and 1240205 once were two thin stripes on an axis up to 1.2 million."""
    model = read_drug_predictor()
    table = pd.read_csv(tmp_path / "tumours.csv", index_col=0)
    table.index = [str(905975 + 1000 * i) for i in range(len(table))]
    table.to_csv(tmp_path / "numbers.csv")
    found = predict_ic50(tmp_path / "numbers.csv", predictor=model)
    heatmap = figures.draw_heatmap(found, model, np.arange(6), np.arange(5))
    assert heatmap.layout.xaxis.type == "category"
    ranked = responses_table(found, model).head(3).assign(drug=["123829", "741909", "5-FU"])
    signed = pd.DataFrame({"drug": ["123829", "741909"], "difference": [-1.0, 1.0]})
    cover = cells_figures.draw_cover(np.full((1, 2), 0.5), ["741909"], ["0", "1"])
    differ = cells_figures.draw_differences(signed.assign(trust="some", first=0.1, second=0.2), "0", "1")
    for figure in (figures.draw_ranked(ranked), figures.draw_signed(signed, "drug", "difference", ""), cover, differ):
        assert figure.layout.yaxis.type == "category"
