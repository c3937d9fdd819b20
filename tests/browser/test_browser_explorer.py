"""The whole way through the explorer in a real browser, on 300,000 cells: from a colour to the exports,
a link for somebody else, a reload, a computation that is stopped, and a server that is killed."""

import math
import re
from xml.etree import ElementTree

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from datasets import some_genes
from playwright.sync_api import expect
from visitors import Server, Visitor

N = 300_000
GENES = some_genes(240)
DRAWN = "section.map[data-drawn]:not([data-drawn=''])"
STAGE = ".stage >> nth=0"
WAIT_MS = 600_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    make_cells().write_h5ad(server.folder / "data" / "many.h5ad")
    yield server
    server.stop()


def make_cells() -> ad.AnnData:
    """300,000 cells in six groups with a map of their own; every gene is high in one group. Sparse.

    One gene is far higher, so that its point in a volcano lies under no other.
    """
    rng = np.random.default_rng(0)
    group = rng.integers(0, 6, N)
    columns = []
    for gene in range(len(GENES)):
        share = (
            np.where(group == gene % 6, 0.5 if gene == 6 else 0.1, 0.02) if gene else np.ones(N)
        )  # no cell is without counts
        columns.append(np.flatnonzero(rng.random(N) < share))
    sizes = [len(cells) for cells in columns]
    counts = sp.csc_matrix(
        (rng.geometric(0.4, sum(sizes)).astype(np.float32), np.concatenate(columns), np.cumsum([0, *sizes])),
        shape=(N, len(GENES)),
    ).tocsr()
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical.from_codes(group, [f"type {i}" for i in range(6)])},
        index=[f"c{i}" for i in range(N)],
    )
    angle = group * 2 * np.pi / 6
    umap = np.stack([5 * np.cos(angle), 5 * np.sin(angle)], axis=1) + rng.normal(0, 1.0, (N, 2))
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=GENES), obsm={"X_umap": umap.astype(np.float32)})


class Explorer(Visitor):
    """A visitor of the explorer, who reads what the page says."""

    def open_dataset(self, ref: str) -> None:
        self.open(f"/explorer?dataset={ref}&tour=off")
        self.page.locator(DRAWN).wait_for(timeout=WAIT_MS)
        self.settle()

    def settle(self) -> None:
        super().settle()
        self.page.locator(DRAWN).wait_for(timeout=WAIT_MS)

    @property
    def heading(self) -> str:
        return self.page.locator(".legend .heading").inner_text()

    def see_heading(self, text: str) -> None:
        self.page.locator(".legend .heading", has_text=text).wait_for(timeout=WAIT_MS)
        self.settle()

    def see_selected(self) -> int:
        count = self.page.locator(".toolbar .count", has_text="selected")
        count.wait_for(timeout=WAIT_MS)
        self.settle()
        return int(count.inner_text().split()[0].replace(",", ""))

    def see_named(self, name: str) -> None:
        """Wait until this named selection is the one that is offered."""
        found = self.page.get_by_role("combobox", name="Named selections")
        expect(found).to_have_value(re.compile(f"^{name}"), timeout=WAIT_MS)

    def choose(self, name: str, text: str) -> None:
        """Write into a list and take what it then offers first."""
        self.page.get_by_role("combobox", name=name).first.fill(text)
        self.page.get_by_role("listbox").get_by_role("option").first.wait_for()
        self.page.keyboard.press("Enter")
        self.settle()

    def lasso(self, x: float, y: float, radius: float) -> None:
        """Draw a circle; place and radius as shares of the map's width and height."""
        self.page.locator("button[data-tool=lasso]").click()
        self.page.locator(STAGE).scroll_into_view_if_needed()
        box = self.page.locator(STAGE).bounding_box()
        for k in range(31):
            angle = 2 * math.pi * k / 31
            self.page.mouse.move(
                box["x"] + box["width"] * (x + radius * math.cos(angle)),
                box["y"] + box["height"] * (y + radius * math.sin(angle)),
            )
            if k == 0:
                self.page.mouse.down()
        self.page.mouse.up()

    def panel(self, title: str) -> None:
        choice = self.page.locator(".st-key-x_panel")
        choice.scroll_into_view_if_needed()
        before = choice.bounding_box()["y"]
        choice.get_by_text(title, exact=True).click()
        self.settle()
        assert abs(choice.bounding_box()["y"] - before) < 2, "the choice of panels stays under the mouse"

    def click_volcano(self) -> str:
        """Click the gene that lies farthest to the right, and return its name."""
        chart = self.page.locator(".st-key-card-panel .js-plotly-plot").first
        chart.wait_for(timeout=WAIT_MS)
        self.settle()
        chart.scroll_into_view_if_needed()
        name, x, y = chart.evaluate(
            """plot => {
                const { xaxis, yaxis } = plot._fullLayout;
                let best = null;
                for (const trace of plot._fullData) for (let i = 0; i < (trace.x?.length ?? 0); i++)
                    if (trace.text?.[i] && Number.isFinite(trace.x[i]) && (!best || trace.x[i] > best[0]))
                        best = [trace.x[i], trace.y[i], trace.text[i]];
                return [best[2], xaxis._offset + xaxis.l2p(best[0]), yaxis._offset + yaxis.l2p(best[1])];
            }"""
        )
        box = chart.bounding_box()
        self.page.mouse.move(box["x"] + x - 1, box["y"] + y)
        self.page.wait_for_timeout(200)
        self.page.mouse.click(box["x"] + x, box["y"] + y)
        return name

    def download(self, name: str, path) -> None:
        with self.page.expect_download(timeout=WAIT_MS) as got:
            self.page.get_by_role("button", name=name).first.click()
        got.value.save_as(path)


