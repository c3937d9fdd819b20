"""Downloads of an embedding: table, figure, the dataset with our results in it. Each is made when it is asked for."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.jobs import Workspace
from scfviz.tasks.names import public_names
from scfviz.ui.drawing import figure
from scfviz.ui.drawing.cell_map import hidden_codes
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.maps import colored_maps
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.frame import describe, sources, state
from scfviz.ui.tasks import results
from scfviz.ui.tasks.results import EmbeddingResult


def show(
    result: EmbeddingResult, source: sources.Source, data: Explored, chosen: Chosen, mask: np.ndarray | None, key: str
) -> None:
    """A card with the downloads of an embedding.

    Parameters
    ----------
    data, chosen, mask
        What the maps show, and which cells are selected.
    key
        That of the maps.
    """
    stem, resolution = colored_maps.stem(source), round(st.session_state["resolution"], 1)

    def draw(kind: str) -> bytes:
        maps = {data.titles[name]: data.maps[name] for name in chosen.maps}
        hidden, caption = hidden_codes(key, chosen.coloring), colored_maps.caption(source, data, chosen)
        return figure.draw_maps(maps, chosen.coloring, kind, selected=mask, hidden=hidden, caption=caption)

    with st.container(border=True, key="card-downloads"):
        st.markdown("#### Download")
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
            for kind, mime in (("svg", "image/svg+xml"), ("png", "image/png"), ("pdf", "application/pdf")):
                st.download_button(
                    f"Figure ({kind.upper()})",
                    lambda kind=kind: draw(kind),
                    f"{stem}_scfviz_maps.{kind}",
                    mime,
                    on_click="ignore",
                    icon=":material/imagesmode:",
                    key=f"download-{kind}",
                )
            if source.path.is_dir() or source.path.stat().st_size < sources.MAX_BROWSER_BYTES:
                st.download_button(
                    "Dataset with results (h5ad)",
                    lambda: dataset_bytes(result, source, resolution),
                    f"{stem}_scfviz.h5ad",
                    "application/x-hdf5",
                    on_click="ignore",
                    icon=":material/dataset:",
                    key="download-h5ad",
                )
        if not source.path.is_dir() and source.path.stat().st_size >= sources.MAX_BROWSER_BYTES:
            st.caption("The dataset is too large for the browser: use `scfviz embed FILE OUT.h5ad` on the server.")
        st.caption(
            "The h5ad is your own file with the embedding, the maps, the clusters and their provenance in it; scanpy "
            "and cellxgene open it. The table has the same names for its columns."
        )


def cell_table(result: EmbeddingResult, resolution: float) -> pd.DataFrame:
    """One row per cell: maps and clusters under their names in the h5ad, quality, and the file's own columns."""
    table = pd.DataFrame(index=result.obs.index.rename("cell"))
    names = public_names()
    for representation in result.umap:
        for axis in (0, 1):
            table[f"{names[f'umap_{representation}']}_{axis + 1}"] = result.umap[representation][:, axis]
        table[names[f"clusters_{representation}"]] = results.clusters_of(result, representation, resolution)
    quality = result.cells[["total_counts", "n_genes", "pct_counts_mt"]]
    own = result.obs.rename(columns={name: f"{name}_file" for name in result.obs if name in table or name in quality})
    return pd.concat([table, quality, own], axis=1)


def dataset_bytes(result: EmbeddingResult, source: sources.Source, resolution: float) -> bytes:
    """The user's file with the results added, as h5ad; cells that filters removed have NaN."""
    from scfviz.data.write import write_h5ad_with
    from scfviz.jobs.kinds.export import result_parts

    n_file = describe.open_dataset(source, state.gene_column()).n_obs
    clusters = {
        f"clusters_{representation}": _ordered(results.clusters_of(result, representation, resolution))
        for representation in result.umap
    }
    shown = replace(result.result, cells=result.cells.assign(**clusters))
    parts = result_parts(shown, n_file)
    about = parts.pop("uns") | {"cluster_resolution": float(resolution)}
    with tempfile.TemporaryDirectory(dir=Workspace().root) as folder:
        path = Path(folder) / "result.h5ad"
        content = result.report["dataset_id"]
        write_h5ad_with(source.path, path, content=content, **parts, uns={"scfviz": about})
        return path.read_bytes()


def _ordered(clusters: np.ndarray) -> pd.Categorical:
    return pd.Categorical(clusters, categories=sorted(set(clusters), key=lambda group: (len(group), group)))
