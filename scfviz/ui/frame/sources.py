"""Where datasets come from. A reference is text that fits into an address and names a file that this app may read:

demo:NAME          a real dataset that came with the installation
gallery:NAME       a public dataset that was downloaded into the workspace
upload:ID/NAME     a file that came through the browser
subset:JOB/NAME    cells that were selected in another dataset
folder:N/PATH      a file below the N-th data folder of the server
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scfviz.data.formats import ZARR_SUFFIX, is_dataset_file, is_dataset_folder
from scfviz.data.source import dataset_files, split_part
from scfviz.errors import DatasetError, ScfvizError
from scfviz.jobs import Workspace, access
from scfviz.ui.frame import state

FIRST_DEMO = "demo:celltypist_sample"
ORIGINS = {"demo": "Demo", "gallery": "Gallery", "upload": "Upload", "folder": "Server folder", "subset": "Subset"}
_MAX_DEPTH, _MAX_FILES = 4, 2_000
# A download goes through the server's memory three to four times; larger files stay on its disk, where they are named.
MAX_BROWSER_BYTES = 200_000_000


@dataclass(frozen=True)
class Source:
    """A dataset that the app may read: its reference, where it lies, and how it is called on screen."""

    ref: str
    path: Path
    title: str
    origin: str


def data_folders() -> list[Path]:
    """Folders whose files may be opened: `SCFVIZ_DATA`, several separated as in `PATH`, else the workspace's own."""
    given = os.environ.get("SCFVIZ_DATA", "")
    folders = [Path(part).expanduser().resolve() for part in given.split(os.pathsep) if part]
    return folders or [Workspace().datasets]


def allowed_folders() -> list[Path]:
    """Every folder that datasets may be read from."""
    workspace = Workspace()
    return [*data_folders(), workspace.datasets, workspace.uploads, workspace.gallery]


def title_of(ref: str) -> str:
    """What a dataset is called, without looking for the file."""
    return PurePosixPath(ref.partition(":")[2]).name or ref


def display_title(ref: str) -> str:
    """What a dataset is called on screen: a demo by its title, everything else by the name of its file."""
    from scfviz.data.catalog import DEMOS

    return next((demo.title for demo in DEMOS if ref == f"demo:{demo.name}"), title_of(ref))


def resolve(ref: str) -> Source:
    """Find the file behind a reference, for the visitor who looks.

    Raises
    ------
    DatasetError
        The reference makes no sense, leads out of the allowed folders, or the file is gone; AccessError: it is
        somebody else's and not shared.
    """
    source = locate(ref)
    if not access.may_read(Workspace(), source.path, state.owner()):
        raise access.not_shared()
    return source


def locate(ref: str) -> Source:
    """The file behind a reference, whoever may open it; for what the app does itself. DatasetError as of `resolve`."""
    kind, _, name = ref.partition(":")
    workspace = Workspace()
    if kind == "demo":
        from scfviz.data.catalog import demo_path

        path = demo_path(name, workspace.datasets)
    elif kind == "gallery":
        path = _inside(workspace.gallery, name)
    elif kind == "upload":
        path = _inside(workspace.uploads, name)
    elif kind == "subset":
        path = _inside(workspace.subsets, name)
    elif kind == "folder":
        number, _, below = name.partition("/")
        folders = data_folders()
        if not number.isdecimal() or int(number) >= len(folders):
            raise DatasetError(
                f"The address names the data folder {number[:20]}.",
                f"This app has {len(folders)}.",
                "Choose the file again on the Dataset page.",
            )
        path = _inside(folders[int(number)], below)
    else:
        raise DatasetError(
            f"'{ref[:80]}' is no dataset of this app.",
            "A dataset is a demo, an upload, a gallery file, a subset or a file in a data folder.",
            "Choose one on the Dataset page.",
        )
    if not split_part(path)[0].exists():
        raise DatasetError(
            f"The file '{title_of(ref)}' is no longer there: it was moved or deleted since it was chosen.",
            "",
            "Choose a dataset again on the Dataset page.",
        )
    return Source(ref, path, title_of(ref), ORIGINS[kind])


