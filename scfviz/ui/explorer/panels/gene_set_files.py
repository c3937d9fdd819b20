"""Files of gene sets (GMT) that people gave: kept in the workspace, listed for and removed by who gave them.

A file lies in a folder that is named after its content, so that who was sent its reference can read it. Beside it lies
who gave it, as a hash; the file goes when the last of them removes it.
"""

import hashlib
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scfviz.analysis.gene_sets import read_gmt
from scfviz.errors import OptionError, ScfvizError
from scfviz.jobs import Workspace
from scfviz.jobs.access import owner_of
from scfviz.jobs.workspace import read_json, write_json

MAX_MEGABYTES = 50
_ABOUT = ".about.json"
_REF = re.compile(r"[0-9a-f]{32}/[^/.][^/]*")  # made from the content: who can name it has it, or was sent the address


@dataclass(frozen=True)
class GivenFile:
    """A file of gene sets: its reference, number of sets, size in bytes."""

    ref: str
    n_sets: int
    n_bytes: int

    @property
    def name(self) -> str:
        """What the file is called."""
        return name_of(self.ref)


def name_of(ref: str) -> str:
    """What a file is called, from its reference."""
    return ref.partition("/")[2]


def save(content: bytes, name: str, visitor: str) -> str:
    """Keep a file that a visitor gives, and return its reference.

    Raises
    ------
    DatasetError, GeneError, OptionError
        It holds no gene sets, or is too large; nothing is kept then.
    """
    if len(content) > MAX_MEGABYTES * 2**20:
        raise OptionError(
            f"The file has {len(content) / 2**20:.0f} MB.", f"At most {MAX_MEGABYTES} MB are read.", "Pack it (gzip)."
        )
    folder = _root() / hashlib.sha256(content).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    clean = re.sub(r"[^\w.\- ()+]", "_", Path(name).name).strip(". ")[:120] or "sets.gmt"
    path = next(iter(_files(folder)), folder / clean)  # the same content, under the name it had before
    path.write_bytes(content)
    try:
        n_sets = len(read_gmt(path))
    except ScfvizError:
        shutil.rmtree(folder)
        raise
    owners = _about(folder)["owners"] | {owner_of(visitor): time.time()}
    write_json(folder / _ABOUT, {"n_sets": n_sets, "owners": owners})
    return f"{folder.name}/{path.name}"


def list_files(visitor: str) -> list[GivenFile]:
    """The files that a visitor gave, the newest first."""
    found = []
    for folder in _root().glob("*/"):
        about, files = _about(folder), _files(folder)
        given_at = about["owners"].get(owner_of(visitor))
        if given_at is not None and files:
            file = GivenFile(f"{folder.name}/{files[0].name}", about["n_sets"], files[0].stat().st_size)
            found.append((given_at, file))
    return [file for _, file in sorted(found, key=lambda entry: entry[0], reverse=True)]


def remove(ref: str, visitor: str) -> None:
    """Take a file off the list of a visitor; it is deleted when nobody else gave it, too."""
    folder = path_of(ref).parent
    about = _about(folder)
    if about["owners"].pop(owner_of(visitor), None) is None:
        raise OptionError("These gene sets were given by another visitor.", "Only they can remove them.")
    if about["owners"]:
        write_json(folder / _ABOUT, about)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def path_of(ref: str) -> Path:
    """Where a file lies; OptionError when it is not there."""
    path = (_root() / ref).resolve()
    if not _REF.fullmatch(ref) or not path.is_relative_to(_root()) or not path.is_file():
        raise OptionError("This file of gene sets is not there.", "", "Add the GMT file again.")
    return path


def _root() -> Path:
    return Workspace().root / "gene_sets"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _about(folder: Path) -> dict[str, Any]:
    """How many sets a file has, and who gave it when; a file without this note is nobody's."""
    try:
        about = read_json(folder / _ABOUT)
    except (OSError, ValueError):
        about = None
    is_whole = isinstance(about, dict) and isinstance(about.get("owners"), dict)
    return about if is_whole and isinstance(about.get("n_sets"), int) else {"n_sets": 0, "owners": {}}
