"""Twenty visitors on one server: what a page switch and a recolour cost it, memory of each, and who sees what.

    python benchmarks/visitors.py                    writes benchmarks/results/visitors.json
    python benchmarks/visitors.py --visitors 5 --out - prints instead

The visitors are clients on Streamlit's websocket: they send what a browser sends (`BackMsg`) and read what it is sent
(`ForwardMsg`), so that no browser takes the cores from the server. Each has a cookie of its own and one private upload.
"Alone": one visitor acts while all are connected; the CPU seconds of the server until the page has answered are what
this click costs. "Together": all act at once, each with pauses; seconds of the clock between question and answer.
"""

import argparse
import asyncio
import io
import json
import math
import os
import platform
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "visitors.json"
PAGES = ("explorer", "cell_embedding", "explorer", "dataset", "")  # from Home, by the menu
REDRAW, N_REDRAWS = "redraw", 30  # of the progress bar of the demo's embedding, which Cell embedding begins
GENES = ("LYZ", "CD79A", "CD3D", "NKG7", "MS4A1", "GNLY", "CD8A", "PPBP")
PAUSE_SECONDS = (5.0, 15.0)  # between a visitor's clicks
ANSWER_SECONDS = 300.0
NAME = re.compile(rb"private_of_[0-9]{2}")


@dataclass
class Page:
    """What one visitor has on screen: ids of widgets by their kind and label, and every text that came."""

    widgets: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    text: str = ""
    errors: list[str] = field(default_factory=list)
    redrawn: list[str] = field(default_factory=list)  # fragments that redraw themselves


class Visitor:
    """A client with a cookie, as a browser tab is one."""

    def __init__(self, port: int, key: str):
        self.port, self.key, self.page, self.query = port, key, Page(), ""
        self.pages: dict[str, str] = {}
        self.states: dict[str, object] = {}
        self.hash = ""
        self.n_bytes = 0
        self.names: set[str] = set()  # of private datasets, in anything that was sent
        self._kept: dict[str, object] = {}

    async def connect(self) -> None:
        """Open the websocket; nothing is asked for yet."""
        from websockets.asyncio.client import connect

        self._socket = await connect(
            f"ws://localhost:{self.port}/_stcore/stream",
            additional_headers={"Cookie": f"scfviz_visitor={self.key}"},
            origin=f"http://localhost:{self.port}",
            subprotocols=["streamlit"],
            max_size=None,
        )

    async def close(self) -> None:
        """Close the tab."""
        await self._socket.close()

    async def open(self, page: str, **query: str) -> float:
        """Open a page by its address, or by its link in the menu; seconds until it is drawn."""
        if query:
            self.query = urlencode(query)
        self.hash = self.pages.get(page, "")
        self.states.clear()
        self.page = Page()
        return await self._ask(page_name="" if self.hash else page)

    async def recolour(self, kind: str, label: str = "", value: str = "") -> float:
        """Choose what the maps are coloured by, and of that which; seconds until the maps are there."""
        seconds = 0.0
        if self._set("button_group", "Colour by", "string_array_value", [kind]):
            seconds += await self._ask(fragment=self.page.widgets["button_group", "Colour by"][1])
        if label and self._set("selectbox", label, "string_value", value):
            seconds += await self._ask(fragment=self.page.widgets["selectbox", label][1])
        return seconds

    async def redraw(self) -> float:
        """What a progress bar asks for every second; seconds until it is drawn."""
        return await self._ask(fragment=self.page.redrawn[-1])

    def _set(self, kind: str, label: str, name: str, value: object) -> bool:
        from streamlit.proto.Common_pb2 import StringArray
        from streamlit.proto.WidgetStates_pb2 import WidgetState

        widget, _ = self.page.widgets[kind, label]
        state = WidgetState(id=widget)
        if name == "string_array_value":
            state.string_array_value.CopyFrom(StringArray(data=value))
        else:
            setattr(state, name, value)
        before = self.states.get(widget)
        self.states[widget] = state
        return before != state

    async def _ask(self, page_name: str = "", fragment: str = "") -> float:
        from streamlit.proto.BackMsg_pb2 import BackMsg

        message = BackMsg()
        ask = message.rerun_script
        ask.query_string, ask.page_script_hash, ask.page_name = self.query, self.hash, page_name
        ask.fragment_id = fragment
        ask.cached_message_hashes.extend(self._kept)
        ask.widget_states.widgets.extend(self.states.values())
        begin = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        async with asyncio.timeout(ANSWER_SECONDS):
            while not self._read(await self._socket.recv()):
                pass
        return time.perf_counter() - begin

    def _read(self, data: bytes) -> bool:
        """Take note of a message; whether it is the last of an answer."""
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        self.n_bytes += len(data)
        self.names |= {name.decode() for name in NAME.findall(data)}
        message = ForwardMsg.FromString(data)
        if message.WhichOneof("type") == "ref_hash":
            message = self._kept[message.ref_hash]
        elif message.hash:
            self._kept[message.hash] = message
        what = message.WhichOneof("type")
        if what == "navigation":
            self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
            self.hash = message.navigation.page_script_hash
        elif what == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif what == "auto_rerun":
            self.page.redrawn.append(message.auto_rerun.fragment_id)
        elif what == "delta":
            self._look(message.delta)
        return what == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN

    def _look(self, delta) -> None:
        if delta.WhichOneof("type") == "add_block":
            self.page.text += str(delta.add_block)
            return
        element = delta.new_element
        kind = element.WhichOneof("type")
        if kind is None:
            return
        about = getattr(element, kind)
        if kind == "exception":
            self.page.errors.append(about.message)
        if hasattr(about, "id") and hasattr(about, "label"):
            self.page.widgets[kind, about.label] = about.id, delta.fragment_id
        self.page.text += str(about)


