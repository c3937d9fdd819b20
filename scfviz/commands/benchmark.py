"""The command `benchmark`: a checkpoint beside simple methods."""

import argparse
import sys
from pathlib import Path
from typing import Any

from scfviz.commands.shared import add_json, add_threads, show_report


def add_benchmark(commands: Any) -> None:
    """Add the command `benchmark`."""
    parser = commands.add_parser("benchmark", help="score a checkpoint beside simple methods")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="checkpoint folder to score")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="another checkpoint, scored on the same cells")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of datasets the checkpoint was not trained on"
    )
    parser.add_argument(
        "--references", type=Path, metavar="DIR", help="folder of datasets it was trained on, only to learn types from"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for scores.json and scores.md")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="budget", action="store_const", const="quick", help="a few cells: a first look")
    size.add_argument("--full", dest="budget", action="store_const", const="full", help="all cells: for an accelerator")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=_benchmark, budget="standard")


def _benchmark(args: argparse.Namespace) -> int:
    from scfviz.benchmark.report import as_report, write_report
    from scfviz.benchmark.run import run_benchmark
    from scfviz.data.disk import sole_writer

    def progress(share: float, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{100 * share:3.0f} %  {text}", end="", file=sys.stderr, flush=True)

    with sole_writer(args.out):
        result = run_benchmark(
            args.checkpoint,
            args.data,
            compare=args.compare,
            references=args.references,
            budget=args.budget,
            device=args.device,
            report=progress,
        )
        progress(1.0, "done\n")
        report = as_report(result)
        written = write_report(report, args.out)
    text = [entry["text"] for entry in report["summary"]] + ([report["compare"]["text"]] if report["compare"] else [])
    text += [f"Not computed: {s['dataset']}, {s['score']}: {s['reason']}" for s in report["skipped"]]
    show_report(args, [*text, f"All numbers: {written[0]} and {written[1]}"], report)
    return 0
