"""What selections are evaluated on: a dataset's cells with their table, maps and expression, and the results of tasks
if there are any.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.selection.rules import SelectionContext
from scfviz.errors import JobError
from scfviz.jobs.labels import list_labels, with_labels
from scfviz.jobs.workspace import Workspace
from scfviz.tasks.additions import spread
from scfviz.tasks.registry import written
from scfviz.tasks.result import Result, read_result

if TYPE_CHECKING:
    from anndata import AnnData

    from scfviz.analysis.expression import Expression
    from scfviz.data.align import AlignedCounts
    from scfviz.data.open import OpenDataset


def result_folders(workspace: Workspace, job_ids: Iterable[str | None]) -> list[Path]:
    """The result folders of finished tasks; ids that are None are passed over.

    Raises
    ------
    JobError
        One is no longer there.
    """
    folders = []
    for job_id in job_ids:
        if job_id is None:
            continue
        folder = workspace.jobs / job_id / "result"
        if not (folder / "kept.npy").is_file():
            raise JobError(
                f"The result {job_id} is not there.",
                "Selections and exports need its maps and columns.",
                "It may have been removed; compute it again.",
            )
        folders.append(folder)
    return folders


def open_file(path: str | Path, workspace: Workspace, column: str | None, **options) -> "OpenDataset":
    """A dataset with all genes of its file; every value is checked once for each content, see `open_dataset`."""
    from scfviz.data.open import open_dataset

    return open_dataset(path, column=column, reports=workspace.checks, **options)


def open_expression(counts: "AlignedCounts", store: str | Path | None) -> "Expression":
    """Expression by genes: from the store where it is there and belongs to these counts, else from the file itself."""
    from scfviz.analysis.expression import AlignedExpression
    from scfviz.data.gene_store import open_gene_store

    found = open_gene_store(Path(store)) if store else None
    if found is not None and found.n_obs == counts.n_obs and found.index == counts.index:
        return found
    return AlignedExpression(counts)


def is_stored(expression: "Expression") -> bool:
    """Whether expression is read from a store of genes, so that no pass over the file keeps it in memory."""
    from scfviz.data.gene_store import GeneStore

    return isinstance(expression, GeneStore)


def read_context(
    adata: "AnnData",
    expression: "Callable[[], Expression]",
    results: Sequence[Path] = (),
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
    results
        Result folders of tasks: each adds its maps and the columns of its cells that the file doesn't have. Cells that
        were filtered out have no position and no value there. Where the first result has maps, those that it left out
        take no part.
    workspace
        Where user-defined labels lie: those of this dataset become columns of the table, too.

    Returns
    -------
    SelectionContext of all `n_obs` cells, and bool (n_obs,).

    Raises
    ------
    JobError
        A result is of another dataset, or of an older version.
    """
    import pandas as pd

    from scfviz.analysis.expression import read_gene
    from scfviz.data.align import with_unique_names
    from scfviz.jobs.access import content_key

    obs, opened, n_obs = with_unique_names(adata.obs), cache(expression), adata.n_obs
    takes_part = np.ones(n_obs, dtype=bool)
    maps = {str(key): np.asarray(value)[:, :2] for key, value in adata.obsm.items() if _is_map(value)}
    for number, result in enumerate(map(read_result, results)):
        place = _place(result, n_obs)
        found = [entry.name for entry in written("obsm") if entry.is_map and entry.name in result.arrays]
        takes_part = place >= 0 if found and number == 0 else takes_part
        for name in found:
            positions = np.full((n_obs, 2), np.nan, dtype=np.float32)
            positions[result.kept] = result.arrays[name]
            maps[name] = positions
        present = set(map(str, obs.columns))
        new = {name: spread(column, place, obs.index) for name, column in result.cells.items() if name not in present}
        obs = pd.concat([obs, pd.DataFrame(new, index=obs.index)], axis=1)
    context = SelectionContext(obs, maps, lambda name: read_gene(opened(), name))
    if workspace is not None:
        key = content_key(workspace, adata.uns["scfviz_source"]["path"])
        context = with_labels(context, list_labels(workspace, key))
    return context, takes_part


def _place(result: Result, n_obs: int) -> np.ndarray:
    """Row among the kept cells of each cell of the file, -1 for those that were left out."""
    kept, n_removed = result.kept, result.report.get("n_removed", 0)
    if len(kept) + n_removed != n_obs or (len(kept) and kept.max() >= n_obs):
        raise JobError("The result belongs to another dataset.", "Selections need its own.", "Compute it again here.")
    place = np.full(n_obs, -1)
    place[kept] = np.arange(len(kept))
    return place


def _is_map(value: object) -> bool:
    shape = getattr(value, "shape", ())
    return len(shape) == 2 and shape[1] >= 2 and np.issubdtype(getattr(value, "dtype", object), np.number)
