"""Adapting the checkpoint in use on screen: ask, watch, the verdict, and what to do with the result."""

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from scfviz.analysis.metrics import choose_labels, sounds_like_types
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.kinds import adapt as kind
from scfviz.jobs.workspace import read_json
from scfviz.ui.frame import describe, job_panel, models, page, routes, sources, state
from scfviz.ui.frame.text import number, plain, plural
from scfviz.ui.tasks import request

_AGAIN = "scfviz.adapt.again"
_DOORS = {"low": "Low-rank", "all": "All weights"}
_CURVES = {"loss": "training cells", "validation": "held-out cells"}
_NONE, _SINGLE, _MOST_VALUES = "none", "single cells", 500
_ROWS = {"own": "Held-out cells of this dataset", "general": "Cells of another dataset (forgetting)"}


def show(source: sources.Source) -> None:
    """The form, the progress or the result, whatever there is for dataset and checkpoint in use."""
    folder = models.folder_of(state.model()).resolve()
    job = None
    if not st.session_state.get(_AGAIN):
        job = job_panel.newest("adapt", {"dataset": str(source.path.resolve()), "checkpoint": str(folder)})
    if job is None:
        _ask(source, str(folder))
    elif job.state != "done":
        job_panel.show_progress(job.id, "Adapting the model", on_leave=_ask_again)
        _offer_to_finish(job)
    else:
        _show_result(job)