def stamp(path: Path) -> str:
    """A short text that changes when the file does: 16 hexadecimal digits of path, size and time of change."""
    digest = hashlib.sha256(str(path).encode())
    for file in dataset_files(split_part(path)[0]):
        about = file.stat()
        digest.update(f"{file.name}|{about.st_size}|{about.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def list_files(number: int) -> tuple[list[str], bool]:
    """Datasets below a data folder, as paths relative to it; the flag says whether there were too many to list.

    Each sample of a folder that holds several is a dataset of its own. Looks `_MAX_DEPTH` folders deep, follows no
    links, and leaves hidden files out.
    """
    from scfviz.data.mtx_files import list_samples

    root, workspace = data_folders()[number], Workspace()
    apart = (workspace.subsets, workspace.uploads, workspace.jobs)  # these may be somebody's
    found: list[str] = []
    waiting = [(root, 0)]
    while waiting and len(found) < _MAX_FILES:
        folder, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:  # a folder that may not be read, or vanished
            continue
        for entry in entries:
            if entry.name.startswith(".") or Path(entry.path).resolve() in apart:
                continue
            if entry.is_dir(follow_symlinks=False):
                below = Path(entry.path).relative_to(root).as_posix()
                names = _names_in(Path(entry.path))
                if entry.name.endswith(ZARR_SUFFIX) or is_dataset_folder(names):
                    found += [f"{below}/{sample}" for sample in list_samples(names)] or [below]
                elif depth < _MAX_DEPTH:
                    waiting.append((Path(entry.path), depth + 1))
            elif is_dataset_file(entry.name):
                found.append(Path(entry.path).relative_to(root).as_posix())
    return sorted(found[:_MAX_FILES]), len(found) >= _MAX_FILES


def find_content(dataset: str, size: int, title: str, visitor: str) -> str | None:
    """The reference of a dataset with this content among those that a visitor may open, or `None`.

    Only files of the right size are read.

    Parameters
    ----------
    dataset
        Identity of the content, see `scfviz.data.source.dataset_id`.
    size
        Bytes on disk.
    title
        What it was called elsewhere: a demo of this name is written first if it was never opened.
    """
    from scfviz.data.source import dataset_id, take_fingerprint

    for ref in list_references(visitor, title):
        try:
            path = resolve(ref).path
            if take_fingerprint(path).size == size and dataset_id(path) == dataset:
                return ref
        except (ScfvizError, OSError):  # unreadable, or gone meanwhile
            continue
    return None


def list_references(visitor: str, title: str = "") -> list[str]:
    """References of the datasets that a visitor may open; of demos those that were opened once, and `title`."""
    from scfviz.data.catalog import DEMOS
    from scfviz.jobs.uploads import list_uploads

    written = {demo.name for demo in DEMOS if (Workspace().datasets / f"{demo.name}.h5ad").exists()}
    refs = [f"demo:{demo.name}" for demo in DEMOS if demo.name in written or demo.name == title]
    refs += [upload.ref for upload in list_uploads(visitor)]
    for number in range(len(data_folders())):
        refs += [f"folder:{number}/{name}" for name in list_files(number)[0]]
    gallery = Workspace().gallery
    refs += [f"gallery:{path.relative_to(gallery).as_posix()}" for path in sorted(gallery.glob("*")) if path.is_file()]
    return refs


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # a folder that may not be read, or vanished
        return []


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not name or not path.is_relative_to(folder.resolve()):
        raise DatasetError(
            f"'{name[:80]}' lies outside the folders that this app may read.",
            "Only files in its data folders are opened.",
            "Move the file into one of them, or start the app with SCFVIZ_DATA set to its folder.",
        )
    return path
