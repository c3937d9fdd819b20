"""Results to take away: table, figure, the dataset with our results in it. Each is made only when it is asked for."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from scfviz.jobs import Workspace
from scfviz.ui.frame import describe, sources, state
from scfviz.ui.tasks import results
from scfviz.ui.tasks.results import EmbeddingResult

MAX_BROWSER_BYTES = 1_000_000_000


def show(result: EmbeddingResult, source: sources.Source, figure, resolution: float) -> None:
    """A card with the downloads of an embedding."""
    stem = Path(source.title).name.split(".")[0] or "cells"
    with st.container(border=True, key="card-downloads"):
        st.markdown("#### Take it with you")
        with st.container(horizontal=True):
            st.download_button(
                "Table of cells (CSV)",
                lambda: cell_table(result, resolution).to_csv(),
                f"{stem}_scfviz_cells.csv",
                "text/csv",
                on_click="ignore",
                icon=":material/table:",
                key="download-csv",
            )
            st.download_button(
                "Figure (HTML)",
                lambda: figure_html(figure),
                f"{stem}_scfviz_maps.html",
                "text/html",
                on_click="ignore",
                icon=":material/imagesmode:",
                key="download-html",
            )
            if source.path.is_dir() or source.path.stat().st_size < MAX_BROWSER_BYTES:
                st.download_button(
                    "Dataset with results (h5ad)",
                    lambda: dataset_bytes(result, source, resolution),
                    f"{stem}_scfviz.h5ad",
                    "application/x-hdf5",
                    on_click="ignore",
                    icon=":material/dataset:",
                    key="download-h5ad",
                )
        if not source.path.is_dir() and source.path.stat().st_size >= MAX_BROWSER_BYTES:
            st.caption("The dataset is too large for the browser: use `scfviz embed FILE OUT.h5ad` on the server.")
        st.caption(
            "The camera above the maps saves the picture as SVG or PNG (choose it with the wheel). The h5ad is your "
            "own file plus `obsm['X_scfoundation']`, the maps, the clusters, and their making in `uns['scfviz']`."
        )


def cell_table(result: EmbeddingResult, resolution: float) -> pd.DataFrame:
    """One row per cell: maps, clusters of each at this resolution, quality, and the file's own columns."""
    table = pd.DataFrame(index=result.obs.index.rename("cell"))
    for way in result.umap:
        for axis in (0, 1):
            table[f"umap_{way}_{axis + 1}"] = result.umap[way][:, axis]
        table[f"clusters_{way}"] = results.clusters_of(result, way, resolution)
    quality = result.cells[["total_counts", "n_genes", "pct_counts_mt"]]
    own = result.obs.rename(columns={name: f"{name}_file" for name in result.obs if name in table or name in quality})
    return pd.concat([table, quality, own], axis=1)


def figure_html(figure) -> str:
    """The figure as a page of its own that works without a network, on white."""
    import plotly.graph_objects as go

    return go.Figure(figure).update_layout(template="plotly_white", height=640).to_html(include_plotlyjs=True)


def dataset_bytes(result: EmbeddingResult, source: sources.Source, resolution: float) -> bytes:
    """The user's file with the results added, as h5ad; cells that filters removed have NaN."""
    from scfviz.data.write import write_h5ad_with
    from scfviz.jobs.kinds.export import result_parts

    n_file = describe.open_dataset(source, state.gene_column()).n_obs
    clusters = {f"clusters_{way}": _ordered(results.clusters_of(result, way, resolution)) for way in result.umap}
    shown = replace(result.result, cells=result.cells.assign(**clusters))
    parts = result_parts(shown, n_file)
    about = parts.pop("uns") | {"cluster_resolution": float(resolution)}
    with tempfile.TemporaryDirectory(dir=Workspace().root) as folder:
        path = Path(folder) / "result.h5ad"
        content = result.report["dataset_id"]
        write_h5ad_with(source.path, path, content=content, **parts, uns={"scfviz": about})
        return path.read_bytes()


def _ordered(clusters) -> pd.Categorical:
    return pd.Categorical(clusters, categories=sorted(set(clusters), key=lambda group: (len(group), group)))
