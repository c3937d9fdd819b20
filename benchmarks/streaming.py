"""Memory and speed of opening, checking, aligning and streaming large files.

Generated files of several sizes are read by `scfviz.data`, each in a process of its own whose peak memory is
taken. What has to hold: the peak stays
under 1.5 GB and does not grow with the number of cells.

Usage: python benchmarks/streaming.py [--cells 60000 240000] [--folder FOLDER] [--out benchmarks/results/streaming.json]
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

N_GENES = 20_000
SHARE_EXPRESSED = 0.05
ROWS_PER_BLOCK = 4000
LIMIT_GB = 1.5
MAX_GROWTH = 1.15


def generate(path: Path, n_obs: int, layout: str, seed: int = 0) -> int:
    """Write an .h5ad of `n_obs` cells x 20,000 genes with about 1,000 expressed genes per cell; returns its entries."""
    from anndata.io import write_elem
    from pandas import DataFrame, Index

    from scfviz.data.vocabulary import load_vocabulary

    symbols = load_vocabulary().symbols
    names = [*symbols, *(f"NOVEL{i}" for i in range(N_GENES - len(symbols)))]
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", DataFrame(index=Index([f"C{i}" for i in range(n_obs)])))
        write_elem(file, "var", DataFrame(index=Index(names)))
        if layout == "csr":
            return write_rows(file.create_group("X"), n_obs, seed)
        return write_columns(file, n_obs, seed)


def random_rows(n_obs: int, seed: int):
    """(rows, columns, counts) chunks; columns ascend within each row."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_obs, ROWS_PER_BLOCK):
        n = min(ROWS_PER_BLOCK, n_obs - start)
        columns = np.cumsum(rng.geometric(SHARE_EXPRESSED, size=(n, int(N_GENES * SHARE_EXPRESSED * 1.2))), axis=1) - 1
        rows, where = np.nonzero(columns < N_GENES)
        counts = (1 + rng.poisson(1.0, size=len(rows))).astype(np.float32)
        yield (rows + start).astype(np.int32), columns[rows, where].astype(np.int32), counts


def write_rows(group: h5py.Group, n_obs: int, seed: int) -> int:
    """A CSR matrix as anndata writes it."""
    group.attrs.update(
        {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([n_obs, N_GENES])}
    )
    data = group.create_dataset("data", (0,), np.float32, maxshape=(None,), chunks=(2**18,))
    indices = group.create_dataset("indices", (0,), np.int32, maxshape=(None,), chunks=(2**18,))
    per_row, stored = [np.zeros(1, dtype=np.int64)], 0
    for rows, columns, counts in random_rows(n_obs, seed):
        for dataset, values in ((data, counts), (indices, columns)):
            dataset.resize((stored + len(values),))
            dataset[stored:] = values
        stored += len(columns)
        per_row.append(np.bincount(rows - rows[0]))
    group.create_dataset("indptr", data=np.cumsum(np.concatenate(per_row)))
    return stored


def write_columns(file: h5py.File, n_obs: int, seed: int) -> int:
    """The same matrix as CSC: gene by gene, so that no cell can be read without the whole."""
    from scfviz.data.sidecar import write_sidecar

    turned = write_sidecar(((c, r, v) for r, c, v in random_rows(n_obs, seed)), (N_GENES, n_obs))
    turned.group.file.copy(turned.group, file, name="X")
    file["X"].attrs.update({"encoding-type": "csc_matrix", "shape": np.array([n_obs, N_GENES])})
    return int(file["X/data"].shape[0])


def measure(path: Path) -> dict:
    """Open, check, align and stream one file; run in a process of its own."""
    from scfviz.data.align import align_genes
    from scfviz.data.check import check_counts
    from scfviz.data.read import read_dataset

    marks = [time.perf_counter()]
    adata = read_dataset(path)
    marks.append(time.perf_counter())
    counts = check_counts(adata)
    marks.append(time.perf_counter())
    aligned = align_genes(adata, counts=counts)
    marks.append(time.perf_counter())
    n_entries = sum(block.nnz for _, block in aligned.blocks())
    marks.append(time.perf_counter())
    seconds = dict(zip(("open", "check", "align", "stream"), np.diff(marks).round(3).tolist(), strict=True))
    return {
        "seconds": seconds,
        "cells_per_second": round(aligned.n_obs / seconds["stream"]),
        "aligned_entries": n_entries,
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
    }


def hardware() -> dict:
    """What the figures were taken on."""
    import psutil

    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[60_000, 240_000])
    parser.add_argument(
        "--folder", type=Path, help="where the generated files go (about 8 GB); default: a temporary one"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "streaming.json")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return 0
    runs = []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for layout in ("csr", "csc"):
            for n_obs in sorted(args.cells):
                path = Path(folder) / f"{layout}_{n_obs}.h5ad"
                n_entries = generate(path, n_obs, layout)
                size = round(path.stat().st_size / 2**30, 2)
                output = subprocess.run(
                    [sys.executable, __file__, "--measure", str(path)],
                    check=True,
                    capture_output=True,
                    text=True,
                    env={**os.environ, "TMPDIR": folder},
                )
                runs.append(
                    {
                        "layout": layout,
                        "n_obs": n_obs,
                        "n_vars": N_GENES,
                        "entries": n_entries,
                        "file_gb": size,
                        **json.loads(output.stdout),
                    }
                )
                print(json.dumps(runs[-1]), flush=True)
                path.unlink()
    peaks = {layout: [r["peak_rss_gb"] for r in runs if r["layout"] == layout] for layout in ("csr", "csc")}
    verdict = {
        "peak_below_limit": all(r["peak_rss_gb"] < LIMIT_GB for r in runs),
        "flat_in_cells": all(max(p) <= MAX_GROWTH * min(p) for p in peaks.values()),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "limit_gb": LIMIT_GB,
        "allowed_growth": MAX_GROWTH,
        **verdict,
        "runs": runs,
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(verdict.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
