"""A walk over the page Perturbation: an answer at once without data, then a screen from check to a kept predictor."""

import shutil

import pytest
from perturbed_cells import make_screen
from visitors import JOB_MS, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    make_screen(25).write_h5ad(server.folder / "data" / "screen.h5ad")
    yield server
    server.stop()


def test_walk_with_a_published_screen_from_check_to_a_compared_pair_and_an_export(server, visit, shared):
    shutil.copy(shared / "data" / "panels" / "perturb_norman19_mini.h5ad", server.folder / "data" / "norman.h5ad")
    visitor = visit()
    page = visitor.page
    visitor.open("/perturbation?dataset=folder:0/norman.h5ad")
    page.get_by_role("radio", name="My own screen").click()
    visitor.see("18 single genes and 15 combinations")
    visitor.click("Learn what perturbations do")
    visitor.see("What a prediction is worth in this screen", timeout=JOB_MS)
    visitor.see("5 pairs with both genes measured alone")
    field = page.locator(".st-key-card-pairs .scatterlayer .trace").nth(1).locator(".points path").first
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    verdict = page.locator(".st-key-card-verdict-own h4", has_text="+")
    verdict.wait_for()
    pair = verdict.inner_text().split(":")[0]
    with page.expect_download() as found:
        page.get_by_role("button", name="Table of changes (CSV)").first.click()
    assert found.value.suggested_filename == f"{pair}_changes.csv"
    visitor.assert_sound()


def test_walk_from_an_answer_at_once_to_a_compared_pair_and_an_export(visit):
    visitor = visit()
    page = visitor.page
    visitor.open("/perturbation?dataset=folder:0/screen.h5ad")
    visitor.see("measured in training")
    page.locator(".js-plotly-plot .barlayer .point").first.wait_for()
    page.get_by_role("radio", name="My own screen").click()
    visitor.see("against 25 control cells")
    visitor.click("Learn what perturbations do")
    visitor.see("What a prediction is worth in this screen", timeout=JOB_MS)
    visitor.see("Which perturbations look alike")
    page.locator(".js-plotly-plot .heatmaplayer").first.wait_for()
    visitor.see("6 pairs with both genes measured alone")
    page.get_by_role("radio", name="Likeness of the single effects").click()
    visitor.settle()
    field = page.locator(".st-key-card-pairs .scatterlayer .trace").nth(1).locator(".points path").nth(5)
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator(".st-key-card-verdict-own h4", has_text="+").wait_for()  # the click opened the pair
    with page.expect_download() as found:
        page.get_by_role("button", name="Table of changes (CSV)").first.click()
    assert found.value.suggested_filename.endswith("_changes.csv")
    assert "job_perturbation=" in page.url
    visitor.assert_sound()
