"""The kinds of jobs, by name.

A kind is a module with a `TITLE`, which is what people read, and three functions:

    prepare(options, workspace) -> (options, identity)
        Checks the options when the job is asked for, fills in what was left out and makes paths absolute.
        `identity` is what the result depends on: content instead of paths. Two requests with the same
        identity are the same job.

    datasets(options) -> paths and "job:ID"
        Everything the job reads that may be somebody's: datasets, files of gene sets, other jobs by their id. Who may
        see, stop and delete the job, and what is in use while it runs, follows from it; see `scfviz.jobs.access`.

    run(folder, options, report, should_stop) -> None
        Computes. Whatever an interrupted run should find again goes into `folder/"work"`, the result into
        `folder/"result.partial"`, which the worker renames to `result` at the end. `report(fraction, stage)`
        says how far it is, `should_stop()` whether to leave with `Stopped`.

A kind whose memory grows with the number of cells has a fourth, `memory(options)`, see `scfviz.jobs.memory`.

Every registered task is a kind by its own name, see `scfviz.jobs.kinds.task`; the others are in the table below.

Modules of kinds import nothing heavy at the top, because `prepare` runs in the page's process.
"""

import importlib
from pathlib import Path
from typing import Any, Protocol, cast

from scfviz.data.memory import Need
from scfviz.errors import OptionError
from scfviz.jobs.options import Report, ShouldStop
from scfviz.jobs.workspace import Workspace
from scfviz.tasks.registry import TASKS

KINDS = {
    "adapt": "scfviz.jobs.kinds.adapt",
    "import_checkpoint": "scfviz.jobs.kinds.import_checkpoint",
    "differential_expression": "scfviz.jobs.kinds.differential_expression",
    "markers": "scfviz.jobs.kinds.markers",
    "check": "scfviz.jobs.kinds.check",
    "gene_store": "scfviz.jobs.kinds.gene_store",
    "set_score": "scfviz.jobs.kinds.set_score",
    "enrichment": "scfviz.jobs.kinds.enrichment",
    "subset": "scfviz.jobs.kinds.subset",
    "export": "scfviz.jobs.kinds.export",
}

# What may take many minutes has a worker of its own, so that what a click asks for does not wait behind it.
LONG = {"adapt"}  # beside the tasks that say so
LANES = ("long", "quick")


class Kind(Protocol):
    """What the module of a kind offers."""

    def prepare(self, options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
        """Complete and check the options; returns them, and what identifies the job."""
        ...

    def datasets(self, options: dict[str, Any]) -> tuple[str, ...]:
        """Every dataset that the options name."""
        ...

    def run(self, folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
        """Compute and write the result files into `folder`; raises `Stopped` once `should_stop` says so."""
        ...


def get_kind(name: str) -> Kind:
    """The kind called `name`.

    Raises
    ------
    OptionError
        There is none.
    """
    if name in TASKS:
        from scfviz.jobs.kinds.task import TaskKind

        return TaskKind(TASKS[name])
    if not is_kind(name):
        raise OptionError(
            f"'{name}' is no kind of computation of this version.",
            f"There are: {', '.join([*TASKS, *KINDS])}.",
            "Ask for one of them.",
        )
    return cast(Kind, importlib.import_module(KINDS[name]))


def is_kind(name: str) -> bool:
    """Whether this version knows a kind; a workspace may hold jobs of an older one."""
    return name in TASKS or name in KINDS


def need_of(name: str, options: dict[str, Any]) -> Need | None:
    """Memory that a computation takes; `None` for a kind whose memory does not grow with the cells."""
    memory = getattr(get_kind(name), "memory", None)
    return None if memory is None else memory(options)


def title_of_kind(name: str) -> str:
    """What a kind is called on the screen; a job of an older version says so."""
    if name in TASKS:
        return TASKS[name].title
    if name not in KINDS:
        return f"{name.replace('_', ' ').capitalize()} (older version)"
    return getattr(get_kind(name), "TITLE", name)


def lane_of(kind: str) -> str:
    """Which worker computes a kind: "long" or "quick"."""
    if kind in TASKS:
        return TASKS[kind].lane
    return "long" if kind in LONG else "quick"
