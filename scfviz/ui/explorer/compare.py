"""Two selections side by side: which genes differ, as a volcano and a table that both colour the maps."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.errors import OptionError
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.workspace import read_json
from scfviz.tasks.selection import to_json
from scfviz.ui import job_panel, palette, state
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.view import View
from scfviz.ui.text import hover, plain, shorten

_CURRENT, _REST = "\0current", "\0rest"
_TESTS = {"wilcoxon": "Wilcoxon rank sum", "t-test": "Welch's t-test"}
_SHOWN_ROWS = 200
_SMALLEST_P = 1e-300  # p values of 0 are below what a number can hold
_NAMED_ON_PLOT = 12


def show(view: View) -> None:
    """Ask for a comparison and show the last one."""
    data, history = view.data, view.history
    sides = {kept.name: f"{kept.name} ({kept.n_cells:,} cells)" for kept in history.named}
    first = {_CURRENT: "what is selected now"} | sides
    left, middle, right, last = st.columns([1.6, 1.6, 1.2, 0.8], gap="medium", vertical_alignment="bottom")
    group = left.selectbox("Compare", list(first), format_func=first.get, key="x_group")
    others = {_REST: "all other cells"} | {name: text for name, text in sides.items() if name != group}
    reference = middle.selectbox("with", list(others), format_func=others.get, key="x_reference")
    method = right.selectbox("Test", list(_TESTS), format_func=_TESTS.get, key="x_method")
    if last.button("Compare", type="primary", icon=":material/compare_arrows:", key="x_compare"):
        chosen = history.current if group == _CURRENT else history.find(group).rule
        if chosen is None:
            raise OptionError("Nothing is selected.", "A comparison needs cells.", "Draw a lasso on a map first.")
        other = None if reference == _REST else history.find(reference).rule
        options = {
            "dataset": str(view.source.path.resolve()),
            "group": to_json(chosen),
            "reference": None if other is None else to_json(other),
            "method": method,
            "embed_job": view.embed_job,
            "gene_column": state.gene_column(),
            "gene_store": view.store,
        }
        st.session_state[_job_key(data)] = job_panel.ask("differential_expression", options)
        st.session_state[f"{_job_key(data)}.title"] = f"{first[group]} against {others[reference]}"
        st.rerun()
    job_id = st.session_state.get(_job_key(data))
    if job_id is not None:
        _show_job(job_panel.status_of(job_id), data)


def _show_job(job: JobStatus, data: Explored) -> None:
    title = st.session_state.get(f"{_job_key(data)}.title", "")
    if job.state != "done":
        job_panel.show_progress(job.id, f"Comparing {plain(title)}")
        return
    folder = result_dir(Workspace(), job.id)
    report = read_json(folder / "report.json") or {}
    table = _read_table(str(folder / "table.parquet"))
    st.markdown(
        f"**{plain(title)}** · {report['n_group']:,} against {report['n_reference']:,} cells · "
        f"{len(table):,} genes · {_TESTS.get(report['method'], report['method'])}"
    )
    trust = report["trust"]
    for note in [trust, *(note for note in report["notes"] if note not in trust)]:
        st.caption(f":material/info: {plain(note)}")
    left, right = st.columns([1.1, 1], gap="large")
    with left:
        st.plotly_chart(
            _volcano(table), key=f"x_volcano_{job.id}", on_select=lambda: _choose_from_plot(job.id),
            selection_mode="points", config={"displaylogo": False}, alt="Volcano plot of the comparison.",
        )  # fmt: skip
        st.caption("A point is a gene. Click one to see it on the maps.")
    with right:
        shown = table.head(_SHOWN_ROWS)
        st.dataframe(
            shown, hide_index=True, height=430, key=f"x_table_{job.id}", selection_mode="single-row",
            on_select=lambda: _choose_from_table(job.id, shown), column_config=_columns(),
        )  # fmt: skip
        st.caption(
            f"{len(shown):,} of {len(table):,} genes shown, the highest scores first. Choose a row to see the gene."
        )
        st.download_button(
            "All genes (CSV)", lambda: table.to_csv(index=False), f"{_file_name(title)}.csv", "text/csv",
            on_click="ignore", icon=":material/table:", key="x_de_csv",
        )  # fmt: skip


def _volcano(table: pd.DataFrame):
    import plotly.graph_objects as go

    height = -np.log10(np.maximum(table["pvals_adj"].to_numpy(float), _SMALLEST_P))
    change = table["logfoldchanges"].to_numpy(float)
    finite = np.isfinite(change) & np.isfinite(height)
    # A gene that one side lacks has a change of tens; it is drawn at the edge, its true value is in the hover box.
    edge = max(1.0, 1.2 * float(np.percentile(np.abs(change[finite]), 97))) if finite.any() else 1.0
    differs = finite & (height > 2) & (np.abs(change) > 1)
    figure = go.Figure()
    groups = ((~differs & finite, "no clear difference", palette.OTHER), (differs & (change > 0), "higher", "#d55e00"),
              (differs & (change < 0), "lower", "#0072b2"))  # fmt: skip
    names = table["names"].astype(str).to_numpy()
    for mask, name, color in groups:
        figure.add_trace(
            go.Scattergl(
                x=np.clip(change[mask], -edge, edge), y=height[mask], mode="markers", name=name,
                text=[hover(gene) for gene in names[mask]],
                customdata=np.stack([change[mask], table["pvals_adj"].to_numpy(float)[mask]], axis=1),
                marker={"size": 5, "color": color, "opacity": 0.7},
                hovertemplate="<b>%{text}</b><br>log2 fold change %{customdata[0]:.2f}<br>"
                "adjusted p %{customdata[1]:.2g}<extra></extra>",
            )
        )  # fmt: skip
    at = np.stack([np.clip(change, -edge, edge) / edge, height / max(1.0, height[finite].max(initial=1.0))], axis=1)
    named: list[int] = []
    for i in np.flatnonzero(differs)[np.argsort(-np.abs(table["scores"].to_numpy(float)[differs]))]:
        if len(named) == _NAMED_ON_PLOT:
            break
        if all(abs(at[i, 0] - at[k, 0]) > 0.3 or abs(at[i, 1] - at[k, 1]) > 0.045 for k in named):
            named.append(i)
    for i in named:
        figure.add_annotation(
            x=float(at[i, 0] * edge), y=float(height[i]), text=hover(names[i], 20), showarrow=False, yshift=9,
            font={"size": 10},
        )  # fmt: skip
    figure.update_layout(
        height=460, margin={"l": 8, "r": 8, "t": 8, "b": 8}, clickmode="event+select", dragmode="pan",
        xaxis={"title": "log2 fold change of mean expression"}, yaxis={"title": "−log10 adjusted p value"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )  # fmt: skip
    return figure


def _columns() -> dict:
    texts = {
        "names": ("Gene", None, "Symbol"),
        "scores": ("Score", "%.2f", "z of the rank sum, or t: positive means higher in the first selection"),
        "logfoldchanges": ("log2 fold change", "%.2f", "of mean counts per 10,000"),
        "pvals": ("p", "%.2e", "of one gene alone"),
        "pvals_adj": ("Adjusted p", "%.2e", "Benjamini-Hochberg over all measured genes"),
        "pct_in": ("In first", "percent", "share of the first selection's cells that express the gene"),
        "pct_out": ("In second", "percent", "share of the second selection's cells that express the gene"),
        "mean_in": ("Mean first", "%.2f", "mean of ln(1 + counts per 10,000)"),
        "mean_out": ("Mean second", "%.2f", "mean of ln(1 + counts per 10,000)"),
    }
    columns = {}
    for name, (label, form, text) in texts.items():
        make = st.column_config.TextColumn if form is None else st.column_config.NumberColumn
        columns[name] = make(label, help=text) if form is None else make(label, format=form, help=text)
    return columns


def _choose_from_plot(job_id: str) -> None:
    points = st.session_state[f"x_volcano_{job_id}"].selection.points
    if points:
        choose_gene(str(points[0].get("text") or ""))


def _choose_from_table(job_id: str, shown: pd.DataFrame) -> None:
    rows = st.session_state[f"x_table_{job_id}"].selection.rows
    if rows:
        choose_gene(str(shown["names"].iloc[rows[0]]))


def choose_gene(gene: str) -> None:
    """Colour the maps by a gene; for callbacks, which run before the page."""
    if gene:
        st.session_state["x_color"] = "gene"
        st.session_state["x_gene"] = gene


@st.cache_resource(max_entries=8, show_spinner=False)
def _read_table(path: str) -> pd.DataFrame:
    return pd.read_parquet(path)


def _job_key(data: Explored) -> str:
    return f"scfviz.comparison.{data.dataset}"


def _file_name(title: str) -> str:
    kept = "".join(letter if letter.isalnum() else "_" for letter in shorten(title, 60))
    return Path(kept.strip("_") or "comparison").name
