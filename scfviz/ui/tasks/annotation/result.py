"""A finished annotation: verdict first, the map, how many errors to expect, what each cluster is, what was measured."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.labels.labels import Annotation, start_annotation
from scfviz.errors import OptionError
from scfviz.jobs import JobStatus, Workspace
from scfviz.jobs.access import content_key
from scfviz.jobs.labels import change_labels, list_labels, start_labels
from scfviz.tasks.annotation.card import coverage_sentence, verdict
from scfviz.tasks.annotation.options import METHODS
from scfviz.tasks.annotation.scores import expected_errors
from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task
from scfviz.ui.drawing import palette
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import describe, page, sources, state
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks import result as generic
from scfviz.ui.tasks.annotation import confusion, measured
from scfviz.ui.tasks.annotation.figures import draw_risk
from scfviz.ui.tasks.results import load_result

COLUMN = "my annotation"
_COLORS = {
    "Type": ("label", "annotated_type"),
    "What is certain": ("label", "annotated_certain"),
    "Confidence": ("value", "annotated_confidence"),
}
_SHOWN = {
    "cluster": "Cluster",
    "n_cells": "Cells",
    "majority": "Majority",
    "share": "Share",
    "runner_up": "Runner-up",
    "runner_up_share": "Its share",
    "certain": "Certain",
    "unknown": "Unknown",
    "confidence": "Confidence",
    "markers_for": "Markers for",
    "markers_against": "Markers against",
    "nearest_reference": "Nearest in the reference",
}


def show(task: Task, job: JobStatus, source: sources.Source) -> None:
    """Everything about a finished annotation."""
    result = load_result(job.id)
    about = result.report["provenance"]["reference"]
    where = "the cells that the classifier learned from" if about["is_fitted"] else "your reference"
    st.markdown(f"**{plain(verdict(result.scores, where))}**")
    st.caption(plain(coverage_sentence(result.scores, about["unit"])))
    generic.show_facts(task, result)
    _show_colors()
    generic.show_map(task, job, source)
    _show_clusters(result, source)
    confusion.show(result, source)
    _show_scores(result)
    measured.show()
    generic.show_downloads(task, result, source)


def _show_colors() -> None:
    """Two clicks to the two pictures that belong here; the map's own controls have all others."""
    with st.container(horizontal=True, key="annotation-colors"):
        for name, (kind, column) in _COLORS.items():
            if st.button(f"Colour by {name.lower()}", key=f"annotation-color-{column}", type="tertiary"):
                st.session_state["x_color"], st.session_state[f"x_{kind}"] = kind, column


@st.fragment
def _show_clusters(result: Result, source: sources.Source) -> None:
    with st.container(border=True, key="card-clusters"), page.guard():
        st.markdown("#### What each cluster is")
        least = _ask_errors(result)
        table = result.tables["clusters"].copy()
        table.insert(0, "accept", True)
        table.insert(1, "label", table["majority"].where(table["majority"] != "unknown", ""))
        edited = st.data_editor(
            table,
            hide_index=True,
            key="annotation-clusters",
            disabled=list(_SHOWN),
            column_config={
                "accept": st.column_config.CheckboxColumn("Accept"),
                "label": st.column_config.TextColumn("Label", help="Edit it; the same text twice merges clusters."),
                **{name: st.column_config.Column(title) for name, title in _SHOWN.items()},
                **{
                    name: st.column_config.NumberColumn(_SHOWN[name], format="percent")
                    for name in ("share", "runner_up_share", "unknown", "confidence")
                },
            },
        )
        _show_saving(result, source, edited, least)


def _ask_errors(result: Result) -> float:
    """The least confidence of cells that are labelled, chosen by how many wrong labels may be among them."""
    confidence = result.cells["annotated_confidence"].to_numpy()
    confidence = confidence[(result.cells["annotated_type"].astype(str) != "unknown").to_numpy()]
    errors = expected_errors(confidence)
    most = max(int(np.ceil(errors[-1])), 1)
    wanted = st.slider(
        "Expected errors",
        0,
        most,
        most,
        key="annotation-errors",
        help="How many wrong labels may be among those that are kept, by the calibrated confidence. Fewer errors leave "
        "more cells without a label.",
    )
    n_kept = int(np.searchsorted(errors, wanted, side="right")) - 1
    ordered = np.sort(confidence)[::-1]
    least = float(ordered[n_kept - 1]) if n_kept else 1.0
    st.caption(
        f"{n_kept:,} of {plural(len(result.cells), 'cell')} have a label of confidence {least:.2f} or more; about "
        f"{errors[n_kept]:,.0f} of them are expected to be wrong, if the cells are like the reference."
    )
    return least


