"""A walk over the page Annotation on real cells: the demo is annotated by itself, its clusters become labels."""

import pytest
from visitors import JOB_MS, Server

TRIES, TRY_MS = 6, 10_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    yield server
    server.stop()


def test_walk_from_the_demo_to_a_selection_and_accepted_labels(visit):
    visitor = visit()
    page = visitor.page
    visitor.open("/annotation?dataset=demo:pbmc68k_reduced")
    visitor.see("The labels come from logistic regression on genes", timeout=JOB_MS)
    visitor.see("of one batch")
    page.locator("section.map[data-drawn]:not([data-drawn=''])").first.wait_for()
    click_a_number(visitor)
    visitor.click("Accept as my labels")
    visitor.see("labelled in 'my annotation'")
    assert "job_annotation=" in page.url
    visitor.assert_sound()


def click_a_number(visitor) -> None:
    """Of the first row of the confusion matrix; a click on a table that is just being drawn is lost."""
    from playwright.sync_api import TimeoutError as TooLate

    table = visitor.page.locator(".st-key-card-confusion .dvn-scroller").first  # lies over the canvas, takes its clicks
    for last in range(TRIES):
        table.click(position={"x": 290, "y": 55})
        try:
            return visitor.see("selected.", timeout=TRY_MS)
        except TooLate:
            if last + 1 == TRIES:
                raise
