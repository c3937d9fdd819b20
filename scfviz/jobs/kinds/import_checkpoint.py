"""The job `import_checkpoint`: the official `models.ckpt` becomes checkpoint folders."""

from pathlib import Path
from typing import Any

from scfviz.errors import CheckpointError, OptionError, Stopped
from scfviz.jobs.options import Report, ShouldStop, fill_options, named_data
from scfviz.jobs.workspace import Workspace, write_json

DEFAULTS: dict[str, Any] = {"file": None, "out": None}

TITLE = "Import of weights"


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options: `file` is the downloaded file, `out` the folder that the checkpoint folders go into."""
    options = fill_options(options, DEFAULTS)
    if not options["file"] or not options["out"]:
        raise OptionError("No file or no folder was given.", "An import needs both.", "Choose models.ckpt.")
    file = Path(options["file"]).expanduser().resolve()
    if not file.is_file():
        raise CheckpointError(f"There is no file '{file.name}'.", "", "Choose models.ckpt.")
    options = {"file": str(file), "out": str(Path(options["out"]).expanduser().resolve())}
    about = file.stat()
    return options, options | {"size": about.st_size, "mtime_ns": about.st_mtime_ns}


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The official file; the checkpoints made of it are everyone's."""
    return named_data(options, "file")


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Convert; the result's `report.json` names the folders."""
    report(0.02, "Reading the official file")
    from scfviz.model.official import import_official

    if should_stop():
        raise Stopped
    report(0.1, "Converting the weights")
    folders = import_official(options["file"], options["out"])
    write_json(folder / "result.partial" / "report.json", {"folders": [str(path) for path in folders]})
