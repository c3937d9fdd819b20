"""Labels of cells that people give, with who, when and how; every change can be undone, redone and saved."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.analysis.expression import read_mask
from scfviz.analysis.selection.query import read_column
from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    import pandas as pd

MAX_LABEL, MAX_LABELS, MAX_CHANGES = 120, 5_000, 200
# What undo has to remember, summed over changes: 5 million cells are some 30 MB in the file, read in 0.3 s.
MAX_REMEMBERED_CELLS, MAX_EARLIER = 5_000_000, 2_000
VERSION = 1
UNLIKE = 60.0  # between two colours, in steps of red, green and blue
_TOLD = ("action", "how", "author", "at")


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
    origin
        What the column began as, in words.
    colors
        Hexadecimal colour of each label that has been given one.
    earlier
        Fields of `history` of changes that are too long ago to be undone, oldest first.
    """

    name: str
    labels: tuple[str, ...]
    codes: np.ndarray
    changes: tuple[Change, ...] = ()
    undone: tuple[Change, ...] = ()
    origin: str = ""
    colors: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[dict[str, Any], ...] = ()

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.codes)

    def counts(self) -> dict[str, int]:
        """Cells of each label in use, the largest first; labels without cells are left out."""
        n_cells = np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels))
        return {self.labels[i]: int(n_cells[i]) for i in np.argsort(-n_cells, kind="stable") if n_cells[i]}

    def counts_in(self, mask: np.ndarray) -> dict[str | None, int]:
        """The labels that some cells have, the most frequent first; None counts cells without one."""
        codes = self.codes[read_mask(mask, self.n_obs, "The selection")]
        n_cells = np.bincount(codes + 1, minlength=len(self.labels) + 1)
        names = (None, *self.labels)
        return {names[i]: int(n_cells[i]) for i in np.argsort(-n_cells, kind="stable") if n_cells[i]}

    def last_changes(self) -> dict[str, Change]:
        """By label: the last change that gave it to a cell; labels that came with `origin` have none."""
        found: dict[str, Change] = {}
        for change in self.changes:
            for code in np.flatnonzero(np.bincount(change.after[change.after >= 0])):
                found[self.labels[code]] = change
        return found

    def column(self, index: "pd.Index") -> "pd.Series":
        """The labels as a column of categories for `obs`; missing where a cell has none."""
        import pandas as pd

        used = np.flatnonzero(np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels)))
        number = np.full(len(self.labels) + 1, -1)
        number[used] = np.arange(len(used))
        values = pd.Categorical.from_codes(number[self.codes], [self.labels[i] for i in used])
        return pd.Series(values, index=index, name=self.name)

    def assign(self, mask: np.ndarray, label: str | None, *, how: str = "", author: str = "") -> "Annotation":
        """Assign a label to cells, whatever label they had; None clears it.

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
        renamed = self.change(labels, codes, f"Rename {_name(old)} to {_name(new)}", author=author)
        return replace(renamed, colors={**self.colors, new: self.colors[old]}) if old in self.colors else renamed

    def paint(self, palette: Sequence[str]) -> "Annotation":
        """Give each label in use that has no colour one of its own, which it keeps.

        Parameters
        ----------
        palette
            Hexadecimal colours: the first that is unlike all that are taken, for a file's own may be any.
        """
        labels = self.counts()
        missing = [label for label in labels if label not in self.colors]
        if not missing:
            return self
        taken = [_rgb(self.colors[label]) for label in labels if label in self.colors]
        new = {}
        for label in missing:
            distance = [
                min((float(np.linalg.norm(_rgb(c) - other)) for other in taken), default=np.inf) for c in palette
            ]
            unlike = next((i for i, d in enumerate(distance) if d >= UNLIKE), int(np.argmax(distance)))
            new[label] = palette[unlike]
            taken.append(_rgb(palette[unlike]))
        return replace(self, colors={**self.colors, **new})

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
        return [*self.earlier, *map(_told, self.changes)]

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
        changes = (*self.changes, change)
        n_kept, n_cells = 1, len(cells)
        while n_kept < min(len(changes), MAX_CHANGES):
            n_cells += len(changes[-n_kept - 1].cells)
            if n_cells > MAX_REMEMBERED_CELLS:
                break
            n_kept += 1
        earlier = (*self.earlier, *map(_told, changes[:-n_kept]))[-MAX_EARLIER:]
        return replace(self, labels=labels, codes=codes, changes=changes[-n_kept:], undone=(), earlier=earlier)


def start_annotation(
    name: str,
    obs: "pd.DataFrame",
    *,
    column: str | None = None,
    author: str = "",
    colors: Mapping[str, str] | None = None,
) -> Annotation:
    """A new column of labels, empty or as a copy of a column of the dataset.

    Raises
    ------
    OptionError
        The name is empty or too long, or the column is not there or holds numbers.
    """
    name = check_label(name)
    begun = f"{f' by {author}' if author else ''}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    if column is None:
        return Annotation(name, (), np.full(len(obs), -1, dtype=np.int32), origin=f"begun without labels{begun}")
    names = list(map(str, obs.columns))
    if column not in names:
        raise OptionError(f"There is no column '{column}'.", f"The columns are {', '.join(names[:10]) or 'none'}.")
    vector = read_column(obs.iloc[:, names.index(column)])
    if vector.categories is None or len(vector.categories) > MAX_LABELS:
        raise OptionError(f"The column '{column}' holds no labels.", "A column of texts or categories is needed.")
    # A label has to be one line of at most 120 characters, whatever the file holds.
    labels = _distinct([as_label(name) for name in vector.categories])
    codes = vector.values.astype(np.int32)
    given = zip(labels, map(str, vector.categories), strict=True)
    kept = {label: colors[group] for label, group in given if group in (colors or {})}
    return Annotation(name, tuple(labels), codes, origin=f"a copy of the column '{column}'{begun}", colors=kept)


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


def as_label(text: str) -> str:
    """The nearest thing to a text that can be a label: one line, printable, at most 120 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split()) or "(empty)"
    return line if len(line) <= MAX_LABEL else line[: MAX_LABEL - 1] + "…"


