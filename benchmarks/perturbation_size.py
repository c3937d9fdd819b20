"""A large screen fitted in bounded memory, killed on the way and resumed: time, peak memory, the same result?

    python benchmarks/perturbation_size.py [--cells 100000] [--genes 5000] [--out FILE]

Made-up cells in the layout of a screen: 200 single perturbations and 100 doubles, some 500 expressed genes a cell. Each
fit is a process of its own; one is killed after it has averaged the conditions, while it learns, and goes on from its
folder. Results go to benchmarks/results/perturbation_size.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "perturbation_size.json"
N_SINGLES, N_DOUBLES, PER_CELL = 200, 100, 500


def main() -> int:
    """Make the cells, fit, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fit", type=Path, nargs=2, metavar=("FILE", "WORK"), help="one fit, for the processes")
    args = parser.parse_args()
    if args.fit:
        return fit(*args.fit)
    result = {"n_cells": args.cells, "n_genes": args.genes, "n_conditions": N_SINGLES + N_DOUBLES}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_screen(root / "screen.h5ad", args.cells, args.genes)
        result["whole"] = run(root, "whole", is_killed=False)
        write(result, args.out)
        result["killed_while_learning"] = run(root, "killed", is_killed=True)
        result["resumed"] = run(root, "killed", is_killed=False)
        same = {}
        for name in ("change", "variance", "held_out"):
            first, second = (np.load(root / one / f"out-{name}.npy") for one in ("whole", "killed"))
            same[name] = bool(np.array_equal(first, second, equal_nan=True))
    write(result | {"same_after_resuming": same}, args.out)
    return 0


def write(result: dict, path: Path) -> None:
    """Keep what was measured so far."""
    print(json.dumps(result), flush=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def make_screen(path: Path, n_cells: int, n_genes: int) -> None:
    """Cells of every condition; each perturbation moves genes of its own."""
    import anndata as ad
    import pandas as pd
    from scipy import sparse

    from scfviz.data.vocabulary import load_vocabulary

    rng, genes = np.random.default_rng(0), list(load_vocabulary().symbols)[:n_genes]
    singles = [genes[i] for i in rng.permutation(n_genes)[:N_SINGLES]]
    doubles = ["+".join(sorted(rng.choice(singles, 2, replace=False))) for _ in range(N_DOUBLES)]
    names = np.array(["ctrl", *singles, *doubles])
    codes = np.r_[np.zeros(n_cells // 20, dtype=int), rng.integers(1, len(names), n_cells - n_cells // 20)]
    chance = rng.gamma(0.3, size=n_genes)
    chance /= chance.sum()
    parts = []
    for start in range(0, n_cells, 5_000):
        n = min(5_000, n_cells - start)
        columns = rng.choice(n_genes, n * PER_CELL, p=chance)
        moved = (codes[start : start + n].repeat(PER_CELL) * 37 + columns) % 50 == 0
        values = (rng.poisson(2.0, n * PER_CELL) + 1) * np.where(moved, 3, 1)
        table = sparse.csr_matrix(
            (values.astype(np.float32), columns, np.arange(0, n * PER_CELL + 1, PER_CELL)), shape=(n, n_genes)
        )
        table.sum_duplicates()
        parts.append(table)
    obs = pd.DataFrame({"condition": pd.Categorical(names[codes])}, index=[f"cell{i}" for i in range(n_cells)])
    ad.AnnData(sparse.vstack(parts).tocsr(), obs, pd.DataFrame(index=genes)).write_h5ad(path)


def run(root: Path, work: str, *, is_killed: bool) -> dict[str, float]:
    """One process; or killed a little after it has begun to learn."""
    folder = root / work
    folder.mkdir(exist_ok=True)
    start = time.monotonic()
    command = [sys.executable, __file__, "--fit", str(root / "screen.h5ad"), str(folder)]
    process = subprocess.Popen(command)
    if is_killed:
        while process.poll() is None and not (folder / "responded.npy").exists():
            time.sleep(0.2)
        time.sleep(3)
        process.kill()
    process.wait()
    found: dict[str, float] = {"seconds": round(time.monotonic() - start, 1), "exit_code": process.returncode}
    if (folder / "peak.json").exists() and not is_killed:
        found |= json.loads((folder / "peak.json").read_text())
    return found


def fit(file: Path, work: Path) -> int:
    """The task as a job runs it, from where its folder stands."""
    from scfviz.tasks.registry import get_task
    from scfviz.tasks.run import compute
    from scfviz.tasks.spec import read_options
    from scfviz.tasks.steps import Steps

    task = get_task("perturbation")
    result = compute(task, read_options(task.options_type, {"dataset": str(file)}), Steps(work))
    for name in ("change", "variance", "held_out"):
        np.save(work / f"out-{name}.npy", result.arrays[name])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    about = {"peak_gib": round(peak, 2), "cpu_seconds": round(time.process_time(), 1)}
    (work / "peak.json").write_text(json.dumps(about | {"stages": result.report["seconds"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