@pytest.fixture
def visitor_type() -> type:
    return Explorer


def test_from_a_colour_to_the_exports_and_a_link(visit, tmp_path):
    visitor, gene, n = visit(), GENES[3], N
    page = visitor.page
    visitor.open_dataset("folder:0/many.h5ad")
    page.get_by_text("Gene", exact=True).first.click()
    visitor.choose("Gene", gene)
    visitor.see_heading(gene)

    visitor.lasso(0.65, 0.5, 0.3)
    selected = visitor.see_selected()
    assert 0 < selected < n
    page.get_by_placeholder("Give this selection a name").fill("the middle")
    page.keyboard.press("Enter")
    visitor.see("Named selections")
    visitor.assert_sound()

    visitor.panel("Compare")
    visitor.click("Compare")
    found = visitor.click_volcano()
    visitor.see_heading(found)
    visitor.assert_sound()

    visitor.panel("Expression")
    visitor.choose("Genes", found)
    page.get_by_text("Violins", exact=True).click()
    page.locator(".st-key-card-panel .js-plotly-plot").first.wait_for(timeout=WAIT_MS)
    visitor.settle()
    visitor.assert_sound()

    visitor.panel("Labels")
    page.get_by_label("Name of the new column").first.fill("mine")
    visitor.click("Start labelling")
    visitor.see_heading("mine")
    page.locator(".st-key-x_labels_give").get_by_role("combobox").fill("middle cell")
    page.keyboard.press("Enter")
    visitor.settle()
    visitor.click("Assign label")
    page.locator(".legend .name", has_text="middle cell").wait_for(timeout=WAIT_MS)
    visitor.settle()
    visitor.assert_sound()

    other = visit()  # a link restores the view for somebody else
    other.page.goto(page.url)
    other.see_heading("mine")
    assert other.see_selected() == selected
    assert other.page.locator(".legend .name", has_text="middle cell").count() == 1
    other.assert_sound()

    visitor.panel("Export")
    visitor.download("Report (HTML)", tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the middle" in report and f"{selected:,}" in report and "data:image/svg+xml" in report
    page.get_by_role("button", name="Download").first.click()
    visitor.download("Figure (SVG)", tmp_path / "map.svg")
    assert ElementTree.parse(tmp_path / "map.svg").getroot().tag.endswith("svg")
    visitor.download("Dataset (h5ad)", tmp_path / "out.h5ad")
    written = ad.read_h5ad(tmp_path / "out.h5ad")
    assert written.n_obs == n and int((written.obs["mine"].astype(str) == "middle cell").sum()) == selected
    visitor.assert_sound()

    page.reload()
    visitor.see_heading("mine")
    assert visitor.see_selected() == selected
    visitor.see_named("the middle")
    visitor.assert_sound()


def test_a_stopped_computation_and_a_killed_server_lose_nothing(visit, server):
    visitor = visit()
    page = visitor.page
    visitor.open_dataset("folder:0/many.h5ad")
    visitor.lasso(0.5, 0.5, 0.3)
    selected = visitor.see_selected()
    page.get_by_placeholder("Give this selection a name").fill("before the cut")
    page.keyboard.press("Enter")
    visitor.see_named("before the cut")
    view = page.url.removeprefix(visitor.url)

    visitor.open("/cell_embedding?dataset=folder:0/many.h5ad")
    visitor.click("Compute the map")
    visitor.see("It runs by itself", timeout=WAIT_MS)
    visitor.click("Stop")
    visitor.see("This computation was stopped", timeout=WAIT_MS)
    visitor.click("Resume")
    visitor.see("It runs by itself", timeout=WAIT_MS)
    visitor.assert_sound()
    visitor.context.close()

    server.kill()
    again = Server(server.folder, port=server.port)
    server.process = again.process  # so that it ends with this module
    visitor = visit()
    visitor.open("/cell_embedding?dataset=folder:0/many.h5ad")
    text = visitor.page.get_by_text(re.compile("was interrupted|It runs by itself")).first
    text.wait_for(timeout=WAIT_MS)
    if "interrupted" in text.inner_text():
        visitor.click("Resume")
        visitor.see("It runs by itself", timeout=WAIT_MS)
    visitor.click("Stop")
    visitor.see("This computation was stopped", timeout=WAIT_MS)
    visitor.open(view)
    visitor.page.locator(DRAWN).wait_for(timeout=WAIT_MS)
    assert visitor.see_selected() == selected
    visitor.see_named("before the cut")
    visitor.assert_sound()
