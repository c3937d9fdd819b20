"""A finished screen: did it work, what a prediction is worth here, predictions, pairs, what to perturb next."""

import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import pandas as pd
import streamlit as st

from scfviz.jobs import JobStatus, Workspace
from scfviz.tasks.perturbation import methods
from scfviz.tasks.perturbation.card import verdict, write_card
from scfviz.tasks.perturbation.fit import KIND_TITLES, KINDS, PerturbationModel
from scfviz.tasks.perturbation.predictor import save_predictor
from scfviz.tasks.perturbation.run import predictor_of
from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task
from scfviz.ui.frame import page, sources
from scfviz.ui.frame.text import plain
from scfviz.ui.tasks.perturbation import alike, ask, next, pairs, scenarios, steer
from scfviz.ui.tasks.result import show_downloads, show_facts
from scfviz.ui.tasks.results import load_result

_MOST_ROWS = 1_000
_QUALITY = {
    "condition": "Condition",
    "n_cells": "Cells",
    "target_change": "Target's own change",
    "target_low": "2.5 %",
    "target_high": "97.5 %",
    "escaped": "Escaped",
    "n_changed": "Genes changed",
    "depth_ratio": "Depth against control",
}


def show(task: Task, job: JobStatus, source: sources.Source) -> None:
    """Everything about a measured screen."""
    result = load_result(job.id)
    show_facts(task, result)
    model = predictor_of(result)
    if model is not None:
        _show_worth(model)
        _ask(job.id, source)
        _steer(job.id, source)
    _show_quality(result)
    alike.show(job.id)
    if model is not None:
        pairs.show(job.id)
        next.show(job.id)
        _show_predictor(model, source)
    show_downloads(task, result, source)


@st.fragment
def _ask(job_id: str, source: sources.Source) -> None:
    """Questions to the predictor that was fitted."""
    with page.guard():
        pairs.take_pair()
        result = load_result(job_id)
        model = predictor_of(result)
        with st.container(border=True, key="card-ask"):
            st.markdown("#### Predict, and compare with what was measured")
            asked = scenarios.Asked("my screen", job_id, f"{_stem(source)}_predictor")
            ask.show_effects(model, result.report["options"]["checkpoint"], source, key="own", asked=asked)


@st.fragment
def _steer(job_id: str, source: sources.Source) -> None:
    steer.show(predictor_of(load_result(job_id)), source, "own", "this screen")


def _show_worth(model: PerturbationModel) -> None:
    with st.container(border=True, key="card-worth"):
        st.markdown("#### What a prediction is worth in this screen")
        for kind in KINDS:
            if kind in model.scores:
                st.markdown(f"**{KIND_TITLES[kind].capitalize()}.** {verdict(model, kind)}")
        if not model.scores:
            st.markdown("Nothing could be held out: predictions have no measured worth.")
            return
        with st.expander("Every view, measured on held-out conditions"):
            kind = st.selectbox(
                "Kind of question", list(model.scores), format_func=KIND_TITLES.get, key="perturbation-scores-kind"
            )
            rows = []
            for view, found in model.scores[kind]["views"].items():
                title = methods.TITLES.get(view, view.capitalize())
                rows.append({"View": title, "Weight": model.weights[kind].get(view), **_renamed(found)})
            table = pd.DataFrame(rows)
            formats = {n: st.column_config.NumberColumn(format="%.3f") for n in table.columns if n != "View"}
            st.dataframe(table, hide_index=True, column_config=formats)
            st.caption(
                "Pearson's r of the change against control, and against the mean of the training perturbations (what "
                "all share counts for nothing). Discrimination: 1 is best, the same answer for all has 0.5. Error: "
                "squared error over that of 'nothing changes'. Spread: that of the predictions over the truth's; 0 has "
                "collapsed. Replicate: one half of the cells against the other. The perturbed gene is left out."
            )


def _renamed(found: dict[str, float | None]) -> dict[str, float | None]:
    names = {
        "pearson_control": "r against control",
        "pearson_mean": "r against mean",
        "discrimination": "Discrimination",
        "error_ratio": "Error",
        "spread": "Spread",
    }
    return {title: found.get(name) for name, title in names.items()}


def _show_quality(result: Result) -> None:
    table = result.tables["conditions"]
    with st.container(border=True, key="card-quality"):
        st.markdown("#### Did the perturbations work")
        known = table["escaped"].notna()
        silent = int((table["n_changed"] < 2).sum())
        parts = [f"{silent:,} of {len(table):,} conditions change fewer than two genes clearly."]
        if known.any():
            parts.append(
                f"Of conditions with a clear change, {table['escaped'][known].median():.0%} of cells escaped (median)."
            )
        own = table["target_change"].notna()
        if own.any():
            moved = ((table["target_low"] > 0) | (table["target_high"] < 0)) & own
            parts.append(
                f"The target's own expression moved in {int(moved.sum()):,} of {int(own.sum()):,} where it is measured."
            )
        st.markdown(" ".join(parts))
        ordered = table.sort_values("n_changed", ascending=False, kind="stable")
        shown = ordered[list(_QUALITY)].rename(columns=_QUALITY).head(_MOST_ROWS)
        formats = {name: st.column_config.NumberColumn(format="%.2f") for name in list(_QUALITY.values())[2:]}
        formats["Genes changed"] = st.column_config.NumberColumn(format="%d")
        formats["Escaped"] = st.column_config.NumberColumn(
            format="percent", help="cells that look like the control, where the condition has a clear change"
        )
        st.dataframe(shown, hide_index=True, column_config=formats)


def _show_predictor(model: PerturbationModel, source: sources.Source) -> None:
    stem = _stem(source)
    with st.container(border=True, key="card-predictor"):
        st.markdown("#### The predictor, to keep")
        st.markdown("Means and weights with their scores, no cells. `scfviz perturb predict FOLDER GENE` reads it.")
        st.download_button(
            "Predictor (ZIP)",
            lambda: predictor_bytes(model, f"{stem}_predictor", source.title),
            f"{stem}_predictor.zip",
            "application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
            key="download-predictor",
        )


def _stem(source: sources.Source) -> str:
    return Path(source.title).name.split(".")[0] or "screen"


def predictor_bytes(model: PerturbationModel, name: str, source: str) -> bytes:
    """The folder of a predictor as a ZIP file."""
    with tempfile.TemporaryDirectory(dir=Workspace().root) as folder:
        made = save_predictor(model, Path(folder) / name, card=write_card(model, name, source=plain(source)))
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for part in sorted(made.iterdir()):
                file.write(part, f"{name}/{part.name}")
    return packed.getvalue()