def _show_saving(result: Result, source: sources.Source, edited: pd.DataFrame, least: float) -> None:
    workspace = Workspace()
    key = content_key(workspace, source.path)
    labels = list_labels(workspace, key)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Column of labels", COLUMN, key="annotation-column")
        sure = st.toggle("Only cells within the expected errors", key="annotation-sure")
        if st.button("Accept as my labels", type="primary", icon=":material/new_label:", key="annotation-accept"):
            mask = result.cells["annotated_confidence"].to_numpy() >= least if sure else None
            n_clusters = save_labels(workspace, key, source, name, result, edited, mask)
            st.success(f"{plural(n_clusters, 'cluster')} labelled in '{plain(name)}'; the Explorer has the history.")
            labels = list_labels(workspace, key)
        can_undo = name in labels and bool(labels[name].changes)
        if st.button("Undo", icon=":material/undo:", key="annotation-undo", disabled=not can_undo):
            change_labels(workspace, key, name, Annotation.undo)
            st.rerun()


def save_labels(
    workspace: Workspace,
    key: str,
    source: sources.Source,
    name: str,
    result: Result,
    edited: pd.DataFrame,
    mask: np.ndarray | None = None,
) -> int:
    """Give the cells of accepted clusters their labels, as one step of the column's history; returns the clusters.

    Parameters
    ----------
    key
        Under which the dataset's labels are kept.
    edited
        Columns `accept`, `label` and `cluster`.
    mask
        bool (n_kept,): cells that get one; all when left out.

    Raises
    ------
    OptionError
        Nothing was accepted, or a label or name cannot be one.
    """
    chosen = edited[edited["accept"].fillna(False).astype(bool) & edited["label"].fillna("").str.strip().ne("")]
    if chosen.empty:
        raise OptionError("No cluster is accepted.", "At least one with a label is needed.", "Tick some.")
    given = dict(zip(chosen["cluster"].astype(str), chosen["label"].str.strip(), strict=True))
    texts = result.cells["annotated_cluster"].astype(str).map(given).to_numpy(object)
    obs = describe.open_dataset(source, state.gene_column()).counts.obs

    def change(labels: Annotation) -> Annotation:
        names, codes = list(labels.labels), labels.codes.copy()
        for text in sorted(set(given.values())):
            if text not in names:
                names.append(text)
            mine = texts == text
            codes[result.kept[mine if mask is None else mine & mask]] = names.index(text)
        how = f"accepted from the annotation, {plural(len(given), 'cluster')}"
        return labels.change(tuple(names), codes, "Accept annotation", how=how).paint(palette.CATEGORIES)

    if name not in list_labels(workspace, key):
        start_labels(workspace, key, start_annotation(name, obs), obs.columns)
    change_labels(workspace, key, name, change)
    return len(given)


def _show_scores(result: Result) -> None:
    with st.container(border=True, key="card-scores"):
        st.markdown("#### What was measured on the reference")
        left, right = st.columns(2, gap="large")
        rows = [
            {
                "Method": METHODS[name],
                "Macro-F1": found["macro_f1"],
                "Accuracy": found["accuracy"],
                "Calibration error": found["ece"],
                "Weight": result.scores["weights"].get(name),
            }
            for name, found in result.scores["methods"].items()
        ]
        left.dataframe(
            rows,
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="%.3f")
                for name in ("Macro-F1", "Accuracy", "Calibration error", "Weight")
            },
        )
        left.caption("On held-out cells, which the methods had not seen. Weights were learned on such cells, too.")
        _show_curve(right, result.scores.get("learning_curve"))
        _show_risk(result.scores.get("risk_coverage"))


def _show_risk(rows: list[dict[str, float]] | None) -> None:
    """Wrong labels by the share of cells that are labelled, the most certain first."""
    if not rows:  # a classifier that was fitted before this was measured
        return
    left, right = st.columns(2, gap="large")
    left.plotly_chart(draw_risk(rows), key="annotation-risk", config=toolbar("wrong_labels_by_share_of_cells"))
    half = min(rows, key=lambda row: abs(row["coverage"] - 0.5))
    right.markdown(
        f"**If only the most certain cells get a label**, fewer labels are wrong: of all cells "
        f"**{rows[-1]['risk']:.1%}**, of the most certain {half['coverage']:.0%} **{half['risk']:.1%}** "
        f"(confidence {half['confidence']:.2f} and more)."
    )
    right.caption("Measured on held-out cells of the reference. The slider above chooses a place on this curve.")
    table = pd.DataFrame(rows).rename(columns={"coverage": "share_labelled", "risk": "share_wrong"})
    right.download_button(
        "The curve (.csv)", table.to_csv(index=False), "wrong_labels_by_share_of_cells.csv", "text/csv",
        icon=":material/download:", key="annotation-risk-table",
    )  # fmt: skip


def _show_curve(place: Any, rows: list[dict[str, Any]] | None) -> None:
    if not rows:
        return
    table = pd.DataFrame(rows).groupby("labels_per_type")[["combination", "genes_logistic"]].mean()
    if (table["combination"] == table["genes_logistic"]).all():  # nothing else was there to combine
        table = table.rename(columns={"combination": "genes_logistic"}).iloc[:, :1]
    place.line_chart(
        table.rename(columns={name: METHODS[name] for name in table}), x_label="Labels per type", y_label="Macro-F1"
    )
    best = table.iloc[:, 0]
    enough = table.index[(best >= best.iloc[-1] - 0.02).to_numpy()][0]
    place.caption(
        f"{enough} labels per type are enough for a macro-F1 within 0.02 of that with {table.index[-1]}, measured on "
        "other cells of the reference."
    )
