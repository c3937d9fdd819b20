"""What a treatment does to each cell type: measured, predicted from the other types, and what a prediction is worth."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from scfviz.data.perturbations import PerturbationDesign
from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus
from scfviz.tasks.registry import get_task
from scfviz.tasks.response import methods
from scfviz.tasks.response.learn import ResponseModel
from scfviz.tasks.response.reporting import verdict
from scfviz.tasks.response.run import model_of
from scfviz.tasks.response.table import type_table
from scfviz.tasks.result import Result
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import describe, job_panel, page, sources, state
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks import request
from scfviz.ui.tasks.perturbation import figures, treatment_figures, words
from scfviz.ui.tasks.result import show_downloads, show_facts
from scfviz.ui.tasks.results import load_result

TASK = get_task("response")
_MOST_TYPES, _MOST_BARS, _MOST_ROWS = 200, 20, 2_000
_TYPES = ("cell_type", "celltype", "cell_types", "type", "annotation", "cluster", "clusters", "leiden", "louvain")


def show_request(source: sources.Source) -> None:
    """The form: conditions as recognised, and the column of cell types.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    about = request.describe_cells(source)
    opened = describe.open_dataset(source, state.gene_column())
    with st.container(border=True, key="card-request"):
        st.markdown("#### Which cells were treated, and what types are they")
        given = _choose(opened.counts.obs, opened.adata.uns)
        if given is None:
            return
        for sentence in words.response_sentences():
            st.caption(sentence)
        job_panel.show_memory(TASK.name, request.options_of(TASK, source) | given, about["n_obs"])
        if st.button(TASK.verb, type="primary", icon=":material/play_arrow:", key=f"start-{TASK.name}"):
            request.start(TASK, source, **given)
            st.rerun()


def _choose(obs: pd.DataFrame, uns: Mapping[str, Any]) -> dict[str, Any] | None:
    from scfviz.data.perturbations import find_columns, list_values, read_design

    texts = [str(name) for name in obs if obs[name].dtype.kind not in "fiub"]
    several = [name for name in texts if 2 <= obs[name].astype(str).nunique() <= _MOST_TYPES]
    if len(several) < 2:
        page.show_empty(
            "Two columns are needed",
            "One column says how each cell was treated (with a control such as ctrl, vehicle or DMSO), another its "
            "type. Annotate the cells first if there are no types.",
        )
        return None
    found = [name for name in find_columns(obs, uns=uns) if name in several]
    left, middle, right = st.columns(3, gap="large")
    column = left.selectbox(
        "Column of conditions",
        [*found, *(name for name in several if name not in found)],
        index=0 if found else None,
        key="response-column",
        placeholder="Choose a column",
        help="a drug, a cytokine, an infection, a time; found by what it holds",
    )
    if column is None:
        st.markdown("Choose the column that says how each cell was treated.")
        return None
    others = [name for name in several if name != column]
    likely = next((name for name in others if name.lower() in _TYPES), None)
    types = middle.selectbox(
        "Column of cell types",
        others,
        index=None if likely is None else others.index(likely),
        key=f"response-types-{column}",
        placeholder="Choose a column",
    )
    control = right.selectbox(
        "Control", list_values(obs[column]), index=None, key=f"response-control-{column}", placeholder="By usual names"
    )
    try:
        design = read_design(obs, column=column, control=control, is_genetic=False)
    except ScfvizError as error:
        page.show_error(error.title, error.found, error.needed, error.advice)
        return None
    st.markdown(f":material/check_circle: {plain(design.describe())}")
    sizes = dict(zip(design.conditions[1:], map(int, design.n_cells[1:]), strict=True))
    treatment = max(sizes, key=sizes.__getitem__)
    if len(sizes) > 1:
        names = sorted(sizes, key=lambda name: -sizes[name])
        treatment = left.selectbox("Treatment", names, key=f"response-treatment-{column}")
    if types is None:
        st.markdown("Choose the column of cell types.")
        return None
    st.dataframe(_count(obs, types, design, treatment), hide_index=True, height=240)
    given = {"types": types, "column": column, "control": control, "treatment": treatment}
    return {name: value for name, value in given.items() if value is not None}


def _count(obs: pd.DataFrame, types: str, design: PerturbationDesign, treatment: str) -> pd.DataFrame:
    """Control and treated cells of each type."""
    number = design.conditions.index(treatment)
    codes = design.codes
    groups = obs[types].astype(str).to_numpy()
    names = sorted(set(groups))
    rows = [
        (name, int(((groups == name) & (codes == 0)).sum()), int(((groups == name) & (codes == number)).sum()))
        for name in names
    ]
    return pd.DataFrame(rows, columns=["Cell type", "Control cells", "Treated cells"])


def show_result(job: JobStatus, source: sources.Source) -> None:
    """Verdict, every type by every view, one type in detail, downloads."""
    result = load_result(job.id)
    show_facts(TASK, result)
    model = model_of(result)
    if model is None:
        _show_measured(result)
    else:
        _show_worth(model)
        _show_type(job.id)
    show_downloads(TASK, result, source)


