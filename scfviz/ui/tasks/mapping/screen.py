"""Asking for a mapping: which reference, what it holds, which of its labels are transferred."""

from typing import Any

import pandas as pd
import streamlit as st

from scfviz.data.catalog import DEMOS
from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus
from scfviz.tasks.mapping.options import CORRECTIONS, SPACES
from scfviz.tasks.registry import get_task
from scfviz.ui.frame import describe, job_panel, page, sources, state
from scfviz.ui.frame.text import plural
from scfviz.ui.tasks import request

TASK = get_task("mapping")
_WHAT = {"reference": "Map onto a reference", "batch": "Integrate batches of this dataset"}
_MOST_COLUMNS, _MOST_ROWS, _LIST_HEIGHT = 200, 1_000, 260


def show_request(source: sources.Source) -> None:
    """The form: reference, what it holds, label column, options.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    about = request.describe_cells(source)
    with st.container(border=True, key="card-request"):
        what = st.segmented_control(
            "What to do", list(_WHAT), format_func=_WHAT.get, default="reference", required=True, key="mapping-what"
        )
        if what == "batch":
            _ask_for_batches(source, about["n_obs"])
            return
        st.markdown("#### Choose a reference")
        reference = _choose_reference(source)
        if reference is None:
            page.show_empty(
                "No reference yet",
                "A reference is any dataset with counts and a column of labels: a demo, a file of the server's folder, "
                "an upload, or a set of the gallery (Dataset page). Its picture stays as it is, and your cells are "
                "placed on it.",
            )
            return
        with page.guard():
            given = _describe_reference(reference, source)
            if given is None:
                return
            given |= _ask_options(source)
            options = request.options_of(TASK, source) | given
            job_panel.show_memory(TASK.name, options, about["n_obs"])
            if st.button("Map the cells", type="primary", icon=":material/play_arrow:", key="start-mapping"):
                request.start(TASK, source, **given)
                st.rerun()


def _ask_for_batches(source: sources.Source, n_obs: int) -> None:
    """The form for an integration of the batches of the dataset itself."""
    from scfviz.tasks.mapping.harmony import is_installed
    from scfviz.tasks.mapping.integrate import read_batches

    st.markdown("#### Choose a column of batches")
    obs = describe.open_dataset(source, state.gene_column()).counts.obs
    batch = st.selectbox(
        "Batches",
        [str(name) for name in obs][:_MOST_COLUMNS],
        index=None,
        key="mapping-batch",
        placeholder="Sample, donor, chemistry",
        help="column of the table of cells",
    )
    if batch is None:
        page.show_empty(
            "No batches yet",
            "Choose the column that says which sample, donor or chemistry a cell comes from. They are "
            "brought together, and the mixing is measured before and after, within types.",
        )
        return
    with page.guard():
        sizes = pd.Series(read_batches(obs, batch)).value_counts()
        st.dataframe(pd.DataFrame({"Batch": sizes.index, "Cells": sizes.to_numpy()}), hide_index=True)
        choices = ["shift", "clusters", *(["harmony"] if is_installed() else [])]
        correction = st.radio("Correction", choices, format_func=CORRECTIONS.get, key="integration-correction")
        if not is_installed():
            st.caption("Harmony is an optional extra: `pip install 'scfviz[harmony]'`.")
        given = {"batch": batch, "correction": correction}
        job_panel.show_memory(TASK.name, request.options_of(TASK, source) | given, n_obs)
        if st.button("Integrate the batches", type="primary", icon=":material/play_arrow:", key="start-integration"):
            request.start(TASK, source, **given)
            st.rerun()


def show_result(job: JobStatus, source: sources.Source) -> None:
    """The picture, the flow, what it is worth."""
    from scfviz.ui.tasks.mapping import result

    result.show(TASK, job, source)


def _choose_reference(source: sources.Source) -> sources.Source | None:
    demos = [f"demo:{demo.name}" for demo in DEMOS]
    listed = [*demos, *(ref for ref in sources.list_references(state.visitor()) if ref not in demos)]
    ref = st.selectbox(
        "Reference",
        [ref for ref in listed if ref != source.ref],
        index=None,
        key="mapping-reference",
        format_func=lambda ref: sources.display_title(ref),
        placeholder="Choose a labelled dataset",
        help="the cells that yours are mapped onto",
    )
    return None if ref is None else sources.resolve(ref)


def _describe_reference(reference: sources.Source, source: sources.Source) -> dict[str, Any] | None:
    """What the reference holds, before anything is mapped; the options that name it and its labels."""
    from scfviz.tasks.mapping.compute import FEW_FOR_LIKENESS, FEW_GENES, warn_of_few_genes
    from scfviz.tasks.mapping.labels import find_column, read_labels

    with st.spinner("Opening the reference …"):
        opened = describe.open_path(str(reference.path), None)
        if opened.refusal is not None:
            raise opened.refusal
        mine = describe.open_dataset(source, state.gene_column()).align()
    aligned = opened.align()
    columns = [str(name) for name in aligned.obs][:_MOST_COLUMNS]
    try:
        first = columns.index(find_column(aligned.obs))
    except (ScfvizError, ValueError):
        first = 0
    if not columns:
        find_column(aligned.obs)  # says what is missing
    column = st.selectbox(
        "Labels to transfer",
        columns,
        index=first,
        key=f"mapping-column-{reference.ref}",
        help="column of the reference's table of cells",
    )
    labels = read_labels(aligned.obs, column)
    counts = pd.Series(labels.codes).value_counts()
    table = pd.DataFrame({"Label": [labels.names[i] for i in counts.index], "Cells": counts.to_numpy()})
    n_common = int((aligned.is_measured & mine.is_measured).sum())
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.markdown(f"**What this reference holds:** {plural(len(labels.known), 'label')}")
        st.dataframe(table.head(_MOST_ROWS), hide_index=True, height=_LIST_HEIGHT)
    with right:
        has_map = "its own map" if "X_umap" in opened.adata.obsm else "no map; one is drawn from its variable genes"
        st.markdown(
            f"- {plural(aligned.n_obs, 'cell')}, {has_map}\n"
            f"- {plural(n_common, 'gene')} in common with your cells, of the model's 19,264\n"
            "- A type that is not in this list cannot be found: such cells should get *no counterpart*. Whether they "
            "would is measured: each label is left out in its turn."
        )
        if n_common < FEW_GENES:
            st.warning(f"Only {plural(n_common, 'gene')} in common: types may not be told apart.")
        if n_common < FEW_FOR_LIKENESS:
            st.warning(warn_of_few_genes(n_common))
    return {"reference": str(reference.path.resolve()), "column": column}


def _ask_options(source: sources.Source) -> dict[str, Any]:
    fields = {name: field.metadata for name, field in TASK.options_type.__dataclass_fields__.items()}
    obs = describe.open_dataset(source, state.gene_column()).counts.obs
    with st.expander("Options", icon=":material/tune:"):
        left, middle, right = st.columns(3, gap="large")
        space = left.radio(
            "Space", list(SPACES), format_func=SPACES.get, key="mapping-space", help=fields["space"]["help"]
        )
        clusters = middle.selectbox(
            "Clusters of your cells",
            [str(name) for name in obs][:_MOST_COLUMNS],
            index=None,
            key="mapping-clusters",
            placeholder="Found by the Leiden method",
            help=fields["clusters"]["help"],
        )
        n_neighbors = middle.number_input("Neighbours (cells)", 3, 200, 15, key="mapping-k")
        false_rate = right.number_input(
            "False rate",
            0.001,
            0.5,
            0.05,
            0.01,
            format="%.3f",
            key="mapping-false-rate",
            help=fields["false_rate"]["help"],
        )
        correction = right.radio(
            "Correction",
            ["shift", "clusters", "none"],
            format_func=CORRECTIONS.get,
            key="mapping-correction",
            help=fields["correction"]["help"],
        )
    given = {"space": space, "n_neighbors": int(n_neighbors), "false_rate": float(false_rate), "correction": correction}
    return given | ({} if clusters is None else {"clusters": clusters})
