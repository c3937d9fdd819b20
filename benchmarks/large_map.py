"""A map of a million cells: time of each stage, the most memory, and what the picture keeps of neighbours.

    python benchmarks/large_map.py DATA [--cells 200000 1000000] [--seed-cells 2700] [--memory] [--out FILE]

Cells of three evaluation sets are embedded by the shipped checkpoint; each of the many cells is a random mixture of two
that lie near each other, with noise. The embedding is on disk, as a computation leaves it. Neighbours, layout, clusters
and placing are `build_map`, as page and command call it. Memory is what the process holds of its own (`RssAnon`, every
10 ms), without pages of mapped files, which go when others need them. With `--memory` the long loops end early (the
eigenvectors, the layout, the search for the placed): the same arrays, no picture and no times.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from types import FrameType

import numpy as np

from scfviz.model.checkpoint import checkpoint_info, default_checkpoint
from scfviz.threads import available_cores, prepare_threads

RESULTS = Path(__file__).parent / "results" / "large_map.json"
SETS = ("pbmc3k", "zheng_facs_pbmc", "kang_ifnb_2800")
ROWS = 20_000
NEAREST = 10
MEMORY = ("cells", "own_memory_gb", "before_gb", "gb")
STAGES = (
    "compute_neighbors",
    "spectral_layout",
    "optimize_layout_euclidean",
    "cluster_cells",
    "link_to_sample",
    "join_graphs",
    "place_cells",
    "score_fidelity",
)


class Memory(threading.Thread):
    """The most that this process held of its own in GB, in all and by stage, and the seconds of each stage."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.floor, self.peaks, self.seconds = own_memory(), {}, {}
        self._done, self._main = threading.Event(), threading.main_thread().ident

    def run(self) -> None:
        before, last = time.perf_counter(), ""
        while not self._done.wait(0.01):
            stage, now = stage_of(sys._current_frames().get(self._main)), time.perf_counter()
            if stage != last and self.seconds.get(last, 0.0) > 1:
                print(f"{last}: {self.seconds[last]:.0f} s, {self.peaks[last]:.2f} GB", file=sys.stderr, flush=True)
            last = stage
            self.peaks[stage] = max(self.peaks.get(stage, 0.0), own_memory())
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - before
            before = now

    def stop(self) -> dict[str, object]:
        """What was found; counting ends."""
        self._done.set()
        self.join()
        return {
            "own_memory_gb": round(max(self.peaks.values()), 2),
            "before_gb": round(self.floor, 2),
            "gb": {stage: round(peak, 2) for stage, peak in self.peaks.items()},
            "stage_seconds": {stage: round(seconds, 1) for stage, seconds in self.seconds.items()},
        }


def own_memory() -> float:
    """GB that this process holds of its own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1e6


def stage_of(frame: FrameType | None) -> str:
    """The function of `STAGES` that a thread is in, "other" for none."""
    while frame is not None and frame.f_code.co_name not in STAGES:
        frame = frame.f_back
    return "other" if frame is None else frame.f_code.co_name


def embed_some(data: Path, n_each: int) -> np.ndarray:
    """Embeddings of some real cells, float32 (n, D)."""
    from scfviz.benchmark.data import load_cells
    from scfviz.model.checkpoint import load_checkpoint
    from scfviz.model.infer import embed_cells

    model = load_checkpoint(default_checkpoint())
    parts = [load_cells(data / "evaluation" / f"{name}.h5ad", model.genes, n_each) for name in SETS]
    return np.concatenate([embed_cells(part.counts, model, device="cpu").values for part in parts])


def write_many(some: np.ndarray, path: Path, n_cells: int) -> np.ndarray:
    """Many cells between the real ones, as a mapped file (n_cells, D)."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=NEAREST + 1).fit(some).kneighbors(return_distance=False)
    noise, rng = 0.1 * some.std(axis=0), np.random.default_rng(0)
    many = np.lib.format.open_memmap(path, "w+", np.float32, (n_cells, some.shape[1]))
    for first in range(0, n_cells, ROWS):
        n = min(ROWS, n_cells - first)
        one = rng.integers(len(some), size=n)
        other, share = near[one, rng.integers(NEAREST, size=n)], rng.random((n, 1), dtype=np.float32)
        many[first : first + n] = some[one] + share * (some[other] - some[one])
        many[first : first + n] += noise * rng.standard_normal((n, some.shape[1]), dtype=np.float32)
    many.flush()
    return np.load(path, mmap_mode="r")


def end_early() -> None:
    """Let the long loops of a map go on no longer than until all their memory is taken."""
    from pynndescent import NNDescent
    from scipy.sparse.linalg import ArpackNoConvergence
    from umap import umap_

    from scfviz.tasks.embedding import kept_umap

    find, lay_out, search = kept_umap.eigsh, umap_.optimize_layout_euclidean, NNDescent.query

    def find_early(graph, k, **options):  # noqa: ANN001, ANN003, ANN202
        try:
            return find(graph, k, **options | {"maxiter": 2})
        except ArpackNoConvergence:
            return np.arange(k), np.random.default_rng(0).normal(size=(graph.shape[0], k))

    def lay_out_early(*given, **options):  # noqa: ANN002, ANN003, ANN202
        return lay_out(*given[:4], 5, *given[5:], **options)

    def search_early(self, points, k):  # noqa: ANN001, ANN202
        found = search(self, points[:100], k=k)
        return tuple(part[np.arange(len(points)) % len(part)] for part in found)

    kept_umap.eigsh, umap_.optimize_layout_euclidean, NNDescent.query = find_early, lay_out_early, search_early


def measure(many: np.ndarray) -> dict[str, object]:
    """One map."""
    from scfviz.tasks.embedding.compute import build_map

    load, memory, began, cpu = os.getloadavg()[0], Memory(), time.perf_counter(), time.process_time()
    memory.start()
    made = build_map(many)
    found = {
        "cells": len(many),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        **memory.stop(),
        "load": round(load, 1),
        "clusters": len(set(made.clusters)),
        "finite": bool(np.isfinite(made.umap).all()),
    }
    return found | ({} if made.fidelity is None else {"fidelity": made.fidelity.as_dict()})


def main() -> None:
    """Measure, print and write; a size that was measured before is measured again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--seed-cells", type=int, default=2_700, help="real cells of each set")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--memory", action="store_true", help="memory alone, in a fraction of the time")
    args = parser.parse_args()
    prepare_threads()
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {"maps": {}}
    results |= {"date": date.today().isoformat(), "python": platform.python_version(), "cores": available_cores()}
    results["checkpoint"] = checkpoint_info(default_checkpoint()).hash
    some = embed_some(args.data, args.seed_cells)
    results["real_cells"] = len(some)
    maps = results.setdefault("memory" if args.memory else "maps", {})
    if args.memory:
        end_early()
    with tempfile.TemporaryDirectory() as folder:
        for n_cells in args.cells:
            many = write_many(some, Path(folder) / "many.npy", n_cells)
            found = measure(many)
            maps[str(n_cells)] = {name: found[name] for name in MEMORY} if args.memory else found
            print(json.dumps(maps[str(n_cells)]), flush=True)
            args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
