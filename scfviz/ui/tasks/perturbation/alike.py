"""Which perturbations of a screen look alike: as a clustered heatmap, as a network, and two of them gene by gene."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from scfviz.tasks.perturbation.alike import LEAST, N_LINKS, cluster, link_alike, place_alike
from scfviz.ui.drawing.charts import CLEAR, toolbar
from scfviz.ui.frame import page
from scfviz.ui.frame.text import hover, plural
from scfviz.ui.tasks.perturbation import figures
from scfviz.ui.tasks.results import load_result

_MOST_ALIKE, _MOST_NAMED = 60, 80
_MAP, _NETWORK = "Heatmap", "Network"


@st.fragment
def show(job_id: str) -> None:
    """Correlation of changes: conditions with at least one clearly changed gene."""
    with page.guard():
        result = load_result(job_id)
        table = result.tables["conditions"]
        strongest = np.argsort(-table["n_changed"].to_numpy(), kind="stable")[:_MOST_ALIKE]
        strongest = strongest[table["n_changed"].to_numpy()[strongest] > 0]
        if len(strongest) < 3:
            return
        with st.container(border=True, key="card-alike"):
            st.markdown("#### Which perturbations look alike")
            change = np.asarray(result.arrays["change"])[strongest].astype(np.float64)
            names = table["condition"].astype(str).to_numpy()[strongest]
            order, alike = cluster(change)
            kind = st.segmented_control("Picture", [_MAP, _NETWORK], default=_MAP, required=True, key="alike-picture")
            links = link_alike(alike, list(names))
            if kind == _MAP:
                figure = figures.draw_matrix(alike[np.ix_(order, order)], list(names[order]), "r")
            else:
                figure = draw_links(links, list(names), table["n_changed"].to_numpy()[strongest])
            st.plotly_chart(figure, config=toolbar("alike"), key=f"alike-{kind}")
            if kind == _NETWORK:
                st.caption(
                    f"Each perturbation with up to {N_LINKS} that are most like it, r of {LEAST} or more "
                    f"({plural(len(links), 'link')}); larger: more genes changed. Only links mean something, distances "
                    "do not."
                )
            _show_pair(change, names, names[order], alike, result.tables["genes"]["gene"].astype(str).to_numpy())
            st.download_button(
                "Links (CSV)",
                lambda: links.to_csv(index=False),
                "alike.csv",
                "text/csv",
                on_click="ignore",
                icon=":material/table:",
                key="download-alike",
            )


def _show_pair(
    change: np.ndarray, names: np.ndarray, ordered: np.ndarray, alike: np.ndarray, genes: np.ndarray
) -> None:
    left, right = st.columns(2, gap="large")
    first = left.selectbox("Compare", list(ordered), key="pair-first")
    second = right.selectbox("with", [n for n in ordered if n != first], key="pair-second")
    place = {name: i for i, name in enumerate(names)}
    figure = figures.draw_agreement(change[place[second]], change[place[first]], genes, f"change by {hover(second)}")
    figure.update_layout(xaxis={"title": f"change by {hover(first)}"})
    st.plotly_chart(figure, config=toolbar("pair"), key="pair")
    st.caption(
        f"Pearson's r of the changes of all genes, {alike[place[first], place[second]]:.2f} for this pair; "
        f"conditions with at least one clearly changed gene, at most {_MOST_ALIKE}."
    )


def draw_links(links: pd.DataFrame, names: list[str], n_changed: np.ndarray) -> go.Figure:
    """Perturbations as points, those that are alike linked; thicker is more alike."""
    places = place_alike(links, names)
    at = {name: places[i] for i, name in enumerate(names)}
    figure = go.Figure()
    for low, high, width in ((0.0, 0.6, 1.0), (0.6, 0.8, 2.0), (0.8, 1.01, 3.5)):
        part = links[(links["r"] >= low) & (links["r"] < high)]
        x, y = [], []
        for one in part.itertuples():
            x += [at[one.first][0], at[one.second][0], None]
            y += [at[one.first][1], at[one.second][1], None]
        title = f"r up to {high:.1f}" if high < 1 else f"r from {low:.1f}"
        line = {"width": width, "color": "rgba(127,140,143,0.7)"}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", name=title, line=line, hoverinfo="skip"))
    size = 9 + 15 * np.sqrt(n_changed / max(n_changed.max(), 1))
    near = {name: [] for name in names}
    for one in links.itertuples():
        near[one.first].append(f"{hover(one.second)} {one.r:.2f}")
        near[one.second].append(f"{hover(one.first)} {one.r:.2f}")
    figure.add_trace(
        go.Scatter(
            x=places[:, 0],
            y=places[:, 1],
            mode="markers+text" if len(names) <= _MOST_NAMED else "markers",
            text=[hover(name, 20) for name in names],
            textposition="top center",
            textfont={"size": 11},
            marker={"size": size, "color": figures.LOWER, "opacity": 0.9},
            customdata=[", ".join(near[name]) or "like none" for name in names],
            hovertemplate="<b>%{text}</b><br>%{customdata}<extra></extra>",
            showlegend=False,
        )
    )
    hidden = {"visible": False}
    figure.update_layout(
        height=520,
        xaxis=hidden,
        yaxis=hidden,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        **CLEAR,
        margin={"l": 8, "r": 8, "t": 34, "b": 40},
    )
    return figure
