"""The explorer in daily use: Back and Forward, wrong names, groups that are switched off."""

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from datasets import make_counts, some_genes
from playwright.sync_api import expect
from test_browser_explorer import STAGE, WAIT_MS, Explorer
from visitors import Server

N = 400
GENES = some_genes()
LONG = "CD4-positive, alpha-beta memory T cell of the human intestinal mucosa, resting"
NAMES = [LONG, LONG.replace("resting", "activated"), "B", *(f"type {i}" for i in range(17))]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    make_cells().write_h5ad(server.folder / "data" / "cells.h5ad")
    yield server
    server.stop()


def make_cells() -> ad.AnnData:
    """Twenty groups on a map, two of them with names that differ at their end."""
    rng = np.random.default_rng(0)
    group = np.arange(N) % len(NAMES)
    place = np.stack([group % 5, group // 5], axis=1) * 3.0
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical.from_codes(group, NAMES), "cluster": group % 4, "score": rng.normal(size=N)}
        | {"mitochondrial share": rng.random(N)},
        index=[f"c{i}" for i in range(N)],
    )
    maps = {"X_umap": (place + rng.normal(0, 0.4, (N, 2))).astype(np.float32)}
    maps["X_tsne"] = maps["X_umap"][:, ::-1].copy()
    return ad.AnnData(make_counts(N), obs=obs, var=pd.DataFrame(index=GENES), obsm=maps)


@pytest.fixture
def visitor_type() -> type:
    return Explorer


def color_by(visitor: Explorer, kind: str) -> None:
    visitor.page.locator(".st-key-x_color").get_by_text(kind, exact=True).click()
    visitor.settle()


def rectangle(visitor: Explorer) -> None:
    visitor.page.locator("button[data-tool=box]").click()
    box = visitor.page.locator(STAGE).bounding_box()
    visitor.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.8, steps=4)
    visitor.page.mouse.up()


def see_nothing_selected(visitor: Explorer) -> None:
    visitor.see("Nothing is selected")
    expect(visitor.page.locator(".toolbar .count")).not_to_contain_text("selected", timeout=WAIT_MS)


def test_back_and_forward_restore_a_whole_view_or_leave_the_page(visit):
    """Guards against half a state: after Back the maps were grey, with no way to colour and the wrong box."""
    visitor = visit()
    page = visitor.page
    visitor.open("/?dataset=folder:0/cells.h5ad")
    visitor.open_dataset("folder:0/cells.h5ad")
    visitor.see_heading("cell_type")
    rectangle(visitor)
    selected = visitor.see_selected()
    color_by(visitor, "Gene")
    visitor.choose("Gene", GENES[7])
    visitor.see_heading(GENES[7])
    page.wait_for_url(f"**gene.{GENES[7]}**")
    assert visitor.see_selected() == selected

    def see_gene() -> None:
        visitor.see_heading(GENES[7])
        assert page.get_by_role("combobox", name="Gene").first.input_value() == GENES[7]

    def see_labels() -> None:
        visitor.see_heading("cell_type")
        chosen = page.locator(".st-key-x_color [aria-checked=true], .st-key-x_color [kind$=Active]")
        assert chosen.first.inner_text().strip() == "Label"
        assert page.locator(".st-key-x_label").count() == 1 and page.locator(".st-key-x_genes").count() == 0

    see_gene()
    page.go_back()  # to the labels: while no gene was chosen, the maps showed nothing else
    page.wait_for_url(re.compile(r"view=sel\.[0-9a-f]+$"), timeout=WAIT_MS)
    visitor.settle()
    see_labels()
    assert visitor.see_selected() == selected
    page.go_back()
    see_nothing_selected(visitor)
    see_labels()
    page.go_forward()
    visitor.see_selected()
    page.go_forward()
    see_gene()
    assert visitor.see_selected() == selected
    page.go_back()
    visitor.see_heading("cell_type")
    page.go_back()
    see_nothing_selected(visitor)
    page.go_back()
    page.wait_for_url(lambda url: "/explorer" not in url, timeout=WAIT_MS)
    visitor.assert_sound()


def test_a_wrong_gene_name_leaves_everything_where_it_is(visit):
    visitor = visit()
    page = visitor.page
    visitor.open_dataset("folder:0/cells.h5ad")
    color_by(visitor, "Gene")
    visitor.choose("Gene", GENES[7])
    visitor.see_heading(GENES[7])
    page.get_by_role("combobox", name="Gene").first.fill("xyz")
    page.keyboard.press("Enter")
    page.locator(".st-key-x_trouble", has_text="xyz").wait_for(timeout=WAIT_MS)
    visitor.settle()
    assert visitor.heading.startswith(GENES[7]) and page.locator(STAGE).is_visible()
    assert page.get_by_role("button", name="Compare").first.is_visible()
    visitor.assert_sound()


def test_one_number_of_shown_cells_and_names_that_keep_their_ending(visit):
    visitor = visit()
    page = visitor.page
    visitor.open_dataset("folder:0/cells.h5ad")
    rows = page.locator(".legend li:visible")
    assert rows.count() == len(NAMES)
    assert {"resting", "activated"} <= {text.split()[-1] for text in page.locator(".legend .name").all_inner_texts()}
    overflow = "legend => [...legend.querySelectorAll('li')].every(row => row.scrollWidth <= legend.clientWidth)"
    assert page.locator(".legend").evaluate(overflow)
    is_inside = (
        "names => names.every(name => { const own = name.getBoundingClientRect();"
        " const stage = name.closest('.stage').getBoundingClientRect();"
        " return stage.left <= own.left && own.right <= stage.right; })"
    )
    assert page.locator(".stage .labels text[visibility=visible]").evaluate_all(is_inside)

    page.get_by_label("Find a group in the legend").fill("activ")
    expect(rows).to_have_count(1)
    page.get_by_label("Find a group in the legend").fill("")
    page.locator(".legend .row", has_text="type 3").first.click()
    visitor.see(f"{N - 20} of {N} cells shown")
    visitor.settle()
    assert page.locator(".toolbar .count").inner_text().split()[0] == str(N - 20)
    assert page.locator(".legend .note").inner_text().startswith(f"{N - 20} of {N}")
    page.locator(STAGE).click(position={"x": 3, "y": 3})
    page.keyboard.press("v")  # what is in view: all cells but those that are switched off
    assert visitor.see_selected() == N - 20
    visitor.see(f"{N - 20} of {N} cells")

    page.locator(".st-key-x_panel").get_by_text("Distributions", exact=True).click()
    chosen = page.get_by_test_id("stMultiSelectTagsContainer").first
    chosen.wait_for(timeout=WAIT_MS)
    visitor.settle()
    chosen.get_by_text("mitochondrial share").wait_for()  # more columns than one line of the dock takes
    assert chosen.evaluate("box => box.scrollWidth <= box.clientWidth + 1 && box.scrollHeight <= box.clientHeight + 1")
    visitor.assert_sound()
