"""Room on the disk, asked for before hours of computing and taken before anything is mapped into memory; places that
only one run may write to.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from scfviz.errors import DatasetError, JobError

BLOCK_BYTES = 2**20


def refuse_small_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse to start what the disk cannot hold.

    Parameters
    ----------
    folder
        Where it will be written.
    needed
        Bytes.
    what
        What needs them, as the start of a sentence.

    Raises
    ------
    JobError
        Less than that is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise disk_error(f"The disk has {in_words(free)} left", f"{what} may need {in_words(needed)}")


def reserve(path: Path, size: int) -> None:
    """Make a file `size` bytes long with room for each of them; what it holds already stays.

    A file with holes would be as long. But where it is mapped into memory, a write to a hole that finds no room ends
    the process.

    Raises
    ------
    JobError
        The disk is too small.
    """
    with open(path, "r+b") as file:
        try:
            _allocate(file, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            free = shutil.disk_usage(path.parent).free
            raise disk_error(f"The disk has {in_words(free)} left", f"'{path.name}' needs {in_words(size)}") from error


def _allocate(file: BinaryIO, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    for start in range(file.seek(0, os.SEEK_END), size, BLOCK_BYTES):  # this system cannot promise room: take it
        file.write(bytes(min(BLOCK_BYTES, size - start)))
    file.flush()
    os.fsync(file.fileno())


def disk_error(found: str, needed: str = "") -> JobError:
    """What is said about a full disk."""
    return JobError(
        f"{found}; {needed}." if needed else f"{found}.",
        advice="Remove datasets or results that are no longer needed, or choose another place; then try again.",
    )


def in_words(n_bytes: float) -> str:
    """A size with its unit: 1.2 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes:,.0f} bytes"


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made, for this run alone; of several ranks of one run the first keeps it for all.

    Raises
    ------
    JobError
        Another run writes into it.
    DatasetError
        It is a file.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    if folder.is_file():
        raise DatasetError(f"'{folder}' is a file.", "A folder is needed to write into.", "Choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    lock = hold(folder / ".lock", f"into '{folder}'")
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held, so that nobody else's goes; Windows keeps what is open
            (folder / ".lock").unlink()
        lock.release()


def hold(path: Path, what: str) -> FileLock:
    """Lock what only one run may write; the lock ends with the process, however that ends.

    Raises
    ------
    JobError
        Another run holds it.
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
        if not path.exists():  # whoever held it took the file away after it was opened here: it would keep nobody out
            lock.release()
            lock.acquire(blocking=False)
    except Timeout as error:
        raise JobError(
            f"Another run is writing {what} right now.",
            "Two runs cannot write to one place.",
            "Wait until it is done, or choose another place for this one.",
        ) from error
    return lock
