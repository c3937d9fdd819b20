"""Run any registered task: open its cells, check that they fit, compute, say how it was made."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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

    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.scfoundation import ScFoundation

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
    """

    aligned: "AlignedCounts"
    kept: np.ndarray
    n_in_file: int
    metrics: "pd.DataFrame"
    model: "ScFoundation | None" = None
    checkpoint: "CheckpointInfo | None" = None
    all_genes: "AlignedCounts | None" = None


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
        arrays = {name: np.array(values) for name, values in result.arrays.items()}  # those in the folder go with it
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
        cells = open_cells(task, options, reports)
        check_size(cells.aligned.n_obs)
    found: Result = load(task.run)(cells, options, steps)
    about = _describe(task, options, cells) | dict(found.report)
    return replace(found, kept=cells.kept, report=about | {"seconds": steps.seconds})


def open_cells(task: Task, options: TaskOptions, reports: Path | None = None) -> OpenedCells:
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
    opened = open_dataset(options.dataset, column=options.gene_column, counts=options.counts, reports=reports)
    model = info = None
    if task.needs_model and isinstance(options, ModelOptions):
        from scfviz.model.checkpoint import checkpoint_info, load_checkpoint

        info, model = checkpoint_info(options.checkpoint), load_checkpoint(options.checkpoint)
    aligned = opened.counts if model is None else opened.align(model.genes)
    metrics = qc_metrics(opened.counts)
    kept = choose_cells(opened.counts, aligned, options.filters, metrics)
    part = aligned.subset(kept) if options.filters else aligned
    return OpenedCells(part, kept, aligned.n_obs, metrics.iloc[kept], model, info, opened.counts.subset(kept))


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
        "n_removed": cells.n_in_file - cells.aligned.n_obs,
        "counts": cells.aligned.counts_report.as_dict(),
        "genes": cells.aligned.gene_report.as_dict(),
        "checkpoint": None
        if info is None
        else {"name": info.name, "hash": info.hash, "is_trained": info.is_trained, "licence": info.licence},
        "provenance": {},
    }
