"""The job `check`: every value of a large dataset is read and judged once, outside of the pages' process.

What was found is kept in the workspace by the content of the file, see `scfviz.data.open.open_dataset`; whoever opens
the file then need not read it. Result file: `report.json` (`n_obs`, `n_vars`).
"""

from pathlib import Path
from typing import Any

from scfviz.errors import OptionError, Stopped
from scfviz.jobs.memory import Need
from scfviz.jobs.options import Report, ShouldStop, fill_options, named_data
from scfviz.jobs.workspace import Workspace, write_json

DEFAULTS: dict[str, Any] = {"dataset": None, "gene_column": None}
FIXED_BYTES, BYTES_PER_CELL = 1.0e9, 400.0  # measured by benchmarks/open_large.py

TITLE = "Reading and checking a dataset"


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options: `dataset` is a path, `gene_column` the column with the names of genes, if it is chosen."""
    from scfviz.data.open import REPORT_VERSION
    from scfviz.data.source import dataset_id

    options = fill_options(options, DEFAULTS)
    if not options["dataset"]:
        raise OptionError("No dataset was given.", "One is checked.", "Choose a dataset.")
    options["dataset"] = str(Path(options["dataset"]).expanduser().resolve())
    return options, options | {"dataset": dataset_id(options["dataset"]), "version": REPORT_VERSION}


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset."""
    return named_data(options, "dataset")


def memory(options: dict[str, Any]) -> Need:
    """One block of cells, the table of cells, and some numbers for each."""
    return Need(FIXED_BYTES, BYTES_PER_CELL, "A block of counts and the table of cells")


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Read and judge all values; an interrupted check starts again."""
    from scfviz.jobs.context import open_file

    def watch(share: float) -> None:
        if should_stop():
            raise Stopped
        report(0.02 + 0.97 * share, "Checking all values")

    report(0.0, "Opening the file")
    opened = open_file(options["dataset"], Workspace(folder.parents[1]), options["gene_column"], watch=watch)
    about = {"n_obs": opened.n_obs, "n_vars": opened.counts_report.n_vars}
    write_json(folder / "result.partial" / "report.json", about)
