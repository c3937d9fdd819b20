"""Embedding on one process and on a cluster of processes of this computer: clock, processor time, what is sent.

    python benchmarks/cluster.py [--cells N] [--genes N] [--windows N] [--out FILE]

Each arrangement is a process of its own that embeds the same generated file with the shipped checkpoint, one thread a
process: `here` without a cluster, then `local:1` and `local:2`. Recorded are the clock and the processor time of the
process that was asked (with the scheduler in it) and of the workers, the pace from the first finished window to the
end, and whether all wrote the same bytes. The processor times are fair on a busy machine, the clock is not: its load
is recorded beside.
"""

import argparse
import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RESULTS = Path(__file__).parent / "results" / "cluster.json"
ARRANGEMENTS = ("here", "local:1", "local:2")


def generate(path: Path, n_obs: int, n_expressed: int) -> None:
    """A file of cells with about so many expressed genes of the model each."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy.sparse import random_array

    from scfviz.data.vocabulary import load_vocabulary

    symbols = load_vocabulary().symbols
    rng = np.random.default_rng(0)
    counts = random_array((n_obs, len(symbols)), density=n_expressed / len(symbols), format="csr", rng=rng)
    counts.data = (1 + rng.poisson(1.0, counts.nnz)).astype(np.float32)
    obs = pd.DataFrame(index=[f"C{i}" for i in range(n_obs)])
    ad.AnnData(counts, obs, pd.DataFrame(index=symbols)).write_h5ad(path)


def embed_once(data: Path, out: Path, arrangement: str, n_windows: int) -> dict[str, object]:
    """Embed in this process, or from it."""
    from scfviz.data.open import open_dataset
    from scfviz.model.batching import cell_flops
    from scfviz.model.checkpoint import load_checkpoint
    from scfviz.model.cluster import run as cluster_run
    from scfviz.model.infer import embed_cells

    model, jobs, paces, sizes = load_checkpoint(), [], [], []
    counts = open_dataset(data).align(model.genes)
    work = float(cell_flops(model.config, counts.n_expressed + 2, decode=False).sum())
    cluster_run.FLOP_PER_WINDOW = {"cpu": work / n_windows}
    publish = cluster_run.ClusterRun._publish

    def publish_and_note(run: object, store: object) -> object:
        jobs.append(publish(run, store))
        sizes.extend(path.stat().st_size for path in Path(jobs[0].folder).iterdir())
        return jobs[0]

    cluster_run.ClusterRun._publish = publish_and_note
    before, start = processor_seconds(), time.perf_counter()

    def note(done: int, _total: int) -> None:
        if done and (not paces or paces[-1][1] != done):
            paces.append((time.perf_counter(), done))

    cluster = None if arrangement == "here" else arrangement
    found = embed_cells(counts, model, precision="fp32", device="cpu", out=out, cluster=cluster, progress=note)
    seconds = time.perf_counter() - start
    own, workers = (after - at for after, at in zip(processor_seconds(), before, strict=True))
    (first_at, first), (last_at, last) = paces[0], paces[-1]
    about = {
        "seconds": round(seconds, 2),
        "processor_seconds_of_the_asking_process": round(own, 2),
        "processor_seconds_of_workers": round(workers, 2),
        "cells_per_second_after_the_first_window": round((last - first) / (last_at - first_at), 1),
        "sha256": hashlib.sha256(found.values.tobytes()).hexdigest()[:16],
    }
    if jobs:
        task = pickle.dumps((cluster_run.embed_window, replace(jobs[0], folder="/" + "x" * 60), 10**6, 10**6))
        about["bytes_of_a_task"] = len(task)
        about["bytes_that_each_worker_reads_first"] = sum(sizes)
    return about


def processor_seconds() -> tuple[float, float]:
    """Time on processors of this process, and of its ended children."""
    usages = (resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return tuple(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Measure all arrangements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=12_000)
    parser.add_argument("--genes", type=int, default=600)
    parser.add_argument("--windows", type=int, default=12, help="about so many")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=3, metavar=("DATA", "OUT", "ARRANGEMENT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(embed_once(Path(args.one[0]), Path(args.one[1]), args.one[2], args.windows)))
        return
    import torch

    from scfviz.model.engine import hardware_name

    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "cells.h5ad"
        generate(data, args.cells, args.genes)
        size = data.stat().st_size
        for arrangement in ARRANGEMENTS:
            load = os.getloadavg()[0]
            out = Path(folder) / arrangement.replace(":", "")
            command = [sys.executable, __file__, "--windows", str(args.windows)]
            command += ["--one", str(data), str(out), arrangement]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            runs[arrangement] = json.loads(done.stdout.splitlines()[-1]) | {"load_before": round(load, 1)}
            print(arrangement, runs[arrangement], flush=True)
    about = {
        "date": date.today().isoformat(),
        "hardware": hardware_name(torch.device("cpu")).partition(",")[0],
        "cores": os.cpu_count(),
        "torch": str(torch.__version__),
        "cells": args.cells,
        "genes_per_cell": args.genes,
        "windows": args.windows,
        "bytes_of_the_file": size,
        "same_bytes": len({run["sha256"] for run in runs.values()}) == 1,
        "runs": runs,
    }
    args.out.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
