"""Look closer: the selected cells become a dataset of their own, to be embedded and clustered again."""

from pathlib import Path

import streamlit as st

from scfviz.analysis.selection.rules import Categories, Rule, to_json
from scfviz.errors import DatasetError
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.workspace import read_json
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import job_panel, lineage, sources, state
from scfviz.ui.frame.text import plain, plural, shorten, size

_FEW = 50  # cells below which a map says little
_SHOWN = 8


def show(view: View) -> None:
    """The panel: what would be opened, under which name, and what was opened before."""
    n = 0 if view.mask is None else int(view.mask.sum())
    job_id = st.session_state.get(_key(view))
    if n:
        _show_request(view, view.history.current, n)
    else:
        st.markdown(
            "**Nothing is selected.** Select cells with a lasso, a legend entry or a rule; they can then be opened as "
            "a dataset of their own, where a new map and new clusters show what the large map hides."
        )
    if job_id is not None:
        job = job_panel.status_of(job_id)
        if job.state == "done":
            del st.session_state[_key(view)]
            _open(job)
        job_panel.show_progress(
            job_id,
            f"Writing {plain(job.options['name'])}",
            place="-subset",
            on_leave=lambda: st.session_state.pop(_key(view)),
        )
    _show_earlier(view)


def _show_request(view: View, rule: Rule, n: int) -> None:
    total = len(view.data.shown)
    st.markdown(f"**{n:,} of {plural(total, 'cell')}** · {plain(shorten(view.data.describe(rule), 300))}")
    stem = Path(view.source.title).name.split(".")[0] or "cells"
    with st.form("x_subset", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the new dataset", value=f"{stem} - {_title(view, rule, n)}", max_chars=80, width=420
        )
        asked = st.form_submit_button("Open as a dataset", type="primary", icon=":material/zoom_in:")
    few = " A map of so few cells says little." if n < _FEW else ""
    st.caption(
        "A copy of these cells is written to the workspace: all genes, counts as they are, all columns of the file, "
        "your own labels, and where it came from. It opens here on the maps of now, and a map of its own can be "
        f"computed.{few}"
    )
    if asked:
        options = options_of(view, rule) | {"name": name}
        job_id = job_panel.ask("subset", options)
        done = job_panel.status_of(job_id)
        if done.state == "done" and not _is_there(done):
            job_panel.remove(job_id)  # the file was deleted since
            job_id = job_panel.ask("subset", options)
        st.session_state[_key(view)] = job_id
        st.rerun()


def options_of(view: View, rule: Rule | None) -> dict:
    """What jobs that write cells have to know: the dataset, its maps and genes, and what chose the cells."""
    return {
        "dataset": str(view.source.path.resolve()),
        "title": view.source.title,
        "ref": view.source.ref,
        "rule": None if rule is None else to_json(rule),
        "embed_job": view.embed_job,
        "task_jobs": list(view.task_jobs),
        "gene_column": state.gene_column(),
        "gene_store": view.store,
    }


def _title(view: View, rule: Rule, n: int) -> str:
    """The name of the selection where it has one, of the only group that it chooses, else its size."""
    if isinstance(rule, Categories) and len(rule.values) == 1 and rule.values[0] is not None:
        group = str(rule.values[0])
    else:
        group = plural(n, "cell")
    return shorten(next((kept.name for kept in view.history.named if kept.rule == rule), group), 40)


def _show_earlier(view: View) -> None:
    path = str(view.source.path.resolve())
    done = [job for job in job_panel.visible_jobs() if job.kind == "subset" and job.options["dataset"] == path]
    done = [job for job in done if job.state == "done" and _is_there(job)][:_SHOWN]
    if not done:
        return
    st.markdown("##### Opened before")
    for job in done:
        about = _report(job)
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button("Open", key=f"x_subset_open_{job.id}", icon=":material/zoom_in:", type="tertiary"):
                _open(job)
            st.markdown(
                f"**{plain(job.options['name'])}** · {plural(about['n_cells'], 'cell')} · {size(about['size'])}"
            )


def _open(job: JobStatus) -> None:
    lineage.open_dataset(_report(job)["ref"])


def _is_there(job: JobStatus) -> bool:
    try:
        sources.resolve(_report(job)["ref"])
    except DatasetError:
        return False
    return True


def _report(job: JobStatus) -> dict:
    return read_json(result_dir(Workspace(), job.id) / "report.json") or {}


def _key(view: View) -> str:
    return f"scfviz.subset.{view.data.dataset}"
