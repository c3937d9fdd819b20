"""The kind of job that runs any registered task; the job's kind is the task's name.

Result files: see `scfviz.tasks.result`.
"""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from scfviz.jobs.memory import Need, refuse_what_cannot_fit
from scfviz.jobs.options import Report, ShouldStop, checkpoint_job, named_data
from scfviz.jobs.workspace import Workspace
from scfviz.tasks.spec import Task, fields_of, identity_of, load, read_options


class TaskKind:
    """A task as a kind of job."""

    def __init__(self, task: Task):
        self.task = task

    def prepare(self, options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check the options of the task; see the fields of its options class."""
        asked = read_options(self.task.options_type, options)
        return asdict(asked), identity_of(self.task, asked)

    def datasets(self, options: dict[str, Any]) -> tuple[str, ...]:
        """All datasets among the options, and the job that made the checkpoint."""
        names = (field.name for field in fields_of(self.task.options_type, "dataset"))
        return (*named_data(options, *names), *checkpoint_job(options))

    def memory(self, options: dict[str, Any]) -> Need | None:
        """What the task's own estimate says."""
        return None if self.task.memory is None else load(self.task.memory)(options)

    def run(self, folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
        """Compute; the worker looks whether datasets and checkpoint are still what they were, before and after."""
        from scfviz.jobs.embeddings import find_embedding
        from scfviz.tasks.result import write_result
        from scfviz.tasks.run import compute
        from scfviz.tasks.steps import Steps

        asked = read_options(self.task.options_type, options)
        workspace = Workspace(folder.parents[1])
        result = compute(
            self.task,
            asked,
            Steps(
                folder / "work",
                report,
                should_stop,
                partial(find_embedding, folder),
                os.environ.get("SCFVIZ_CLUSTER") or None,
            ),
            lambda n_obs: refuse_what_cannot_fit(self.memory(options), n_obs),
            workspace.checks,
        )
        report(0.98, "Writing the result")
        write_result(folder / "result.partial", result)
