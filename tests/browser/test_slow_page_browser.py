"""A page that takes long to be drawn: what can be pressed on it meanwhile, and that it counts."""

import pytest
from visitors import ROOT, Server

PAGE = """
import time
from pathlib import Path
import streamlit as st
from scfviz.ui.frame import job_panel, page

page.configure("Slow")
st.html(Path({style!r}))
st.title("Slow")
job_panel.offer_stop("0123456789abcdef", key="stop")
time.sleep(4)
st.markdown("drawn to its end")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    script = folder / "slow.py"
    script.write_text(PAGE.format(style=str(ROOT / "scfviz" / "ui" / "style.css")))
    server = Server(folder, script=script)
    yield server
    server.stop()


def test_the_only_stop_in_sight_is_the_computations(visit):
    """Streamlit has a Stop of its own while it draws: taken for the other one it stops nothing that computes."""
    visitor = visit()
    visitor.open()
    visitor.page.locator("[data-testid=stStatusWidget]").wait_for()
    assert visitor.page.locator("header button", has_text="Stop").count() == 1, "gone, or named otherwise now"
    assert visitor.page.get_by_role("button", name="Stop").count() == 1
    visitor.click("Stop")
    visitor.see("There is no such computation here")
    visitor.see("drawn to its end")
