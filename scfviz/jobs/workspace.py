"""The workspace: the one folder where uploads, downloads, jobs and their results live."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

AREAS = ("datasets", "uploads", "gallery", "jobs")


class Workspace:
    """One folder with everything that scfviz keeps between two visits.

    Parameters
    ----------
    root
        The folder. `None` takes the environment variable `SCFVIZ_WORKSPACE`, or `~/.scfviz`. Folders are made
        when they are first asked for, readable by their owner alone.
    """

    def __init__(self, root: Path | str | None = None):
        chosen = root or os.environ.get("SCFVIZ_WORKSPACE") or Path.home() / ".scfviz"
        self.root = Path(chosen).expanduser().resolve()

    def _area(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    @property
    def datasets(self) -> Path:
        """Files that scfviz wrote itself: the demos, subsets."""
        return self._area("datasets")

    @property
    def subsets(self) -> Path:
        """Datasets that were made of selected cells: one folder for each."""
        folder = self.datasets / "subsets"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    @property
    def uploads(self) -> Path:
        """Files that came through the browser."""
        return self._area("uploads")

    @property
    def gallery(self) -> Path:
        """Public datasets that were downloaded on demand."""
        return self._area("gallery")

    @property
    def jobs(self) -> Path:
        """One folder per computation, with its result."""
        return self._area("jobs")

    @property
    def checks(self) -> Path:
        """What the checks of files found, by content."""
        return self._area("checks")

    def sizes(self) -> dict[str, int]:
        """Bytes on disk of each area of the workspace, and of every other folder in it."""
        others = sorted(path.name for path in self.root.glob("*/") if path.is_dir() and path.name not in AREAS)
        return {name: folder_size(self.root / name) for name in (*AREAS, *others)}


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder; a file that disappears meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, so that a reader sees the old text or the new one, never half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, allow_nan=False)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
