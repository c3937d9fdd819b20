"""The tour of the explorer: it comes by itself once, never stands in the way, and can be opened again."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from scfviz.ui.frame import tour


def show_tour():
    from scfviz.ui.frame import tour

    tour.show()


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path))


def visit(**query: str) -> AppTest:
    app = AppTest.from_function(show_tour)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def is_open(app: AppTest) -> bool:
    return any("of" in text.value and "**" in text.value for text in app.markdown)


def test_every_step_is_shown_once_and_the_last_one_ends_the_tour():
    app, seen = visit(), []
    while is_open(app):
        seen.append(app.markdown[0].value)
        app.button(key="tour-next").click().run()
    assert len(set(seen)) == len(tour.STEPS) == len(seen)
    assert not is_open(visit()), "it came a second time"
    app.button(key="tour-open").click().run()
    assert is_open(app)


def test_it_can_be_skipped_and_gone_back():
    app = visit()
    first = app.markdown[0].value
    app.button(key="tour-next").click().run()
    assert app.markdown[0].value != first
    app.button(key="tour-back").click().run()
    assert app.markdown[0].value == first
    app.button(key="tour-skip").click().run()
    assert not is_open(app) and not is_open(visit())


def test_the_address_leaves_it_out():
    assert not is_open(visit(tour="off"))
    assert is_open(visit()), "leaving it out once is not the same as having seen it"


def test_it_takes_about_a_minute_to_read():
    words = sum(len(f"{step.title} {step.text}".split()) for step in tour.STEPS)
    assert words / 200 < 1.25, "at 200 words a minute"


def test_every_part_that_it_frames_is_on_the_page():
    sources = [path.read_text(encoding="utf-8") for path in (Path(tour.__file__).parents[1]).rglob("*.py")]
    style = (Path(tour.__file__).parents[1] / "components/cell_map/src/style.css").read_text(encoding="utf-8")
    for step in tour.STEPS:
        name = step.part.split()[0].removeprefix(".st-key-").removesuffix("-channels")
        assert step.part in style if step.part.startswith("--") else any(f'"{name}"' in text for text in sources), step
