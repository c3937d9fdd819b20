"""The explorer: linked maps above, then what is selected, then one question at a time about it."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from scfviz.ui import page, sources
from scfviz.ui.cell_map import cell_map
from scfviz.ui.explorer import colors, compare, downloads, selection_card, selections
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.view import View
from scfviz.ui.text import plain, plural

KEY = "explorer"
# One question each; only the chosen one is computed. Name in the address: (title, icon, what draws it).
PANELS: dict[str, tuple[str, str, Callable[[View], None]]] = {
    "compare": ("Which genes differ?", ":material/compare_arrows:", compare.show),
}


def show(source: sources.Source, embed_job: str | None) -> None:
    """Maps, the selection on them, and the panels."""
    job = explorer_data.store_job(source)
    store = explorer_data.store_folder(job)
    data = explorer_data.explore(source, embed_job, store)
    if not data.maps:
        page.show_empty("No map yet", "The file holds no map of its cells, and none has been computed yet.")
        return
    if not data.is_trained:
        page.untrained_notice()
    with st.container():  # always there, so that nothing below moves or is made anew when the note goes
        if job.is_active:
            st.caption(
                ":material/bolt: Genes are being ordered for quick access; until then each takes a little longer."
            )
    _show_all(source, data, embed_job, store)


@st.fragment
def _show_all(source: sources.Source, data: Explored, embed_job: str | None, store: str | None) -> None:
    with page.guard():
        with st.container(border=True, key="card-explorer"):
            chosen = colors.choose(source, data, store)
            history = selection_card.apply_event(data, chosen, KEY)
            rule = history.current
            mask = None if rule is None else data.mask(rule)
            view = View(source, data, embed_job, store, chosen, history, mask)
            cell_map(
                {name: data.maps[name] for name in chosen.maps},
                chosen.coloring,
                key=KEY,
                selected=mask,
                outlines=selections.outlines(rule),
                names=data.obs.index,
                titles=data.titles,
                filename=f"{_stem(source)}_map",
                caption=view.caption,
            )
            selection_card.show_cell(data)
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.caption(_describe_drawing(data, chosen.maps))
                with st.popover("Download", icon=":material/download:"):
                    downloads.show(view, KEY)
        with st.container(border=True, key="card-selection"):
            selection_card.show(view)
        with st.container(border=True, key="card-panel"):
            _show_panel(view)


def _show_panel(view: View) -> None:
    name = st.segmented_control(
        "Ask", list(PANELS), format_func=lambda name: f"{PANELS[name][1]} {PANELS[name][0]}", default="compare",
        required=True, key="x_panel", bind="query-params", label_visibility="collapsed",
    )  # fmt: skip
    with page.guard():
        PANELS[name][2](view)


def _stem(source: sources.Source) -> str:
    return source.title.rsplit("/", 1)[-1].split(".")[0] or "cells"


def _describe_drawing(data: Explored, names: list[str]) -> str:
    total = data.context.n_obs
    parts = [f"{len(data.shown):,} of {plural(total, 'cell')} shown"]
    if len(data.shown) < total:
        parts[0] += f", {total - len(data.shown):,} removed by the filters of the embedding"
    for name in names:
        missing = int((~np.isfinite(data.maps[name]).all(axis=1)).sum())
        if missing:
            parts.append(f"{missing:,} have no place on the map {plain(data.titles[name])}")
    return " · ".join([*parts, "press ? on a map for shortcuts"])
