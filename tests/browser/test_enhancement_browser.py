"""A walk over the page Enhancement on real cells: the verdict, a gene before and after, another depth, the file."""

import pytest
from visitors import JOB_MS, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    yield server
    server.stop()


def test_walk_from_the_verdict_to_a_gene_and_the_file(visit, tmp_path):
    import anndata as ad

    visitor = visit()
    page = visitor.page
    visitor.open("/enhancement?dataset=demo:pbmc68k_reduced")
    visitor.click("Compute")
    visitor.see("What this is worth on your cells", timeout=JOB_MS)
    visitor.see("Do not test for differential expression")
    visitor.see("The model took no part in this")
    maps = page.locator("section.map[data-drawn]:not([data-drawn=''])")
    maps.nth(1).wait_for(timeout=JOB_MS)
    visitor.settle()
    page.get_by_role("combobox", name="Gene", exact=True).click()
    page.keyboard.type("CD79A")
    page.get_by_role("option", name="CD79A").first.click()
    page.locator(".legend .heading", has_text="CD79A, enhanced").wait_for()
    page.get_by_role("slider", name="Read depth (median cell)").focus()
    page.keyboard.press("ArrowRight")
    visitor.settle()
    with page.expect_download() as download:
        visitor.click("Dataset with results")
    download.value.save_as(tmp_path / "got.h5ad")
    written = ad.read_h5ad(tmp_path / "got.h5ad")
    assert "scfoundation_enhanced" in written.layers and written.layers["scfoundation_enhanced"].shape[0] == 700
    assert "job_enhancement=" in page.url
    visitor.assert_sound()
