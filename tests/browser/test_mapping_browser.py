"""A walk over the page Mapping on real cells: choose a reference, see what it holds, map; verdict, picture and flow."""

import pytest
from visitors import JOB_MS, Server

N_QUERY, N_REFERENCE = 150, 550


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    import anndata as ad

    from scfviz.data.catalog import demo_path

    server = Server(tmp_path_factory.mktemp("app"))
    cells = ad.read_h5ad(demo_path("pbmc68k_reduced", server.folder / "demos"))
    assert cells.n_obs == N_QUERY + N_REFERENCE and "X_umap" in cells.obsm
    cells[:N_QUERY].copy().write_h5ad(server.folder / "data" / "query.h5ad")
    cells[N_QUERY:].copy().write_h5ad(server.folder / "data" / "reference.h5ad")
    yield server
    server.stop()


def test_walk_from_the_choice_of_a_reference_to_the_flow(visit):
    visitor = visit()
    page = visitor.page
    visitor.open("/mapping?dataset=folder:0/query.h5ad")
    visitor.see("No reference yet")
    page.get_by_role("combobox", name="Reference").first.fill("reference.h5ad")
    page.keyboard.press("Enter")
    visitor.see("What this reference holds")
    visitor.click("Map the cells")
    visitor.see("How far to trust this mapping", timeout=JOB_MS)
    visitor.see("when each was left out")
    page.locator("section.map[data-drawn]:not([data-drawn=''])").first.wait_for()
    visitor.see("550 cells of the reference in grey")
    page.locator(".js-plotly-plot .sankey-node").first.wait_for()
    assert "job_mapping=" in page.url
    visitor.assert_sound()
