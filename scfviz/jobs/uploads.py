"""Files that came through the browser: private to who brought them, unless they share them with this server.

An upload lies in a folder whose name is made from the visitor's key and the content. Beside the file lies who brought
it, as a hash of the key, and whether it is shared; see `scfviz.jobs.access` for what follows from that.
"""

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from scfviz.data.formats import shorten
from scfviz.errors import AccessError, DatasetError
from scfviz.jobs import access
from scfviz.jobs.access import ABOUT, owner_of
from scfviz.jobs.workspace import Workspace, folder_size, read_json, write_json

MAX_NAME = 120
_FOLDER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Upload:
    """A file that came through the browser: `uploaded_at` in seconds since 1970, `size` in bytes."""

    ref: str
    name: str
    size: int
    uploaded_at: float
    is_own: bool
    is_shared: bool


def save_upload(file: BinaryIO, name: str, visitor: str, *, progress: Callable[[int], object] | None = None) -> str:
    """Copy an upload into the workspace, so that the browser's copy can be let go, and return its reference.

    The same content uploaded twice by the same visitor is kept once.

    Parameters
    ----------
    visitor
        The key of who brings it, see `state.visitor`.
    progress
        Called with the number of bytes that were copied.
    """
    uploads, done = Workspace().uploads, 0
    clean = shorten(re.sub(r"[^\w.\- ()+]", "_", Path(name).name).strip(". "), MAX_NAME) or "upload"
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=uploads, prefix=".upload-", delete=False) as copy:
        while block := file.read(1 << 22):
            digest.update(block)
            copy.write(block)
            done += len(block)
            if progress is not None:
                progress(done)
    folder = uploads / hashlib.sha256(f"{visitor}\0{digest.hexdigest()}".encode()).hexdigest()[:32]
    folder.mkdir(exist_ok=True, mode=0o700)
    for other in _files(folder):  # the same content, under the name it had before
        if other.name != clean:
            other.unlink(missing_ok=True)
    shutil.move(copy.name, folder / clean)
    if read_json(folder / ABOUT) is None:
        about = {"owner": owner_of(visitor), "uploaded_at": time.time(), "is_shared": False}
        write_json(folder / ABOUT, about)
    return f"upload:{folder.name}/{clean}"


def list_uploads(visitor: str) -> list[Upload]:
    """What a visitor may see: their own uploads and those that others share, the newest first."""
    found = []
    for folder in Workspace().uploads.iterdir():
        about, files = _about(folder), _files(folder) if _FOLDER.fullmatch(folder.name) else []
        if about is None or not files:
            continue
        is_own = about["owner"] == owner_of(visitor)
        if is_own or about["is_shared"]:
            ref = f"upload:{folder.name}/{files[0].name}"
            size = folder_size(folder)
            found.append(Upload(ref, files[0].name, size, about["uploaded_at"], is_own, about["is_shared"]))
    return sorted(found, key=lambda upload: upload.uploaded_at, reverse=True)


def share_upload(ref: str, visitor: str, is_shared: bool) -> None:
    """List an upload for everyone on this server, or for its owner alone.

    Raises
    ------
    DatasetError
        It is gone; AccessError: it belongs to somebody else.
    """
    folder = _own_folder(ref, visitor)
    write_json(folder / ABOUT, (_about(folder) or {}) | {"is_shared": bool(is_shared)})


def private_uploads(path: Path, visitor: str) -> list[str]:
    """References of a visitor's own uploads, not shared, that a dataset is, or was selected in."""
    workspace = Workspace()
    read = {
        workspace.uploads / Path(name).relative_to(workspace.uploads).parts[0]
        for name in (str(path), *access.datasets_behind(workspace, path))
        if Path(name).is_relative_to(workspace.uploads)
    }
    own = [upload for upload in list_uploads(visitor) if upload.is_own and not upload.is_shared]
    return [upload.ref for upload in own if (workspace.uploads / upload.ref.removeprefix("upload:")).parent in read]


def remove_upload(ref: str, visitor: str) -> None:
    """Delete an upload and what was kept of its check; DatasetError as in `share_upload`."""
    from scfviz.data.open import forget_reports

    folder = _own_folder(ref, visitor)
    forget_reports(Workspace().checks, folder)
    doomed = folder.with_name(f".removed-{folder.name}-{time.time_ns()}")
    folder.rename(doomed)  # one step: nobody opens half a folder
    shutil.rmtree(doomed, ignore_errors=True)


def _own_folder(ref: str, visitor: str) -> Path:
    kind, _, rest = ref.partition(":")
    name = rest.partition("/")[0]
    folder = Workspace().uploads / name
    about = _about(folder) if kind == "upload" and _FOLDER.fullmatch(name) else None
    if about is None:
        raise DatasetError("This upload is no longer there.", "", "Reload the page.")
    if about["owner"] != owner_of(visitor):
        raise AccessError(
            "This upload belongs to another visitor.", "Only who brought a file may share or remove it.", "Ask them."
        )
    return folder


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        about = read_json(folder / ABOUT)
    except (OSError, ValueError):  # not a folder of ours, or a damaged note: then it is nobody's
        return None
    needed = {"owner": str, "uploaded_at": int | float, "is_shared": bool}
    whole = isinstance(about, dict) and all(isinstance(about.get(name), kind) for name, kind in needed.items())
    return about if whole else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
