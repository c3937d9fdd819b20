"""Mapping 50,000 cells in bounded memory: seconds of each stage, and the most memory, beside what is estimated.

    python benchmarks/mapping_speed.py DATA [--cells 50000] [--out FILE]

The query is pbmc3k, repeated and thinned to nine tenths of its counts each time, the reference zheng_facs_pbmc; DATA
holds `evaluation`. The model's pass is left out, which `inference.py` measures: embeddings of the shipped model's size,
random numbers, are written to disk where it would write its own. All else is the task as page and command run it.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy import sparse

from scfviz.model.checkpoint import default_checkpoint
from scfviz.threads import available_cores, prepare_threads

RESULTS = Path(__file__).parent / "results" / "mapping_speed.json"


def write_query(data: Path, folder: Path, n_cells: int) -> Path:
    """pbmc3k again and again, each time thinned anew."""
    import anndata
    import pandas as pd

    cells, rng = anndata.read_h5ad(data / "evaluation" / "pbmc3k.h5ad"), np.random.default_rng(0)
    counts, parts, left = sparse.csr_matrix(cells.X), [], n_cells
    while left > 0:
        part = counts[: min(left, counts.shape[0])].copy()
        part.data = rng.binomial(np.rint(part.data).astype(np.int64), 0.9).astype(np.float32)
        part.eliminate_zeros()
        parts.append(part)
        left -= part.shape[0]
    names = pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)])
    anndata.AnnData(sparse.vstack(parts, format="csr"), names, cells.var).write_h5ad(folder / "query.h5ad")
    return folder / "query.h5ad"


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    prepare_threads()
    from scfviz.tasks.mapping import run
    from scfviz.tasks.registry import get_task
    from scfviz.tasks.run import compute
    from scfviz.tasks.spec import read_options
    from scfviz.tasks.steps import Steps

    folder = Path(tempfile.mkdtemp())
    query, reference = write_query(args.data, folder, args.cells), args.data / "evaluation" / "zheng_facs_pbmc.h5ad"

    def embed(counts, cells, options, steps, name, shares):  # noqa: ANN001, ANN202
        shape, rng = (counts.n_obs, cells.model.config.cell_embedding_width), np.random.default_rng(len(name))
        values = np.lib.format.open_memmap(steps.work / f"{name}.npy", "w+", np.float32, shape)
        for start in range(0, shape[0], 1_000):
            values[start : start + 1_000] = rng.normal(size=values[start : start + 1_000].shape)
        return SimpleNamespace(values=values, provenance={})

    run.embed_part = embed
    stages: list[tuple[str, float]] = []

    def progress(share: float, stage: str) -> None:
        if not stages or stages[-1][0] != stage:
            stages.append((stage, time.perf_counter()))

    task = get_task("mapping")
    given = {"dataset": str(query), "reference": str(reference), "column": "subpop"}
    options = read_options(task.options_type, given | {"checkpoint": str(default_checkpoint())})
    start, at_first = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = compute(task, options, Steps(folder, progress))
    ends = [*(begin for _, begin in stages[1:]), time.perf_counter()]
    need = run.memory(vars(options))
    found = {
        "date": date.today().isoformat(),
        "cells": args.cells,
        "reference_cells": int(result.tables["reference_labels"]["n_cells"].sum()),
        "cores": available_cores(),
        "load": os.getloadavg()[0],
        "stages": {name: round(end - begin, 1) for (name, begin), end in zip(stages, ends, strict=True)},
        "processor_seconds": round(time.process_time() - start, 1),
        "memory_before_gb": at_first * 1024 / 1e9,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "estimated_gb": need.of(args.cells) / 1e9,
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
