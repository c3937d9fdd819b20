"""What tests of pages look at, whichever page it is."""

import json
import time
from pathlib import Path
from unittest.mock import patch

from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.jobs.kinds import LANES
from scfviz.jobs.worker import Worker

EXPLORER = Path(__file__).resolve().parents[2] / "pages" / "explorer.py"


def open_explorer(file: str, session: dict | None = None, **query: str) -> AppTest:
    """The explorer on a file of the first data folder."""
    app = AppTest.from_file(str(EXPLORER), default_timeout=120)
    app.query_params["dataset"] = f"folder:0/{file}"
    for key, value in query.items():
        app.query_params[key] = value
    for key, value in (session or {}).items():
        app.session_state[key] = value
    return check(app.run())


def work_off(workspace: jobs.Workspace | None = None) -> None:
    """What the workers do with all waiting jobs, in this process: it calls no other for help."""
    with patch("scfviz.jobs.worker.start_worker"):
        for lane in LANES:
            Worker(workspace or jobs.Workspace(), lane, 0).work()


def compute(workspace: jobs.Workspace, kind: str, options: dict, *, here: bool = False) -> str:
    """The id of a finished computation, done by a real worker, or in this process."""
    job_id = jobs.submit(workspace, kind, options)
    until = time.monotonic() + 200
    while jobs.status(workspace, job_id).is_active and time.monotonic() < until:
        if here:
            work_off()
        time.sleep(0.1)
    done = jobs.status(workspace, job_id)
    assert done.state == "done", done
    return job_id


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
