"""What a comparison gives away: table, figure, and the dataset with the result in scanpy's layout."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.differential_expression import to_rank_genes_groups
from scfviz.analysis.selection.rules import evaluate
from scfviz.data.source import take_fingerprint
from scfviz.jobs import Workspace
from scfviz.ui.explorer.panels import comparison, result_figures
from scfviz.ui.explorer.panels.comparison import Result
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe, sources, state
from scfviz.ui.frame.text import shorten

MIME = {"svg": "image/svg+xml", "png": "image/png"}
STORED = "rank_genes_groups"


def show(view: View, result: Result) -> None:
    """The menu of downloads."""
    stem, table = file_name(result), result.table
    caption = f"{view.source.title}: {result.title}; {result.report['method']}, {len(table):,} genes"
    st.download_button(
        "All genes (CSV)",
        lambda: table.to_csv(index=False),
        f"{stem}.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key="x_de_csv",
    )
    if result.of_donors:
        st.download_button(
            "Donors (CSV)",
            lambda: pd.read_parquet(result.folder / "samples.parquet").to_csv(index=False),
            f"{stem}_donors.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/group:",
            key="x_de_donors",
        )
    for kind, mime in MIME.items():
        st.download_button(
            f"Volcano plot ({kind.upper()})",
            lambda kind=kind: result_figures.print_volcano(table, kind, caption),
            f"{stem}.{kind}",
            mime,
            on_click="ignore",
            icon=":material/imagesmode:",
            key=f"x_de_{kind}",
        )
    if view.source.path.is_dir() or take_fingerprint(view.source.path).size < sources.MAX_BROWSER_BYTES:
        st.download_button(
            "Dataset with this result (h5ad)",
            lambda: dataset_bytes(view, result),
            f"{stem}.h5ad",
            "application/x-hdf5",
            on_click="ignore",
            icon=":material/dataset:",
            key="x_de_h5ad",
        )
        st.caption(
            f'The dataset is your own file with the result in `uns["{STORED}"]`, for '
            f"`sc.get.rank_genes_groups_df(adata, None)`; if the file has one already, ours is called "
            f"`{STORED}_scfviz`. The groups are a column of `obs`."
        )
    else:
        st.caption("The dataset is too large for the browser; the tables are not.")


def dataset_bytes(view: View, result: Result) -> bytes:
    """The user's file with the result in scanpy's layout and the groups that were compared, as h5ad."""
    from scfviz.data.write import write_h5ad_with

    first, second = (_stored_name(name) for name in (result.first, result.second))
    rest = result.report["rules"]["reference"] is None
    groupby = f"compared_{result.job.id[:6]}"
    groups = np.full(view.data.context.n_obs, None, object)
    shown = np.zeros(len(groups), bool)
    shown[view.data.shown] = True
    group, reference = comparison.sides_of(result.job)
    groups[evaluate(group, view.data.context) & shown] = first
    groups[shown & (groups != first) if reference is None else evaluate(reference, view.data.context) & shown] = second
    opened = describe.open_dataset(view.source, state.gene_column())
    row_names = dict(zip(opened.index.names, opened.file_names, strict=True))  # the file may call its genes otherwise
    stored = to_rank_genes_groups(
        result.table.assign(names=result.table["names"].map(lambda gene: row_names.get(gene, gene))),
        group=first,
        reference="rest" if rest else second,
        method=result.report["method"],
        tie_correct=bool(result.report.get("tie_correct", False)),
        groupby=groupby,
    )
    with tempfile.TemporaryDirectory(dir=Workspace().root) as folder:
        path = Path(folder) / "result.h5ad"
        added = {"obs": {groupby: pd.Categorical(groups)}, "uns": {STORED: stored}}
        write_h5ad_with(view.source.path, path, content=view.data.dataset, **added)
        return path.read_bytes()


def file_name(result: Result) -> str:
    """A name for files, from the names of the groups."""
    kept = "".join(letter if letter.isalnum() else "_" for letter in shorten(result.title, 60)).strip("_")
    return (kept or "comparison") + ("_donors" if result.of_donors else "")


def _stored_name(name: str) -> str:
    """A name that can be a field of a table in HDF5, where a slash opens a folder."""
    return shorten(name, 80).replace("/", "|").replace("\0", "").strip() or "group"
