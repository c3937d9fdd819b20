"""The number, and what the task says about it."""

import time

import numpy as np

from scfviz.data.memory import Need
from scfviz.errors import Stopped
from scfviz.tasks.result import Result


def measure_mito_share(aligned):
    """Share of each cell's counts on mitochondrial genes, in %."""
    return 100 * aligned.mitochondrial_counts / aligned.total_counts


def memory(options):
    return Need(1e8, 100.0, "Counts per cell")


def run(cells, options, steps):
    import pandas as pd

    counted = []
    with steps.step(0.1, "Counting"):
        progress = steps.progress(0.1, 0.9)
        while len(counted) < 20:
            done = steps.work / "counted.txt"
            counted = done.read_text().split() if done.exists() else []
            if steps.should_stop():
                raise Stopped
            time.sleep(options.pause)
            done.write_text(" ".join([*counted, "one"]))
            progress(len(counted) + 1, 20)
            counted.append("one")
    share = measure_mito_share(cells.aligned)
    is_high = share >= options.threshold if options.level == "loose" else share > options.threshold
    table = pd.DataFrame(
        {"pct_mito": share, "mito_level": pd.Categorical(np.where(is_high, "high", "low"))},
        index=cells.aligned.obs.index,
    )
    genes = np.flatnonzero(cells.aligned.index.is_mitochondrial & cells.aligned.is_measured)
    of_gene = cells.aligned.rows(0, cells.aligned.n_obs)[:, genes].toarray()
    of_gene = (100 * of_gene / cells.aligned.total_counts[:, None]).astype(np.float32)
    levels = table["mito_level"].value_counts().rename_axis("level").reset_index(name="n_cells")
    return Result(
        cells.kept,
        table,
        {"pct_mito_of_gene": of_gene},
        {"levels": levels, "pct_mito_of_gene": cells.layer_genes(genes)},
        ("Some tissues have much by nature.",),
        scores={"mean": float(share.mean())},
        report={"provenance": {"threshold": options.threshold}},
    )
