"""Gene modules: asking for them, and the result, the picture first."""

from typing import Any

import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.tasks.gene_modules.options import CHOICES
from scfviz.tasks.registry import get_task
from scfviz.ui.frame import describe, job_panel, sources, state
from scfviz.ui.frame.text import duration, number
from scfviz.ui.tasks import request
from scfviz.ui.tasks.gene_modules.network_choice import split_names

TASK = get_task("gene_modules")
_MOST_COLUMNS = 200
_SECONDS_PER_CELL, _SECONDS_OF_THE_REST = 0.05, 18  # one core, the shipped model; see benchmarks/NOTES.md


def show_request(source: sources.Source) -> None:
    """The form: a quick look without the model, or everything; options below.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    about = request.describe_cells(source)
    with st.container(border=True, key="card-request"):
        st.markdown("#### Find gene modules")
        st.markdown(
            "Genes that rise and fall together are found in two ways: by co-expression over metacells, which takes "
            "seconds, and by scFoundation's context embeddings of the genes, which the model has to read cell by cell. "
            "Together they are weighed on held-out cells, so the answer is never clearly worse than the better one."
        )
        given = _ask_options(source, about["n_obs"])
        cells = min(about["n_obs"], given["most_cells"])
        options = request.options_of(TASK, source) | given
        job_panel.show_memory(TASK.name, options, about["n_obs"])
        with st.container(horizontal=True, vertical_alignment="center"):
            wait = duration(_SECONDS_OF_THE_REST + cells * _SECONDS_PER_CELL)
            if st.button("Find gene modules", type="primary", icon=":material/hub:", key="start-gene-modules"):
                _start(source, given)
            if st.button("Quick look, co-expression only", icon=":material/bolt:", key="start-gene-modules-quick"):
                _start(source, given | {"view": "coexpression"})
            st.caption(f"With the model: {number(cells)} cells, about {wait} of one core. Quick look: about 10 s.")


def _start(source: sources.Source, given: dict[str, Any]) -> None:
    request.start(TASK, source, **given)
    st.rerun()


def _ask_options(source: sources.Source, n_obs: int) -> dict[str, Any]:
    fields = {name: field.metadata for name, field in TASK.options_type.__dataclass_fields__.items()}
    opened = describe.open_dataset(source, state.gene_column())
    columns = [str(name) for name in opened.counts.obs][:_MOST_COLUMNS]
    with st.expander("Options", icon=":material/tune:"):
        left, middle, right = st.columns(3, gap="large")
        group_by = left.selectbox(
            "Groups of cells",
            columns,
            index=None,
            key="gene_modules-group_by",
            placeholder="Found by the Leiden method",
            help=fields["group_by"]["help"],
        )
        most_cells = left.select_slider(
            "Cells that the model reads",
            [100, 300, 1_000, 2_000, 5_000, 20_000],
            value=1_000,
            key="gene_modules-most_cells",
            help=fields["most_cells"]["help"],
        )
        own = middle.text_area(
            "My genes",
            key="gene_modules-genes",
            placeholder="CD3D, LYZ, MS4A1 …",
            help="symbols or Ensembl IDs, by commas, spaces or lines: they take part whatever their variation",
        )
        choice = middle.radio("Genes that take part", list(CHOICES), format_func=CHOICES.get, key="gene_modules-choice")
        n_genes = right.number_input("Number of genes", 20, 5_000, 800, 100, key="gene_modules-n_genes")
        resolution = right.number_input(
            "Resolution", 0.05, 50.0, None, key="gene_modules-resolution", help=fields["resolution"]["help"]
        )
        trees = right.toggle("Boosted trees", value=True, key="gene_modules-trees", help=fields["trees"]["help"])
    given = {
        "group_by": group_by,
        "genes": split_names(own) or None,
        "choice": choice,
        "n_genes": int(n_genes),
        "most_cells": int(most_cells),
        "resolution": resolution,
        "trees": trees,
    }
    return {name: value for name, value in given.items() if value is not None}


def show_result(job: JobStatus, source: sources.Source) -> None:
    """The picture, what was clicked, modules, regulators, downloads."""
    from scfviz.ui.tasks.gene_modules import result

    result.show(TASK, job, source)
