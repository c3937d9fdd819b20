"""Checkpoints that the app can use: the default one, those imported into the workspace, and adapted ones."""

from pathlib import Path
from typing import TYPE_CHECKING

from scfviz.errors import CheckpointError
from scfviz.jobs import Workspace
from scfviz.jobs.options import ADAPTED as RESULT
from scfviz.ui.frame import job_panel

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.model.checkpoint import CheckpointInfo

DEFAULT, ADAPTED = "default", "adapted/"


def folder_of_all() -> Path:
    """Where imported checkpoints live, one folder per import."""
    folder = Workspace().root / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def references() -> list[str]:
    """All checkpoints by reference: `default`, the imported ones as paths below `folder_of_all`, and `adapted/JOB`."""
    root = folder_of_all()
    imported = sorted(path.parent.relative_to(root).as_posix() for path in root.glob("*/*/config.json"))
    jobs = [job for job in job_panel.visible_jobs() if job.kind == "adapt" and job.state == "done"]
    adapted = [f"{ADAPTED}{job.id}" for job in jobs]
    return [DEFAULT, *imported, *adapted]


def title_of(ref: str) -> str:
    """What a checkpoint is called in a list."""
    if ref == DEFAULT:
        return "the one that came with scfviz"
    return info_of(ref).name if ref.startswith(ADAPTED) else ref


def folder_of(ref: str) -> Path:
    """The checkpoint folder behind a reference.

    Raises
    ------
    CheckpointError
        There is no such checkpoint here.
    """
    if ref == DEFAULT:
        from scfviz.model.checkpoint import default_checkpoint

        return default_checkpoint()
    if ref not in references():
        raise CheckpointError(
            f"There is no checkpoint '{ref[:80]}' here.",
            "An imported or adapted checkpoint is needed.",
            "Choose one on the Model page.",
        )
    if ref.startswith(ADAPTED):
        return Workspace().jobs.joinpath(ref.removeprefix(ADAPTED), *RESULT)
    return folder_of_all() / ref


def info_of(ref: str) -> "CheckpointInfo":
    """What the checkpoint says about itself."""
    from scfviz.model.checkpoint import checkpoint_info

    return checkpoint_info(folder_of(ref))


def training_log(folder: Path) -> "pd.DataFrame | None":
    """The pretraining curve of a checkpoint, a data frame with `step` and other columns of numbers, or `None`.

    A run that goes on keeps its newest log beside the checkpoint folder; a checkpoint by itself has it inside.
    """
    import pandas as pd

    path = next((p for p in (folder.parent / "log.csv", folder / "log.csv") if p.is_file()), None)
    if path is None:
        return None
    try:
        log = pd.read_csv(path).select_dtypes("number")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"'{path.name}' of the checkpoint cannot be read ({error}).",
            "It must be a table with a column 'step'.",
            "Copy the whole checkpoint folder again.",
        ) from error
    return log.sort_values("step") if "step" in log and len(log) else None
