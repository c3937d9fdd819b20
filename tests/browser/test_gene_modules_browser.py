"""A walk over the page Gene modules, on the demo and on a larger dataset.

From a quick look to the picture, a module and a gene clicked in it, the map, two groups and a file.
"""

import contextlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import TimeoutError
from visitors import JOB_MS, Server

from scfviz.tasks.result import Result, read_result
from scfviz.ui.drawing.network import HEIGHT, describe
from scfviz.ui.tasks.gene_modules.network_choice import Wanted, module_network

LARGER = Path("data", "evaluation", "pbmc3k.h5ad")  # 2,700 cells
BRIGHTEST = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let most = 0;
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] === 255) most = Math.max(most, Math.min(data[i], data[i + 1], data[i + 2]));
    return most;
}"""

RESTS = """canvas => {
    const now = canvas.toDataURL(), rests = now === window.seen;
    window.seen = now;
    return rests;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    yield server
    server.stop()


def spots(result: Result) -> tuple[dict[int, tuple[float, float]], dict[str, tuple[float, float]]]:
    """Where the picture of a result shows the ground of each module, off its genes, and its genes with names.

    Pixels from the middle of the chart.
    """
    network = module_network(result, Wanted())
    series = describe(network, HEIGHT)["series"][0]
    at = np.array([(node["x"], node["y"]) for node in series["data"]])
    at = (at - (at.min(axis=0) + at.max(axis=0)) / 2) * series["width"] / np.ptp(at[:, 0])
    n = len(network.discs)
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    grounds = {}
    for disc, middle, drawn in zip(network.discs, at, series["data"], strict=False):
        rings = np.concatenate([np.stack([np.cos(turn), np.sin(turn)], axis=1) * part for part in (0.3, 0.6, 0.85)])
        tried = middle + rings * drawn["symbolSize"] / 2
        free = np.linalg.norm(tried[:, None] - at[None, n:], axis=2).min(axis=1)
        grounds[disc.module] = tuple(tried[free.argmax()].tolist())
    genes = {node.name: tuple(at[n + i].tolist()) for i, node in enumerate(network.nodes) if node.has_label}
    return grounds, genes


@pytest.mark.parametrize("dataset", ["demo:celltypist_sample", f"folder:0/{LARGER.name}"])
def test_walk_from_the_quick_look_to_a_gene_two_groups_and_a_graph(visit, server, request, dataset):
    if dataset.startswith("folder"):
        shutil.copy(request.getfixturevalue("shared") / LARGER, server.folder / "data" / LARGER.name)
    visitor = visit()
    page = visitor.page
    visitor.open(f"/gene_modules?dataset={dataset}")
    visitor.click("Quick look, co-expression only")
    visitor.see("distance means nothing", timeout=JOB_MS)
    chart = page.locator("[data-testid=stEChartsChart] canvas").first
    chart.wait_for()
    visitor.see("Module 1:")
    visitor.settle()

    def click(spot: tuple[float, float], heading: str | re.Pattern[str]) -> None:
        """Again where the picture was being drawn on a busy machine: ECharts loses such a click."""
        for _ in range(3):
            page.wait_for_function(RESTS, arg=chart.element_handle(), polling=700, timeout=JOB_MS)
            box = chart.bounding_box()
            chart.click(position={"x": box["width"] / 2 + spot[0], "y": box["height"] / 2 + spot[1]})
            with contextlib.suppress(TimeoutError):
                return page.get_by_role("heading", name=heading, exact=True).wait_for(timeout=20_000)
        raise AssertionError(f"{heading} did not open")

    job = re.search(r"job_gene_modules=(\w+)", page.url).group(1)
    result = read_result(server.folder / "workspace" / "jobs" / job / "result")
    grounds, genes = spots(result)
    module = result.tables["genes"].set_index("gene")["module"]
    gene = next(iter(genes))
    click(grounds[int(module[gene])], re.compile(rf"^Module {module[gene]}:"))
    visitor.settle()
    click(genes[gene], gene)  # of the module that is open: its ground once lay above it
    page.locator("section.map[data-drawn]:not([data-drawn=''])").first.wait_for(timeout=JOB_MS)
    visitor.settle()
    page.get_by_role("combobox", name="My genes").first.fill("CD79A")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")  # an open list hides the rest of the page from assistive technology
    visitor.settle()
    page.mouse.click(700, 90)  # the list opens again when the page is drawn; a click beside it closes it
    visitor.wear("dark")
    assert 200 < chart.evaluate(BRIGHTEST) < 250, "halos have the colour of the ground, texts are light"
    page.get_by_text("Compare two groups", exact=True).first.click()
    visitor.see("3 standard errors")
    with page.expect_download() as download:
        visitor.click("Modules (GraphML)")
    assert "graphml" in download.value.path().read_text()[:400]
    visitor.assert_sound()
