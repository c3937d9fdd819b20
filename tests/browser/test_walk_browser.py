"""One day with a file of one's own, from the upload to a subset and back, alone and with a colleague."""

import re

import numpy as np
import pytest
from datasets import make_counts, some_genes
from playwright.sync_api import expect
from test_browser_explorer import STAGE, WAIT_MS, Explorer
from visitors import Server

N = 400
NAME = "our cells.h5ad"
SIZES = {390: 844, 1280: 900, 1920: 1080}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    yield server
    server.stop()


@pytest.fixture
def visitor_type() -> type:
    return Explorer


@pytest.fixture
def cells(tmp_path):
    """Four groups on two maps, each with a gene of its own."""
    import anndata as ad
    import pandas as pd

    rng = np.random.default_rng(0)
    group, genes = np.arange(N) % 4, some_genes()
    counts = make_counts(N).toarray()
    for number in range(4):
        counts[:, 7 + number] += 6 * (group == number)
    place = np.stack([group % 2, group // 2], axis=1) * 6.0
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical.from_codes(group, ["B", "NK", "T", "monocyte"])}, index=[f"c{i}" for i in range(N)]
    )
    maps = {"X_umap": (place + rng.normal(0, 0.7, (N, 2))).astype(np.float32)}
    maps["X_tsne"] = maps["X_umap"][:, ::-1].copy()
    ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes), obsm=maps).write_h5ad(tmp_path / NAME)
    return tmp_path / NAME


def test_a_day_with_a_file_of_ones_own(visit, cells):
    """Open, lasso, name, compare, click a gene, Back, Forward, share, a second visitor, a subset, the way back."""
    visitor, colleague = visit(color_scheme="light"), visit(color_scheme="dark")
    page = visitor.page
    visitor.open("/dataset")
    page.get_by_text("Upload", exact=True).first.click()
    page.locator("input[type=file]").first.set_input_files(cells)
    visitor.see("What the check found")
    expect(page.locator(".upload-progress")).to_have_text("")  # it said "being kept" for good
    page.locator("[data-testid=stSidebarNavLink]", has_text="Explorer").click()
    visitor.see_heading("cell_type")
    visitor.click("Skip the tour")
    page.locator(".st-key-tour").wait_for(state="detached")

    visitor.lasso(0.25, 0.25, 0.22)
    selected = visitor.see_selected()
    assert 0 < selected < N
    page.get_by_placeholder("Give this selection a name").fill("corner")
    page.keyboard.press("Enter")
    visitor.see_named("corner")

    visitor.click("Compare")
    gene = visitor.click_volcano()
    visitor.see_heading(gene)
    page.wait_for_url(f"**gene.{gene}**")
    assert visitor.see_selected() == selected
    assert_fits(visitor, "light")

    steps = 0
    while "sel." in page.url:  # whole views all the way: with Back the maps were grey, with the wrong box
        page.go_back()
        steps += 1
        visitor.settle()
        visitor.see_heading("cell_type")
        assert page.locator(".st-key-x_label").count() == 1 and page.locator(".st-key-x_gene").count() == 0
        assert steps < 6
    visitor.see("Nothing is selected")
    for _ in range(steps):
        page.go_forward()
        visitor.settle()
    visitor.see_heading(gene)
    assert page.get_by_role("combobox", name="Gene").first.input_value() == gene
    assert visitor.see_selected() == selected

    colleague.page.goto(page.url)
    colleague.see("Ask their owner to share")
    visitor.click("Share it")
    visitor.see("everyone on this server can open it")
    colleague.page.goto(page.url)
    colleague.see_heading(gene)
    assert colleague.see_selected() == selected
    colleague.see_named("corner")
    assert_fits(colleague, "dark")
    colleague.assert_sound()

    parent = page.url
    visitor.panel("Subset")
    visitor.click("Open as a dataset")
    visitor.see(f"{selected} of {N} cells", timeout=WAIT_MS)
    page.locator(".toolbar .count", has_text=re.compile(rf"^{selected} cells$")).wait_for(timeout=WAIT_MS)
    visitor.settle()
    assert page.url.partition("?")[2] != parent.partition("?")[2]
    visitor.click("Back to it")
    page.locator(".toolbar .count", has_text=f"{N} cells").wait_for(timeout=WAIT_MS)
    visitor.settle()
    visitor.see_named("corner")
    visitor.assert_sound()


def assert_fits(visitor: Explorer, scheme: str) -> None:
    """At every size nothing is cut off; what was clicked and what changed are seen together, but on a phone."""
    for width, height in SIZES.items():
        visitor.page.set_viewport_size({"width": width, "height": height})
        visitor.settle()
        assert_fits_at(visitor.page, width, height, f"{width} pixels, {scheme}")
    visitor.page.set_viewport_size({"width": 1280, "height": SIZES[1280]})
    visitor.settle()
    shade = visitor.page.locator(".stApp").evaluate(
        "e => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (sum(shade[:3]) > 380) == (scheme == "light")


def assert_fits_at(page, width: int, height: int, at: str) -> None:
    main = "document.querySelector('.stMain')"
    assert page.evaluate(f"{main}.scrollWidth <= {main}.clientWidth"), at
    stage, panel = page.locator(STAGE).bounding_box(), page.locator(".st-key-card-panel").bounding_box()
    assert (panel["x"] >= stage["x"] + stage["width"]) == (width > 1000), at
    both = [page.locator(f".stage >> nth={i}").bounding_box() for i in range(2)]
    assert (both[0]["y"] == both[1]["y"]) == (width > 1000), f"{at}: on a phone one map a row"
    over = page.locator(".st-key-explorer-dock").evaluate(
        """dock => [...dock.querySelectorAll('button, input, .js-plotly-plot, [data-testid=stDataFrame]')]
            .filter(e => e.getClientRects().length && e.checkVisibility())
            .filter(e => {
                const own = e.getBoundingClientRect();
                const card = e.closest('[class*=st-key-card]')?.getBoundingClientRect();
                return card && own.width > 1 && (own.right > card.right + 1 || own.left < card.left - 1);
            }).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert not over, (at, over)
    if width > 1000:
        for seen in (STAGE, ".legend .heading"):
            box = page.locator(seen).first.bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, (at, seen)
