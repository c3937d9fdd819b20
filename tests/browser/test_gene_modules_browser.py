"""A walk over the page Gene modules on the demo: quick look, picture, a gene on the map, two groups, a file."""

import pytest
from visitors import JOB_MS, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    yield server
    server.stop()


def test_walk_from_the_quick_look_to_a_gene_two_groups_and_a_graph(visit):
    visitor = visit()
    page = visitor.page
    visitor.open("/gene_modules?dataset=demo:celltypist_sample")
    visitor.click("Quick look, co-expression only")
    visitor.see("distance means nothing", timeout=JOB_MS)
    page.locator("[data-testid=stEChartsChart] canvas").first.wait_for()
    visitor.see("Module 1:")
    finder = page.get_by_role("combobox", name="My genes").first
    finder.fill("CD79A")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")  # an open list hides the rest of the page from assistive technology
    page.locator("section.map[data-drawn]:not([data-drawn=''])").first.wait_for(timeout=JOB_MS)
    page.mouse.click(700, 90)  # the list opens again when the page is drawn; a click beside it closes it
    page.get_by_text("Compare two groups", exact=True).first.click()
    visitor.see("3 standard errors")
    with page.expect_download() as download:
        visitor.click("Modules (GraphML)")
    assert "graphml" in download.value.path().read_text()[:400]
    visitor.assert_sound()
