"""The explorer: linked maps that stay in view, and beside them what is selected and one question at a time about it."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from scfviz.ui.drawing import quantise
from scfviz.ui.drawing.cell_map import hidden_codes
from scfviz.ui.explorer import address
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.maps import colored_maps, colors, quick
from scfviz.ui.explorer.panels import compare, composition, crossfilter, enrichment, labels, markers, plots
from scfviz.ui.explorer.reporting import downloads, report, session
from scfviz.ui.explorer.selection import selection_card, selections, subset
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import job_panel, lineage, page, sources, tour
from scfviz.ui.frame.text import plain, plural

KEY = "explorer"
# Only the chosen one is computed. By name: the question, what draws it.
PANELS: dict[str, tuple[str, Callable[[View], None]]] = {
    "compare": ("Which genes differ?", compare.show),
    "markers": ("What marks each group?", markers.show),
    "enrichment": ("What do these genes do?", enrichment.show),
    "plots": ("How are genes expressed?", plots.show),
    "composition": ("What are groups made of?", composition.show),
    "distributions": ("How are values distributed?", crossfilter.show),
    "labels": ("What are these cells?", labels.show),
    "subset": ("Look closer at some cells", subset.show),
    "report": ("Share and export", report.show),
}


def show(source: sources.Source, embed_job: str | None, task_jobs: tuple[str, ...] = ()) -> bool:
    """Maps, the selection on them, and the panels; whether there is a map yet."""
    known = explorer_data.known_store_job(source)
    store = None if known is None else explorer_data.store_folder(known)
    data = explorer_data.explore(source, embed_job, store, task_jobs)
    lineage.show(data.lineage)
    has_map = quick.offer(source, data, embed_job)  # before the genes are ordered, which takes longer
    job = known or explorer_data.store_job(source)
    if not data.maps:
        return False
    tour.show()
    if not data.is_trained:
        page.untrained_notice()
    _show_all(source, data, embed_job, store, job.id, task_jobs)
    return has_map


@st.fragment
def _show_all(
    source: sources.Source,
    data: Explored,
    embed_job: str | None,
    store: str | None,
    store_job: str,
    task_jobs: tuple[str, ...],
) -> None:
    with page.guard(), st.container(key="explorer-dock"):
        sources.resolve(source.ref)  # its owner may have taken it back since the page was drawn
        if store is None and (store := explorer_data.store_folder(job_panel.status_of(store_job))):
            # Ordered since the page was drawn, which need not run again for it.
            data = explorer_data.explore(source, embed_job, store, task_jobs)
        left, right = st.columns([1.6, 1], gap="small")
        with left, st.container(border=True, key="card-explorer"):
            asked = address.restore(data)
            session.apply_pending(source, data, embed_job, store, task_jobs)
            labels.apply_pending()
            data = colors.with_palette(data)
            chosen = colors.choose(source, data, store)
            history = selection_card.apply_event(data, chosen, KEY)
            history = session.follow_address(data, history, asked, is_complete=chosen.is_complete)
            history, mask = selections.evaluate_current(data, history)
            hidden = np.isin(quantise.encode(chosen.coloring), hidden_codes(KEY, chosen.coloring))
            view = View(source, data, embed_job, store, chosen, history, mask, task_jobs=task_jobs, hidden=hidden)
            with page.guard():
                if renamed := selection_card.renaming():
                    labels.rename_group(view, *renamed)
            colored_maps.draw(
                source,
                data,
                chosen,
                key=KEY,
                selected=mask,
                outlines=selections.outlines(history.current),
                renamable=True,
                shortcuts=selection_card.SHORTCUTS,
            )
            selection_card.show_cell(data)
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.caption(_describe_drawing(view))
                with st.popover("Download", icon=":material/download:"):
                    downloads.show(view, KEY)
        with right:
            with st.container(border=True, key="card-selection"):
                selection_card.show(view)
            with st.container(border=True, key="card-panel"):
                _show_panel(view)


def _show_panel(view: View) -> None:
    name = st.segmented_control(
        "Ask",
        list(PANELS),
        format_func=panel_title,
        required=True,
        key="x_panel",
        label_visibility="collapsed",
    )
    question, draw = PANELS[name]
    st.markdown(f"#### {question}")
    with page.guard():
        draw(view)


def panel_title(name: str) -> str:
    """The word for a panel, in the choice and in the address."""
    return address.PANELS[name]


def _describe_drawing(view: View) -> str:
    data, total = view.data, view.data.context.n_obs
    n_hidden = int(view.hidden.sum())
    parts = [f"{len(data.shown) - n_hidden:,} of {plural(total, 'cell')} shown"]
    if len(data.shown) < total:
        parts.append(f"{total - len(data.shown):,} removed by the filters of the embedding")
    if n_hidden:
        parts.append(f"{n_hidden:,} in groups that are switched off")
    for name in view.chosen.maps:
        missing = int((~np.isfinite(data.maps[name]).all(axis=1)).sum())
        if missing:
            parts.append(f"{plural(missing, 'cell')} without a place on the map {plain(data.titles[name])}")
    if view.store is None:
        waits = explorer_data.must_wait(data, view.store)
        until = "they can be shown when that is done" if waits else "until then each takes a little longer"
        parts.append(f"genes are being ordered for quick access, {until}")
    return " · ".join([*parts, "press ? for shortcuts"])
