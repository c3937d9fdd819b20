"""Markers of all groups at once: the top genes of each, one group's table, and both for other programs."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.workspace import read_json
from scfviz.ui.explorer.data import title_of
from scfviz.ui.explorer.panels import compare, gene_list, gene_table
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe, job_panel, state
from scfviz.ui.frame.text import plain, plural

KIND = "markers"
_TOP, _ROWS, _MOST_DRAWN = 5, 50, 50


def show(view: View) -> None:
    """Ask for the column of groups, and show what sets each of its groups apart."""
    if not view.data.labels:
        st.info("There is no column of groups yet: label cells, or wait for clusters.", icon=":material/label:")
        return
    chosen = [view.chosen.column] if view.chosen.column in view.data.labels else []
    columns = [*chosen, *(name for name in view.data.labels if name not in chosen)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        column = st.selectbox("Groups", columns, format_func=title_of, key="x_marker_column", persist_state="page")
        asked = st.button("Find markers", type="primary", icon=":material/flag:", key="x_find_markers")
    key = f"scfviz.markers.{view.data.dataset}.{column}"
    if asked:
        st.session_state[key] = job_panel.ask(KIND, _options(view, column))
    job = job_panel.status_of(st.session_state[key]) if key in st.session_state else _newest(view, column)
    if job is None:
        st.caption("Each group is compared with all other cells, every gene of the file at once.")
    elif job.state == "done":
        _show_result(view, column, result_dir(Workspace(), job.id))
    else:
        job_panel.show_progress(
            job.id, "Finding markers", place="-markers", on_leave=lambda: st.session_state.pop(key, None)
        )


def _options(view: View, column: str) -> dict[str, Any]:
    return {
        "dataset": str(view.source.path.resolve()),
        "column": column,
        "embed_job": view.embed_job,
        "task_jobs": list(view.task_jobs),
        "gene_column": state.gene_column(),
        "gene_store": view.store,
    }


def _newest(view: View, column: str) -> JobStatus | None:
    wanted = {name: value for name, value in _options(view, column).items() if name != "gene_store"}
    job = job_panel.newest(KIND, wanted)
    return job if job is not None and not job.identity.get("labels") else None


def _show_result(view: View, column: str, folder: Path) -> None:
    from scfviz.analysis.markers import top_markers

    tables, about = _read(str(folder))
    top = top_markers(tables, _TOP)
    rows = [(name, about["n_cells"][name], ", ".join(top[name])) for name in tables]
    overview = pd.DataFrame(rows, columns=["Group", "Cells", "Top genes"])
    st.dataframe(overview, hide_index=True, height=min(38 + 35 * len(overview), 300))
    genes = list(dict.fromkeys(gene for name in tables for gene in top[name]))[:_MOST_DRAWN]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        group = st.selectbox("Table of", list(tables), key="x_marker_group", persist_state="page")
        st.button(
            "Dot plot",
            icon=":material/bubble_chart:",
            key="x_marker_dots",
            on_click=_draw,
            args=(genes, column),
            help=f"The top genes of all groups, at most {_MOST_DRAWN}, in the panel Expression",
        )
        with st.popover("Download", icon=":material/download:"):
            _offer_files(view, column, folder)
    table = tables[group].head(_ROWS)
    gene_table.show(
        table, f"x_markers_{folder.parent.name}_{group}", compare.choose_gene, first="group", second="others"
    )
    n_genes = len(tables[group])
    st.caption(
        f"The first {len(table)} of {plural(n_genes, 'gene')} of the file. A click on a row shows the gene on the maps."
    )
    for note in about["notes"]:
        st.caption(plain(note))


def _offer_files(view: View, column: str, folder: Path) -> None:
    stem = f"{Path(view.source.title).name.split('.')[0] or 'cells'}_markers"
    st.download_button(
        "All groups and genes (CSV)",
        lambda: pd.read_parquet(folder / "table.parquet").to_csv(index=False),
        f"{stem}.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key="x_marker_csv",
    )
    st.download_button(
        "For scanpy (h5ad)",
        lambda: scanpy_bytes(view, column, folder),
        f"{stem}.h5ad",
        "application/x-hdf5",
        on_click="ignore",
        icon=":material/dataset:",
        key="x_marker_h5ad",
    )
    st.caption('Your file with `uns["rank_genes_groups"]`, for `sc.get.rank_genes_groups_df(adata, None)`.')


def scanpy_bytes(view: View, column: str, folder: Path) -> bytes:
    """The user's file with the markers in scanpy's layout, by its own row names; h5ad."""
    from scfviz.analysis.markers import to_scanpy
    from scfviz.data.write import write_h5ad_with

    tables, about = _read(str(folder))
    opened = describe.open_dataset(view.source, state.gene_column())
    names = dict(zip(opened.index.names, opened.file_names, strict=True))
    groupby = column if column in map(str, opened.adata.obs.columns) else f"groups_{folder.parent.name[:6]}"
    stored = to_scanpy(tables, groupby=groupby, method=about["method"], names=names)
    added: dict[str, Any] = {"uns": {"rank_genes_groups": stored}}
    if groupby != column:
        values = view.data.context.obs[column].astype("string").to_numpy(dtype=object, na_value=None)
        added["obs"] = {groupby: pd.Categorical(values)}
    with tempfile.TemporaryDirectory(dir=Workspace().root) as place:
        path = Path(place) / "markers.h5ad"
        write_h5ad_with(view.source.path, path, content=view.data.dataset, **added)
        return path.read_bytes()


def _draw(genes: list[str], column: str) -> None:
    """Show genes in the panel Expression; for callbacks, which run before the page."""
    st.session_state[gene_list.KEY] = genes
    st.session_state["x_plot_by"] = column
    st.session_state["x_panel"] = "plots"


@st.cache_resource(max_entries=4, show_spinner=False)
def _read(folder: str) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    table = pd.read_parquet(Path(folder) / "table.parquet")
    about = read_json(Path(folder) / "report.json") or {}
    parts = {str(name): part.drop(columns="group") for name, part in table.groupby("group", sort=False)}
    return parts, about
