"""The job `markers`: genes that set each group of a column apart from all other cells.

Result files: `table.parquet` (`group`, then the columns of `Comparison.table`; every measured gene of every group, the
highest scores first); `report.json` (method, cells of each group, notes, seconds).
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import OptionError
from scfviz.jobs.kinds import differential_expression
from scfviz.jobs.memory import Need, refuse_what_cannot_fit
from scfviz.jobs.options import Report, ShouldStop, check_job_ids, fill_options, named_data
from scfviz.jobs.workspace import Workspace, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Markers of groups"
VERSION = 2  # part of the identity: raise it when the same options give other results
METHODS = ("wilcoxon", "t-test")
DEFAULTS: dict[str, Any] = {
    "dataset": None,
    "column": None,
    "method": "wilcoxon",
    "embed_job": None,
    "task_jobs": [],
    "gene_column": None,
    "gene_store": None,
}


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options: `dataset` is a path, `column` holds the groups: of the file, of labels, or of a result.

    `embed_job` and `task_jobs` are ids of finished results that bring columns; cells that the first one left out take
    no part. `gene_store` is the folder of the counts by genes, if there is one: it only makes the job faster.
    """
    from scfviz.data.source import dataset_id
    from scfviz.jobs.access import content_key
    from scfviz.jobs.labels import labels_used

    options = fill_options(options, DEFAULTS)
    if not options["dataset"] or not options["column"]:
        raise OptionError("No dataset or no groups were given.", "Markers need both.", "Choose a column of groups.")
    if options["method"] not in METHODS:
        raise OptionError(f"There is no test '{options['method']}'.", f"There are: {', '.join(METHODS)}.")
    check_job_ids(options)
    options["dataset"] = str(Path(options["dataset"]).expanduser().resolve())
    identity = {name: value for name, value in options.items() if name != "gene_store"}
    labels = labels_used(workspace, content_key(workspace, options["dataset"]), [_rule(options)])
    about = {"dataset": dataset_id(options["dataset"]), "version": VERSION}
    return options, identity | about | ({"labels": labels} if labels else {})


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset, its counts by genes, and the results that bring columns."""
    return named_data(options, "dataset", "gene_store", jobs=("embed_job", "task_jobs"))


def memory(options: dict[str, Any]) -> Need:
    """What a comparison takes, which reads the same pieces."""
    return differential_expression.memory(options)


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Compute; see the module's text for the result files."""
    from scfviz.analysis.groups import Grouping, group_cells
    from scfviz.analysis.markers import find_markers
    from scfviz.jobs.access import content_key
    from scfviz.jobs.context import is_stored, open_expression, open_file, read_context, result_folders
    from scfviz.jobs.labels import refuse_changed_labels

    start = time.monotonic()
    report(0.0, "Reading and checking the dataset")
    workspace = Workspace(folder.parents[1])
    identity = (read_json(folder / "job.json") or {})["identity"]
    opened = open_file(options["dataset"], workspace, options["gene_column"])
    expression = open_expression(opened.counts, options["gene_store"])
    refuse_what_cannot_fit(memory(options | {"gene_store": is_stored(expression)}), opened.n_obs)
    results = result_folders(workspace, [options["embed_job"], *options["task_jobs"]])
    context, takes_part = read_context(opened.adata, lambda: expression, results, workspace=workspace)
    key = content_key(workspace, options["dataset"])
    refuse_changed_labels(workspace, key, [_rule(options)], identity.get("labels", {}))
    names = [str(name) for name in context.obs.columns]
    if options["column"] not in names:
        raise OptionError(
            f"There is no column '{options['column']}'.", f"The columns are {', '.join(names[:10]) or 'none'}."
        )
    column = context.obs.iloc[:, names.index(options["column"])]
    found = group_cells(_as_groups(column))
    is_known = takes_part & column.notna().to_numpy()
    markers = find_markers(
        expression,
        Grouping(found.names, np.where(is_known, found.codes, -1).astype(np.int32)),
        method=options["method"],
        progress=lambda share: report(0.05 + 0.9 * share, "Comparing each group with all other cells"),
        should_stop=should_stop,
    )
    result = folder / "result.partial"
    markers.as_table().to_parquet(result / "table.parquet")
    about = {"method": markers.method, "tie_correct": markers.tie_correct, "n_cells": dict(markers.n_cells)}
    about |= {"column": options["column"], "notes": list(markers.notes)}
    write_json(result / "report.json", about | {"seconds": round(time.monotonic() - start, 3)})


def _rule(options: dict[str, Any]):
    """A rule that speaks of the column, for what depends on user-defined labels."""
    from scfviz.analysis.selection.rules import Categories

    return Categories(str(options["column"]), (None,))


def _as_groups(column: "pd.Series") -> "pd.Series":
    """Whole numbers that were stored with a decimal point lose it."""
    known = column.dropna()
    if column.dtype.kind == "f" and len(known) and (known == np.rint(known)).all():
        return column.astype("Int64")
    return column
