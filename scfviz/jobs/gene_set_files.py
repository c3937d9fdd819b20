"""Files of gene sets (GMT) that people gave: kept for who gave them, and for others where they are shared.

A file lies in a folder that is named after its content. Beside it lies who gave it, as a hash, and which of them share
it; the file goes when the last of them removes it.
"""

import hashlib
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scfviz.analysis.gene_sets import read_gmt
from scfviz.errors import AccessError, OptionError, ScfvizError
from scfviz.jobs import access
from scfviz.jobs.access import ABOUT, owner_of
from scfviz.jobs.workspace import Workspace, read_json, write_json

MAX_MEGABYTES = 50
_REF = re.compile(r"[0-9a-f]{32}/[^/.][^/]*")


@dataclass(frozen=True)
class GivenFile:
    """A file of gene sets: its reference, number of sets, size in bytes, and whether this visitor shares it."""

    ref: str
    n_sets: int
    n_bytes: int
    is_shared: bool

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
    about = _about(folder)
    owners = about["owners"] | {owner_of(visitor): time.time()}
    write_json(folder / ABOUT, about | {"n_sets": n_sets, "owners": owners})
    return f"{folder.name}/{path.name}"


def list_files(visitor: str) -> list[GivenFile]:
    """The files that a visitor gave, the newest first."""
    found = []
    for folder in _root().glob("*/"):
        about, files = _about(folder), _files(folder)
        given_at = about["owners"].get(owner_of(visitor))
        if given_at is not None and files:
            n_bytes, is_shared = files[0].stat().st_size, owner_of(visitor) in about["shared_by"]
            file = GivenFile(f"{folder.name}/{files[0].name}", about["n_sets"], n_bytes, is_shared)
            found.append((given_at, file))
    return [file for _, file in sorted(found, key=lambda entry: entry[0], reverse=True)]


def share(ref: str, visitor: str, is_shared: bool) -> None:
    """Let everyone who has the link read a file, or its owner alone; AccessError as of `remove`."""
    folder, about = _own(ref, visitor)
    others = [owner for owner in about["shared_by"] if owner != owner_of(visitor)]
    write_json(folder / ABOUT, about | {"shared_by": [*others, *([owner_of(visitor)] if is_shared else [])]})


def remove(ref: str, visitor: str) -> None:
    """Take a file off the list of a visitor; it is deleted when nobody else gave it, too.

    Raises
    ------
    AccessError
        It was given by somebody else.
    """
    folder, about = _own(ref, visitor)
    owners = {owner: when for owner, when in about["owners"].items() if owner != owner_of(visitor)}
    shared_by = [owner for owner in about["shared_by"] if owner in owners]
    if owners:
        write_json(folder / ABOUT, about | {"owners": owners, "shared_by": shared_by})
    else:
        shutil.rmtree(folder, ignore_errors=True)


def path_of(ref: str, visitor: str) -> Path:
    """Where a file lies, for a visitor.

    Raises
    ------
    OptionError
        It is not there; AccessError: it is somebody else's and not shared.
    """
    path = _find(ref)
    if not access.may_read(Workspace(), path, owner_of(visitor)):
        raise AccessError(
            f"The file of gene sets '{name_of(ref)}' is not shared.",
            "",
            "Ask its owner to share it, or add the GMT file yourself.",
        )
    return path


def _find(ref: str) -> Path:
    path = (_root() / ref).resolve()
    if not _REF.fullmatch(ref) or not path.is_relative_to(_root()) or not path.is_file():
        raise OptionError("This file of gene sets is not there.", "", "Add the GMT file again.")
    return path


def _own(ref: str, visitor: str) -> tuple[Path, dict[str, Any]]:
    folder = _find(ref).parent
    about = _about(folder)
    if owner_of(visitor) not in about["owners"]:
        raise AccessError("These gene sets were given by another visitor.", "Only they can share or remove them.")
    return folder, about


def _root() -> Path:
    return Workspace().root / "gene_sets"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _about(folder: Path) -> dict[str, Any]:
    """How many sets a file has, who gave it when, and who shares it; a file without this note is nobody's."""
    try:
        about = read_json(folder / ABOUT)
    except (OSError, ValueError):
        about = None
    is_whole = isinstance(about, dict) and isinstance(about.get("owners"), dict)
    if not is_whole or not isinstance(about.get("n_sets"), int):
        return {"n_sets": 0, "owners": {}, "shared_by": []}
    return about | {"shared_by": list(about.get("shared_by") or ())}
