"""The kinds of jobs, by name.

A kind is a module with three functions:

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

Modules of kinds import nothing heavy at the top, because `prepare` runs in the page's process.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from scfviz.errors import OptionError
from scfviz.jobs.workspace import Workspace

KINDS = {
    "embed": "scfviz.jobs.kinds.embed",
    "import_checkpoint": "scfviz.jobs.kinds.import_checkpoint",
    "differential_expression": "scfviz.jobs.kinds.differential_expression",
    "gene_store": "scfviz.jobs.kinds.gene_store",
    "set_score": "scfviz.jobs.kinds.set_score",
    "enrichment": "scfviz.jobs.kinds.enrichment",
    "subset": "scfviz.jobs.kinds.subset",
    "export": "scfviz.jobs.kinds.export",
}

# What may take many minutes has a worker of its own, so that what a click asks for does not wait behind it.
LONG = {"embed"}
LANES = ("long", "quick")

Report = Callable[[float, str], None]
ShouldStop = Callable[[], bool]


class Kind(Protocol):
    """What the module of a kind offers."""

    def prepare(self, options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]: ...

    def datasets(self, options: dict[str, Any]) -> tuple[str, ...]: ...

    def run(self, folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None: ...


def get_kind(name: str) -> Kind:
    """The kind called `name`.

    Raises
    ------
    OptionError
        There is none.
    """
    if name not in KINDS:
        raise OptionError(
            f"'{name}' is no kind of computation.", f"There are: {', '.join(KINDS)}.", "Choose one of them."
        )
    return cast(Kind, importlib.import_module(KINDS[name]))


def named_data(options: dict[str, Any], *names: str, jobs: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What `datasets` of a kind returns: the options called `names` hold paths, those called `jobs` ids of jobs."""
    paths = [str(options[name]) for name in names if options.get(name)]
    return (*paths, *(f"job:{options[name]}" for name in jobs if options.get(name)))


def lane_of(kind: str) -> str:
    """Which worker computes a kind: "long" or "quick"."""
    return "long" if kind in LONG else "quick"


def fill_options(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Options with their defaults; a name that isn't known is refused, so that a misspelt option can't pass unseen."""
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise OptionError(
            f"There is no option {', '.join(unknown)}.",
            f"There are: {', '.join(defaults)}.",
            "Correct the name.",
        )
    return defaults | given
