"""What the explorer gives away: figures, tables, and the cells with everything that is known of them."""

import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Rule, to_json
from scfviz.errors import DatasetError, ScfvizError
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.workspace import read_json
from scfviz.tasks.names import public_names
from scfviz.ui.drawing import coloring, figure
from scfviz.ui.drawing.cell_map import hidden_codes
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.selection.subset import options_of
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe, job_panel, sources, state
from scfviz.ui.frame.text import plain, size

MAX_DIRECT_BYTES = 200_000_000  # a larger file is written by a job, not while the visitor waits


def show(view: View, key: str) -> None:
    """The menu of downloads; `key` is that of the maps."""
    data, history, mask, chosen = view.data, view.history, view.mask, view.chosen.coloring
    stem = Path(view.source.title).name.split(".")[0] or "cells"
    hidden = hidden_codes(key, chosen)

    def draw(kind: str) -> bytes:
        maps = {data.titles[name]: data.maps[name] for name in view.chosen.maps}
        return figure.draw_maps(maps, chosen, kind, selected=mask, hidden=hidden, caption=view.caption)

    with st.container(horizontal=True):
        for kind, mime in (("svg", "image/svg+xml"), ("png", "image/png"), ("pdf", "application/pdf")):
            st.download_button(
                f"Figure ({kind.upper()})",
                lambda kind=kind: draw(kind),
                f"{stem}_map.{kind}",
                mime,
                on_click="ignore",
                icon=":material/imagesmode:",
                key=f"x_{kind}",
            )
    with st.container(horizontal=True):
        st.download_button(
            "Table of cells (CSV)",
            lambda: cell_table(data, history).to_csv(),
            f"{stem}_cells.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
            key="x_csv",
        )
        if mask is not None:
            st.download_button(
                "Selected cells (CSV)",
                lambda: cell_table(data, history)[mask].to_csv(),
                f"{stem}_selected.csv",
                "text/csv",
                on_click="ignore",
                icon=":material/lasso_select:",
                key="x_selected_csv",
            )
    with st.container(horizontal=True):
        _offer_h5ad(view, "Dataset (h5ad)", ":material/dataset:", None, f"{stem}_scfviz", "x_h5ad")
        if mask is not None and mask.any():
            icon = ":material/lasso_select:"
            _offer_h5ad(view, "Selected cells (h5ad)", icon, history.current, f"{stem}_selected", "x_selected_h5ad")
    st.caption(
        "Figures have text that can be edited, the cells as one picture at 300 dots per inch, and a caption. The "
        "tables hold every column, the maps, and one column for each named selection. An h5ad is your own file with "
        "your labels, named selections, clusters, the embedding and the maps in it; scanpy and cellxgene open it."
    )


def _offer_h5ad(view: View, label: str, icon: str, rule: Rule | None, name: str, key: str) -> None:
    path = view.source.path
    if path.is_file() and path.stat().st_size < MAX_DIRECT_BYTES:
        st.download_button(
            label,
            lambda: dataset_bytes(view, rule),
            f"{name}.h5ad",
            "application/x-hdf5",
            on_click="ignore",
            icon=icon,
            key=key,
        )
        return
    job_key = f"scfviz.export.{view.data.dataset}.{key}"
    if st.button(
        f"Prepare: {label}", icon=icon, key=f"{key}_ask", help="The file is large: it is written by the server"
    ):
        options = options_of(view, rule) | {"name": name, "colors": colors_of(view), "selections": _named(view.history)}
        job_id = job_panel.ask("export", options)
        if job_panel.status_of(job_id).state == "done" and not _file_of(job_panel.status_of(job_id)).exists():
            job_panel.remove(job_id)
            job_id = job_panel.ask("export", options)
        st.session_state[job_key] = job_id
    if job_key in st.session_state:
        _show_job(job_panel.status_of(st.session_state[job_key]), name, key)


def _show_job(job: JobStatus, name: str, key: str) -> None:
    if job.state != "done":
        job_panel.show_progress(job.id, f"Writing {plain(name)}.h5ad", place=f"-{key}")
        return
    path = _file_of(job)
    n_bytes = path.stat().st_size
    if n_bytes < sources.MAX_BROWSER_BYTES:
        st.download_button(
            f"Download it ({size(n_bytes)})",
            path.read_bytes,
            f"{name}.h5ad",
            "application/x-hdf5",
            on_click="ignore",
            icon=":material/download:",
            key=f"{key}_file",
            type="primary",
        )
    why = "" if n_bytes < sources.MAX_BROWSER_BYTES else ", too large for the browser"
    st.caption(f"{size(n_bytes)} on the server{why}: `{path}`")


def _file_of(job: JobStatus) -> Path:
    folder = result_dir(Workspace(), job.id)
    return folder / (read_json(folder / "report.json") or {})["file"]


def dataset_bytes(view: View, rule: Rule | None) -> bytes:
    """The file with everything that is known of its cells, as h5ad; a rule takes only the cells that it chooses."""
    from scfviz.jobs.context import result_folders
    from scfviz.jobs.kinds.export import write_file
    from scfviz.jobs.labels import list_labels

    data, workspace = view.data, Workspace()
    adata = describe.open_dataset(view.source, state.gene_column()).adata
    cells = None if rule is None else data.shown[data.mask(rule)]
    if cells is not None and not len(cells):
        raise DatasetError("The selection holds no cells.", "", "Select some first.")
    about = {"dataset": data.dataset, "title": view.source.title, "ref": view.source.ref, "embed_job": view.embed_job}
    with tempfile.TemporaryDirectory(dir=workspace.root) as folder:
        path = Path(folder) / "cells.h5ad"
        write_file(
            adata,
            path,
            about,
            labels=list_labels(workspace, data.key),
            context=data.context,
            rule=rule,
            named=[(kept.name, kept.rule) for kept in view.history.named],
            cells=cells,
            colors=colors_of(view),
            results=result_folders(workspace, [view.embed_job, *view.task_jobs]),
        )
        return path.read_bytes()


def colors_of(view: View) -> dict[str, dict[str, str]] | None:
    """The colours on screen, by column and group; `None` where the maps are not coloured by a label."""
    labels, column = view.chosen.coloring, view.chosen.column
    if column is None or not isinstance(labels, coloring.Labels):
        return None
    return {column: dict(zip(labels.names, labels.colors, strict=True))}


def _named(history: SelectionHistory) -> list[dict]:
    return [{"name": kept.name, "rule": to_json(kept.rule)} for kept in history.named]


def cell_table(data: Explored, history: SelectionHistory) -> pd.DataFrame:
    """One row per shown cell: the table, positions on all maps, and whether it is in each named selection."""
    names = public_names({*map(str, data.context.obs.columns), *data.context.maps})
    table = data.obs.rename(columns=names)
    table.index = table.index.rename("cell")
    for name, xy in data.maps.items():
        for axis in (0, 1):
            table[f"{names.get(name, name)}_{axis + 1}"] = xy[:, axis]
    for kept in history.named:
        try:
            table[f"selection: {kept.name}"] = data.mask(kept.rule)
        except ScfvizError:  # it speaks of a map or of labels that are not there now
            continue
    if history.current is not None:
        table["selected"] = data.mask(history.current)
    return table
