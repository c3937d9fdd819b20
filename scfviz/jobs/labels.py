"""Labels that people gave to the cells of a dataset, kept in the workspace for everyone who may open it.

One file per column of labels, in a folder per dataset. Every change is made on what the file holds at that moment,
under a lock: two sessions that label at the same time both find their work in it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from scfviz.analysis.labels.labels import Annotation, read_annotation, save_annotation
from scfviz.analysis.selection.rules import (
    Categories,
    Difference,
    Intersection,
    Invert,
    Polygon,
    Query,
    Rule,
    Threshold,
    Union,
)
from scfviz.analysis.selection.rules import SelectionContext as Context
from scfviz.errors import DatasetError, JobError, OptionError
from scfviz.jobs.workspace import Workspace
from scfviz.tasks.registry import written

MAX_COLUMNS = 50


def list_labels(workspace: Workspace, dataset: str) -> dict[str, Annotation]:
    """The columns of labels of a dataset, in the order they were begun; a damaged file is left out.

    Parameters
    ----------
    dataset
        What its labels are kept under, see `scfviz.jobs.access.content_key`.
    """
    found = {}
    for path in _files(workspace, dataset):
        try:
            annotation = _read(str(path), path.stat().st_mtime_ns)
        except (DatasetError, OSError):
            continue
        found[annotation.name] = annotation
    return found


def reserved() -> set[str]:
    """Columns that the app itself adds to the table of cells, so that a name of theirs would be hidden later."""
    return {"selected", *(entry.name for entry in written("obs"))}


def labels_version(workspace: Workspace, dataset: str) -> str:
    """A short text that changes whenever any label of a dataset does; empty while there are none."""
    files = [f"{path.name}|{_stamp(path)}" for path in _files(workspace, dataset)]
    return hashlib.sha256("\n".join(files).encode()).hexdigest()[:16] if files else ""


def labels_path(workspace: Workspace, dataset: str, name: str) -> Path:
    """The file that holds a column of labels, for a computation that reads it."""
    return _path(workspace, dataset, name)


def column_version(workspace: Workspace, dataset: str, name: str) -> str:
    """A short text that changes whenever one column of labels does."""
    return _stamp(_path(workspace, dataset, name))


def names_used(rules: Iterable[Rule | None]) -> set[str | None]:
    """Columns and maps that rules speak of; None is among them where it may be any."""
    return set().union(*(_columns(rule) for rule in rules if rule is not None))


def labels_used(workspace: Workspace, dataset: str, rules: Iterable[Rule | None]) -> dict[str, str]:
    """What the labels hold that selections speak of, as a digest by column: a part of a job's identity."""
    names = names_used(rules)
    labels = list_labels(workspace, dataset) if names else {}
    return {name: labels_digest(labels[name]) for name in sorted(labels) if None in names or name in names}


def refuse_changed_labels(workspace: Workspace, dataset: str, rules: Iterable[Rule | None], asked: dict) -> None:
    """Stop a job whose selections would now choose other cells than when it was asked for.

    Parameters
    ----------
    asked
        What `labels_used` said then.

    Raises
    ------
    JobError
        A column of labels that they speak of was changed.
    """
    if labels_used(workspace, dataset, rules) != asked:
        raise JobError(
            "The labels that the selections speak of have changed since this computation was asked for.",
            "A result must belong to one content.",
            "Start the computation again; it will use the labels as they are now.",
        )


def labels_digest(annotation: Annotation) -> str:
    """16 hexadecimal digits that are the same for the same labels on the same cells."""
    digest = hashlib.sha256("\0".join(annotation.labels).encode() + b"\1")
    digest.update(annotation.codes.tobytes())
    return digest.hexdigest()[:16]


def start_labels(workspace: Workspace, dataset: str, annotation: Annotation, columns: Iterable[str]) -> None:
    """Keep a new column of labels.

    Parameters
    ----------
    columns
        Names of the other columns of the table of cells.

    Raises
    ------
    OptionError
        The name is taken, by the file, by the app, or by labels; or there are 50 columns of labels.
    """
    name = annotation.name
    with _lock(workspace, dataset):
        files = _files(workspace, dataset)
        if name in (*map(str, columns), *reserved()) or name in list_labels(workspace, dataset):
            raise OptionError(
                f"There is already a column '{name}'.",
                "A column of the file is never overwritten, and each column needs a name of its own.",
                "Choose another name.",
            )
        if len(files) >= MAX_COLUMNS:
            raise OptionError(f"There are {MAX_COLUMNS} columns of labels.", "No more can be kept.", "Remove some.")
        save_annotation(annotation, _path(workspace, dataset, name))


