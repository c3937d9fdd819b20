"""Throughput and memory of a training corpus of a million generated cells.

    python benchmarks/corpus.py [--cells N] [--folder DIR] [--seconds N] [--keep] [--out FILE]

Writes generated cells through the writer that `scfviz corpus build` uses, notes the memory on the way, then reads
random batches of 256 cells: the cells alone, and whole training batches (thinned, masked, packed). Where the package
scdataset is installed, some of the cells as one backed .h5ad are read through it for comparison. About five minutes and
3 GB of disk.
"""

import argparse
import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import psutil
from scipy.sparse import csr_matrix

from scfviz.data.corpus_reader import GENES, SOURCES, Corpus, shuffled
from scfviz.data.corpus_writer import CorpusOptions, SourceRecord, SourceWriter, write_manifest, write_text
from scfviz.data.vocabulary import load_vocabulary
from scfviz.training.batches import TrainingParts, iterate_steps
from scfviz.training.options import BatchOptions, MaskingOptions

RESULTS = Path(__file__).parent / "results" / "corpus.json"
BATCH, BLOCK, PER_SOURCE, EXPRESSED = 256, 4096, 100_000, 600
COMPARED = 100_000


def generate(rng: np.random.Generator, n_cells: int, n_genes: int) -> csr_matrix:
    """Cells of about 600 expressed genes: uneven steps through the gene order, geometric counts."""
    steps = rng.integers(1, 2 * n_genes // EXPRESSED, size=(n_cells, EXPRESSED + 40))
    genes = steps.cumsum(axis=1) - 1
    inside = genes < n_genes
    indptr = np.concatenate([[0], inside.sum(axis=1).cumsum()])
    counts = rng.geometric(0.55, size=int(indptr[-1])).astype(np.float32)
    return csr_matrix((counts, genes[inside].astype(np.int32), indptr), shape=(n_cells, n_genes))


def own_memory_mb() -> float:
    """Memory of this process without mapped files, which the system takes back when it needs to."""
    found = psutil.Process().memory_full_info()
    return found.uss / 1e6


def build(folder: Path, n_cells: int) -> list[dict[str, float]]:
    """Write the corpus; time and memory after every tenth of it."""
    genes = load_vocabulary().symbols
    (folder / SOURCES).mkdir(parents=True)
    write_text(folder / GENES, "symbol\n" + "".join(f"{gene}\n" for gene in genes))
    options, rng = CorpusOptions(), np.random.default_rng(0)
    track, written, generating, began = [], 0, 0.0, time.perf_counter()
    while written < n_cells:
        size = min(PER_SOURCE, n_cells - written)
        record = SourceRecord(f"generated{written:09d}", "generated", "0" * 64, False)
        with SourceWriter(folder, record, options, np.ones(len(genes), dtype=bool)) as writer:
            for start in range(0, size, BLOCK):
                at = time.perf_counter()
                block = generate(rng, min(BLOCK, size - start), len(genes))
                generating += time.perf_counter() - at
                writer.add(block)
        written += size
        seconds = time.perf_counter() - began - generating
        track.append({"cells": written, "memory_mb": own_memory_mb(), "cells_per_second": written / seconds})
        print({key: round(value) for key, value in track[-1].items()}, flush=True)
    write_manifest(folder, options, {})
    return track


def rate(work: Callable[[int], int], seconds: float) -> float:
    """Cells per second of repeated work, after one round to warm up."""
    work(0)
    done, i, began = 0, 1, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        done += work(i)
        i += 1
    return done / passed


def read(corpus: Corpus, seconds: float) -> dict[str, float]:
    """Rates and memory of random reading at batch 256."""
    n = corpus.n_cells("train")

    def cells(i: int) -> int:
        for position in shuffled(np.arange(i * BATCH, (i + 1) * BATCH) % n, n, key=1):
            corpus.cell(int(position))
        return BATCH

    result = {"cells_alone": rate(cells, seconds)}
    parts = TrainingParts(corpus, MaskingOptions(), BatchOptions(BATCH, max_genes=0, decoder_rows=2048), seed=0)
    result["training_batches"] = rate(lambda i: len(parts[i].positions), seconds)
    for n_workers in (1, 2):
        steps = iterate_steps(parts, 0, 10**9, n_workers)
        result[f"training_batches_{n_workers}_workers"] = rate(lambda i, s=steps: len(next(s)[0].positions), seconds)
        del steps
    result["memory_mb"] = own_memory_mb()
    return result


def read_with_scdataset(corpus: Corpus, folder: Path, seconds: float) -> dict[str, float]:
    """The same cells as a backed .h5ad, in random order and in random blocks of 16 cells."""
    import anndata as ad
    from scdataset import BlockShuffling, scDataset

    n = min(COMPARED, corpus.n_cells("train"))
    cells = [corpus.cell(i) for i in range(n)]
    indptr = np.cumsum([0, *(len(cell.genes) for cell in cells)])
    counts = np.concatenate([cell.counts for cell in cells]).astype(np.uint16)
    matrix = csr_matrix((counts, np.concatenate([cell.genes for cell in cells]), indptr), shape=(n, len(corpus.genes)))
    del cells
    path = folder / "compared.h5ad"
    ad.AnnData(matrix).write_h5ad(path)
    del matrix
    backed = ad.read_h5ad(path, backed="r")

    def fetch(collection: ad.AnnData, indices: np.ndarray) -> csr_matrix:
        return collection.X[np.sort(indices)]

    result = {}
    for name, block in (("random_cells", 1), ("blocks_of_16", 16)):
        data = iter(
            scDataset(
                backed,
                BlockShuffling(block_size=block),
                batch_size=BATCH,
                fetch_factor=16 if block > 1 else 1,
                fetch_callback=fetch,
            )
        )
        try:
            result[name] = rate(lambda _i, d=data: next(d).shape[0], seconds)
        except StopIteration:
            result[name] = float("nan")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--seconds", type=float, default=10.0, help="per reading test")
    parser.add_argument("--keep", action="store_true", help="keep the corpus, and use one that is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    base = args.folder or Path(tempfile.mkdtemp(prefix="scfviz-corpus-"))
    folder = base / "corpus"
    try:
        result = {"date": date.today().isoformat(), "cells": args.cells, "cpu_cores": psutil.cpu_count()}
        if not (folder / "manifest.json").is_file():
            result["build"] = build(folder, args.cells)
        corpus = Corpus(folder)
        result["values_per_cell"] = corpus.manifest["n_values"] / corpus.manifest["n_cells"]
        result["bytes_per_cell"] = sum(f.stat().st_size for f in folder.rglob("*.npy")) / corpus.manifest["n_cells"]
        result["read"] = read(corpus, args.seconds)
        if importlib.util.find_spec("scdataset"):
            result["scdataset"] = read_with_scdataset(corpus, base, args.seconds)
        print(json.dumps(result, indent=1))
        args.out.parent.mkdir(exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    finally:
        if not args.keep:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
