"""What the shipped checkpoint is good for: its scores beside simple methods, on datasets it was never trained on.

    python benchmarks/model_quality.py [--checkpoint DIR] [--compare DIR] [--quick | --full]

Writes benchmarks/results/model_quality.json and .md. With --install the same content goes into the checkpoint's folder
as scores.json, which the app's Model page shows. The same weights, budget and seed give the same numbers on one
machine. Tolerance elsewhere, where sums round differently: 1 % of an error or a correlation, 0.03 of F1, ARI and NMI;
a test holds one dataset to it.
"""

import argparse
import sys
from pathlib import Path

from scfviz.benchmark.report import FILE_NAMES, as_report, write_report
from scfviz.benchmark.run import run_benchmark
from scfviz.model.checkpoint import default_checkpoint

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="the shipped one when left out")
    parser.add_argument("--compare", type=Path, help="another checkpoint beside it")
    parser.add_argument("--data", type=Path, default=DATA / "evaluation")
    parser.add_argument(
        "--references", type=Path, default=DATA / "corpus", help="seen in pretraining; a table of its own"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", dest="budget", action="store_const", const="quick", default="standard")
    parser.add_argument("--full", dest="budget", action="store_const", const="full")
    parser.add_argument("--install", action="store_true", help="also write scores.json into the checkpoint's folder")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: no datasets at {args.data}", file=sys.stderr)
        return 0
    checkpoint = args.checkpoint or default_checkpoint()
    result = run_benchmark(
        checkpoint,
        args.data,
        compare=args.compare,
        references=args.references if args.references.is_dir() else None,
        budget=args.budget,
        report=lambda share, text: print(f"{100 * share:3.0f} %  {text}", file=sys.stderr, flush=True),
    )
    report = as_report(result)
    written = write_report(report, args.out, ("model_quality.json", "model_quality.md"))
    if args.install:
        written += write_report(report, checkpoint, FILE_NAMES)
    print("\n".join([*(entry["text"] for entry in report["summary"]), *map(str, written)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
