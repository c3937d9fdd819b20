"""Back and Forward go a page at a time: what a page adds to its own address is no step of its own."""

import re

import pytest
from visitors import Server

from scfviz.data.catalog import demo_path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    server = Server(folder)
    demo_path("pbmc68k_reduced", folder / "data")
    yield server
    server.stop()


def test_back_and_forward_go_a_page_at_a_time(visit):
    visitor = visit()
    page = visitor.page
    titles = []

    def arrive(path: str) -> None:
        page.wait_for_url(re.compile(rf"/{path}\?.*dataset=folder"))
        visitor.settle()
        titles.append((path, page.locator("h1").first.inner_text()))

    visitor.open("/explorer?dataset=folder:0/pbmc68k_reduced.h5ad&tour=off")
    arrive("explorer")
    for title, path in (("Mapping", "mapping"), ("Gene modules", "gene_modules")):
        page.locator("[data-testid=stSidebarNavLink]", has_text=title).click()
        arrive(path)
        assert titles[-1][1].startswith(title)
    there = list(titles)
    for act, paths in ((page.go_back, ("mapping", "explorer")), (page.go_forward, ("mapping", "gene_modules"))):
        for path in paths:
            act()
            arrive(path)
            assert titles[-1] in there, f"{path} shows {titles[-1][1]}"
    visitor.assert_sound()
