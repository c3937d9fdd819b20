"""What a task's result adds to the user's file: keys of `obs`, `obsm` and `layers`, and how it was made."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task

if TYPE_CHECKING:
    import pandas as pd

_ABOUT = ("version", "options", "provenance", "checkpoint", "genes", "n_obs", "n_removed")


def additions(task: Task, result: Result, n_obs: int) -> dict[str, dict[str, Any]]:
    """A result as additions to its file of `n_obs` cells, for `scfviz.data.write.write_h5ad_with`.

    Cells that filters removed have NaN, or no group; in layers, so have genes that were not computed. `uns` holds the
    provenance as JSON under the task's name, to be put into `uns["scfviz"]`. What the result does not hold is left out:
    it may be of an older version.
    """
    from scfviz.data.some_rows import SomeRows

    place = np.full(n_obs, -1)
    place[result.kept] = np.arange(len(result.kept))
    told = {task.name: json.dumps(about(task, result))}
    parts: dict[str, dict[str, Any]] = {"obs": {}, "obsm": {}, "layers": {}, "uns": told}
    for entry in task.written_in(result.cells):
        if not entry.key:
            continue
        if entry.part == "obs" and entry.name in result.cells:
            parts["obs"][entry.key] = spread(result.cells[entry.name], place).array
        elif entry.part == "obsm" and entry.name in result.arrays:
            parts["obsm"][entry.key] = SomeRows(result.arrays[entry.name], place)
        elif entry.part == "layers" and entry.name in result.arrays and entry.name in result.tables:
            columns = np.full(result.report["n_vars"], -1)
            column = result.tables[entry.name]["column"].to_numpy()
            columns[column[column >= 0]] = np.flatnonzero(column >= 0)
            parts["layers"][entry.key] = SomeRows(result.arrays[entry.name], place, columns)
    return parts


def about(task: Task, result: Result) -> dict[str, Any]:
    """How a result was made, as it is kept in files."""
    given = result.report if isinstance(result.report, Mapping) else {}
    keys = {
        entry.key: {"title": entry.title, "unit": entry.unit} for entry in task.written_in(result.cells) if entry.key
    }
    found = {name: given.get(name) for name in _ABOUT}
    # paths say nothing elsewhere, and may say too much
    options = {name: value for name, value in (found["options"] or {}).items() if name not in _paths(task)}
    extra = {"baseline": task.baseline, "keys": keys, "notes": list(result.notes), "dataset": given.get("dataset_id")}
    return found | {"options": options} | extra


def spread(column: "pd.Series", place: np.ndarray, index: "pd.Index | None" = None) -> "pd.Series":
    """A column of the kept cells on all cells of the file, missing for the others."""
    import pandas as pd

    column = column.astype("category") if column.dtype == object or column.dtype == "string" else column
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = np.append(column.cat.codes.to_numpy(), -1)[place]
        return pd.Series(pd.Categorical.from_codes(codes, dtype=column.dtype), index=index)
    return pd.Series(np.append(column.to_numpy(dtype=np.float64), np.nan)[place], index=index)


def _paths(task: Task) -> set[str]:
    from scfviz.tasks.spec import fields_of

    return {field.name for field in fields_of(task.options_type, "dataset", "checkpoint")}
