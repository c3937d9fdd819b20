"""The app as a server of its own, and visitors in a real browser that notice what must not happen."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil

from scfviz.jobs import Workspace
from scfviz.jobs.workspace import read_json

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
# WebGL by the processor for the maps alone: pages that were put together by it took two thirds of all processor time.
CHROMIUM_ARGUMENTS = ["--no-sandbox", *SOFTWARE_GL, "--disable-gpu-compositing"]
JOB_MS, STEP_MS = 900_000, 180_000  # limits for a machine that is busy with other things


class Server:
    """The app as `scfviz app` starts it, on a free port where none is given, with folders of its own."""

    def __init__(self, folder: Path, demo: str = "", port: int = 0, script: Path = ROOT / "app.py"):
        self.folder = folder
        (folder / "data").mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = port or free.getsockname()[1]
        environment = os.environ | {
            "SCFVIZ_WORKSPACE": str(folder / "workspace"),
            "SCFVIZ_DATA": str(folder / "data"),
            "SCFVIZ_DEMO": demo,
        }
        command = ["streamlit", "run", str(script), f"--server.port={self.port}", "--server.headless=true"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdout=(folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        self.url = f"http://localhost:{self.port}"
        until = time.monotonic() + 60
        while True:
            try:
                urlopen(f"{self.url}/_stcore/health", timeout=1).read()
                break
            except OSError:
                assert time.monotonic() < until and self.process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.kill_workers()

    def kill(self) -> None:
        """As a power cut does it: the server and what it had started end at once."""
        self.process.kill()
        self.process.wait(20)
        self.kill_workers()

    def kill_workers(self) -> None:
        for path in Workspace(self.folder / "workspace").jobs.glob("*/status.json"):
            pid = (read_json(path) or {}).get("pid")
            with contextlib.suppress(psutil.Error):  # it may end, or have ended, by itself
                if pid and str(self.folder) in " ".join(psutil.Process(pid).cmdline()):
                    psutil.Process(pid).kill()


class Visitor:
    """A browser tab that takes note of everything that must not happen."""

    def __init__(self, browser, server: Server, **context):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, **context)
        self.page, self.url, self.trouble = self.context.new_page(), server.url, []
        self.page.set_default_timeout(STEP_MS)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.trouble.append(f"page error: {error}"))
        self.page.on("dialog", lambda dialog: (self.trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._watch)
        self.page.on("websocket", self._follow)
        self.is_waiting = False  # whether the app has been asked for something that it has not finished

    def _listen(self, message) -> None:
        # Streamlit's own search for the root of the app below a deep link; it finds it one step later.
        probing = urlsplit(message.location.get("url", "")).path.endswith(("/_stcore/health", "/_stcore/host-config"))
        if message.type == "error" and not probing:
            self.trouble.append(f"console: {message.text} {message.location.get('url', '')}")

    def _watch(self, request) -> None:
        host = urlsplit(request.url).hostname
        if host not in (None, "localhost"):
            self.trouble.append(f"asked the internet: {request.url}")

    def _follow(self, socket) -> None:
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        def sent(payload) -> None:
            self.is_waiting |= BackMsg.FromString(payload).WhichOneof("type") == "rerun_script"

        def received(payload) -> None:
            message = ForwardMsg.FromString(payload)
            if message.WhichOneof("type") == "script_finished":
                self.is_waiting &= message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN

        socket.on("framesent", sent)
        socket.on("framereceived", received)
        socket.on("close", lambda _: setattr(self, "is_waiting", False))

    def open(self, path: str = "/") -> None:
        self.page.goto(self.url + path)
        self.page.wait_for_selector("h1")

    def wear(self, theme: str) -> None:
        """Switch the system to "light" or "dark", as the page is; the app follows."""
        self.page.emulate_media(color_scheme=theme)
        follows = """theme => {
            const [shade] = getComputedStyle(document.querySelector(".stApp")).backgroundColor.match(/\\d+/g);
            return (shade > 127) === (theme === "light");
        }"""
        self.page.wait_for_function(follows, arg=theme)
        self.settle()

    def go(self, name: str, sign: str) -> None:
        self.page.locator("[data-testid=stSidebarNavLink]", has_text=name).click()
        self.see(sign)

    def see(self, text: str, timeout: float = STEP_MS) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=timeout)

    def click(self, name: str) -> None:
        """Press the app's own button: Streamlit's header has a Stop, too, while the page is drawn."""
        self.page.get_by_role("button", name=name).and_(self.page.locator(":not(header *)")).first.click()

    def assert_sound(self) -> None:
        assert self.page.locator("[data-testid=stException]").count() == 0
        assert self.page.get_by_text("Something went wrong in scfviz").count() == 0
        assert not self.trouble, self.trouble

    def describe(self) -> str:
        """What this visitor sees, for the report of a test that failed."""
        try:
            seen = self.page.locator("[data-testid=stMain]").aria_snapshot(timeout=5_000)
        except Exception as error:
            seen = f"the page does not answer: {error}"
        return f"{self.page.url}\nis waiting: {self.is_waiting}, trouble: {self.trouble}\n{seen[:8_000]}"

    def settle(self) -> None:
        """Until the app has answered what it was asked and has stopped running, however slow the machine."""
        until = time.monotonic() + JOB_MS / 1000
        self.page.wait_for_timeout(300)
        while self.is_waiting:
            assert time.monotonic() < until, "the app did not finish its answer"
            self.page.wait_for_timeout(50)
        self.page.wait_for_function("document.querySelector('.stApp').dataset.testScriptState !== 'running'")
        self.page.wait_for_timeout(100)  # what the run left out is taken away, and the page takes its place
