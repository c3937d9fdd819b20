"""What selections are evaluated on: a dataset's cells with their table, maps and expression, and the result of an
embedding if there is one.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.selection.rules import SelectionContext
from scfviz.errors import JobError
from scfviz.jobs.kinds.embed import FILES
from scfviz.jobs.labels import list_labels, with_labels
from scfviz.jobs.workspace import Workspace, read_json

if TYPE_CHECKING:
    from scfviz.analysis.expression import Expression
    from scfviz.data.align import AlignedCounts

MAPS = tuple(f"umap_{way}" for way in FILES)


def open_expression(counts: "AlignedCounts", store: str | Path | None) -> "Expression":
    """Expression by genes: from the store where it is there and belongs to these counts, else from the file itself."""
    from scfviz.analysis.expression import AlignedExpression
    from scfviz.data.gene_store import open_gene_store

    found = open_gene_store(Path(store)) if store else None
    if found is not None and found.n_obs == counts.n_obs and np.array_equal(found.genes, counts.genes):
        return found
    return AlignedExpression(counts)


def read_context(
    adata,
    expression: "Callable[[], Expression]",
    result: Path | None = None,
    *,
    workspace: Workspace | None = None,
) -> tuple[SelectionContext, np.ndarray]:
    """The context of a whole dataset, and which of its cells take part.

    Parameters
    ----------
    adata
        From `read_dataset`; `obs` is the table of cells, `obsm` gives the file's own maps, by their keys.
    expression
        Opens its expression, once, when the first rule asks for a gene: aligning the genes of a large file takes long.
    result
        Result folder of the job `embed`: adds its maps (see `MAPS`) and the columns of
        `cells.parquet` that the file doesn't have. Cells that were filtered out have no position and no value there,
        and take no part.
    workspace
        Where labels of one's own lie: those of this dataset become columns of the table, too.

    Returns
    -------
    SelectionContext of all `n_obs` cells, and bool (n_obs,).

    Raises
    ------
    JobError
        The result is of another dataset.
    """
    import pandas as pd

    from scfviz.analysis.expression import read_gene
    from scfviz.data.align import with_unique_names
    from scfviz.jobs.access import content_key

    obs, opened, n_obs = with_unique_names(adata.obs), cache(expression), adata.n_obs
    takes_part = np.ones(n_obs, dtype=bool)
    maps = {str(key): np.asarray(value)[:, :2] for key, value in adata.obsm.items() if _is_map(value)}
    if result is not None:
        kept = np.load(result / "kept.npy", allow_pickle=False)
        cells = pd.read_parquet(result / "cells.parquet")
        n_removed = (read_json(result / "report.json") or {}).get("n_removed", 0)
        if len(kept) + n_removed != n_obs or (len(kept) and kept.max() >= n_obs):
            raise JobError(
                "The embedding belongs to another dataset.", "Selections need its own.", "Embed this dataset again."
            )
        takes_part = np.zeros(n_obs, dtype=bool)
        takes_part[kept] = True
        place = np.full(n_obs, -1)
        place[kept] = np.arange(len(kept))
        for name in (name for name in MAPS if (result / f"{name}.npy").exists()):
            positions = np.full((n_obs, 2), np.nan, dtype=np.float32)
            positions[kept] = np.load(result / f"{name}.npy", allow_pickle=False)
            maps[name] = positions
        present = set(map(str, obs.columns))
        new = {name: _spread(cells[name], place, obs.index) for name in cells.columns if name not in present}
        obs = pd.concat([obs, pd.DataFrame(new, index=obs.index)], axis=1)
    context = SelectionContext(obs, maps, lambda name: read_gene(opened(), name))
    if workspace is not None:
        key = content_key(workspace, adata.uns["scfviz_source"]["path"])
        context = with_labels(context, list_labels(workspace, key))
    return context, takes_part


def _is_map(value) -> bool:
    shape = getattr(value, "shape", ())
    return len(shape) == 2 and shape[1] >= 2 and np.issubdtype(getattr(value, "dtype", object), np.number)


def _spread(column, place: np.ndarray, index):
    """A column of the embedded cells on all cells, missing for the others."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = np.append(column.cat.codes.to_numpy(), -1)[place]
        return pd.Series(pd.Categorical.from_codes(codes, dtype=column.dtype), index=index)
    return pd.Series(np.append(column.to_numpy(dtype=np.float64), np.nan)[place], index=index)