@dataclass
class Clicks:
    """What clicks of one kind cost: CPU seconds of the server, and seconds of the clock until the answer was there."""

    cpu: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)

    def summary(self) -> dict:
        """Number, median and 95th percentile."""
        found: dict = {"n": len(self.clock)}
        for name, values in (("cpu_s", self.cpu), ("clock_s", self.clock)):
            if values:
                found[name] = {"median": quantile(values, 0.5), "p95": quantile(values, 0.95), "most": max(values)}
        return found


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


class Server:
    """The app on a workspace of its own, with the demo's map computed and a private upload of each visitor."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        command = ["streamlit", "run", "app.py", f"--server.port={self.port}", "--server.headless=true"]
        environment = os.environ | {"SCFVIZ_DEMO": "1", "SCFVIZ_DATA": str(folder / "data")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdout=(folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        self._about = psutil.Process(self.process.pid)
        until = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                urlopen(f"http://localhost:{self.port}/_stcore/health", timeout=1).read()
                return
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def cpu(self) -> float:
        """CPU seconds so far, of all its threads."""
        times = self._about.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Bytes that it holds for itself."""
        return self._about.memory_full_info().uss


def prepare(n_visitors: int) -> list[str]:
    """Keys of visitors whose private uploads are in the workspace, and the demo with its first map."""
    from scfviz import jobs, read_dataset
    from scfviz.data.catalog import DEMOS, demo_path
    from scfviz.jobs.uploads import save_upload

    workspace, keys = jobs.Workspace(), [f"{number:032x}" for number in range(1, n_visitors + 1)]
    demo = demo_path(DEMOS[0].name, workspace.datasets)
    cells = read_dataset(demo).to_memory()
    for number, key in enumerate(keys):
        with tempfile.NamedTemporaryFile(suffix=".h5ad") as file:
            cells[number :: n_visitors + 1].copy().write_h5ad(file.name)
            content = io.BytesIO(Path(file.name).read_bytes())
        save_upload(content, f"private_of_{number:02d}.h5ad", key)
    for kind in ("quick_map", "gene_store"):
        wait_for(workspace, jobs.submit(workspace, kind, {"dataset": str(demo)}))
    return keys


def wait_for(workspace, job_id: str) -> None:
    """Until a computation is done."""
    from scfviz import jobs

    while (now := jobs.status(workspace, job_id)).is_active:
        time.sleep(0.2)
    if now.state != "done":
        raise SystemExit(f"{now.kind}: {now.error}")


def end_jobs() -> None:
    """Stop what still computes, before its folder goes."""
    from scfviz import jobs

    workspace = jobs.Workspace()
    for job in jobs.list_jobs(workspace):
        jobs.cancel(workspace, job.id)
    while any(job.is_active for job in jobs.list_jobs(workspace)):
        time.sleep(0.2)


async def act(visitor: Visitor, number: int, page: str | None, server: Server, clicks: dict[str, Clicks]) -> None:
    """One click: on a page of the menu, or (None) on another gene; what it cost is noted."""
    begin = server.cpu()
    if page == REDRAW:
        kind, seconds = "redraw", await visitor.redraw()
    elif page is None:
        kind, seconds = "recolour", await visitor.recolour("Gene", "Gene", GENES[number % len(GENES)])
    else:
        kind, seconds = "page_switch", await visitor.open(page)
    clicks[kind].cpu.append(server.cpu() - begin)
    clicks[kind].clock.append(seconds)
    if visitor.page.errors or (page == "explorer" and ("button_group", "Colour by") not in visitor.page.widgets):
        raise SystemExit(f"{page}: the page is not there: {visitor.page.errors}")


