"""Groups of cells that panels compare: the values of a label, the selection, or the named selections."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.groups import MISSING, Grouping, group_cells, keep_largest
from scfviz.analysis.selection.history import NamedSelection
from scfviz.analysis.selection.rules import Categories, Intersection, Invert, Rule, rule_id
from scfviz.ui.drawing import coloring, palette
from scfviz.ui.explorer.data import Explored, title_of
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import state
from scfviz.ui.frame.text import plain, plural

MAX_GROUPS = 30
_SELECTION, _NAMED = "(selection)", "(named)"
_TITLES = {_SELECTION: "Selected or not", _NAMED: "Named selections"}
_NONE_OF_THEM = "in none of them"
_MAX_NAMED = 8
_CELLS = {"all": "All shown", "selected": "Selected"}


@dataclass(frozen=True)
class Groups:
    """Cells in groups, ready to draw.

    Attributes
    ----------
    title
        What the groups are, as plain text.
    grouping
        The groups that are drawn, the 30 largest; codes of the shown cells.
    colors
        By name of a group, those of the map where it has any.
    n_taking_part
        Cells that were asked for, drawn or not.
    n_left_out
        Groups that are not drawn.
    key
        Identity of all this, for caches.
    """

    title: str
    grouping: Grouping
    colors: dict[str, str]
    n_taking_part: int
    n_left_out: int
    key: tuple = field(default=())

    @property
    def counted_names(self) -> list[str]:
        """The names with their numbers of cells."""
        return [f"{name} (n = {n:,})" for name, n in zip(self.grouping.names, self.grouping.n_cells, strict=True)]

    def notes(self, *, unlabelled: bool = True) -> list[str]:
        """What a reader has to know: which cells are counted and which are not; Markdown."""
        drawn = len(self.grouping.kept)
        notes = []
        if self.n_left_out:
            notes.append(
                f"The {len(self.grouping.names)} largest of {len(self.grouping.names) + self.n_left_out:,} groups are "
                f"drawn, with {drawn:,} of {plural(self.n_taking_part, 'cell')}: more could not be read."
            )
        if unlabelled and MISSING in self.grouping.names:
            n = int(self.grouping.n_cells[self.grouping.names.index(MISSING)])
            notes.append(f"{plural(n, 'cell')} without a value of {plain(self.title)} are the group “{MISSING}”.")
        return notes


def list_kinds(view: View) -> list[str]:
    """What cells can be grouped by: labels, the selection, the named selections."""
    kinds = [name for name in view.data.labels if name not in _TITLES]
    kinds += [_SELECTION] if view.mask is not None else []
    return kinds + ([_NAMED] if view.history.named else [])


def choose_groups(view: View, key: str, label: str = "Group by", *, default: int = 0) -> str | None:
    """Ask what the groups are; `None` where the dataset has nothing to group by."""
    kinds = list_kinds(view)
    if not kinds:
        st.info(
            "The file has no column of labels. Select cells on a map: then the selected are compared with the others.",
            icon=":material/lasso_select:",
        )
        return None
    if st.session_state.get(key) not in kinds:  # a column of another dataset, or a selection that is gone
        st.session_state.pop(key, None)
    return st.selectbox(
        label,
        kinds,
        index=min(default, len(kinds) - 1),
        format_func=lambda kind: _TITLES.get(kind, title_of(kind)),
        key=key,
        bind="query-params",
        width=230,
    )


def choose_cells(view: View, key: str, by: str | None) -> bool:
    """Ask whether only the selected cells take part; all that are shown where nothing is selected."""
    if view.mask is None or by == _SELECTION:
        return False
    chosen = st.segmented_control(
        "Cells",
        list(_CELLS),
        format_func=_CELLS.get,
        default="all",
        required=True,
        key=key,
        persist_state="page",
        width="content",
    )
    return chosen == "selected"


def chosen_cells(only_selected: bool) -> str:
    """What `choose_cells` holds for an answer."""
    return "selected" if only_selected else "all"


def make_groups(view: View, by: str, *, only_selected: bool = False) -> Groups:
    """The groups of the shown cells, or of those that are selected."""
    rule = view.history.current
    current = rule_id(rule) if rule is not None else ""
    if by == _SELECTION:
        kind: tuple = (_SELECTION, current)
    elif by == _NAMED:
        kind = (_NAMED, *((kept.name, rule_id(kept.rule)) for kept in view.history.named[:_MAX_NAMED]))
    else:
        kind = (by,)
    key = (*identity(view), kind, current if only_selected else "")
    return _make_groups(key, by, view, only_selected)


def categories_of(data: Explored, column: str, cells: np.ndarray) -> Categories:
    """The rule for the values that some cells have in a column of labels."""
    values = data.column(column)[cells].drop_duplicates()
    named = [None if pd.isna(v) else bool(v) if isinstance(v, bool | np.bool_) else str(v) for v in values]
    return Categories(column, tuple(named))


def rule_of(view: View, by: str, groups: Groups, group: int) -> Rule:
    """The rule that chooses the cells of a group, among all shown cells."""
    if by == _SELECTION:
        return view.history.current if groups.grouping.names[group] == "selected" else Invert(view.history.current)
    in_group = groups.grouping.codes == group
    if by != _NAMED:
        return categories_of(view.data, by, in_group)
    rules = [kept.rule for kept in view.history.named[:_MAX_NAMED]]
    first = int(np.flatnonzero(in_group)[0])
    return Intersection(tuple(rule if view.data.mask(rule)[first] else Invert(rule) for rule in rules))


def identity(view: View) -> tuple:
    """What distinguishes the cells of this view and their table from those of another, for caches."""
    data = view.data
    return (data.dataset, view.embed_job or "", state.gene_column() or "", data.own_version, data.palette)


@st.cache_resource(max_entries=24, show_spinner=False)
def _make_groups(key: tuple, by: str, _view: View, only_selected: bool) -> Groups:
    data = _view.data
    if by == _SELECTION:
        grouping = _by_selection(_view.mask)
        colors = {"selected": palette.CATEGORIES[0], "not selected": palette.OTHER}
    elif by == _NAMED:
        grouping = _by_named(data, _view.history.named[:_MAX_NAMED])
        colors = {name: color for name, color in zip(grouping.names, palette.CATEGORIES, strict=False)}
        colors[_NONE_OF_THEM] = palette.OTHER
    else:
        grouping = group_cells(coloring.as_groups(data.column(by)))
        colors = _label_colors(data, by)
    if only_selected:
        used = np.where(_view.mask, grouping.codes, -1)
        present = np.flatnonzero(np.bincount(used[used >= 0], minlength=len(grouping.names)))
        new = np.full(len(grouping.names) + 1, -1, np.int32)
        new[present] = np.arange(len(present))
        grouping = Grouping(tuple(grouping.names[i] for i in present), new[used])
    drawn = keep_largest(grouping, MAX_GROUPS)
    left_out = len(grouping.names) - len(drawn.names)
    return Groups(_TITLES.get(by, title_of(by)), drawn, colors, len(grouping.kept), left_out, key)


def _by_selection(mask: np.ndarray) -> Grouping:
    codes = np.where(mask, 0, 1).astype(np.int32)
    if mask.all() or not mask.any():
        return Grouping(("selected",) if mask.any() else ("not selected",), np.zeros(len(mask), np.int32))
    return Grouping(("selected", "not selected"), codes)


def _by_named(data: Explored, named: tuple[NamedSelection, ...]) -> Grouping:
    """Each cell in one group: cells that several selections hold are a group of their own."""
    bits = np.zeros(len(data.shown), np.int64)
    for place, kept in enumerate(named):
        bits |= data.mask(kept.rule).astype(np.int64) << place
    found, codes = np.unique(bits, return_inverse=True)
    names = [" + ".join(kept.name for i, kept in enumerate(named) if pattern >> i & 1) for pattern in found]
    # One selection, then two together and so on, in the order of their names; the rest last.
    order = sorted(range(len(found)), key=lambda i: (found[i] == 0, int(found[i]).bit_count(), found[i]))
    names = [names[i] or _NONE_OF_THEM for i in order]
    return Grouping(tuple(names), np.argsort(order).astype(np.int32)[codes])


def _label_colors(data: Explored, column: str) -> dict[str, str]:
    labels = data.groups(column)
    colors = dict(zip(labels.names, labels.colors, strict=True))
    return colors | {MISSING: palette.OTHER}
