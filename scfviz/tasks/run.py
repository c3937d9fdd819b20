"""Run any registered task: open its cells, check that they fit, compute, say how it was made."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.tasks.registry import get_task
from scfviz.tasks.result import Result
from scfviz.tasks.spec import ModelOptions, Task, TaskOptions, load, read_options
from scfviz.tasks.steps import Steps

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.infer import CellEmbedding
    from scfviz.model.scfoundation import ScFoundation
    from scfviz.tasks.embedding.in_file import FileEmbedding

OPENING = "Reading and checking the dataset"


@dataclass(frozen=True)
class OpenedCells:
    """What a task is given: cells that its filters keep, and the model where it needs one.

    Attributes
    ----------
    aligned
        Counts of the kept cells: in the model's gene order, or of all genes of the file for a task without a model.
    kept
        int64 (n_kept,): their rows in the file.
    n_in_file
        Cells of the file.
    metrics
        Their depth, genes and mitochondrial share over all genes of the file, see `qc_metrics`.
    all_genes
        Counts of the kept cells over all genes of the file.
    uns
        What the file says about itself beside its tables.
    n_vars, var_place
        Rows of the file's table of genes (`adata.var`), and in it the row of each row of the table that belongs to the
        counts, int64, -1 where there is none: the counts may be those of `raw`. None: it is the same table.
    """

    aligned: "AlignedCounts"
    kept: np.ndarray
    n_in_file: int
    metrics: "pd.DataFrame"
    model: "ScFoundation | None" = None
    checkpoint: "CheckpointInfo | None" = None
    all_genes: "AlignedCounts | None" = None
    n_vars: int = 0
    var_place: np.ndarray | None = None
    uns: Mapping[str, Any] = field(default_factory=dict)

    def layer_genes(self, genes: np.ndarray) -> "pd.DataFrame":
        """The table that belongs to an array of a layer, see `scfviz.tasks.result`.

        Parameters
        ----------
        genes
            int (n_chosen,): positions in `aligned.genes` of the array's columns.

        Returns
        -------
        pd.DataFrame
            By name of the gene: `column`, int64, its column in the file, -1 where it has none. A gene that several
            columns were added up for has the first of them.
        """
        import pandas as pd

        target = self.aligned.target
        place = np.arange(len(target)) if self.var_place is None else self.var_place
        rows = np.flatnonzero((target >= 0) & (place >= 0))[::-1]
        column = np.full(self.aligned.n_genes, -1)
        column[target[rows]] = place[rows]
        return pd.DataFrame(
            {"column": column[genes]}, index=pd.Index(self.aligned.genes[genes].astype(str), name="gene")
        )


def run_task(name: str, /, **options: Any) -> Result:
    """Answer a question with any registered task.

    Parameters
    ----------
    name
        Of the task, a key of `scfviz.tasks.registry.TASKS`.
    **options
        `dataset`, a path, and the fields of the task's options class.

    Returns
    -------
    Result
        In memory; what each part means is said by the task's line.

    Raises
    ------
    OptionError
        There is no such task or option, or a value makes no sense.
    DatasetError, GeneError, CheckpointError
        The dataset or the checkpoint cannot be used.
    """
    task = get_task(name)
    asked = read_options(task.options_type, options)
    with TemporaryDirectory() as work:
        result = compute(task, asked, Steps(Path(work)))
        # those in the folder go with it
        arrays = {n: np.array(v) if isinstance(v, np.ndarray) else v.copy() for n, v in result.arrays.items()}
    return replace(result, arrays=arrays)


def compute(
    task: Task,
    options: TaskOptions,
    steps: Steps,
    check_size: Callable[[int], None] = lambda n_obs: None,
    reports: Path | None = None,
) -> Result:
    """Run a task on checked options, with its stages.

    Parameters
    ----------
    check_size
        Called with the number of cells before anything long begins; may refuse them.
    reports
        Folder in which results of checks are kept, see `open_dataset`.
    """
    with steps.step(0.0, OPENING):
        cells = open_cells(task, options, reports, steps.watch)
        check_size(cells.aligned.n_obs)
    found: Result = load(task.run)(cells, options, steps)
    about = _describe(task, options, cells) | dict(found.report)
    return replace(found, kept=cells.kept, report=about | {"seconds": steps.seconds})


def open_cells(
    task: Task, options: TaskOptions, reports: Path | None = None, watch: Callable[[float], None] | None = None
) -> OpenedCells:
    """Open the dataset, align its genes and leave out what the filters remove.

    Filters are on all genes of the file; the model's genes matter to tasks that need a model, and to them alone.

    Raises
    ------
    DatasetError
        The file cannot be used, or the filters remove all cells.
    GeneError, CheckpointError
        Its genes, or the model, cannot be used.
    """
    from scfviz.data.open import open_dataset
    from scfviz.data.qc import choose_cells, qc_metrics

    # a broken file is found before torch is loaded
    how = {"column": options.gene_column, "counts": options.counts, "reports": reports, "watch": watch}
    opened = open_dataset(options.dataset, **how)
    model = info = None
    if task.needs_model and isinstance(options, ModelOptions):
        from scfviz.model.checkpoint import checkpoint_info, load_checkpoint

        info, model = checkpoint_info(options.checkpoint), load_checkpoint(options.checkpoint)
    aligned = opened.counts if model is None else opened.align(model.genes)
    metrics = qc_metrics(opened.counts)
    kept = choose_cells(opened.counts, aligned, options.filters, metrics)
    part = aligned.subset(kept) if options.filters else aligned
    return OpenedCells(
        part,
        kept,
        aligned.n_obs,
        metrics.iloc[kept],
        model,
        info,
        opened.counts.subset(kept),
        opened.adata.n_vars,
        _var_place(opened.adata, opened.counts_report.location),
        opened.adata.uns,
    )


def _var_place(adata: "AnnData", location: str) -> np.ndarray | None:
    """See `OpenedCells.var_place`; of repeated names the first is taken."""
    from scfviz.data.candidates import count_var

    var = count_var(adata, location)
    if var is adata.var:
        return None
    place = dict(zip(reversed(adata.var_names), range(adata.n_vars - 1, -1, -1), strict=True))
    return np.array([place.get(name, -1) for name in var.index], dtype=np.int64)


def embed_part(
    counts: "AlignedCounts",
    cells: OpenedCells,
    options: ModelOptions,
    steps: Steps,
    name: str,
    shares: tuple[float, float],
) -> "CellEmbedding":
    """Embed cells of a task, its own or a reference's, on disk, so that an interrupted run goes on.

    Parameters
    ----------
    counts
        In the model's gene order.
    name
        Of the folder in `steps.work`.
    shares
        Of the task's progress, 0 to 1: where this begins and ends.
    """
    from scfviz.model.infer import embed_cells

    return embed_cells(
        counts,
        cells.model,
        precision=options.precision,
        device=options.device,
        out=steps.work / name,
        resume=True,
        progress=steps.progress(*shares),
        should_stop=steps.should_stop,
        cluster=steps.cluster,
    )


def embedding_in_file(
    path: str,
    rows: np.ndarray,
    counts: "AlignedCounts",
    cells: OpenedCells,
    options: ModelOptions,
    steps: Steps,
    name: str,
) -> "FileEmbedding":
    """The embedding that the file at `path` holds of its `rows`, whose `counts` are given; see `in_file`.

    `name` is what the dataset is to the task: the file of a reference and of a query must not be one.
    """
    from scfviz.tasks.embedding.in_file import read_embedding

    return read_embedding(
        path,
        rows,
        counts,
        cells.model,
        cells.checkpoint,
        steps.work / f"{name}_from_file.npy",
        device=options.device,
        should_stop=steps.should_stop,
    )


def embed_rows(
    counts: "AlignedCounts",
    rows: np.ndarray,
    path: str,
    gene_column: str | None,
    cells: OpenedCells,
    options: ModelOptions,
    steps: Steps,
    name: str,
    shares: tuple[float, float],
) -> np.ndarray:
    """The embedding (n, D) of rows of a file with all that it measures: a kept one, the file's own, or a new one.

    Parameters
    ----------
    counts
        Of these rows, in their order.
    rows
        int (n,): places in the file.
    path, gene_column
        Of the file.
    """
    about = {"checkpoint": cells.checkpoint.hash, "gene_column": gene_column}
    about |= {"counts": options.counts, "precision": options.precision, "device": options.device}
    found = steps.find_embedding(path, about)
    if found is not None:
        kept, values = found
        place = np.minimum(np.searchsorted(kept, rows), len(kept) - 1)
        if (kept[place] == rows).all():
            return values[place] if len(rows) < len(kept) or (place != np.arange(len(kept))).any() else values
    in_file = embedding_in_file(path, rows, counts, cells, options, steps, name).values
    return embed_part(counts, cells, options, steps, name, shares).values if in_file is None else in_file


def _describe(task: Task, options: TaskOptions, cells: OpenedCells) -> dict[str, Any]:
    from scfviz.data.source import dataset_id

    info = cells.checkpoint
    return {
        "task": task.name,
        "version": task.version,
        "options": asdict(options),
        "dataset": Path(options.dataset).name,
        "dataset_id": dataset_id(options.dataset),
        "n_obs": cells.aligned.n_obs,
        "n_vars": cells.n_vars,
        "n_removed": cells.n_in_file - cells.aligned.n_obs,
        "counts": cells.aligned.counts_report.as_dict(),
        "genes": cells.aligned.gene_report.as_dict(),
        "checkpoint": None
        if info is None
        else {"name": info.name, "hash": info.hash, "is_trained": info.is_trained, "licence": info.licence},
        "provenance": {},
    }
