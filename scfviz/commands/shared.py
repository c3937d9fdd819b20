"""What commands share: arguments of files, reports, progress. With the other commands the only place that prints."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add the file to read, where its genes and counts are, and `--json`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="h5ad, zarr, 10x h5 or mtx, loom, csv, tsv")
    parser.add_argument("--gene-column", metavar="COLUMN", help="column of var with the genes; found when left out")
    parser.add_argument(
        "--counts", metavar="PLACE", help="where the raw counts are: X, raw or the name of a layer; found when left out"
    )
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute; all cores that may be used")


def add_unfinished(parser: argparse.ArgumentParser) -> None:
    """Add `--resume` and `--start-over`, of which one may be given."""
    unfinished = parser.add_mutually_exclusive_group()
    unfinished.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    unfinished.add_argument("--start-over", action="store_true", help="delete what an interrupted run has computed")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def show_report(args: argparse.Namespace, text: list[str], report: dict[str, Any]) -> None:
    """Print a report: its text, or with `--json` all of it."""
    print(json.dumps(report, indent=1, default=str) if args.json else "\n".join(text))


SECONDS_BETWEEN_LINES = 30.0  # in a log
SECONDS_OF_SILENCE = 3.0  # what is done sooner leaves no line in a log


class Progress:
    """A line on stderr that is written over where somebody watches; in a log, a line now and then."""

    def __init__(self, things: str):
        self.things, self._start, self._first = things, 0.0, -1
        self._next_line = time.monotonic() + SECONDS_OF_SILENCE

    def __call__(self, done: int, total: int) -> None:
        """Show how many are done, and the time left at the pace so far."""
        self._show(done, total, f"{done:,} of {total:,} {self.things}")

    def _show(self, done: float, total: float, text: str) -> None:
        now = time.monotonic()
        if self._first < 0:  # what a resumed run finds done says nothing about its pace
            self._start, self._first = now, done
        pace = (done - self._first) / (now - self._start) if now > self._start else 0.0
        left = f", {(total - done) / pace:,.0f} s left" if pace else ""
        text += left
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
        elif now >= self._next_line:
            print(text, file=sys.stderr, flush=True)
            self._next_line = now + SECONDS_BETWEEN_LINES

    def share(self, share: float, stage: str) -> None:
        """The same for a share of the work, 0 to 1, and what is being done."""
        if stage != self.things:
            self.things, self._first = stage, -1
        self._show(share, 1.0, f"{share:.0%}  {stage}")

    def watch(self, share: float) -> None:
        """The same while a file is read."""
        self.share(share, "Checking all values")
