"""Handing work on between real browsers: link, downloads, session file, and uploads that stay private."""

import ast
import contextlib
import json
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from datasets import make_adata
from playwright.sync_api import TimeoutError
from test_accessibility import find_faults
from visitors import Server, Visitor

from scfviz.ui.explorer import layout

N = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    adata = make_adata(N)
    is_b = np.arange(N) % 3 == 0
    adata.obs["cell_type"] = np.where(is_b, "B", "<b>T</b>")
    adata.obs["score"] = np.linspace(0, 1, N)
    adata.obsm["X_umap"] = np.stack([np.where(is_b, -1.0, 1.0), np.linspace(-1, 1, N)], axis=1)
    adata.write_h5ad(server.folder / "data" / "mapped.h5ad")
    make_adata(60).write_h5ad(server.folder / "private cells.h5ad")
    yield server
    server.stop()


def fetch(visitor: Visitor, button: str) -> str:
    with visitor.page.expect_download() as waiting:
        visitor.page.get_by_role("button", name=button).click()
    return waiting.value.path().read_text(encoding="utf-8")


def select(visitor: Visitor, rule: str, sign: str) -> None:
    """Write a rule; once more where the page was drawn anew (its genes were in order) while it was written."""
    field = visitor.page.get_by_role("textbox", name="Rule")
    for _ in range(3):
        visitor.settle()
        field.fill(rule)
        visitor.page.get_by_role("button", name="Select", exact=True).click()
        with contextlib.suppress(TimeoutError):
            visitor.see(sign, timeout=15_000)
            return
    visitor.see(sign)


def test_link_and_session_file_open_the_same_view_in_another_browser(visit, server, tmp_path):
    first = visit()
    first.open(f"/explorer?dataset=folder:0/mapped.h5ad&x_panel={quote(layout.panel_title('composition'))}")
    first.see("Click a piece to select it")
    first.settle()
    first.page.locator(".st-key-x_panel").get_by_text(layout.panel_title("report"), exact=True).click()
    first.see("For a paper or a lab book")
    select(first, 'cell_type == "B"', "40 of 120 cells")
    first.page.get_by_text("Value", exact=True).first.click()
    first.page.wait_for_url("**color.value**")
    first.settle()
    link = first.page.locator("[data-testid=stCode]", has_text="dataset=").inner_text().strip()
    assert "sel." in link and "color.value" in link and link.startswith(server.url)

    report = fetch(first, "Report (HTML)")
    (tmp_path / "report.html").write_text(report, encoding="utf-8")
    script = fetch(first, "Script (.py)")
    assert ast.parse(script) and 'cell_type == "B"' in script
    assert len(json.loads(fetch(first, "Notebook (.ipynb)"))["cells"]) > 4
    session = fetch(first, "Session file")
    (tmp_path / "session.json").write_text(session, encoding="utf-8")
    first.assert_sound()

    second = visit(color_scheme="dark")
    second.page.goto(link)
    second.see("40 of 120 cells")
    second.page.locator(".st-key-x_value").wait_for()
    second.settle()
    assert second.page.locator("[data-testid=stCode]", has_text="dataset=").inner_text().strip() == link
    second.assert_sound()

    third = visit()
    third.open("/workspace")
    third.page.locator("input[type=file]").set_input_files(tmp_path / "session.json")
    third.see("will be opened")
    third.click("Restore this view")
    third.see("40 of 120 cells")
    third.page.locator(".st-key-x_value").wait_for()
    third.settle()
    assert "color.value" in third.page.locator("[data-testid=stCode]", has_text="dataset=").inner_text()
    third.assert_sound()

    reader = visit(java_script_enabled=False)
    reader.page.goto((tmp_path / "report.html").as_uri())
    reader.see("Analysis record")
    shown = reader.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert shown and reader.page.locator("img").count() == 2, "the map and the composition"
    assert not reader.trouble, reader.trouble
    assert_readable(visit, tmp_path / "report.html")


def assert_readable(visit, path: Path) -> None:
    """The report passes axe-core in light and dark, fits a phone and a sheet of paper, and gives its files."""
    for scheme, width, media in (("light", 1200, "screen"), ("dark", 390, "screen"), ("dark", 680, "print")):
        reader = visit(color_scheme=scheme)
        page = reader.page
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media=media)
        page.goto(path.as_uri())
        assert not find_faults(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        cut_off = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
        assert media == "screen" or page.evaluate(cut_off) == 0
        is_white = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert is_white == (scheme == "light" or media == "print")
        if media == "screen":
            with page.expect_download() as waiting:
                page.get_by_role("link", name="Save the numbers of cells").click()
            assert pd.read_csv(waiting.value.path())["n_cells"].sum() == N
        assert not reader.trouble, reader.trouble


def test_upload_is_found_again_by_its_browser_and_by_no_other(visit, server):
    first = visit()
    first.open("/dataset")
    first.page.get_by_text("Upload", exact=True).first.click()
    first.page.locator("input[type=file]").set_input_files(server.folder / "private cells.h5ad")
    first.see("Median counts per cell")
    first.open("/workspace")  # a new session: only the browser knows who this is
    first.page.get_by_role("combobox", name="Dataset").click()
    first.see("private cells.h5ad (Upload, yours)")
    first.assert_sound()
    second = visit()
    second.open("/workspace")
    second.see("Computations and results")
    second.settle()
    boxes = second.page.get_by_role("combobox", name="Dataset")
    if boxes.count():
        boxes.click()
    assert second.page.get_by_text("private cells").count() == 0
    second.assert_sound()
