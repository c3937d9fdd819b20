"""The job `gene_store`: a dataset's counts ordered by genes, made once, so that a gene is read in a blink.

Result: the folder `store`, see `scfviz.data.gene_store`.
"""

from pathlib import Path
from typing import Any

from scfviz.errors import OptionError
from scfviz.jobs.memory import Need, refuse_what_cannot_fit
from scfviz.jobs.options import Report, ShouldStop, fill_options, named_data
from scfviz.jobs.workspace import Workspace

DEFAULTS: dict[str, Any] = {"dataset": None, "gene_column": None}
STORE = "store"
FIXED_BYTES, BYTES_PER_CELL = 1.1e9, 400.0  # measured by benchmarks/jobs.py --memory

TITLE = "Genes in order, for quick access"


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options: `dataset` is a path, `gene_column` the column with the names of genes, if it is chosen."""
    from scfviz.data.gene_store import VERSION
    from scfviz.data.source import dataset_id

    options = fill_options(options, DEFAULTS)
    if not options["dataset"]:
        raise OptionError("No dataset was given.", "Counts are read from one.", "Choose a dataset.")
    options["dataset"] = str(Path(options["dataset"]).expanduser().resolve())
    return options, options | {"dataset": dataset_id(options["dataset"]), "version": VERSION}


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset."""
    return named_data(options, "dataset")


def memory(options: dict[str, Any]) -> Need:
    """One block of cells and the table of cells; the counts go to disk as they come."""
    return Need(FIXED_BYTES, BYTES_PER_CELL, "A block of counts and the table of cells")


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Build the store; an interrupted build starts again."""
    from scfviz.data.gene_store import build_gene_store
    from scfviz.jobs.context import open_file

    report(0.0, "Reading and checking the dataset")
    counts = open_file(options["dataset"], Workspace(folder.parents[1]), options["gene_column"]).counts
    refuse_what_cannot_fit(memory(options), counts.n_obs)
    build_gene_store(
        counts,
        folder / "result.partial" / STORE,
        progress=lambda share: report(0.02 + 0.97 * share, "Ordering the counts by genes"),
        should_stop=should_stop,
    )
