"""A Dask scheduler and its workers as processes of their own, for tests that kill them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class DaskProcesses:
    """A context; whatever still runs at its end is killed."""

    def __init__(self, folder: Path):
        self.folder, self._all = folder, []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.scheduler = self.start_scheduler()

    def __enter__(self) -> "DaskProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            kill(process)

    def start_scheduler(self) -> subprocess.Popen:
        """Always at the same address."""
        self.scheduler = self._start("scheduler", "--host", self.address, "--no-dashboard")
        return self.scheduler

    def start_worker(self, path: Path = ROOT) -> subprocess.Popen:
        """A process that finds scfviz in `path`; it waits for the scheduler by itself."""
        limits = ("--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--death-timeout", "120")
        return self._start("worker", self.address, *limits, "--no-dashboard", path=path)

    def _start(self, what: str, *options: str, path: Path = ROOT) -> subprocess.Popen:
        environment = os.environ | {
            "PYTHONPATH": str(path),
            "OMP_NUM_THREADS": "1",
            "DASK_TEMPORARY_DIRECTORY": str(self.folder),
        }
        with (self.folder / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + what, *options],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        self._all.append(process)
        return process


def kill(process: subprocess.Popen) -> None:
    """At once, as a machine that loses its power."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
