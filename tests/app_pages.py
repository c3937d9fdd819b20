"""What tests of pages look at, whichever page it is."""

import json

from streamlit.testing.v1 import AppTest


def check(app: AppTest) -> AppTest:
    """The same page, which has shown no fault of the program."""
    assert not app.exception, [error.value for error in app.exception]
    assert "Something went wrong in scfviz" not in text_of(app), text_of(app)
    return app


def text_of(app: AppTest) -> str:
    """All the prose of a page."""
    kinds = ("title", "markdown", "caption", "error", "warning", "info")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind))


def spec_of(app: AppTest) -> dict:
    """What the map component was told."""
    return next(json.loads(e.proto.json) for e in app.get("bidi_component") if e.proto.WhichOneof("data") == "json")


def n_selected(app: AppTest) -> int:
    selection = spec_of(app)["selection"]
    return selection["n"] if selection else 0
