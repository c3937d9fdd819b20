"""How long a differential expression and the score of a gene set take for 100,000 cells, beside scanpy's own test.

Usage: python benchmarks/differential_expression.py [--cells 100000] [--scanpy-cells 10000] [--out
benchmarks/results]

Cells are made, not measured: 19,264 genes with log-normal rates, about 1,500 expressed per cell, a third of the
cells in the group. scanpy runs on fewer cells (it sorts every value, zeros included) and its time is given as it is
and in proportion; its p values are compared with ours.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

BLOCK, DIFFERENT = 5_000, 20_000


def make_counts(n_obs: int, n_genes: int, seed: int = 0) -> sp.csr_matrix:
    """Poisson counts, log-normal rates of genes and depths of cells; `DIFFERENT` cells, then again the same."""
    rng = np.random.default_rng(seed)
    rates = rng.lognormal(0, 2, n_genes)
    edges = np.cumsum(rates / rates.sum())
    blocks = []
    for start in range(0, min(n_obs, DIFFERENT), BLOCK):
        n = min(BLOCK, n_obs - start)
        depth = rng.poisson(rng.lognormal(8.1, 0.4, n))
        genes = np.minimum(np.searchsorted(edges, rng.random(depth.sum())), n_genes - 1).astype(np.int32)
        rows = np.repeat(np.arange(n, dtype=np.int32), depth)
        block = sp.csr_matrix((np.ones(len(genes), np.float32), (rows, genes)), shape=(n, n_genes))
        block.sum_duplicates()
        blocks.append(block)
    return sp.vstack(blocks * -(-n_obs // DIFFERENT), format="csr")[:n_obs]


def timed(function, *args, **options):
    """The result, and the seconds that passed and that processors worked (on a busy machine the first are too many)."""
    start, worked = time.perf_counter(), time.process_time()
    result = function(*args, **options)
    return result, {"wall": round(time.perf_counter() - start, 2), "cpu": round(time.process_time() - worked, 2)}


def main() -> None:
    import anndata as ad
    import scanpy as sc

    from scfviz.analysis.differential_expression import compare_cells
    from scfviz.analysis.expression import AlignedExpression
    from scfviz.analysis.gene_sets import mean_expression, score_set
    from scfviz.data.align import align_genes
    from scfviz.data.gene_store import build_gene_store
    from scfviz.data.normalise import log_normalise
    from scfviz.data.read import read_dataset
    from scfviz.data.vocabulary import load_vocabulary

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--scanpy-cells", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    genes = list(load_vocabulary().symbols)
    var = pd.DataFrame(index=genes)
    found = {
        "cells": args.cells,
        "scanpy_cells": args.scanpy_cells,
        "machine": f"{platform.machine()}, {platform.processor()}",
        "other_work_at_the_start": f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        matrix = make_counts(args.cells, len(genes))
        found["entries_per_cell"] = round(matrix.nnz / args.cells)
        ad.AnnData(matrix, obs=pd.DataFrame(index=[f"c{i}" for i in range(args.cells)]), var=var).write_h5ad(path)
        del matrix
        counts, found["open_and_check_s"] = timed(lambda: align_genes(read_dataset(path)))
        store, found["build_gene_store_s"] = timed(build_gene_store, counts, Path(folder) / "store")
        group = np.random.default_rng(1).random(args.cells) < 1 / 3
        for name, expression in (("file", AlignedExpression(counts)), ("gene_store", store)):
            for method in ("wilcoxon", "t-test"):
                _, found[f"{method}_from_{name}_s"] = timed(compare_cells, expression, group, method=method)
        members = genes[::97][:100]
        means, found["gene_means_from_gene_store_s"] = timed(mean_expression, store)
        _, found["score_of_100_genes_from_gene_store_s"] = timed(score_set, store, members, means=means)
        found["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
        few = counts.subset(np.arange(args.scanpy_cells))
        ours, _ = timed(compare_cells, AlignedExpression(few), group[: args.scanpy_cells])
        adata = ad.AnnData(log_normalise(few.rows(0, few.n_obs)), obs=few.obs.copy(), var=var)
        adata.obs["side"] = pd.Categorical(np.where(group[: args.scanpy_cells], "in", "out"))
        options = {"groups": ["in"], "method": "wilcoxon", "tie_correct": True, "pts": True}
        sc.tl.rank_genes_groups(adata[:100].copy(), "side", **options)  # compiles
        _, found["scanpy_wilcoxon_s"] = timed(sc.tl.rank_genes_groups, adata, "side", **options)
    theirs = sc.get.rank_genes_groups_df(adata, "in").set_index("names")
    table = ours.table.set_index("names").loc[theirs.index]
    apart = np.abs(np.log10(np.maximum(table["pvals"], 1e-300)) - np.log10(np.maximum(theirs["pvals"], 1e-300)))
    found["largest_difference_of_log10_p"] = float(apart.max())
    scale = args.cells / args.scanpy_cells
    found["scanpy_wilcoxon_at_all_cells_s"] = {k: round(v * scale, 1) for k, v in found["scanpy_wilcoxon_s"].items()}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "differential_expression.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, value in found.items():
        print(f"{name:36} {value}")


if __name__ == "__main__":
    main()
