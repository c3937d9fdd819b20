"""Labels of cells that people give, with who, when and how; every change can be undone, redone and saved."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.expression import read_mask
from scfviz.tasks.query import read_column

if TYPE_CHECKING:
    import pandas as pd

MAX_LABEL, MAX_LABELS, MAX_CHANGES = 120, 5_000, 200
VERSION = 1


@dataclass(frozen=True)
class Change:
    """One step in the history of labels.

    Attributes
    ----------
    action
        What was done, in words.
    how
        What chose the cells: a selection in words, a file, or empty.
    author, at
        Who and when (UTC, ISO 8601).
    cells
        int64 (k,), positions of the cells whose label changed, ascending.
    before, after
        int32 (k,), their labels as numbers of `Annotation.labels`, -1 for none.
    """

    action: str
    how: str
    author: str
    at: str
    cells: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Annotation:
    """A column of labels in the making.

    Attributes
    ----------
    name
        Of the column.
    labels
        Every label that was ever used; numbers stay valid when one is given up.
    codes
        int32 (n_obs,), number of each cell's label, -1 for none.
    changes, undone
        What was done (oldest first) and what can be redone (next first).
    """

    name: str
    labels: tuple[str, ...]
    codes: np.ndarray
    changes: tuple[Change, ...] = ()
    undone: tuple[Change, ...] = ()

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.codes)

    def counts(self) -> dict[str, int]:
        """Cells of each label in use, the largest first; labels without cells are left out."""
        n_cells = np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels))
        return {self.labels[i]: int(n_cells[i]) for i in np.argsort(-n_cells, kind="stable") if n_cells[i]}

    def column(self, index: "pd.Index") -> "pd.Series":
        """The labels as a column of categories for `obs`; missing where a cell has none."""
        import pandas as pd

        used = np.flatnonzero(np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels)))
        number = np.full(len(self.labels) + 1, -1)
        number[used] = np.arange(len(used))
        values = pd.Categorical.from_codes(number[self.codes], [self.labels[i] for i in used])
        return pd.Series(values, index=index, name=self.name)

    def assign(self, mask: np.ndarray, label: str | None, *, how: str = "", author: str = "") -> "Annotation":
        """Move cells to a label, whatever label they had; None takes their label away.

        Parameters
        ----------
        mask
            bool (n_obs,).
        label
            An existing or a new label.
        how
            What chose the cells, for example `rule.describe()` of a selection.

        Raises
        ------
        OptionError
            The mask does not fit, or the label is empty, too long or one too many.
        """
        mask = read_mask(mask, self.n_obs, "The selection")
        labels, number = self.labels, -1
        if label is not None:
            label = check_label(label)
            labels = labels if label in labels else (*labels, label)
            number = labels.index(label)
        return self.change(
            labels, np.where(mask, number, self.codes), f"Move cells to {_name(label)}", how=how, author=author
        )

    def merge(self, labels: list[str] | tuple[str, ...], into: str, *, author: str = "") -> "Annotation":
        """Give all cells of several labels one label, new or existing; OptionError when one of them is not in use."""
        into = check_label(into)
        numbers = [self._number(label) for label in labels]
        known = self.labels if into in self.labels else (*self.labels, into)
        new = np.where(np.isin(self.codes, numbers), known.index(into), self.codes)
        merged = ", ".join(_name(label) for label in labels)
        return self.change(known, new, f"Merge {merged} into {_name(into)}", author=author)

    def rename(self, old: str, new: str, *, author: str = "") -> "Annotation":
        """Give a label another name.

        Raises
        ------
        OptionError
            No cell has the label, or the new name is taken: merging is another action.
        """
        new = check_label(new)
        if new in self.counts():
            raise OptionError(
                f"There is already a label '{new}'.",
                "Each label needs a name of its own.",
                "Merge the two to join their cells.",
            )
        number = self._number(old)
        labels = self.labels if new in self.labels else (*self.labels, new)
        codes = np.where(self.codes == number, labels.index(new), self.codes)
        return self.change(labels, codes, f"Rename {_name(old)} to {_name(new)}", author=author)

    def undo(self) -> "Annotation":
        """Take the last change back; unchanged when there is none."""
        if not self.changes:
            return self
        last = self.changes[-1]
        codes = self.codes.copy()
        codes[last.cells] = last.before
        return replace(self, codes=codes, changes=self.changes[:-1], undone=(last, *self.undone))

    def redo(self) -> "Annotation":
        """Make the last change that was taken back again; unchanged when there is none."""
        if not self.undone:
            return self
        following = self.undone[0]
        codes = self.codes.copy()
        codes[following.cells] = following.after
        return replace(self, codes=codes, changes=(*self.changes, following), undone=self.undone[1:])

    def history(self) -> list[dict[str, Any]]:
        """Who did what, when, how and to how many cells, oldest first, as JSON-able fields (for `uns["scfviz"]`)."""
        return [
            {"action": c.action, "how": c.how, "author": c.author, "at": c.at, "n_cells": len(c.cells)}
            for c in self.changes
        ]

    def _number(self, label: str) -> int:
        if label not in self.counts():
            raise OptionError(
                f"No cell has the label '{label}'.", f"The labels are {', '.join(self.counts()) or 'none'}."
            )
        return self.labels.index(label)

    def change(
        self, labels: tuple[str, ...], codes: np.ndarray, action: str, *, how: str = "", author: str = ""
    ) -> "Annotation":
        """Any new labels, as one step of the history; the same labels again are no step.

        Parameters
        ----------
        labels
            All labels: those of `self` in their order, and new ones after them.
        codes
            (n_obs,), numbers of `labels`, -1 for none.
        action, how, author
            As in `Change`.

        Raises
        ------
        OptionError
            There are more than 5,000 labels.
        """
        if len(labels) > MAX_LABELS:
            raise OptionError(f"There are {len(labels):,} labels.", f"At most {MAX_LABELS:,} can be kept.")
        codes = codes.astype(np.int32)
        cells = np.flatnonzero(codes != self.codes)
        if not len(cells):
            return self
        now = datetime.now(UTC).isoformat(timespec="seconds")
        change = Change(action, how, author, now, cells, self.codes[cells], codes[cells])
        return Annotation(self.name, labels, codes, (*self.changes, change)[-MAX_CHANGES:], ())


def start_annotation(name: str, obs: "pd.DataFrame", *, column: str | None = None) -> Annotation:
    """A new column of labels, empty or as a copy of a column of the dataset.

    Raises
    ------
    OptionError
        The name is empty or too long, or the column is not there or holds numbers.
    """
    name = check_label(name)
    if column is None:
        return Annotation(name, (), np.full(len(obs), -1, dtype=np.int32))
    names = list(map(str, obs.columns))
    if column not in names:
        raise OptionError(f"There is no column '{column}'.", f"The columns are {', '.join(names[:10]) or 'none'}.")
    vector = read_column(obs.iloc[:, names.index(column)])
    if vector.categories is None or len(vector.categories) > MAX_LABELS:
        raise OptionError(f"The column '{column}' holds no labels.", "A column of texts or categories is needed.")
    return Annotation(name, tuple(vector.categories), vector.values.astype(np.int32))


def check_label(label: str) -> str:
    """A label without spaces around it.

    Raises
    ------
    OptionError
        It is empty, longer than 120 characters or has unprintable ones.
    """
    label = str(label).strip()
    if not label or len(label) > MAX_LABEL or not label.isprintable():
        raise OptionError(
            "The label is empty, too long or has unprintable characters.", f"1 to {MAX_LABEL} characters are needed."
        )
    return label


def save_annotation(annotation: Annotation, path: str | Path) -> None:
    """Write an annotation with its whole history to one `.npz` file, in one step; no pickle."""
    import os

    about = {
        "version": VERSION,
        "name": annotation.name,
        "labels": annotation.labels,
        "changes": [_about(change) for change in annotation.changes],
        "undone": [_about(change) for change in annotation.undone],
    }
    arrays = {"codes": annotation.codes, "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}
    for number, change in enumerate((*annotation.changes, *annotation.undone)):
        arrays |= {f"{part}_{number}": getattr(change, part) for part in ("cells", "before", "after")}
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp.npz")
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, path)


def read_annotation(path: str | Path) -> Annotation:
    """Read what `save_annotation` wrote.

    Raises
    ------
    DatasetError
        The file is missing, damaged or no annotation.
    """
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(bytes(arrays["about"]))
            if about["version"] != VERSION:
                raise ValueError("another version")
            texts = [*about["changes"], *about["undone"]]
            changes = [
                Change(**text, **{part: arrays[f"{part}_{i}"] for part in ("cells", "before", "after")})
                for i, text in enumerate(texts)
            ]
            codes, labels = arrays["codes"], tuple(map(str, about["labels"]))
        for numbers in (codes, *(part for change in changes for part in (change.before, change.after))):
            if (
                numbers.ndim != 1
                or numbers.dtype != np.int32
                or (len(numbers) and not -1 <= numbers.min() <= numbers.max() < len(labels))
            ):
                raise ValueError("labels that are none")
        for change in changes:
            if not len(change.cells) == len(change.before) == len(change.after):
                raise ValueError("changes that are none")
            if len(change.cells) and not 0 <= change.cells.min() <= change.cells.max() < len(codes):
                raise ValueError("cells that are none")
        n_done = len(about["changes"])
        return Annotation(str(about["name"]), labels, codes, tuple(changes[:n_done]), tuple(changes[n_done:]))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"The saved labels '{Path(path).name}' cannot be read.", "A file that scfviz wrote is needed."
        ) from error


def _about(change: Change) -> Mapping[str, str]:
    return {"action": change.action, "how": change.how, "author": change.author, "at": change.at}


def _name(label: str | None) -> str:
    return "no label" if label is None else f"'{label}'"
