"""Whose data are whose: who may read a dataset, and who a computation belongs to.

Data that came through the browser belong to who brought them, until they share them; what was computed on data, or
selected from them, is as private as they are. Everything else (demos, the gallery, the server's own folders) belongs to
nobody and is open to everyone. What is the owner's is kept apart by its owner, also where two people bring the same
content: neither finds, changes nor stops what the other has.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.errors import AccessError
from scfviz.jobs.kinds import get_kind, is_kind
from scfviz.jobs.options import JOB_ID
from scfviz.jobs.workspace import Workspace, read_json

if TYPE_CHECKING:
    from scfviz.jobs.queue import JobStatus

ABOUT = ".about.json"  # beside data that belong to somebody
JOB = "job:"


@dataclass(frozen=True)
class Grant:
    """Who may read data: their owners (see `owner_of`), and everyone who has the link where they are shared."""

    owners: frozenset[str]
    is_shared: bool = False

    def admits(self, owner: str) -> bool:
        """Whether somebody may read."""
        return self.is_shared or owner in self.owners


NOBODY = Grant(frozenset())


def not_shared() -> AccessError:
    """What is said to somebody who follows a link to what is not theirs."""
    return AccessError(
        "The link leads to data that came through the browser and that only their owner can open: they are not shared.",
        "",
        "Ask their owner to share the dataset; the same link opens it then.",
    )


def owner_of(visitor: str) -> str:
    """What is written down of a visitor's key, so that nobody who reads the folder gets the key itself."""
    return hashlib.sha256(f"scfviz visitor {visitor}".encode()).hexdigest()


def grants_of(workspace: Workspace, path: Path | str) -> tuple[Grant, ...]:
    """What somebody needs to read a file of this workspace: each of the grants. None are needed for public data."""
    area, name = _place(workspace, Path(path))
    if area is None:
        return ()
    if area == "jobs":
        job = read_json(workspace.jobs / name / "job.json")
        return (NOBODY,) if job is None else _of_datasets(workspace, datasets_in(workspace, job))
    note = _note(workspace.root / area / name)
    if area == "datasets/subsets":  # as private as what the cells were selected in
        if note is None:
            return grants_of(workspace, workspace.jobs / name / "result")
        return _of_datasets(workspace, note.get("datasets"))
    if note is None:
        return (NOBODY,)
    if area == "gene_sets":  # of everyone who gave the same file
        owners = frozenset(map(str, note.get("owners") or ()))
        return (Grant(owners, bool(owners & set(map(str, note.get("shared_by") or ())))),)
    return (Grant(frozenset({str(note.get("owner"))}), note.get("is_shared") is True),)


def datasets_behind(workspace: Workspace, path: Path | str) -> list[str]:
    """Paths of the datasets that the cells of a subset were selected in; empty for any other."""
    area, name = _place(workspace, Path(path))
    note = _note(workspace.root / area / name) if area == "datasets/subsets" else None
    return list((note or {}).get("datasets") or ())


def may_read(workspace: Workspace, path: Path | str, owner: str) -> bool:
    """Whether somebody may open a file, and be told of it."""
    return all(grant.admits(owner) for grant in grants_of(workspace, path))


def scope_of(grants: Iterable[Grant]) -> str:
    """What keeps the work on somebody's data apart from that on the same content elsewhere; empty for public data."""
    owners = sorted({owner for grant in grants for owner in grant.owners})
    return hashlib.sha256("\0".join(owners).encode()).hexdigest()[:16] if owners else ""


def content_key(workspace: Workspace, path: Path | str) -> str:
    """Under which labels and selections of a dataset are kept: its content and, where it is somebody's, whose it is."""
    from scfviz.data.source import dataset_id

    return join_key(dataset_id(path), scope_of(grants_of(workspace, path)))


def join_key(dataset: str, scope: str) -> str:
    """The key of a content in a scope."""
    return f"{dataset}-{scope}" if scope else dataset


