"""The command `app`: the server of the browser app."""

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scfviz.commands.shared import say
from scfviz.errors import OptionError, ScfvizError
from scfviz.jobs import Workspace
from scfviz.places import ROOT

_MOST_SECONDS_FOR_THE_DEMO = 300.0


def add_app(commands: Any) -> None:
    """Add the command `app`."""
    parser = commands.add_parser("app", help="open the app in the browser")
    parser.add_argument("--port", type=int, help="port of the server; the first free one from 8501 when left out")
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        help="name or address at which others reach it; this computer alone when left out",
    )
    parser.add_argument("--data", type=Path, action="append", metavar="DIR", help="folder whose files may be opened")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="folder for uploads and results (~/.scfviz)")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="checkpoint folder (the one that ships)")
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.set_defaults(run=_app)


def _app(args: argparse.Namespace) -> int:
    script = ROOT / "app.py"
    if not script.is_file():
        raise OptionError(
            f"The app is not beside the package (there is no '{script}').",
            "The app runs from its source folder.",
            "Clone the project and run `make app` there.",
        )
    environment = dict(os.environ)
    if args.data:
        missing = [folder for folder in args.data if not folder.is_dir()]
        if missing:
            raise OptionError(f"There is no folder '{missing[0]}'.", "--data names a folder.", "Correct the path.")
        environment["SCFVIZ_DATA"] = os.pathsep.join(str(folder.resolve()) for folder in args.data)
    if args.checkpoint:
        from scfviz.model.checkpoint import checkpoint_info

        environment["SCFVIZ_CHECKPOINT"] = str(checkpoint_info(args.checkpoint).folder.resolve())
    if args.workspace:
        environment["SCFVIZ_WORKSPACE"] = str(args.workspace.resolve())
    options = [f"--server.port={args.port}"] if args.port else []
    options += ["--server.headless=true"] if args.headless else []
    options += _open_to(args.host) if args.host else []
    if environment.get("SCFVIZ_DEMO") == "1":
        threading.Thread(target=_begin_demo, args=(Workspace(args.workspace),), daemon=True).start()
    what = "The app does not open by itself" if args.headless else "The app opens in the browser"
    say(f"{what}; the line below says at which address it is. Stop it with Ctrl-C.")
    # its configuration (.streamlit) lies beside the script, and Streamlit looks for it in the current folder
    return subprocess.call(
        [sys.executable, "-m", "streamlit", "run", str(script), *options], cwd=script.parent, env=environment
    )


def _open_to(host: str) -> list[str]:
    """Streamlit's options for a server that others reach; 0.0.0.0 takes every name, for a proxy in front of it."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise OptionError(f"'{host}' is no address.", "A name or an IP address is needed.", "For example 0.0.0.0.")
    say(
        f"Attention: whoever reaches {host} can use this app, see its data folders and compute here. "
        "Put a proxy with a login in front, or turn sign-in on (README)."
    )
    options = [f"--server.address={host}", "--server.headless=true"]
    return options + (["--server.allowedHosts=*"] if host in ("0.0.0.0", "::") else [f"--server.allowedHosts={host}"])


def prepare() -> None:
    """What the first start would wait for: UMAP compiled, the demo written and its map drawn. Part of `make app`."""
    import numpy as np

    from scfviz.jobs import status
    from scfviz.tasks.embedding.compute import build_map

    build_map(np.random.default_rng(0).normal(size=(100, 5)))
    workspace, waited_since = Workspace(), time.monotonic()
    job = _begin_demo(workspace)
    while job and status(workspace, job).is_active and time.monotonic() - waited_since < _MOST_SECONDS_FOR_THE_DEMO:
        time.sleep(0.1)


def _begin_demo(workspace: Workspace) -> str | None:
    """Write the demo and ask for its map, while the server starts: both are there soon after the page is. The job's id.

    Writing it takes as long as loading what draws the map, so both are done at the same time.
    """
    from scfviz.data.catalog import DEMOS, demo_path
    from scfviz.jobs import submit, warm_worker

    with suppress(ScfvizError):  # the page says what is wrong
        if not (workspace.datasets / f"{DEMOS[0].name}.h5ad").exists():
            warm_worker(workspace, "quick", ("scanpy", "scfviz.tasks.embedding.kept_umap"))
        return submit(workspace, "quick_map", {"dataset": str(demo_path(DEMOS[0].name, workspace.datasets))})
    return None
