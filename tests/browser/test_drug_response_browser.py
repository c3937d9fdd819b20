"""A walk over the page Drug response: a real table of lines, one sample, one drug, a new drug, the predictions."""

import pandas as pd
import pytest
from visitors import Server

from scfviz.tasks.drug_response.tables import read_ccle_expression


@pytest.fixture(scope="module")
def server(tmp_path_factory, shared):
    server = Server(tmp_path_factory.mktemp("app"))
    folder = shared / "data" / "drug_response"
    lines = read_ccle_expression(
        folder / "ccle_expression_log2tpm1_525lines_697genes.csv.gz", folder / "tgsa_sample_info.csv"
    )
    table = pd.DataFrame(lines.values[:40], index=list(lines.lines[:40]), columns=list(lines.genes))
    table.to_csv(server.folder / "data" / "lines.csv")
    yield server
    server.stop()


def test_walk_from_a_table_of_lines_to_ranked_drugs_and_a_new_one(visit):
    visitor = visit()
    page = visitor.page
    visitor.open("/drug_response?dataset=folder:0/lines.csv")
    visitor.see("What can be said of these samples")
    visitor.see("by arrays and by RNA-seq")
    page.locator(".js-plotly-plot .heatmaplayer").first.wait_for()
    visitor.see("Genes that carry the prediction")
    page.get_by_role("radio", name="One drug").click()
    visitor.see("Mark a sample")
    page.get_by_role("radio", name="New drug").click()
    visitor.see("left out of training")
    with page.expect_download() as found:
        page.get_by_role("button", name="Predictions (CSV)").click()
    assert found.value.suggested_filename == "lines_drug_response.csv"
    table = pd.read_csv(found.value.path())
    assert table["sample"].nunique() == 40 and table["drug"].nunique() == 286
    visitor.assert_sound()
