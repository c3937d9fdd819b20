"""Two linked maps of generated cells, for the browser test and the benchmark."""

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.selection.rules import Polygon, SelectionContext, combine, evaluate
from scfviz.ui.drawing import quantise
from scfviz.ui.drawing.cell_map import cell_map, read_event
from scfviz.ui.drawing.coloring import color_by_labels, color_by_values

st.set_page_config(layout="wide")


@st.cache_resource
def make_cells(n: int):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 8, n)
    angle = groups * 2 * np.pi / 8
    centres = np.stack([6 * np.cos(angle), 6 * np.sin(angle)], axis=1)
    first = (centres + rng.normal(0, 1.0, (n, 2))).astype(np.float32)
    second = (centres[:, ::-1] * 0.5 + rng.normal(0, 0.8, (n, 2))).astype(np.float32)
    obs = pd.DataFrame({"kind": pd.Categorical([f"group {g}" for g in groups])}, index=[f"cell-{i}" for i in range(n)])
    genes = {f"GENE{k}": np.where(groups == k, rng.gamma(2.0, 1.0, n), 0).astype(np.float32) for k in range(3)}
    return first, second, obs, genes


n = int(st.query_params.get("n", 5000))
first, second, obs, genes = make_cells(n)
maps = (
    {"First": first, "Second": second}
    if st.toggle("Two maps", st.query_params.get("maps") != "1")
    else {"First": first}
)
color = st.radio("Colour", ["kind", *genes, "blend"], horizontal=True)
if color == "kind":
    coloring = color_by_labels("kind", obs["kind"])
elif color == "blend":
    coloring = quantise.blend(genes, "units")
else:
    coloring = color_by_values(color, "units", genes[color])
event = read_event("map")
if event is not None:
    if event.kind == "clear":
        st.session_state.pop("rule", None)
    elif event.kind == "cell":
        st.session_state["clicked"] = obs.index[event.code]
    elif event.kind == "rename":
        st.session_state["renamed"] = f"{coloring.names[event.code]} to {event.text}"
    else:
        rule = event.rule(column="kind", names=getattr(coloring, "names", ()))
        st.session_state["rule"] = combine(event.operation, st.session_state.get("rule"), rule)
rule = st.session_state.get("rule")
mask = None if rule is None else evaluate(rule, SelectionContext(obs, maps))
outlines = {rule.map: [rule.vertices]} if isinstance(rule, Polygon) else None
if st.toggle("Map", True):
    cell_map(
        maps,
        coloring,
        key="map",
        selected=mask,
        outlines=outlines,
        names=obs.index,
        height=420,
        filename="cells",
        renamable=True,
        shortcuts=[("Ctrl+Z", "undo")],
    )
st.text(f"server counts {0 if mask is None else int(mask.sum())} cells")
st.text(f"clicked {st.session_state.get('clicked', 'nothing')}")
st.text(f"renamed {st.session_state.get('renamed', 'nothing')}")
st.text_input("Somewhere to write")
st.button("Plain click")
