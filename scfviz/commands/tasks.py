"""A command for each task: its arguments follow from the task's options."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.inputs import add_cluster, refuse_no_cluster
from scfviz.commands.run import LOCK, PROGRESS, FileRun
from scfviz.commands.shared import Progress, add_json, add_threads, add_unfinished, show_report
from scfviz.errors import OptionError, ScfvizError
from scfviz.tasks.registry import TASKS
from scfviz.tasks.spec import FILTERS, Task, fields_of, load, title_of, value_type

if TYPE_CHECKING:
    from scfviz.tasks.result import Result
    from scfviz.tasks.steps import Steps


def add_task_commands(commands: Any) -> None:
    """Register the command of each task that has one."""
    for task in TASKS.values():
        if task.add_command is not None:
            load(task.add_command)(commands)
        elif task.command is not None:
            add_command(commands, task)


def add_command(commands: Any, task: Task) -> argparse.ArgumentParser:
    """Register the command that follows from a task's options, and return its parser for what else it takes."""
    keys = ", ".join(f"{entry.part}['{entry.key}']" for entry in task.writes if entry.key)
    parser = commands.add_parser(
        task.command,
        help=f"{task.verb[:1].lower()}{task.verb[1:]}; write the file with what was found",
        description=f"{task.question} Writes {keys}. Beside it stands: {task.baseline}.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="h5ad, zarr, 10x h5 or mtx, loom, csv, tsv")
    parser.add_argument("out", type=Path, metavar="OUT.h5ad", help="a new file: yours with the results added")
    add_options(parser, task)
    parser.set_defaults(run=lambda args: run_command(args, task))
    return parser


def add_options(parser: argparse.ArgumentParser, task: Task) -> None:
    """Add an argument for each of a task's options, and those that every command of a task has."""
    for field in fields_of(task.options_type):
        if field.name != "dataset":
            _add_option(parser, task, field)
    add_cluster(parser, is_shown=task.on_cluster)
    add_json(parser)
    add_threads(parser)
    add_unfinished(parser)


def _add_option(parser: argparse.ArgumentParser, task: Task, field: dataclasses.Field) -> None:
    about = field.metadata
    if about["kind"] == "filters":
        for name, (text, unit) in FILTERS.items():
            parser.add_argument(_flag(name), type=float, metavar="N", help=_help(f"{text.lower()}, in {unit}"))
        return
    kind, default = value_type(task.options_type, field), field.default
    unit = f", in {about['unit']}" if about["unit"] else ""
    start = "" if default in (None, dataclasses.MISSING, False, "") else f" (default {default})"
    given: dict[str, Any] = {"help": _help(f"{about['help'] or title_of(field).lower()}{unit}{start}")}
    if kind is bool:
        parser.add_argument(_flag(field.name), action=argparse.BooleanOptionalAction, default=default, **given)
        return
    if default is dataclasses.MISSING:
        given["required"] = True
    else:
        given["default"] = default
    if about["choices"]:
        given["choices"] = about["choices"]
    else:
        given["metavar"] = {"dataset": "FILE", "checkpoint": "DIR", "column": "COLUMN"}.get(about["kind"], "VALUE")
    if kind is tuple:
        parser.add_argument(_flag(field.name), nargs="+", **given)
    else:
        parser.add_argument(_flag(field.name), type=kind, **given)


def _help(text: str) -> str:
    """A text as argparse prints it: there, % begins a placeholder."""
    return text.replace("%", "%%")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def run_command(
    args: argparse.Namespace, task: Task, caveats: "Callable[[Result], list[str]]" = lambda result: []
) -> int:
    """Run a task over a file and write the file with its result; `caveats` are shown below what is noted."""
    from scfviz.tasks.run import compute

    with TaskRun(args, task) as run:
        result = compute(task, run.options, run.steps())
        return run.show_result(result, run.write_result(result), caveats(result))


class TaskRun(FileRun):
    """A run of a task over a file: its options, what is done so far, the file at the end."""

    def __init__(self, args: argparse.Namespace, task: Task):
        super().__init__(args)
        self.task, self._progress, self._stage = task, Progress("%"), ""

    def __exit__(self, kind: type[BaseException] | None = None, *rest: object) -> None:
        """Of a refusal that came before anything was kept, nothing stays either."""
        is_refused = kind is not None and issubclass(kind, ScfvizError) and self.partial.is_dir()
        if is_refused and {path.name for path in self.partial.iterdir()} <= {PROGRESS, LOCK}:
            self.forget()
        super().__exit__()

    def _open(self) -> None:
        from scfviz.tasks.spec import identity_of, read_options

        if not self.task.on_cluster and self.args.cluster is not None:
            found = f"--cluster is given for the task '{self.task.title}'."
            raise OptionError(found, self.task.why_one_machine, "Leave it out.")
        refuse_no_cluster(self.args)
        self.options = read_options(self.task.options_type, _given(self.args, self.task))
        identity = identity_of(self.task, self.options)
        self.content, self._identity = identity["dataset"], json.dumps(identity, default=list)
        path = self.partial / PROGRESS
        if path.exists() and json.loads(path.read_text(encoding="utf-8")).get("identity") != self._identity:
            raise OptionError(
                f"'{self.partial}' holds a run with other options or another file.",
                "A run can only go on with the same ones.",
                "Use --start-over instead of --resume.",
            )
        self.args.when_stopped = f"What is done is kept in '{self.partial}'; add --resume to the command to go on."

    def steps(self) -> "Steps":
        """The stages of the run."""
        from scfviz.tasks.steps import Steps

        return Steps(self.partial, self.note_stage, cluster=getattr(self.args, "cluster", None))

    def note_stage(self, share: float, stage: str) -> None:
        """Show how far the run is, and keep the stage for whoever finds it interrupted."""
        self._progress.share(share, stage)
        if stage != self._stage:
            self._stage = stage
            about = {"stage": stage, "identity": self._identity}
            (self.partial / PROGRESS).write_text(json.dumps(about), encoding="utf-8")

    def write_result(self, result: "Result") -> dict[str, Any]:
        """Write the user's file with the result and where it comes from; returns what was added."""
        from scfviz.data.read import read_dataset
        from scfviz.data.write import write_h5ad_with
        from scfviz.tasks.additions import additions

        parts = additions(self.task, result, read_dataset(self.args.file).n_obs)
        about = {"scfviz": parts.pop("uns")}
        self._check_out()
        self.renamed = write_h5ad_with(self.args.file, self.args.out, content=self.content, **parts, uns=about)
        self.forget()
        return parts | {"uns": about}

    def show_result(self, result: "Result", parts: dict[str, Any], caveats: Sequence[str] = ()) -> int:
        """Say what was written."""
        keys = [f"{part}['{key}']" for part, values in parts.items() for key in values]
        text = [f"{self.args.out}: {len(result.kept):,} cells; {', '.join(keys)}."]
        text += [f"Your file holds {old} already; ours is called {new}." for old, new in self.renamed.items()]
        notes = [*result.notes, *caveats]
        text += notes
        report = {
            "out": str(self.args.out),
            "n_obs": len(result.kept),
            "scores": dict(result.scores),
            "notes": notes,
            "renamed": self.renamed,
            "provenance": json.loads(parts["uns"]["scfviz"][self.task.name]),
        }
        if result.report["checkpoint"] is not None:
            report["is_trained"] = result.report["checkpoint"]["is_trained"]
            if not report["is_trained"]:
                text.append("Attention: the model is untrained. These numbers say nothing about the cells.")
        show_report(self.args, text, report)
        return 0


def _given(args: argparse.Namespace, task: Task) -> dict[str, Any]:
    """What was asked for, as plain values."""
    given: dict[str, Any] = {"dataset": str(args.file)}
    for field in fields_of(task.options_type):
        if field.metadata["kind"] == "filters":
            given[field.name] = {name: getattr(args, name) for name in FILTERS}
        elif field.name != "dataset":
            given[field.name] = getattr(args, field.name)
    return given
