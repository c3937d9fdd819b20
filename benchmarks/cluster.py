"""The model on one process and on a cluster of processes of this computer: clock, processor time, what is sent.

    python benchmarks/cluster.py [--cells N] [--genes N] [--windows N] [--contexts N] [--out FILE]

Each arrangement is a process of its own that embeds the same generated file with the shipped checkpoint, one thread a
process: `here` without a cluster, then `local:1` and `local:2`. With `--contexts N` it sums up the contexts of N genes,
as gene modules do, in parts of 64 cells. Recorded are the clock and the processor time of the
process that was asked (with the scheduler in it) and of the workers, the pace from the first finished window to the
end, and whether all wrote the same bytes. The processor times are fair on a busy machine, the clock is not: its load
is recorded beside.
"""

import argparse
import hashlib
import json
import os
import pickle
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


def compute_once(data: Path, out: Path, arrangement: str, n_windows: int, n_contexts: int) -> dict[str, object]:
    """Embed in this process, or from it."""
    import numpy as np
    import psutil

    from scfviz.data.open import open_dataset
    from scfviz.model.batching import cell_flops
    from scfviz.model.checkpoint import load_checkpoint
    from scfviz.model.cluster import run as cluster_run
    from scfviz.model.infer import embed_cells
    from scfviz.tasks.gene_modules.contexts import embed_contexts

    model, jobs, paces, sizes, tasks, parts = load_checkpoint(), [], [], [], [], set()
    counts = open_dataset(data).align(model.genes)
    work = float(cell_flops(model.config, counts.n_expressed + 2, decode=False).sum())
    cluster_run.FLOP_PER_WINDOW = {"cpu": work / n_windows}
    publish, submit, take = cluster_run.ClusterRun._publish, cluster_run.Workers.submit, cluster_run._Windows.take
    close, of_workers = cluster_run.Workers.__exit__, [0.0]

    def publish_and_note(run: object, store: object) -> object:
        jobs.append(publish(run, store))
        sizes[:] = [path.stat().st_size for path in Path(jobs[0].folder).iterdir()]
        return jobs[-1]

    def submit_and_note(to: object, function: object, *given: object, **options: object) -> object:
        if function is cluster_run.compute_window:
            tasks.append(given)
        return submit(to, function, *given, **options)

    def note_and_close(opened: object, *error: object) -> None:
        of_workers[0] = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
        close(opened, *error)

    def note_and_take(windows: object, keep: object) -> bool:
        parts.update(path.stat().st_size for path in Path(jobs[0].folder).glob("[!.]*.npy"))
        return take(windows, keep)

    cluster_run.ClusterRun._publish = publish_and_note
    cluster_run.Workers.submit, cluster_run._Windows.take = submit_and_note, note_and_take
    cluster_run.Workers.__exit__ = note_and_close
    before, start = time.process_time(), time.perf_counter()

    def note(done: int, _total: int) -> None:
        if done and (not paces or paces[-1][1] != done):
            paces.append((time.perf_counter(), done))

    cluster = None if arrangement == "here" else arrangement
    given = {"precision": "fp32", "device": "cpu", "out": out, "cluster": cluster, "progress": note}
    if n_contexts:
        rng = np.random.default_rng(0)
        genes = np.sort(rng.choice(model.config.n_genes, n_contexts, replace=False))
        found = embed_contexts(counts, model, genes, rng.permutation(counts.n_obs) % 4, **given)
        values = (found.products, found.means)
    else:
        values = (embed_cells(counts, model, **given).values,)
    seconds = time.perf_counter() - start
    own = time.process_time() - before
    (first_at, first), (last_at, last) = paces[0], paces[-1]
    about = {
        "seconds": round(seconds, 2),
        "processor_seconds_of_the_asking_process": round(own, 2),
        "processor_seconds_of_workers": round(of_workers[0], 2),
        "cells_per_second_after_the_first_window": round((last - first) / (last_at - first_at), 1),
        "sha256": hashlib.sha256(b"".join(part.tobytes() for part in values)).hexdigest()[:16],
    }
    if jobs:
        job, evaluate, plan, *_range = tasks[0]
        job = replace(job, folder="/" + "x" * 60)
        about["tasks"] = len(tasks)
        about["bytes_of_a_task"] = len(pickle.dumps((cluster_run.compute_window, job, evaluate, plan, 10**6, 10**6)))
        about["bytes_of_a_written_window"] = max(parts)
        about["bytes_that_each_worker_reads_first"] = sum(sizes)
    return about


def main() -> None:
    """Measure all arrangements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=12_000)
    parser.add_argument("--genes", type=int, default=600)
    parser.add_argument("--windows", type=int, default=12, help="about so many")
    parser.add_argument("--contexts", type=int, default=0, metavar="N", help="of so many genes, in place of embeddings")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=3, metavar=("DATA", "OUT", "ARRANGEMENT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        data, out, arrangement = args.one
        print(json.dumps(compute_once(Path(data), Path(out), arrangement, args.windows, args.contexts)))
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
            command = [sys.executable, __file__, "--windows", str(args.windows), "--contexts", str(args.contexts)]
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
        **({"genes_in_contexts": args.contexts} if args.contexts else {"windows": args.windows}),
        "bytes_of_the_file": size,
        "same_bytes": len({run["sha256"] for run in runs.values()}) == 1,
        "runs": runs,
    }
    recorded = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    recorded["contexts" if args.contexts else "embedding"] = about
    args.out.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