def _show_worth(model: ResponseModel) -> None:
    with st.container(border=True, key="card-worth"):
        st.markdown(f"#### How well the response to {plain(model.responses.treatment)} is predicted in a type left out")
        st.markdown(verdict(model))
        table = pd.DataFrame(list(model.types))
        st.plotly_chart(
            treatment_figures.draw_types(table), config=toolbar("response_types"), key="response-types-figure"
        )
        st.caption(
            "Pearson's r over genes of the predicted with the measured change against control, each type left out in "
            "turn. The bar is one half of its cells against the other: where it is short, the measurement itself is "
            "noisy, and a prediction can lie above it."
        )
        with st.expander("Every view, over all types"):
            rows = [
                {
                    "View": methods.TITLES.get(view, view.capitalize()),
                    "Weight": model.weights.get(view),
                    "r against control": found["pearson_control"],
                    "r against mean shift": found["pearson_mean"],
                    "Discrimination": found["discrimination"],
                    "Error": found["error_ratio"],
                    "0-1 scale": found["on_scale"],
                    "Spread": found["spread"],
                }
                for view, found in model.scores["views"].items()
            ]
            formats = {name: st.column_config.NumberColumn(format="%.3f") for name in list(rows[0])[1:]}
            st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=formats)
            st.caption(
                "Error: squared error over that of 'nothing changes', sampling noise taken off. 0-1 scale: 0 is the "
                "mean shift, 1 a repeat with half the cells, over types in which a repeat is ahead of the mean shift "
                "by r of 0.05 or more (empty: there are none). Discrimination: 0.5 is chance. Spread: "
                "that of the predictions over the truth's; 0 has collapsed."
            )


@st.fragment
def _show_type(job_id: str) -> None:
    with page.guard():
        result = load_result(job_id)
        model = model_of(result)
        responses = model.responses
        with st.container(border=True, key="card-type"):
            st.markdown("#### One cell type")
            measured = responses.is_measured
            order = np.argsort(measured, kind="stable")  # those that were not measured first
            names = [responses.types[i] for i in order]
            name = st.selectbox("Cell type", names, key="response-type", format_func=lambda one: _named(model, one))
            row = responses.types.index(name)
            table = type_table(model, row)
            is_measured = bool(measured[row])
            left, right = st.columns(2, gap="large")
            with left:
                st.markdown("##### The largest changes")
                top = table.head(_MOST_BARS)
                beside = "measured" if is_measured else None
                figure = figures.draw_bars(top.rename(columns={"predicted": "change"}), beside=beside)
                st.plotly_chart(figure, config=toolbar("response_changes"), key="response-bars")
                st.caption(
                    "Bars: predicted without this type's treated cells, with 90 % intervals."
                    + (" Diamonds: measured." if is_measured else " Its treated cells were not measured.")
                )
            with right:
                if is_measured:
                    st.markdown("##### Predicted against measured, every gene")
                    figure = figures.draw_agreement(
                        table["predicted"].to_numpy(), table["measured"].to_numpy(), table["gene"], "predicted"
                    )
                    st.plotly_chart(figure, config=toolbar("response_agreement"), key="response-agreement")
                else:
                    st.markdown("##### Every gene")
                    st.plotly_chart(_volcano(table), config=toolbar("response_volcano"), key="response-volcano")
            formats = {n: st.column_config.NumberColumn(format="%.3f") for n in table.columns if n != "gene"}
            with st.expander("Table of all genes, with each view alone"):
                titles = {view: methods.TITLES[view] for view in methods.VIEWS}
                shown = table.head(_MOST_ROWS).rename(columns=titles)
                st.dataframe(shown, hide_index=True, column_config={titles.get(k, k): v for k, v in formats.items()})
            st.download_button(
                "Table of changes (CSV)",
                lambda: table.to_csv(index=False),
                f"{name}_response.csv".replace("/", "_"),
                "text/csv",
                on_click="ignore",
                icon=":material/table:",
                key="download-response",
            )
            st.caption(f"Mean changes against control in {figures.UNIT}; population means, not cells.")


def _named(model: ResponseModel, name: str) -> str:
    row = model.responses.types.index(name)
    if not model.responses.is_measured[row]:
        return f"{name} · not measured, predicted"
    return f"{name} · {int(model.responses.n_treated[row]):,} treated cells"


def _volcano(table: pd.DataFrame) -> go.Figure:
    half = np.maximum((table["high"] - table["low"]) / 2, 1e-9)
    side = np.where(table["low"] > 0, 1, np.where(table["high"] < 0, -1, 0))
    points = pd.DataFrame(
        {"gene": table["gene"], "x": table["predicted"], "y": table["predicted"].abs() / half, "side": side}
    )
    return figures.draw_volcano(points, f"change, {figures.UNIT}", "change over half of its 90 % interval")


def _show_measured(result: Result) -> None:
    table = result.tables["types"]
    with st.container(border=True, key="card-measured-treatments"):
        st.markdown(f"#### Measured: {plural(len(table), 'type')}")
        titles = ["Cell type", "Control cells", "Treated cells", "Genes clearly changed"]
        st.dataframe(table.set_axis(titles, axis=1), hide_index=True)
