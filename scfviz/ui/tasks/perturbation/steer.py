"""Which perturbation moves these cells towards those: start and goal are groups of the dataset in use."""

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.tasks.perturbation.fit import PerturbationModel
from scfviz.tasks.perturbation.steer import measure_difference, rank_perturbations
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import describe, page, sources, state
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks.perturbation import figures

_MOST_GROUPS, _MOST_BARS, _MOST_ROWS, _MOST_CELLS = 100, 15, 1_000, 20_000


def show(model: PerturbationModel, source: sources.Source | None, key: str, line: str) -> None:
    """Choice of start and goal, and the ranked perturbations.

    Parameters
    ----------
    line
        In whose cells the perturbations were measured.
    """
    if source is None:
        return
    with st.expander("Which perturbation moves these cells towards those?", icon=":material/moving:"), page.guard():
        counts = describe.open_dataset(source, state.gene_column()).counts
        columns = [str(n) for n in counts.obs if 2 <= counts.obs[n].astype(str).nunique() <= _MOST_GROUPS]
        left, middle, right = st.columns(3, gap="large")
        column = left.selectbox(
            "Groups", columns, index=None, key=f"steer-column-{key}", placeholder="A column of the cells"
        )
        if column is None:
            st.markdown("Choose a column of the dataset in use, then a start and a goal among its groups.")
            return
        groups = counts.obs[column].astype(str).to_numpy()
        names = pd.Series(groups).value_counts().index.tolist()
        start = middle.selectbox("Start", names, key=f"steer-start-{key}-{column}")
        goal = right.selectbox("Goal", [name for name in names if name != start], key=f"steer-goal-{key}-{column}")
        chosen = _sample(groups, (start, goal))
        part = counts.subset(chosen)
        difference = measure_difference(part, groups[chosen] == start, groups[chosen] == goal, model.effects)
        table = rank_perturbations(model.effects, difference)
        _show_ranked(table, key)
        st.caption(
            f"From {plain(start)} to {plain(goal)} over {plural(len(difference.genes), 'gene')} of the screen. Share "
            "of the way: how far the measured mean change goes along the difference of the means (1 would reach the "
            "goal along it), with a 95 % interval; cosine: how much else it changes (1: nothing else). Measured in "
            f"{plain(line)}: for other cells this is an extrapolation, and a likeness of means is no proof that cells "
            "would turn into others."
        )


def _sample(groups: np.ndarray, names: tuple[str, str]) -> np.ndarray:
    """Cells of both groups, at most so many of each."""
    rng, found = np.random.default_rng(0), []
    for name in names:
        rows = np.flatnonzero(groups == name)
        found.append(rng.choice(rows, _MOST_CELLS, replace=False) if len(rows) > _MOST_CELLS else rows)
    return np.sort(np.concatenate(found))


def _show_ranked(table: pd.DataFrame, key: str) -> None:
    clear = table[table["low"] > 0]
    if clear.empty:
        st.markdown("No measured perturbation moves the start clearly towards the goal: every interval holds zero.")
    else:
        st.markdown(
            f"{plural(len(clear), 'perturbation')} move{'s' if len(clear) == 1 else ''} the start clearly towards the "
            f"goal; the farthest is **{plain(clear['condition'].iloc[0])}**, by {clear['share'].iloc[0]:.0%}."
        )
    bars = table.head(_MOST_BARS).rename(columns={"condition": "gene", "share": "change"})
    left, right = st.columns(2, gap="large")
    with left:
        figure = figures.draw_bars(bars, height=360)
        figure.update_layout(xaxis={"title": "share of the way"})
        st.plotly_chart(figure, config=toolbar("towards"), key=f"steer-bars-{key}")
    names = {
        "condition": "Perturbation",
        "share": "Share of the way",
        "low": "2.5 %",
        "high": "97.5 %",
        "cosine": "Cosine",
        "n_cells": "Cells",
    }
    formats = {title: st.column_config.NumberColumn(format="%.3f") for title in list(names.values())[1:5]}
    right.dataframe(table.rename(columns=names).head(_MOST_ROWS), hide_index=True, column_config=formats)