def free_column_name(workspace: Workspace, dataset: str, wanted: str, columns: Iterable[str]) -> str:
    """The name itself, or with a number where it is taken."""
    taken = {*map(str, columns), *reserved(), *list_labels(workspace, dataset)}
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted} {number}", number + 1
    return name


def change_labels(
    workspace: Workspace,
    dataset: str,
    name: str,
    change: Callable[[Annotation], Annotation],
    *,
    seen: str | None = None,
) -> Annotation:
    """Change a column of labels as it is now, whoever changed it last.

    Parameters
    ----------
    change
        Gives the new labels from the present ones.
    seen
        `column_version` of what the visitor looked at. Where the labels are others by now nothing is changed: for
        undo, which must not take back what somebody else has done since.

    Raises
    ------
    OptionError
        There is no such column, or it is no longer as it was seen.
    DatasetError
        Its file is damaged.
    """
    path = _path(workspace, dataset, name)
    with _lock(workspace, dataset):
        if not path.exists():
            raise OptionError(f"The labels '{name}' are no longer there.", "", "Somebody may have removed them.")
        if seen is not None and _stamp(path) != seen:
            raise OptionError(
                f"Somebody else has changed the labels '{name}' in the meantime.",
                "Undo and redo would take back their work.",
                "Nothing was changed. Look at the labels as they are now, then decide again.",
            )
        before = _read(str(path), path.stat().st_mtime_ns)
        after = change(before)
        if after is not before:
            save_annotation(after, path)
    return after


def remove_labels(workspace: Workspace, dataset: str, name: str) -> None:
    """Remove a column of labels for everyone; OptionError when there is none."""
    path = _path(workspace, dataset, name)
    with _lock(workspace, dataset):
        if not path.exists():
            raise OptionError(f"The labels '{name}' are no longer there.", "", "Somebody may have removed them.")
        path.unlink()


def with_labels(context: Context, labels: Mapping[str, Annotation]) -> Context:
    """A context whose table has the labels as further columns; columns that are there already stay as they are."""
    present = {*map(str, context.obs.columns)}
    new = {name: labels[name] for name in labels if name not in present and labels[name].n_obs == context.n_obs}
    if not new:
        return context
    obs = context.obs.copy(deep=False)
    for name, annotation in new.items():
        obs[name] = annotation.column(obs.index)
    return replace(context, obs=obs)


def _columns(rule: Rule) -> set[str | None]:
    """Columns and maps that a rule speaks of; None where it may be any."""
    if isinstance(rule, Polygon):
        return {rule.map}
    if isinstance(rule, Categories):
        return {rule.column}
    if isinstance(rule, Threshold):
        return {rule.name} if rule.kind == "column" else set()
    if isinstance(rule, Query):
        return {None}
    if isinstance(rule, Union | Intersection):
        return set().union(*map(_columns, rule.parts))
    if isinstance(rule, Difference):
        return _columns(rule.left) | _columns(rule.right)
    return _columns(rule.part) if isinstance(rule, Invert) else set()


@lru_cache(maxsize=24)
def _read(path: str, mtime_ns: int) -> Annotation:
    return read_annotation(path)


def _files(workspace: Workspace, dataset: str) -> list[Path]:
    """Oldest first: the name of a file begins with its number."""
    return sorted(_folder(workspace, dataset).glob("[0-9]*-*.npz"))


def _path(workspace: Workspace, dataset: str, name: str) -> Path:
    folder, digest = _folder(workspace, dataset), hashlib.sha256(name.encode()).hexdigest()[:16]
    known = next(folder.glob(f"[0-9]*-{digest}.npz"), None)
    if known is not None:
        return known
    number = 1 + max((int(path.name.partition("-")[0]) for path in _files(workspace, dataset)), default=0)
    return folder / f"{number:04d}-{digest}.npz"


def _folder(workspace: Workspace, dataset: str) -> Path:
    folder = workspace.root / "labels" / hashlib.sha256(dataset.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _stamp(path: Path) -> str:
    try:
        about = os.stat(path)
    except OSError:
        return ""
    return f"{about.st_ino}-{about.st_mtime_ns}-{about.st_size}"


def _lock(workspace: Workspace, dataset: str) -> FileLock:
    return FileLock(_folder(workspace, dataset) / ".lock")
