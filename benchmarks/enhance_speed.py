"""Enhancing chosen genes from the dataset alone: cells per second, memory.

    python benchmarks/enhance_speed.py [--cells N] [--genes N] [--out FILE]

Generated counts of twelve groups on the model's 19,264 genes. The combination of all methods without the model, whose
pass `inference.py` measures. Stages: what each method is worth (learned on a sample), neighbours for the posterior
(variable genes, principal components, graph) and its views' worth, counts gathered over that graph, the results, in
which the first cells pay for components, neighbours and clusters of the simple methods. Values are dropped as they
come, as the task writes them to disk. Time of the clock and of the processor; other work on the machine counts against
the clock, and its load is recorded.
"""

import argparse
import json
import os
import resource
import time
from datetime import date
from pathlib import Path

import numpy as np
from scipy import sparse

from scfviz.threads import available_cores, prepare_threads

RESULTS = Path(__file__).parent / "results" / "enhance_speed.json"
N_GENES, N_GROUPS, BLOCK = 19_264, 12, 2_000
AT_ONCE = 64


def make_counts(n_cells: int) -> sparse.csr_matrix:
    """Molecules drawn from the profile of each cell's group, about 4,000 a cell."""
    rng = np.random.default_rng(0)
    level = rng.gamma(0.3, size=N_GENES) + 1e-4
    groups = np.arange(N_GENES) % (2 * N_GROUPS)
    profiles = [np.cumsum(np.where(groups == group, 6 * level, level)) for group in range(N_GROUPS)]
    blocks = []
    for start in range(0, n_cells, BLOCK):
        n = min(BLOCK, n_cells - start)
        depth = rng.lognormal(np.log(4000), 0.4, n).astype(int)
        group = rng.integers(N_GROUPS, size=n)
        drawn = [np.searchsorted(p := profiles[g], rng.random(d) * p[-1]) for g, d in zip(group, depth, strict=True)]
        rows = np.repeat(np.arange(n), depth)
        ones = np.ones(len(rows), dtype=np.float32)
        blocks.append(sparse.coo_matrix((ones, (rows, np.concatenate(drawn))), shape=(n, N_GENES)).tocsr())
    return sparse.vstack(blocks, format="csr")


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    prepare_threads()
    import scanpy  # noqa: F401 -- what it takes to import is no part of the stages

    from scfviz.tasks.enhancement.compute import Enhancer
    from scfviz.tasks.enhancement.options import DATASET_ALONE
    from scfviz.tasks.enhancement.prediction import Prediction, mixture_of

    counts = make_counts(args.cells)
    held = peak_memory()
    stages: dict[str, dict[str, float]] = {}
    enhancer = Enhancer(counts, np.ones(N_GENES, dtype=bool))
    target = enhancer.totals * 3
    genes = np.sort(np.random.default_rng(1).choice(N_GENES, args.genes, replace=False))
    with Stage(stages, "worth of the methods"):
        mixture = mixture_of(enhancer, np.full(args.cells, 3.0), with_model=False)
    with Stage(stages, "neighbours"):
        _ = enhancer.around.step
    with Stage(stages, "weights"):
        made = Prediction(enhancer, target, genes, DATASET_ALONE, mixture)
    with Stage(stages, "smoothing"):
        made.gather(np.empty((args.cells, len(genes)), dtype=np.float32))
    with Stage(stages, "results"):
        for start in range(0, args.cells, AT_ONCE):
            made.of(np.arange(start, min(start + AT_ONCE, args.cells)))
    for clock in ("seconds", "processor_seconds"):
        stages.setdefault("all", {})[clock] = round(sum(stage[clock] for stage in stages.values() if clock in stage), 2)
    found = {
        "date": date.today().isoformat(),
        "cells": args.cells,
        "genes": args.genes,
        "values_per_cell": counts.nnz / args.cells,
        "cores": available_cores(),
        "load": os.getloadavg()[0],
        "mixture": {name: round(weight, 4) for name, weight in mixture.weights.items()},
        "stages": stages,
        "cells_per_second": args.cells / stages["all"]["seconds"],
        "cells_per_processor_second": args.cells / stages["all"]["processor_seconds"],
        "memory_of_data_gb": held / 1e9,
        "peak_memory_gb": peak_memory() / 1e9,
    }
    text = json.dumps(found, indent=1)
    args.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


class Stage:
    """Measures what happens inside it."""

    def __init__(self, stages: dict[str, dict[str, float]], name: str):
        self._into = stages.setdefault(name, {})

    def __enter__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        start, processor = self._start
        self._into["seconds"] = round(time.perf_counter() - start, 2)
        self._into["processor_seconds"] = round(time.process_time() - processor, 2)


def peak_memory() -> float:
    """Most memory that this process has held, in bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    raise SystemExit(main())