def steps(rounds: int) -> list[tuple[int, str | None]]:
    """Clicks of a visitor: from Home through pages, and in the Explorer three genes."""
    found: list[tuple[int, str | None]] = []
    for number in range(rounds):
        for page in PAGES:
            found.append((number, page))
            if page == "explorer":
                found += [(len(found) + more, None) for more in range(3)]
    return found


async def measure(server: Server, keys: list[str], rounds: int) -> dict:
    """All visitors connect, act alone, then together; see the module's text."""
    visitors = [Visitor(server.port, key) for key in keys]
    for visitor in visitors:
        await visitor.connect()
        await visitor.open("")
    memory: dict[str, float] = {"connected": server.memory() / 1e6}
    kinds = ("page_switch", "recolour")
    alone, together = ({kind: Clicks() for kind in kinds} for _ in range(2))
    alone[REDRAW] = Clicks()
    await visitors[0].open("cell_embedding")
    for number in range(N_REDRAWS):
        await act(visitors[0], number, REDRAW, server, alone)
    for visitor in visitors:
        for number, page in steps(1):
            await act(visitor, number, page, server, alone)
        memory.setdefault("after_one", server.memory() / 1e6)
    memory["after_all"] = server.memory() / 1e6
    memory["per_visitor"] = (memory["after_all"] - memory["after_one"]) / max(len(visitors) - 1, 1)
    report: dict = {"memory_mb": memory}
    report["alone"] = {kind: clicks.summary() for kind, clicks in alone.items()} | {"load": os.getloadavg()[0]}

    async def visit(visitor: Visitor, seed: int) -> None:
        rng = random.Random(seed)
        for number, page in steps(rounds):
            await asyncio.sleep(rng.uniform(*PAUSE_SECONDS))
            await act(visitor, number + seed, page, server, together)

    begin, cpu = time.monotonic(), server.cpu()
    await asyncio.gather(*(visit(visitor, seed) for seed, visitor in enumerate(visitors)))
    n_clicks = sum(len(clicks.clock) for clicks in together.values())
    for clicks in together.values():
        clicks.cpu.clear()  # of others, too
    report["together"] = {kind: clicks.summary() for kind, clicks in together.items()} | {
        "load": os.getloadavg()[0],
        "cpu_s_per_click": (server.cpu() - cpu) / n_clicks,
        "cores_used": (server.cpu() - cpu) / (time.monotonic() - begin),
        "pause_s": PAUSE_SECONDS,
    }
    memory["after_together"] = server.memory() / 1e6
    report["private_names"] = await look_at_own(visitors)
    return report


async def look_at_own(visitors: list[Visitor]) -> dict[str, int]:
    """All visitors open their private dataset at once: who saw their own name, and who any other."""
    from scfviz.jobs.uploads import list_uploads

    async def look(visitor: Visitor) -> None:
        (upload,) = list_uploads(visitor.key)
        for page in ("dataset", "explorer", "workspace", ""):
            await visitor.open(page, dataset=upload.ref)

    await asyncio.gather(*map(look, visitors))
    own = [f"private_of_{number:02d}" for number in range(len(visitors))]
    for visitor in visitors:
        await visitor.close()
    return {
        "saw_own": sum(name in visitor.names for name, visitor in zip(own, visitors, strict=True)),
        "saw_another": sum(bool(visitor.names - {name}) for name, visitor in zip(own, visitors, strict=True)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2, help="through the pages, together")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        (folder / "data").mkdir()
        os.environ["SCFVIZ_WORKSPACE"] = str(folder / "workspace")
        load, keys = os.getloadavg()[0], prepare(args.visitors)
        server = Server(folder)
        try:
            found = asyncio.run(measure(server, keys, args.rounds))
            found["messages_in_log"] = (folder / "log").read_text().count("Traceback")
        finally:
            server.process.terminate()
            server.process.wait(30)
            end_jobs()
    about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "load_at_start": load}
    text = json.dumps(about | {"n_visitors": args.visitors} | rounded(found), indent=1)
    print(text)
    if str(args.out) != "-":
        args.out.write_text(text + "\n")
    return 0


def rounded(value):
    """Numbers with three digits after the point."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    raise SystemExit(main())
