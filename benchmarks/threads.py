"""Embedding beside busy neighbours: does it keep the share of the cores that it gets?

    python benchmarks/threads.py [--cells N] [--busy N] [--rounds N] [--limit SECONDS] [--out FILE]

Each run is a process of its own that embeds the same generated cells with the shipped checkpoint: alone, and beside a
busy loop of four processes; as the command line sets its threads, and with threads that wait by spinning (libgomp's
own default). Of n threads beside k busy ones a fair share is n / (n + k), so the clock may take (n + k) / n as long;
the processor time should stay what it was. Other work on the machine counts against both, and its load is recorded.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from scfviz.threads import CHOSEN_HERE, COUNTS, WAITING, available_cores, prepare_threads

RESULTS = Path(__file__).parent / "results" / "threads.json"
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # what libgomp takes when nothing is said
GENES_PER_CELL = 1000


def embed_once(n_cells: int) -> dict[str, float]:
    """Embed generated cells in this process: seconds of the clock and of the processor, without loading."""
    prepare_threads()
    from scfviz.model.checkpoint import load_checkpoint
    from scfviz.model.infer import embed_cells

    rng = np.random.default_rng(0)
    model = load_checkpoint()
    n_genes = len(model.genes)
    genes = np.concatenate([np.sort(rng.choice(n_genes, GENES_PER_CELL, replace=False)) for _ in range(n_cells)])
    counts = csr_matrix(
        (1.0 + rng.poisson(1.0, len(genes)), genes, np.arange(n_cells + 1) * GENES_PER_CELL), shape=(n_cells, n_genes)
    ).astype(np.float32)
    embed_cells(counts[:8], model)  # the first call builds what later ones use
    before, start = processor_seconds(), time.perf_counter()
    embed_cells(counts, model)
    return {"seconds": time.perf_counter() - start, "processor_seconds": processor_seconds() - before}


def processor_seconds() -> float:
    """Time that this process has had on processors."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(n_cells: int, n_busy: int, settings: dict[str, str], limit: float) -> dict[str, float]:
    """One run in a process of its own, beside busy loops; not done within the limit, start included, counts as it."""
    own = (*WAITING, *COUNTS, CHOSEN_HERE)
    environment = {name: value for name, value in os.environ.items() if name not in own} | settings
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_busy)]
    try:
        command = [sys.executable, __file__, "--child", "--cells", str(n_cells)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"seconds": limit, "processor_seconds": limit}
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    return json.loads(done.stdout)


def main() -> int:
    """Measure, print and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--busy", type=int, default=4, help="processes of the busy loop")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, in turn; the median counts")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which a run is given up")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(embed_once(args.cells)))
        return 0
    n_threads, load = available_cores(), os.getloadavg()[0]
    kinds = {"as set here": {}, "spinning": SPINNING}
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for kind, settings in kinds.items():
            for n_busy in (0, args.busy):
                name, found = f"{kind}, {n_busy} busy", measure(args.cells, n_busy, settings, args.limit)
                runs.setdefault(name, []).append(found)
                print(f"{name}: {found} at load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    medians = {
        name: {what: round(statistics.median(run[what] for run in of), 3) for what in of[0]}
        for name, of in runs.items()
    }
    report = {
        "date": date.today().isoformat(),
        "cells": args.cells,
        "threads": n_threads,
        "busy_processes": args.busy,
        "rounds": args.rounds,
        "limit_seconds": args.limit,
        "load_of_other_work_at_the_start": round(load, 1),
        "fair_clock_ratio": (n_threads + args.busy) / n_threads,
        "medians": medians,
    }
    for kind in kinds:
        alone, beside = (medians[f"{kind}, {n_busy} busy"] for n_busy in (0, args.busy))
        report[f"ratio, {kind}"] = {what: round(beside[what] / max(alone[what], 1e-9), 2) for what in alone}
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
