"""The page of drug response: an empty state that says what to do, a table with answers, bad input in words."""

import numpy as np
import pandas as pd
import pytest
from app_pages import check, text_of
from small_cells import make_cells
from streamlit.testing.v1 import AppTest

from scfviz.jobs import queue
from scfviz.tasks.drug_response.compute import predict_ic50
from scfviz.tasks.drug_response.store import read_drug_predictor
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
    check(app.segmented_control(key="drug-details").set_value("One drug").run())
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


def test_single_cells_are_told_apart_and_can_be_added_up():
    app = open_page(dataset="folder:0/cells.h5ad")
    assert "look like single cells" in text_of(app)
    check(app.selectbox(key="drug-sum").set_value("cell_type").run())
    assert "sums of single cells are no bulk samples" in text_of(app)


def test_report_and_script_say_what_the_page_says(tmp_path, monkeypatch):
    model = read_drug_predictor()
    found = predict_ic50(tmp_path / "tumours.csv", predictor=model)
    report = report_text("tumours.csv", found, model)
    assert "## Methods" in report and "tumour3" in report and "conformal" in report
    monkeypatch.chdir(tmp_path)
    exec(compile(script_text("tumours.csv", found), "script", "exec"), {})
    written = pd.read_csv(tmp_path / "predictions.csv")
    first = written[written["sample"] == "tumour2"].set_index("drug")["ln_ic50"]
    np.testing.assert_allclose(first[list(found.drugs)], found.ln_ic50[2], rtol=1e-4, atol=1e-4)
