"""One gene changed in the cells' input: the form, arrows on the map, what the model expects to change."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.tasks.perturbation.insilico import EXPLORATION, SHIFT
from scfviz.tasks.perturbation.options import KNOCKOUT, OVEREXPRESS
from scfviz.tasks.registry import get_task
from scfviz.tasks.result import Result
from scfviz.ui.drawing.charts import CLEAR, toolbar
from scfviz.ui.frame import describe, job_panel, sources, state
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks import request
from scfviz.ui.tasks.perturbation import figures, words
from scfviz.ui.tasks.result import show_downloads, show_facts
from scfviz.ui.tasks.results import load_result

TASK = get_task("in_silico")
_MODES = {KNOCKOUT: "Knock-out: no counts of it", OVEREXPRESS: "Overexpression: its 99th percentile"}
_MOST_COLUMNS, _MOST_GROUPS, _MOST_ARROW_CELLS, _GRID, _MOST_BARS = 200, 200, 50_000, 22, 20


def show_request(source: sources.Source) -> None:
    """The form: gene, mode, cells.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    about = request.describe_cells(source)
    aligned = describe.open_dataset(source, state.gene_column()).align()
    with st.container(border=True, key="card-request"):
        st.markdown("#### Which gene, in which cells")
        st.warning(EXPLORATION, icon=":material/explore:")
        for sentence in words.insilico_sentences():
            st.markdown(sentence)
        left, middle, right = st.columns(3, gap="large")
        genes = sorted(map(str, aligned.genes[aligned.is_measured]))
        gene = left.selectbox("Gene", genes, index=None, key="in-silico-gene", placeholder="A gene in the file")
        mode = middle.radio("Change", list(_MODES), format_func=_MODES.get, key="in-silico-mode")
        columns = [str(n) for n in aligned.obs if 2 <= aligned.obs[n].nunique() <= _MOST_GROUPS][:_MOST_COLUMNS]
        column = right.selectbox("Only cells of", columns, index=None, key="in-silico-column", placeholder="All cells")
        group = None
        if column is not None:
            names = aligned.obs[column].astype(str).value_counts().index.tolist()
            group = right.selectbox("Group", names, key=f"in-silico-group-{column}")
        if gene is None:
            st.markdown("Choose a gene: only genes in the file can be changed.")
            return
        given = {"gene": gene, "mode": mode} | ({} if column is None else {"column": column, "group": group})
        job_panel.show_memory(TASK.name, request.options_of(TASK, source) | given, about["n_obs"])
        if st.button(TASK.verb, type="primary", icon=":material/play_arrow:", key=f"start-{TASK.name}"):
            request.start(TASK, source, **given)
            st.rerun()


def show_result(job: JobStatus, source: sources.Source) -> None:
    """Arrows, the largest changes, the table."""
    result = load_result(job.id)
    show_facts(TASK, result)
    about = result.report["provenance"]
    st.warning(EXPLORATION, icon=":material/explore:")
    left, right = st.columns([3, 2], gap="large")
    with left, st.container(border=True, key="card-arrows"):
        st.markdown(f"#### Where the cells move: {plain(about['gene'])}")
        _show_arrows(result)
    with right, st.container(border=True, key="card-expected"):
        st.markdown("#### What the model expects to change")
        table = result.tables["genes"]
        table = table[table["gene"] != about["gene"]]
        st.plotly_chart(
            figures.draw_bars(table.head(_MOST_BARS)), config=toolbar("in_silico_genes"), key="in-silico-bars"
        )
        st.caption(f"Mean over the cells whose input changed, with 95 % intervals over cells, in {figures.UNIT}.")
    show_downloads(TASK, result, source)


def _show_arrows(result: Result) -> None:
    places, moved = (np.asarray(result.arrays[name]) for name in ("places", "moved"))
    known = np.isfinite(places).all(axis=1)
    is_large = known.sum() > _MOST_ARROW_CELLS
    if not st.toggle("Arrows", value=not is_large, key="in-silico-arrows"):
        moved = places
    shift = result.cells[SHIFT].to_numpy()[known]
    st.plotly_chart(
        draw_arrows(places[known], moved[known], shift), config=toolbar("in_silico_map"), key="in-silico-map"
    )
    still = int((shift == 0).sum())
    st.caption(
        f"{plural(int(known.sum()), 'cell')}; {still:,} do not move, their input is the same. Arrows are means over a "
        "grid, drawn longer than the shift so that their direction can be seen; the colour is the shift itself, in "
        "distances of a cell to its nearest other one."
    )


def draw_arrows(places: np.ndarray, moved: np.ndarray, shift: np.ndarray) -> go.Figure:
    """Cells on their map, and the mean move of those in each field of a grid."""
    figure = go.Figure(
        go.Scattergl(
            x=places[:, 0],
            y=places[:, 1],
            mode="markers",
            marker={
                "size": 4,
                "color": shift,
                "colorscale": "Viridis",
                "showscale": True,
                "colorbar": {"title": "shift", "thickness": 10},
            },
            hovertemplate="shift %{marker.color:.3f}<extra></extra>",
        )
    )
    for _, row in grid_moves(places, moved).iterrows():
        figure.add_annotation(
            x=row["x"] + row["dx"],
            y=row["y"] + row["dy"],
            ax=row["x"],
            ay=row["y"],
            xref="x",
            yref="y",
            axref="x",
            ayref="y",
            showarrow=True,
            arrowhead=2,
            arrowwidth=1.6,
            arrowcolor="#d55e00",
        )
    hidden = {"visible": False}
    figure.update_layout(
        height=460,
        xaxis=hidden,
        yaxis=hidden | {"scaleanchor": "x"},
        **CLEAR,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
    )
    return figure


def grid_moves(places: np.ndarray, moved: np.ndarray) -> pd.DataFrame:
    """`x`, `y`, `dx`, `dy` of each field of a grid that has cells; the longest is as long as a field is wide."""
    low, high = places.min(axis=0), places.max(axis=0)
    width = float(max((high - low).max(), 1e-9)) / _GRID
    field = ((places - low) / width).astype(int)
    table = pd.DataFrame(
        {
            "i": field[:, 0],
            "j": field[:, 1],
            "x": places[:, 0],
            "y": places[:, 1],
            "dx": moved[:, 0] - places[:, 0],
            "dy": moved[:, 1] - places[:, 1],
        }
    )
    means = table.groupby(["i", "j"]).mean()
    length = np.hypot(means["dx"], means["dy"])
    means = means[length > 0.02 * max(float(length.max()), 1e-12)]
    scale = width / max(float(length.max()), 1e-12)
    return means.assign(dx=means["dx"] * scale, dy=means["dy"] * scale).reset_index(drop=True)
