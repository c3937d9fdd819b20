"""Where a dataset comes from: allowed folders, identity, and whether it changed."""

import codecs
import gzip
import hashlib
import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from scfviz.data.formats import ZARR_METADATA, is_matrix_file, shorten
from scfviz.errors import DatasetError

SETTLED_NS = 2_000_000_000  # two changes within one tick of a clock look the same
GZIP_MAGIC = b"\x1f\x8b"
MAX_PACKED = 3
SAMPLE_BYTES, SAMPLE_LETTERS, MIN_ZEROS = 2**20, 4096, 0.8
BYTE_ORDER_MARKS = (  # those of 32 bits begin like those of 16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


@dataclass(frozen=True)
class Fingerprint:
    """Size in bytes and time of the last change in nanoseconds; a folder's are those of all its files."""

    size: int
    mtime_ns: int


def split_part(path: Path) -> tuple[Path, str]:
    """(what lies on disk, what is chosen inside it, "" where nothing is).

    `cells.h5mu/rna` is the modality rna of a MuData file, `GSE1/GSM2` the sample GSM2 of a folder of several. What lies
    in a .zarr store is a part of it, although it is a folder of its own.
    """
    if path.exists():
        store = next((above for above in reversed(path.parents) if is_zarr(above)), None)
        return (path, "") if store is None else (store, path.relative_to(store).as_posix())
    for above in path.parents:
        if above.exists():
            is_whole = above.is_file() or is_zarr(above) or any(is_matrix_file(name) for name in os.listdir(above))
            return (above, path.relative_to(above).as_posix()) if is_whole else (path, "")
    return path, ""


def resolve_source(path: str | Path, folders: Sequence[Path] | None = None) -> Path:
    """The real path of a dataset, links followed, if it exists, holds something and lies in an allowed folder.

    A part of a file or folder, see `split_part`, is not looked for here: the reader knows what is inside.

    Raises
    ------
    DatasetError
        It does not exist, is empty, cannot be read, or lies (itself or through a link) outside `folders`.
    """
    given = Path(path)
    name = shorten(given.name or str(given))
    missing = DatasetError(f"There is no file or folder '{name}'.", "", "Check the path.")
    try:
        given = given.expanduser()
        real = Path(os.path.realpath(given))
        # A path outside is refused before it is said to be missing: existence is nobody's business there.
        refuse_outside(real, given, folders)
        on_disk = split_part(real)[0]
        refuse_outside(on_disk, given, folders)
        is_there = on_disk.exists()
    except (OSError, RuntimeError, ValueError):  # an unknown user's home, a name that no file can have
        raise missing from None
    if not is_there:
        raise missing
    if on_disk.is_dir():
        if not os.access(on_disk, os.R_OK | os.X_OK):
            raise DatasetError(f"The folder '{name}' may not be read.", "", "Ask for permission to read it.")
        refuse_links_outside(on_disk, folders)
        if not any(on_disk.iterdir()):
            raise DatasetError(f"The folder '{name}' is empty.", "A dataset is needed.", "Choose another folder.")
    elif not on_disk.is_file():
        raise DatasetError(f"'{name}' is neither a file nor a folder.", "A dataset is needed.")
    elif not os.access(on_disk, os.R_OK):
        raise DatasetError(f"'{name}' may not be read.", "", "Ask for permission to read the file.")
    elif on_disk.stat().st_size == 0:
        raise DatasetError(
            f"The file '{name}' is empty (0 bytes).",
            "A dataset is needed.",
            "Perhaps a download or a copy was interrupted: fetch the file again.",
        )
    return real


def refuse_outside(real: Path, given: Path, folders: Sequence[Path] | None) -> None:
    """Refuse a path that lies in none of the allowed folders."""
    if folders is None or any(real.is_relative_to(Path(folder).expanduser().resolve()) for folder in folders):
        return
    raise DatasetError(
        f"'{given.name}' lies outside the folders that this app may read.",
        f"Allowed: {', '.join(str(Path(f).name) for f in folders) or 'none'}.",
        "Move the file into one of them, or upload it.",
    )


def refuse_links_outside(folder: Path, folders: Sequence[Path] | None) -> None:
    """Refuse a folder that holds a link to somewhere outside itself and outside the allowed folders."""
    if folders is None:
        return
    for entry in folder.rglob("*") if is_zarr(folder) else folder.iterdir():
        if entry.is_symlink():
            refuse_outside(Path(os.path.realpath(entry)), entry, [*folders, folder])


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a .zarr store."""
    return any((folder / name).exists() for name in ZARR_METADATA)


def is_macos_companion(name: str) -> bool:
    """Whether a file was put beside another by macOS: `._matrix.mtx`, `.DS_Store`."""
    return name.startswith("._") or name == ".DS_Store"


def take_fingerprint(path: Path) -> Fingerprint:
    """The size and time of change of a file, or of all files of a folder."""
    stats = [file.stat() for file in dataset_files(split_part(path)[0])]
    return Fingerprint(sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0))


def dataset_files(path: Path) -> list[Path]:
    """The files of a dataset in a fixed order: itself, everything in a .zarr store, or what lies right in a folder."""
    if not path.is_dir():
        return [path]
    if is_zarr(path):
        entries = (Path(parent, name) for parent, _, files in os.walk(path) for name in files)
    else:
        entries = path.iterdir()  # the folder above a 10x folder may be a whole disk
    return sorted(entry for entry in entries if entry.is_file() and not is_macos_companion(entry.name))


def refuse_changed(path: Path, before: Fingerprint) -> None:
    """Refuse to go on when a file is no longer the one that was opened.

    Raises
    ------
    DatasetError
        Its size or time of change differ, or it is gone.
    """
    try:
        same = take_fingerprint(path) == before
    except OSError:
        same = False
    if not same:
        raise DatasetError(
            f"'{path.name}' changed while it was being read.",
            "The file must stay as it is.",
            "Wait until whatever writes it has finished, then open it again.",
        )


def dataset_id(path: str | Path) -> str:
    """Identity of a dataset: 16 hexadecimal digits of the SHA-256 of its content (folder: its files and their names).

    A part of a file or folder has an identity of its own. What was computed is remembered only for files that have been
    left alone since: size, time of change and the time that the system itself notes (which no program sets back) are
    compared, and a change of a moment ago is not trusted.

    Raises
    ------
    DatasetError
        The path does not exist or is empty.
    """
    real = resolve_source(path)
    on_disk, part = split_part(real)
    try:
        files = tuple(dataset_files(on_disk))
        stats = [file.stat() for file in files]
        stamps = tuple((s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for s in stats)
        changed_at = max((max(s.st_mtime_ns, s.st_ctime_ns) for s in stats), default=0)
        is_settled = time.time_ns() - changed_at > SETTLED_NS
        content = (hash_content if is_settled else hash_content.__wrapped__)(on_disk, files, stamps)
    except OSError as error:  # gone or changed between two looks
        raise DatasetError(
            f"'{real.name}' changed while it was being read ({error.strerror}).",
            "The file must stay as it is.",
            "Wait until whatever writes it has finished, then open it again.",
        ) from error
    return hashlib.sha256(f"{content}/{part}".encode()).hexdigest()[:16] if part else content


def refuse_other_content(path: str | Path, content: str) -> None:
    """Refuse to write results beside cells that are not those they were computed from.

    Parameters
    ----------
    content
        `dataset_id` of the file when it was read.

    Raises
    ------
    DatasetError
        The file holds something else now, or is gone.
    """
    try:
        if dataset_id(path) == content:
            return
    except DatasetError:
        pass
    raise DatasetError(
        f"'{Path(path).name}' changed since its cells were read: rows of the results might belong to other cells.",
        "The file must stay as it was read; nothing was written.",
        "Bring it back as it was, or compute again on the file as it is now.",
    )


@lru_cache(maxsize=256)
def hash_content(path: Path, files: tuple[Path, ...], stamps: tuple[tuple[int, ...], ...]) -> str:
    """Hash the content; the stamps are part of the cache key, so a changed file is hashed again."""
    if not path.is_dir():
        return sha256(path)[:16]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + sha256(file).encode())
    return digest.hexdigest()[:16]


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def open_text(path: Path, *, western: bool = False) -> TextIO:
    """A text file for reading, unpacked on the way when it is a gzip file, also one that was packed twice.

    The text is UTF-8, or UTF-16 or UTF-32 where the file says so or its zeros do. Other bytes become replacement
    characters, with `western` the letters that Windows writes in the West.
    """
    with unpack(open(path, "rb")) as stream:
        encoding = encoding_of(stream.read(SAMPLE_BYTES))
    if encoding == "cp1252" and not western:
        encoding = "utf-8"
    return io.TextIOWrapper(unpack(open(path, "rb")), encoding=encoding, errors="replace", newline="")


def unpack(handle: BinaryIO) -> io.BufferedIOBase:
    """A stream of plain bytes, unpacked when it is gzip, also when it was packed twice."""
    stream = handle if hasattr(handle, "peek") else io.BufferedReader(handle)
    for _ in range(MAX_PACKED):
        if stream.peek(2)[:2] != GZIP_MAGIC:
            break
        stream = gzip.open(stream, "rb")
    return stream


def encoding_of(sample: bytes) -> str:
    """How a text is written, from its beginning."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if sample.startswith(mark):
            return encoding
    few = sample[:SAMPLE_LETTERS]
    first, second = (np.mean(np.frombuffer(few[i::2] or b"x", np.uint8) == 0) for i in (0, 1))
    if max(first, second) > MIN_ZEROS and min(first, second) < 1 - MIN_ZEROS:  # Latin letters in 16 bits
        return "utf-16-be" if first > second else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return "utf-8" if b"\0" in sample else "cp1252"  # what holds zeros is no text at all
    return "utf-8"