def _ask(source: sources.Source, folder: str) -> None:
    about = request.describe_cells(source)
    with st.container(border=True, key="card-request"):
        st.markdown(f"#### Let **{plain(models.info_of(state.model()).name)}** learn from these cells")
        with page.guard():
            obs = describe.open_dataset(source, state.gene_column()).counts.obs
            columns = [str(name) for name in obs if 1 < obs[name].nunique() <= min(_MOST_VALUES, len(obs) // 2)]
            labels = choose_labels(obs)[0]
            left, middle, right, last = st.columns([1.1, 1, 1, 1], vertical_alignment="bottom")
            door = left.segmented_control(
                "What is trained",
                list(_DOORS),
                format_func=_DOORS.get,
                default="low",
                required=True,
                key="adapt-door",
                help="low-rank trains a small addition and forgets less; all weights change more",
            )
            steps = middle.number_input(
                f"Steps, of {kind.BATCH} cells each", 10, kind.MOST_STEPS, 200, 10, key="adapt-steps"
            )
            held_out = right.selectbox(
                "Held out to judge it",
                [_SINGLE, *columns],
                key="adapt-held-out",
                help="one cell in four, or whole values of a column: choose the donor where there are several",
            )
            label = last.selectbox(
                "Cell types, to compare",
                [_NONE, *labels],
                index=next((1 + i for i, name in enumerate(labels) if sounds_like_types(name)), 0),
                key="adapt-label",
                help="never learned from: the model before and after tells them apart on held-out cells",
            )
            n_cells = number(min(int(steps) * kind.BATCH, 10**9))
            st.caption(
                f":material/schedule: {n_cells} cells are shown to the model, {plural(about['n_obs'], 'cell')} of this "
                "dataset over and over; how long that takes is said after the first steps. It ends by itself where "
                "held-out cells stop getting better. The whole file is learned from, whatever the filters are."
            )
            if st.button("Adapt the model", type="primary", icon=":material/play_arrow:", key="start-adapt"):
                options: dict[str, Any] = {
                    "dataset": str(source.path.resolve()),
                    "checkpoint": folder,
                    "rank": 8 if door == "low" else None,
                    "steps": int(steps),
                    "hold_out_by": None if held_out == _SINGLE else held_out,
                    "label": None if label == _NONE else label,
                }
                job_panel.ask("adapt", options)
                st.session_state.pop(_AGAIN, None)
                st.rerun()


def _offer_to_finish(job: JobStatus) -> None:
    if not job.is_active or not job_panel.may_change(job):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Finish now", icon=":material/flag:", key="finish-adapt"):
            kind.ask_to_finish(Workspace().jobs / job.id)
        st.caption("Takes the best weights so far and compares them. Stop leaves everything as it is, to be resumed.")


def _show_result(job: JobStatus) -> None:
    folder = result_dir(Workspace(), job.id)
    about = read_json(folder / "report.json") or {}
    verdict, corpus = about["verdict"], about["corpus"]
    with st.container(border=True, key="card-verdict"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"#### {plain(about['name'])}", width="content")
            if verdict["keep"]:
                st.badge("keep it", icon=":material/check:", color="green")
            else:
                st.badge("discard it", icon=":material/close:", color="orange")
        st.markdown(plain(verdict["reason"]))
        table = _table(verdict)
        st.dataframe(table, hide_index=True, key="adapt-table")
        values = corpus["held_out_values"]
        what = f"{job.options['hold_out_by']}: {', '.join(values)}" if values else "single cells"
        st.caption(
            f"Learned from {plural(corpus['n_train'], 'cell')}; {plural(corpus['n_held_out'], 'cell')} held out "
            f"({plain(what)}). Error: mean squared error of hidden entries, in ln(1 + counts per 10,000)."
        )
        _offer(job, folder, about)
    _show_types(about.get("types"))
    _show_curve(folder)
    st.button("Adapt again with other options", icon=":material/tune:", key="again-adapt", on_click=_ask_again)


def _show_types(types: dict[str, Any] | None) -> None:
    """Macro-F1 of cell types before, after and of the baseline; what the differences are worth."""
    if types is None:
        return
    with st.container(border=True, key="card-types"):
        st.markdown("#### Does it tell your cell types apart?")
        if "error" in types:
            st.markdown(plain(types["error"]))
            return
        linear = "linear-probe macro-F1"
        for name in types["gains"][linear]:
            value, low, high = types["gains"][linear][name]
            word = "better than" if low > 0 else "worse than" if high < 0 else "no different, for certain, from"
            st.markdown(f"Adapted, it is {word} **{name}** ({value:+.3f}; 95 % interval {low:+.3f} to {high:+.3f}).")
        table = pd.DataFrame(
            {"Method": list(types["scores"][linear])}
            | {metric: [round(score, 3) for score in scores.values()] for metric, scores in types["scores"].items()}
        )
        st.dataframe(table, hide_index=True, key="adapt-types")
        st.caption(
            f"{plain(types['column'])}: {plural(types['n_types'], 'type')}; plain classifiers learn from "
            f"{plural(types['n_train'], 'cell')} and are tested on {plural(types['n_test'], 'held-out cell')}; "
            "macro-F1, 1 is best."
        )


def _table(verdict: dict[str, Any]) -> pd.DataFrame:
    rows = [verdict[name] for name in _ROWS]
    return pd.DataFrame(
        {
            "Cells": list(_ROWS.values()),
            "Number": [row["n_cells"] for row in rows],
            "Error before": [round(row["before"], 4) for row in rows],
            "Error after": [round(row["after"], 4) for row in rows],
            "Change (%)": [round(100 * row["relative"], 1) for row in rows],
            "95 % interval (%)": [f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}" for row in rows],
        }
    )


def _offer(job: JobStatus, folder: Path, about: dict[str, Any]) -> None:
    ref, is_worth = f"{models.ADAPTED}{job.id}", about["verdict"]["keep"]
    with st.container(horizontal=True, vertical_alignment="center"):
        label, style = ("Use this model", "primary") if is_worth else ("Use it all the same", "secondary")
        if state.model() == ref:
            st.badge("in use", icon=":material/check:", color="blue")
        elif st.button(label, type=style, icon=":material/neurology:", key="use-adapted"):
            state.choose_model(ref)
            routes.go("model")
        adapter = folder / "adapter.safetensors"
        if adapter.is_file():
            st.download_button(
                f"Adapter ({adapter.stat().st_size / 1e6:.1f} MB)",
                lambda: adapter.read_bytes(),
                f"{job.id}.adapter.safetensors",
                "application/octet-stream",
                icon=":material/download:",
                key="adapter-file",
            )
        st.download_button(
            "Table (CSV)",
            lambda: _table(about["verdict"]).to_csv(index=False).encode(),
            "adapting.csv",
            "text/csv",
            icon=":material/download:",
            key="adapter-table",
        )
    st.caption(
        "On the Model page you choose which checkpoint every page computes with. On the command line: "
        "`scfviz embed FILE OUT --adapter ADAPTER`, with the same checkpoint."
    )


def _show_curve(folder: Path) -> None:
    log = models.training_log(folder / "checkpoint")
    if log is None:
        return
    from scfviz.ui.drawing import charts

    curves = {}
    for name, title in _CURVES.items():
        if name in log and len(table := log[["step", name]].dropna()):
            curves[title] = (table["step"].to_numpy(), table[name].to_numpy())
    if curves:
        with st.container(border=True, key="card-curve"):
            st.markdown("#### How it learned")
            st.plotly_chart(
                charts.draw_training(curves, "error of hidden entries (lower is better)"),
                config=charts.toolbar("adapting"),
                alt="Error by training step, on cells that are learned from and on held-out cells",
            )


def _ask_again() -> None:
    st.session_state[_AGAIN] = True
