"""A walk over the tab Cells of the page Drug response on real cells: compute, a drug, groups, the Explorer, a file."""

import anndata as ad
import numpy as np
import pytest
from visitors import JOB_MS, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory, shared):
    folder = tmp_path_factory.mktemp("app")
    (folder / "data").mkdir()
    cells = ad.read_h5ad(shared / "data" / "corpus" / "breast_lines_gficf_930.h5ad")
    lines = ["BT474", "AU565", "MCF7", "HCC38", "BT549", "MDAMB436"]
    part = cells[np.isin(cells.obs["cell_type"].astype(str), lines)].copy()
    part.obs = part.obs[["cell_type"]].astype(str)
    part.write_h5ad(folder / "data" / "breast.h5ad")
    server = Server(folder)
    yield server
    server.stop()


def test_walk_from_the_question_to_resistant_cells_in_the_explorer(visit):
    visitor = visit()
    page = visitor.page
    visitor.open("/drug_response?dataset=folder:0/breast.h5ad")
    page.get_by_text("Cells", exact=True).first.click()
    visitor.see("never for treatment")
    visitor.click("Compute")
    visitor.see("Which drugs together cover all groups?", timeout=JOB_MS)
    visitor.see("of 10,000 counts")
    page.locator("section.map[data-drawn]:not([data-drawn=''])").first.wait_for(timeout=JOB_MS)
    visitor.see("Could read depth or cell cycle alone explain this?")
    picker = page.get_by_role("combobox", name="Drug").first
    picker.fill("Lapatinib")
    page.keyboard.press("Enter")
    visitor.see("RTK signaling")
    visitor.settle()
    with page.expect_download() as download:
        visitor.click("Table by group (CSV)")
    table = download.value.path().read_text()
    assert table.startswith("group,n_cells,median,sensitive,resistant,cannot_tell") and table.count("\n") > 3
    visitor.settle()
    visitor.click("Select them in the Explorer")
    visitor.see("a list of", timeout=JOB_MS)
    visitor.go("Drug response", "Which drugs tell two groups of cells apart?")
    page.locator("section.map[data-drawn]:not([data-drawn=''])").first.wait_for(timeout=JOB_MS)
    card = page.locator(".st-key-card-differences")
    groups = card.get_by_role("combobox", name="Groups")
    option = page.get_by_role("option", name="Selection in the Explorer")
    for _ in range(30):  # a list that opens while the page scrolls or is drawn is closed again
        groups.click()
        page.wait_for_timeout(1000)
        if option.is_visible():
            break
    option.click()
    card.get_by_text("more sensitive in All others ← difference → not selected").first.wait_for(timeout=JOB_MS)
    visitor.assert_sound()