def collect_datasets(workspace: Workspace, kind: str, options: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """All data that a computation reads, also those behind the computations that it builds on.

    Returns
    -------
    dict
        By path: the owners of each grant that reading it needs, as they are now. They are kept with the job, because
        a result stays its owner's after the dataset was deleted.

    Raises
    ------
    ValueError
        An option names data or a computation that the kind's `datasets` leaves out: a fault of the kind.
    """
    named = set(_named_in(workspace, options))
    said = get_kind(kind).datasets(dict(options)) if is_kind(kind) else tuple(named)  # a job of an older version
    missing = named - {_normal(workspace, name) for name in said}
    if missing:
        raise ValueError(f"The kind '{kind}' does not say that it reads {', '.join(sorted(missing))}")
    found: dict[str, list[list[str]]] = {}
    for name in said:
        if not name.startswith(JOB) and _place(workspace, Path(name))[0] != "jobs":
            found[str(name)] = [sorted(grant.owners) for grant in grants_of(workspace, name)]
        else:
            job = read_json(workspace.jobs / _normal(workspace, name).removeprefix(JOB) / "job.json")
            found |= {} if job is None else datasets_in(workspace, job)
    return found


def jobs_named(workspace: Workspace, kind: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the computations that one builds on."""
    names = (_normal(workspace, name) for name in get_kind(kind).datasets(dict(options)))
    return tuple(dict.fromkeys(name.removeprefix(JOB) for name in names if name.startswith(JOB)))


def datasets_in(workspace: Workspace, job: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """The data of a job from its `job.json`."""
    known = job.get("datasets")
    return known if isinstance(known, dict) else collect_datasets(workspace, job["kind"], job["options"])


def may_see(workspace: Workspace, job: "JobStatus", owner: str) -> bool:
    """Whether somebody may know of a computation and read its result: all of its data have to be open to them."""
    return all(grant.admits(owner) for grant in _of_datasets(workspace, job.datasets))


def may_change(workspace: Workspace, job: "JobStatus", owner: str) -> bool:
    """Whether somebody may stop, resume or delete a computation.

    On public data everyone may; on somebody's, only they and who asked for it.
    """
    grants = _of_datasets(workspace, job.datasets)
    if not all(grant.admits(owner) for grant in grants):
        return False
    return not grants or owner == job.asked_by or any(owner in grant.owners for grant in grants)


def _of_datasets(workspace: Workspace, datasets: object) -> tuple[Grant, ...]:
    """The grants of several data, as they are now; those of deleted ones stay with who owned them."""
    if not isinstance(datasets, dict):
        return (NOBODY,)
    found: list[Grant] = []
    for path, owners in datasets.items():
        now = grants_of(workspace, path)
        if NOBODY in now and owners:
            now = tuple(Grant(frozenset(some)) for some in owners)
        found += now
    return tuple(dict.fromkeys(found))


def _place(workspace: Workspace, path: Path) -> tuple[str | None, str]:
    """(area, folder) of what may be somebody's; (None, "") for everything else."""
    if not path.is_absolute() or not path.is_relative_to(workspace.root):
        return None, ""
    parts = path.relative_to(workspace.root).parts
    for area in ("uploads", "gene_sets", "jobs", "datasets/subsets"):
        depth = area.count("/") + 1
        if len(parts) > depth and "/".join(parts[:depth]) == area:
            return area, parts[depth]
    return None, ""


def _note(folder: Path) -> dict[str, Any] | None:
    try:
        note = read_json(folder / ABOUT)
    except (OSError, ValueError):  # damaged: then it is nobody's
        return None
    return note if isinstance(note, dict) else None


def _normal(workspace: Workspace, name: str) -> str:
    """A path in the folder of a job stands for the job."""
    area, folder = _place(workspace, Path(name))
    return f"{JOB}{folder}" if area == "jobs" else str(name)


def _named_in(workspace: Workspace, options: Any) -> Iterable[str]:
    """Everything in some options that names data which may be somebody's, or a computation."""
    if isinstance(options, Mapping):
        options = list(options.values())
    if isinstance(options, list | tuple):
        for part in options:
            yield from _named_in(workspace, part)
    elif isinstance(options, str) and len(options) < 4096:
        if JOB_ID.fullmatch(options) and (workspace.jobs / options / "job.json").exists():
            yield f"{JOB}{options}"
        elif _place(workspace, Path(options))[0] is not None:
            yield _normal(workspace, options)
