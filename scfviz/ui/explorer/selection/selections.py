"""The selections of a dataset in the session and in the workspace: rules with names, and every step to undo."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from scfviz.analysis.selection.history import NamedSelection, SelectionHistory, read_history
from scfviz.analysis.selection.rules import Difference, Intersection, Invert, Polygon, Rectangle, Rule, Union
from scfviz.errors import OptionError, ScfvizError
from scfviz.jobs import Workspace
from scfviz.jobs.workspace import read_json, write_json
from scfviz.ui.explorer.data import Explored
from scfviz.ui.frame.text import plain


def load(dataset: str) -> SelectionHistory:
    """The selections of a dataset: those of this session, else those that were saved last.

    Parameters
    ----------
    dataset
        What they are kept under, see `scfviz.jobs.access.content_key`.
    """
    key = _key(dataset)
    if key not in st.session_state:
        found = _read(dataset)
        # What somebody selected last is theirs; what they gave a name is for everyone who opens the dataset.
        start = SelectionHistory()
        st.session_state[key] = _with_named(start, found.named) if found else start
        st.session_state[f"{key}.seen"] = {kept.name for kept in found.named} if found else set()
    return st.session_state[key]


def save(dataset: str, history: SelectionHistory) -> None:
    """Keep the selections in the session and in the workspace. Names that another session gave meanwhile stay."""
    key = _key(dataset)
    seen = st.session_state.setdefault(f"{key}.seen", set())
    found = _read(dataset)
    others = [kept for kept in found.named if kept.name not in seen] if found else []
    if others:
        history = _with_named(history, others)
    seen |= {kept.name for kept in history.named}
    st.session_state[key] = history
    write_json(_path(dataset), history.as_dict())


def evaluate_current(data: Explored, history: SelectionHistory) -> tuple[SelectionHistory, np.ndarray | None]:
    """The cells that are selected, bool (n_shown,), or `None`.

    A selection that speaks of a map or of labels that are no longer there is cleared, and the visitor is told: it
    must not close the page. Undo brings it back once what it needs is there again.
    """
    if history.current is None:
        return history, None
    try:
        return history, data.mask(history.current)
    except ScfvizError as error:
        st.warning(f"The selection was cleared. {plain(error.found)}", icon=":material/deselect:")
        save(data.key, history.select(None))
        return load(data.key), None


def outlines(rule: Rule | None) -> dict[str, list[tuple[tuple[float, float], ...]]]:
    """The lines that were drawn, by map, wherever they are in a rule."""
    found: dict[str, list] = {}
    waiting = [rule] if rule is not None else []
    while waiting:
        part = waiting.pop()
        if isinstance(part, Polygon):
            found.setdefault(part.map, []).append(part.vertices)
        elif isinstance(part, Rectangle):
            (x0, x1), (y0, y1) = part.x, part.y
            found.setdefault(part.map, []).append(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
        elif isinstance(part, Union | Intersection):
            waiting.extend(part.parts)
        elif isinstance(part, Difference):
            waiting.extend((part.left, part.right))
        elif isinstance(part, Invert):
            waiting.append(part.part)
    return found


def _with_named(history: SelectionHistory, others: Sequence[NamedSelection]) -> SelectionHistory:
    taken = {kept.name for kept in history.named}
    new = tuple(kept for kept in others if kept.name not in taken)
    return replace(history, present=replace(history.present, named=(*history.named, *new)))


def _read(dataset: str) -> SelectionHistory | None:
    try:
        content = read_json(_path(dataset))
        return None if content is None else read_history(content)
    except (OptionError, ValueError, OSError):
        return None  # a damaged file must not close the page; the next save replaces it


def _path(dataset: str) -> Path:
    folder = Workspace().root / "selections"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"{hashlib.sha256(dataset.encode()).hexdigest()[:16]}.json"


def _key(dataset: str) -> str:
    return f"scfviz.selections.{dataset}"
