"""Networks of genes on the page Gene modules, in a browser that draws in software: from a click to the drawn picture.

    python benchmarks/network.py [--visits N] [--out FILE]

The whole page on the shipped demo: a quick look at 2,000 genes is computed, and each visit (a browser context of its
own) switches pictures at the default of 300 genes, asks for 2,000, and switches again. The browser's own clock is read:
from the press to the last change of the canvas, looked at every 50 ms. "data": from the largest message since the
press. New pictures come from the server; those shown before are in the browser and come as a reference. The wait for
more genes includes that of Streamlit's slider. Processor seconds are those of server and browser together beyond what
the resting page takes: on a shared machine they say more than the clock. About five minutes.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "network.json"
CHROMIUM = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
DEMO, N_GENES = "demo:celltypist_sample", 2_000
GOALS = {"300": 1.0, "2000": 2.0}  # seconds
REST_MS = 1_500  # without a change of the canvas, and the app not running
WATCH = """(() => {
    const watch = window.watch = {pressed: 0, arrived: 0, bytes: 0, drawn: 0};
    window.WebSocket = class extends WebSocket {
        constructor(...given) {
            super(...given);
            this.addEventListener("message", ({data}) => {
                const bytes = data.size ?? data.byteLength ?? data.length;
                if (bytes > watch.bytes) Object.assign(watch, {bytes, arrived: performance.now()});
            });
        }
    };
    for (const kind of ["pointerdown", "keydown"])
        document.addEventListener(kind, e => Object.assign(watch, {pressed: e.timeStamp, bytes: 0, drawn: 0}), true);
    const small = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    small.canvas.width = small.canvas.height = 64;
    let seen = "";
    const look = () => requestAnimationFrame(() => {
        const canvas = document.querySelector("[data-testid=stEChartsChart] canvas");
        if (canvas) {
            small.clearRect(0, 0, 64, 64);
            small.drawImage(canvas, 0, 0, 64, 64);
            const now = new Uint32Array(small.getImageData(0, 0, 64, 64).data.buffer).join();
            if (now !== seen) Object.assign(watch, {drawn: performance.now()});
            seen = now;
        }
    });
    setInterval(look, 50);
})()"""
RESTS = f"""() => window.watch.drawn && performance.now() - window.watch.drawn > {REST_MS}
    && document.querySelector(".stApp").dataset.testScriptState !== "running" """


def find_modules() -> str:
    """The computation that all visits look at."""
    from scfviz import jobs
    from scfviz.ui.frame import sources

    options = {"dataset": str(sources.resolve(DEMO).path), "view": "coexpression", "n_genes": N_GENES}
    job = jobs.submit(jobs.Workspace(), "gene_modules", options)
    while jobs.status(jobs.Workspace(), job).is_active:
        time.sleep(0.5)
    if (found := jobs.status(jobs.Workspace(), job)).state != "done":
        raise SystemExit(f"Modules were not found: {found.error}")
    return job


def count(job: str) -> dict[str, dict[str, int]]:
    """What each picture shows."""
    from scfviz.ui.tasks.gene_modules.network_choice import Wanted, module_network, regulator_network
    from scfviz.ui.tasks.results import load_result

    drawn = {
        f"{view}, {n}": choose(load_result(job), Wanted(n))
        for view, choose in (("modules", module_network), ("regulators", regulator_network))
        for n in (300, N_GENES)
    }
    return {name: {"genes": len(network.nodes), "links": len(network.edges)} for name, network in drawn.items()}


def start_server(folder: Path) -> tuple[subprocess.Popen, str]:
    """The app, and its address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(HERE.parent / "app.py"), f"--server.port={port}"]
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen([*command, "--server.headless=true"], cwd=HERE.parent, stdout=log, stderr=log)
    for _ in range(240):
        time.sleep(0.5)
        try:
            urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=2)
            return server, f"http://localhost:{port}"
        except OSError:
            continue
    raise SystemExit("The app did not start.")


def processor_seconds() -> float:
    """Of everything that this program has started: server and browser."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return total


def visit(browser, address: str) -> dict[str, dict[str, float]]:
    """One visitor's waits, by what was asked for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(WATCH)
    page.goto(address)
    page.locator("[data-testid=stEChartsChart] canvas").first.wait_for()
    page.wait_for_function(RESTS, polling=100)
    start, before = time.perf_counter(), processor_seconds()
    page.wait_for_timeout(2_000)
    at_rest = (processor_seconds() - before) / (time.perf_counter() - start)
    found = {}

    def measure(name: str, press) -> None:  # noqa: ANN001
        start, before = time.perf_counter(), processor_seconds()
        press()
        page.wait_for_function(RESTS, polling=100)
        seconds = processor_seconds() - before - at_rest * (time.perf_counter() - start)
        watch = page.evaluate("window.watch")
        found[name] = {
            "click_s": (watch["drawn"] - watch["pressed"]) / 1e3,
            "data_s": (watch["drawn"] - watch["arrived"]) / 1e3,
            "kb": watch["bytes"] / 1e3,
            "processor_s": seconds,
        }

    def choose(picture: str) -> None:
        page.get_by_text(picture, exact=True).first.click()

    measure("regulators, 300, new", lambda: choose("Regulators"))
    measure("modules, 300, shown before", lambda: choose("Modules"))
    page.get_by_role("button", name="Filters").click()
    slider = page.get_by_role("slider", name="Most genes")
    slider.focus()
    measure("modules, 2000, new", lambda: slider.press("End"))
    page.keyboard.press("Escape")
    measure("regulators, 2000, new", lambda: choose("Regulators"))
    measure("modules, 2000, shown before", lambda: choose("Modules"))
    context.close()
    return found


def main() -> None:
    """Measure, print and write."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("Chromium is needed.")
    visits, loads = [], []
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"SCFVIZ_WORKSPACE": f"{name}/workspace", "SCFVIZ_DATA": name, "SCFVIZ_DEMO": ""}
        job = find_modules()
        drawn = count(job)
        server, address = start_server(Path(name))
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
                for number in range(args.visits + 1):
                    found = visit(browser, f"{address}/gene_modules?dataset={DEMO}&job_gene_modules={job}")
                    if number:  # the first warms server and browser up
                        visits.append(found)
                        loads.append(round(os.getloadavg()[0], 1))
                browser.close()
        finally:
            server.terminate()
            server.wait(timeout=20)
    pictures = {}
    for step in visits[0]:
        view, n, _ = step.split(", ")
        values = {key: [found[step][key] for found in visits] for key in visits[0][step]}
        pictures[step] = drawn[f"{view}, {n}"] | {
            **{key: round(statistics.median(each), 2) for key, each in values.items()},
            "fastest_click_s": round(min(values["click_s"]), 2),
            "goal_s": GOALS[n],
        }
        print(step, pictures[step])
    found = {"date": date.today().isoformat(), "cores": os.cpu_count(), "load": loads, "pictures": pictures}
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