def _distinct(labels: list[str]) -> list[str]:
    found: dict[str, None] = {}
    for label in labels:
        number, free = 2, label
        while free in found or (free != label and free in labels):
            free, number = f"{label[: MAX_LABEL - 8]} ({number})", number + 1
        found[free] = None
    return list(found)


def save_annotation(annotation: Annotation, path: str | Path) -> None:
    """Write an annotation with its whole history to one `.npz` file, in one step; no pickle."""
    import os
    import zipfile

    about = {
        "version": VERSION,
        "name": annotation.name,
        "labels": annotation.labels,
        "changes": [_about(change) for change in annotation.changes],
        "undone": [_about(change) for change in annotation.undone],
        "origin": annotation.origin,
        "colors": dict(annotation.colors),
        "earlier": annotation.earlier,
    }
    arrays = {"codes": annotation.codes, "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}
    for number, change in enumerate((*annotation.changes, *annotation.undone)):
        # Gaps between cells are small numbers, which pack well.
        gaps = np.diff(change.cells, prepend=0).astype(np.int32)
        arrays |= {f"gaps_{number}": gaps, f"before_{number}": change.before, f"after_{number}": change.after}
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    # Like np.savez_compressed, which packs ten times slower for files a tenth smaller.
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
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
                Change(
                    **text,
                    cells=np.cumsum(arrays[f"gaps_{i}"]),
                    before=arrays[f"before_{i}"],
                    after=arrays[f"after_{i}"],
                )
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
        earlier = tuple(
            {name: str(e[name]) for name in _TOLD} | {"n_cells": int(e["n_cells"])} for e in about.get("earlier", ())
        )
        return Annotation(
            str(about["name"]),
            labels,
            codes,
            tuple(changes[:n_done]),
            tuple(changes[n_done:]),
            str(about.get("origin", "")),
            {str(k): str(v) for k, v in about.get("colors", {}).items()},
            earlier,
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"The saved labels '{Path(path).name}' cannot be read.", "A file that scfviz wrote is needed."
        ) from error


def _about(change: Change) -> Mapping[str, str]:
    return {name: getattr(change, name) for name in _TOLD}


def _told(change: Change) -> dict[str, Any]:
    return {**_about(change), "n_cells": len(change.cells)}


def _rgb(color: str) -> np.ndarray:
    try:
        return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)
    except ValueError:  # a colour by name
        return np.full(3, 128.0)


def _name(label: str | None) -> str:
    return "no label" if label is None else f"'{label}'"
