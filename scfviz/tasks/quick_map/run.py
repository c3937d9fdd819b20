"""The task `quick_map`: a map of any dataset in seconds, without a model.

Array: `umap_quick` (n_kept, 2) float32, NaN for cells without a place. Columns of `cells`: total_counts, n_genes,
pct_counts_mt, clusters_quick.
"""

from typing import Any

from scfviz.data.memory import Need
from scfviz.tasks.quick_map.compute import MOST_CELLS, draw_quick_map
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.spec import TaskOptions
from scfviz.tasks.steps import Steps

PROGRAMS, BYTES_PER_DRAWN_CELL = 0.5e9, 32_000  # peaks were 0.49 GB for 2,000 cells and 0.71 for 8,000


def memory(options: dict[str, Any]) -> Need:
    """Variable genes, components and graph of at most 100,000 cells, and the table of cells."""
    drawn = MOST_CELLS * BYTES_PER_DRAWN_CELL
    return Need(PROGRAMS, 100.0, "Variable genes of a sample of the cells", drawn, MOST_CELLS)


def run(cells: OpenedCells, options: TaskOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    import pandas as pd

    drawn = draw_quick_map(cells.aligned, progress=lambda share, stage: steps.step(share, stage) and None)
    table = cells.metrics.reset_index(drop=True).set_index(cells.aligned.obs.index)
    found = {cluster for cluster in drawn.clusters if cluster is not None}
    table["clusters_quick"] = pd.Categorical(drawn.clusters, categories=sorted(found, key=int))
    return Result(kept=cells.kept, cells=table, arrays={"umap_quick": drawn.umap}, notes=drawn.notes)
