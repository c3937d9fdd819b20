"""What kinds of jobs share: their options, the data and jobs that these name, and what `run` is given."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scfviz.errors import OptionError

JOB_ID = re.compile(r"[0-9a-f]{16}")
ADAPTED = ("result", "checkpoint")  # where the job `adapt` leaves its checkpoint, in its folder
Report = Callable[[float, str], None]
ShouldStop = Callable[[], bool]


def named_data(options: dict[str, Any], *names: str, jobs: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What `datasets` of a kind returns: the options called `names` hold paths, those called `jobs` ids of jobs."""

    def given(name: str) -> list[str]:
        value = options.get(name) or []
        return [str(part) for part in (value if isinstance(value, list | tuple) else [value])]

    paths = [path for name in names for path in given(name)]
    return (*paths, *(f"job:{job_id}" for name in jobs for job_id in given(name)))


def checkpoint_job(options: dict[str, Any]) -> tuple[str, ...]:
    """The job that made the checkpoint, as `datasets` of a kind names it; other checkpoints are everyone's.

    What was learned from somebody's cells is as private as they are.
    """
    parts = Path(options.get("checkpoint") or "").parts
    if len(parts) > 3 and parts[-4] == "jobs" and JOB_ID.fullmatch(parts[-3]) and parts[-2:] == ADAPTED:
        return (f"job:{parts[-3]}",)
    return ()


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


def check_job_ids(options: dict[str, Any]) -> None:
    """Refuse ids of finished tasks, in `embed_job` and `task_jobs`, that are none.

    Raises
    ------
    OptionError
        One is no id.
    """
    for job_id in [options["embed_job"], *options["task_jobs"]]:
        if job_id is not None and not JOB_ID.fullmatch(str(job_id)):
            raise OptionError(f"'{str(job_id)[:40]}' is no result of a task.", "The id of a finished one is needed.")
