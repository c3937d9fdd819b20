"""The quick map: every dataset without a map of its own gets one by itself, in seconds, without a model."""

from typing import Any

import streamlit as st

from scfviz.ui.explorer.data import Explored
from scfviz.ui.frame import describe, job_panel, page, routes, sources, state

KIND = "quick_map"
_ASKED_FOR = "scfviz.quick_map.drawn_for"
_PICTURES = ("umap", "tsne", "spatial", "draw", "phate", "trimap", "densmap", "fa2")


def has_picture(data: Explored, embed_job: str | None) -> bool:
    """Whether there is a map that was made to be looked at: principal components alone are not."""
    return embed_job is not None or any(word in name.lower() for name in data.maps for word in _PICTURES)


def offer(source: sources.Source, data: Explored, embed_job: str | None) -> bool:
    """Compute the quick map of a dataset that has none, and show how far it is; whether a map is there already."""
    if has_picture(data, embed_job):
        return True
    job = job_panel.ask_once(KIND, _options(source))
    if job.state == "done":  # just now; a page that does not find it must not ask without end
        if st.session_state.get(_ASKED_FOR) == job.id:
            return bool(data.maps)
        st.session_state[_ASKED_FOR] = job.id
        st.rerun()
    with st.container(border=True, key="card-empty"):
        page.show_empty(
            "A map is on its way",
            "The file holds no map of its cells, so one is drawn from their variable genes; it appears here by itself.",
        )
        job_panel.show_progress(job.id, "Drawing a quick map", place="-quick")
        if not describe.describe(source, state.gene_column())["refusal"]:
            routes.link("cell_embedding", "Compute the model's map as well")
    return False


def _options(source: sources.Source) -> dict[str, Any]:
    return {"dataset": str(source.path.resolve()), "gene_column": state.gene_column()}
