"""The same generated cells on our map and on Plotly's, for `benchmarks/map.py`: ?way=ours|plotly&n=CELLS."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from scfviz.analysis.selection.rules import SelectionContext, evaluate
from scfviz.ui.drawing import palette
from scfviz.ui.drawing.cell_map import cell_map, read_event
from scfviz.ui.drawing.coloring import color_by_labels, color_by_values

st.set_page_config(layout="wide")


@st.cache_resource
def make_cells(n: int):
    """24 curved islands, and two genes that are zero in most cells."""
    rng = np.random.default_rng(0)
    island = rng.integers(0, 24, n)
    angle, along = island * 2.4, rng.uniform(-1.5, 1.5, n)
    x = 3 * np.sqrt(island) * np.cos(angle) + 1.3 * along + rng.normal(0, 0.35, n)
    y = 3 * np.sqrt(island) * np.sin(angle) + along**2 * np.cos(island) + rng.normal(0, 0.35, n)
    genes = {f"GENE{k}": np.where(rng.random(n) < 0.2 + 0.6 * (island % 3 == k), rng.gamma(2, 1, n), 0) for k in (1, 2)}
    kinds = pd.Series(pd.Categorical.from_codes(island, [f"island {i:02d}" for i in range(24)]))
    return np.stack([x, y], axis=1).astype(np.float32), kinds, {k: v.astype(np.float32) for k, v in genes.items()}


def show_ours(points, kinds, genes, color):
    coloring = color_by_labels("island", kinds) if color == "islands" else color_by_values(color, "", genes[color])
    event = read_event("map")
    if event is not None:
        st.session_state["rule"] = event.rule()
    rule = st.session_state.get("rule")
    mask = None if rule is None else evaluate(rule, SelectionContext(pd.DataFrame(index=kinds.index), {"": points}))
    cell_map({"": points}, coloring, key="map", selected=mask, height=560)
    return 0 if mask is None else int(mask.sum())


def show_plotly(points, kinds, genes, color):
    codes = kinds.cat.codes.to_numpy()
    colors = palette.CATEGORIES[:24]
    steps = [(k / 24, c) for k, c in enumerate(colors)] + [((k + 1) / 24, c) for k, c in enumerate(colors)]
    marker = {"color": codes, "colorscale": sorted(steps), "cmin": -0.5, "cmax": 23.5}
    if color != "islands":
        marker = {"color": genes[color], "colorscale": "Viridis"}
    trace = go.Scattergl(x=points[:, 0], y=points[:, 1], mode="markers", marker={"size": 2, **marker}, hoverinfo="skip")
    figure = go.Figure(
        trace, {"height": 600, "uirevision": 1, "dragmode": "lasso", "margin": {"l": 0, "r": 0, "t": 0, "b": 0}}
    )
    answer = st.plotly_chart(figure, key="map", on_select="rerun", selection_mode="lasso", theme=None)
    return len(answer.selection.point_indices)


n, way = int(st.query_params.get("n", 100_000)), st.query_params.get("way", "ours")
cells = make_cells(n)
color = st.radio("Colour", ["islands", "GENE1", "GENE2"], horizontal=True)
st.button("Plain click")
count = 0
if st.toggle("Show"):
    count = (show_ours if way == "ours" else show_plotly)(*cells, color)
st.text(f"count {count}")
