"""The page of perturbations: ask a predictor, or measure and learn one's own screen. Light to import."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus
from scfviz.tasks.registry import get_task
from scfviz.ui.frame import describe, job_panel, opening, page, sources, state
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks import request
from scfviz.ui.tasks.page import show_task

TASK = get_task("perturbation")
_ASK, _SCREEN, _RESPONSE = "Ask a predictor", "My own screen", "Drug or cytokine, by cell type"
_IN_SILICO = "In silico"
_KINDS = {"auto": "By their names", "genes": "Genes", "other": "Something else (drug, cytokine, time)"}
_MOST_ROWS, _LIST_HEIGHT, _MOST_VALUES = 1_000, 300, 500


def show() -> None:
    """The whole page; the first part needs no dataset."""
    ref = state.dataset()
    source = None if ref is None else sources.resolve(ref)
    started = {TASK.name: _SCREEN, "response": _RESPONSE, "in_silico": _IN_SILICO}
    first = next((part for name, part in started.items() if state.job(name)), _ASK)
    part = st.segmented_control(
        "What to do",
        [_ASK, _SCREEN, _RESPONSE, _IN_SILICO],
        default=first,
        required=True,
        key="perturbation-part",
        label_visibility="collapsed",
    )
    if part == _SCREEN:
        show_task(TASK, opening.require_dataset())
        return
    if part in (_RESPONSE, _IN_SILICO):
        show_task(get_task("response" if part == _RESPONSE else "in_silico"), opening.require_dataset())
        return
    from scfviz.ui.tasks.perturbation import shipped

    shipped.show(source)


def show_request(source: sources.Source) -> None:
    """The form for a screen: what was recognised, which can be corrected, before anything is computed.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    about = request.describe_cells(source, for_model=False)
    opened = describe.open_dataset(source, state.gene_column())
    with st.container(border=True, key="card-request"):
        st.markdown("#### Which cells were perturbed")
        given = _recognise(opened.counts.obs, opened.adata.uns)
        if given is None:
            return
        options = request.options_of(TASK, source) | given
        job_panel.show_memory(TASK.name, options, about["n_obs"])
        if st.button(TASK.verb, type="primary", icon=":material/play_arrow:", key=f"start-{TASK.name}"):
            request.start(TASK, source, **given)
            st.rerun()


def show_result(job: JobStatus, source: sources.Source) -> None:
    """Quality, scores, and the predictor."""
    from scfviz.ui.tasks.perturbation import result

    result.show(TASK, job, source)


def _recognise(obs: pd.DataFrame, uns: Mapping[str, Any]) -> dict[str, Any] | None:
    """Column, control and kind of the conditions, as found and as corrected; None until they make a design."""
    from scfviz.data.perturbations import find_columns, list_values, read_design

    guides = None
    with st.expander("Conditions from a table of guide counts", icon=":material/upload_file:"), page.guard():
        obs, guides = _add_guides(obs)
    found = find_columns(obs, uns=uns) if guides is None else (guides[1],)
    others = [] if guides is not None else [str(name) for name in obs if str(name) not in found]
    columns = [*found, *others]
    if not columns:
        page.show_empty("No column", "The cells have no table of columns: perturbations stand in one of them.")
        return None
    if not found:
        page.show_empty(
            "No perturbations found",
            "No column holds a control (ctrl, non-targeting, vehicle, ...) beside genes or conditions. If this is a "
            "screen, choose the column and its control. To predict without a screen, ask a predictor.",
        )
    left, middle, right = st.columns(3, gap="large")
    column = left.selectbox(
        "Column of perturbations",
        columns,
        index=0 if found else None,
        key="perturbation-column",
        placeholder="Choose a column",
        help="found by what it holds; a gene, several joined by +, or a condition for each cell",
    )
    if column is None:
        return None
    control = middle.selectbox(
        "Control",
        list_values(obs[column])[:_MOST_VALUES],
        index=None,
        key=f"perturbation-control-{column}",
        placeholder="By its usual names",
        help=TASK.options_type.__dataclass_fields__["control"].metadata["help"],
    )
    kind = right.radio("Conditions are", list(_KINDS), format_func=_KINDS.get, key="perturbation-kind")
    numbers = [str(name) for name in obs if obs[name].dtype.kind in "iuf"]
    library = st.selectbox(
        "Counts of each cell over all genes, if the file holds only some of them",
        numbers,
        index=None,
        key="perturbation-library",
        placeholder="The file's own counts",
        help=TASK.options_type.__dataclass_fields__["library"].metadata["help"],
    )
    with page.guard():
        is_genetic = {"auto": None, "genes": True, "other": False}[kind]
        try:
            design = read_design(obs, column=column, control=control, is_genetic=is_genetic, uns=uns)
        except ScfvizError as error:
            page.show_error(error.title, error.found, error.needed, error.advice)
            return None
        st.markdown(f":material/check_circle: {plain(design.describe())}")
        for note in design.notes:
            st.caption(f":material/info: {plain(note)}")
        table = pd.DataFrame({"Condition": design.conditions, "Cells": design.n_cells})
        with st.expander(f"{plural(len(design.conditions), 'condition')}"):
            st.dataframe(table.head(_MOST_ROWS), hide_index=True, height=_LIST_HEIGHT)
    which = {"column": column} if guides is None else {"guides": guides[0]}
    given = which | {"conditions": kind, "control": control, "library": library}
    return {name: value for name, value in given.items() if value is not None}


def _add_guides(obs: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, str] | None]:
    """A table of guide counts from the browser: kept as an upload of this visitor, its conditions as a column."""
    from scfviz.data.guides import add_guides
    from scfviz.jobs.uploads import save_upload

    st.markdown(
        "A CSV file with the cells' barcodes in its first column and one column of counts for each guide, or an h5ad "
        "or 10x h5 file of guides. A guide is in a cell with at least 3 counts and a fifth of the cell's guide counts; "
        "guides against several genes make a combination."
    )
    file = st.file_uploader("Table of guide counts", key="perturbation-guides", label_visibility="collapsed")
    if file is None:
        return obs, None
    path = str(sources.resolve(save_upload(file, file.name, state.visitor())).path)
    table, column, found = add_guides(obs, path)
    st.markdown(f":material/check_circle: {plain(found.describe())}")
    return table, (path, column)
