"""The job `subset`: selected cells become a dataset of their own in the workspace, with their lineage.

The new file holds everything that the old one says about these cells, user-defined labels as columns, and the results
of the parent under names that tell them from results on these cells alone (`scfviz.tasks.names.inherited_key`). It lies
in `<workspace>/datasets/subsets/<job>/NAME.h5ad`. Result file: `report.json` (`ref`: how the app calls the file,
`n_cells` of `n_obs`, `size` in bytes).
"""

import shutil
from pathlib import Path
from typing import Any

from scfviz.errors import OptionError
from scfviz.jobs.kinds import export
from scfviz.jobs.options import Report, ShouldStop
from scfviz.jobs.workspace import Workspace, read_json, write_json

TITLE = "New dataset from a selection"


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options of a subset: those of `scfviz.jobs.kinds.export`, and `rule` has to be there."""
    if not options.get("rule"):
        raise OptionError("Nothing is selected.", "A new dataset needs cells.", "Select cells first.")
    return export.prepare(options, workspace)


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """Those of an export."""
    return export.datasets(options)


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Write the file; see the module's text for the result files."""
    from scfviz.jobs.access import ABOUT, datasets_in

    workspace = Workspace(folder.parents[1])
    place = workspace.subsets / folder.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    write_json(place / ABOUT, {"datasets": datasets_in(workspace, read_json(folder / "job.json") or {})})
    path = place / f"{options['name']}.h5ad"
    about = export.write_dataset(folder, options, path, report, should_stop, inherit=True)
    write_json(folder / "result.partial" / "report.json", about | {"ref": f"subset:{folder.name}/{path.name}"})
