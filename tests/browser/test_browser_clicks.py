"""What a click costs: with any panel open, a click that asks for no new picture moves at most 20 kB either way."""

import pytest
from playwright.sync_api import expect
from test_browser_explorer import WAIT_MS, Explorer
from visitors import Server

from scfviz.data.catalog import demo_path

LIMIT = 20_000  # bytes
PANELS = ("Compare", "Gene sets", "Expression", "Composition", "Distributions", "Labels", "Subset", "Export")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    server = Server(folder)
    # As a file of one's own: the demo itself would be embedded meanwhile.
    demo_path("pbmc68k_reduced", folder / "data")
    yield server
    server.stop()


class Counted(Explorer):
    """A visitor whose page counts the bytes of its websocket."""

    def __init__(self, browser, server):  # noqa: F811
        super().__init__(browser, server)
        self.down = self.up = self.frames = 0
        self.page.on("websocket", self._count)

    def _count(self, websocket) -> None:
        websocket.on("framereceived", lambda frame: self._add(len(frame), 0))
        websocket.on("framesent", lambda frame: self._add(0, len(frame)))

    def _add(self, down: int, up: int) -> None:
        self.down, self.up, self.frames = self.down + down, self.up + up, self.frames + 1

    def settle(self) -> None:
        """Until the app has stopped running and nothing more arrives."""
        before = -1
        while before != self.frames:
            before = self.frames
            super().settle()

    def cost(self, act) -> tuple[int, int]:
        """Bytes down and up of what an action sets off; it has to set something off."""
        self.settle()
        self.down = self.up = self.frames = 0
        act()
        self.settle()
        assert self.frames, "nothing was sent"
        return self.down, self.up


def test_a_plain_click_moves_little_whatever_panel_is_open(browser, server):  # noqa: F811
    visitor = Counted(browser, server)
    page = visitor.page
    visitor.open_dataset("folder:0/pbmc68k_reduced.h5ad")
    visitor.lasso(0.5, 0.5, 0.3)
    assert visitor.see_selected() > 0

    def click(key: str) -> None:
        page.locator(f".st-key-{key} button").first.click()

    costs = {}
    for number, panel in enumerate(PANELS):
        if panel != "Compare":
            visitor.panel(panel)
        else:
            click("x_compare")
            page.locator(".st-key-card-panel .js-plotly-plot").first.wait_for(timeout=WAIT_MS)
        if panel == "Expression":
            click("x_suggest")
            page.locator(".st-key-card-panel .js-plotly-plot").first.wait_for(timeout=WAIT_MS)
        step = "x_redo" if number % 2 else "x_undo"
        costs[f"{panel}: {step}"] = visitor.cost(lambda step=step: click(step))
        costs[f"{panel}: legend"] = visitor.cost(page.locator(".legend .name").nth(1).click)
    visitor.assert_sound()
    expect(page.locator(".st-key-x_redo button").first).to_be_disabled()  # each step did what it says
    assert {name: cost for name, cost in costs.items() if max(cost) > LIMIT} == {}
    visitor.context.close()
