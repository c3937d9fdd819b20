"""Tables and figures below the picture of gene modules: modules, groups, regulators, what the views are worth."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from scfviz.tasks.result import Result
from scfviz.ui.drawing.charts import CLEAR, TOOLBAR_PIXELS, toolbar
from scfviz.ui.frame import page, sources
from scfviz.ui.frame.text import hover, plain
from scfviz.ui.tasks.gene_modules import details, words

_MODULES = {
    "module": "Module",
    "name": "Name",
    "n_genes": "Genes",
    "n_factors": "Factors",
    "hubs": "Hubs",
    "stability": "Stability",
    "pvals_adj": "Adjusted p of the best set",
    "random": "Random as good",
}
_PER_GROUP = 5  # regulators of each group in the figure
# on light and dark alike: a change of theme does not run the page
_SCALE = [[0, "#2f78b7"], [0.5, "rgba(127, 140, 143, 0.1)"], [1, "#c43b3b"]]


def show_modules(result: Result) -> None:
    """The modules, and how strongly each group of cells expresses them."""
    modules = result.tables["modules"]
    if not len(modules):
        return
    with st.container(border=True, key="card-modules"):
        st.markdown("#### Modules and groups of cells")
        names = {row.module: f"{row.module}: {row.name}" for row in modules.itertuples()}
        table = result.tables["groups"].assign(name=lambda t: t["module"].map(names))
        figure = draw_heatmap(table, "name", "z", "score", list(names.values()))
        st.plotly_chart(figure, key="gene_modules-heatmap", config=toolbar("modules_by_group"))
        st.caption(
            "Mean score of each module in each group of cells, in standard deviations over groups. A score is the mean "
            "expression of the module's genes less that of random genes of like expression."
        )
        shown = modules[list(_MODULES)].rename(columns=_MODULES)
        st.dataframe(
            shown,
            hide_index=True,
            key="gene_modules-table",
            column_config={
                "Stability": st.column_config.ProgressColumn(format="%.2f", min_value=0, max_value=1),
                "Adjusted p of the best set": st.column_config.NumberColumn(format="%.1e"),
                "Random as good": st.column_config.NumberColumn(format="percent"),
            },
        )


def show_regulators(result: Result, source: sources.Source) -> None:
    """The transcription factors whose targets set groups apart, and any of them on the map."""
    if "regulators" not in result.tables:
        return
    table = result.tables["regulators"]
    with st.container(border=True, key="card-regulators"):
        st.markdown("#### Activity of transcription factors")
        best = table.sort_values("z", ascending=False, kind="stable").groupby("group").head(_PER_GROUP)
        factors = list(dict.fromkeys(best.sort_values(["group", "z"], ascending=[True, False])["factor"]))
        figure = draw_heatmap(table[table["factor"].isin(factors)], "factor", "z", "activity", factors)
        st.plotly_chart(figure, key="gene_modules-regulators", config=toolbar("regulators_by_group"))
        st.caption(
            f"The {_PER_GROUP} most specific regulators of each group: the mean over cells of a number "
            f"({words.activity_unit(result)}) that says whether the factor's targets are higher than other genes, in "
            "standard deviations over groups. Targets are those edges that beat 95 % of the null and repeat in half of "
            "the halves; a factor needs five."
        )
        _show_regulator(result, source, factors)


@st.fragment
def _show_regulator(result: Result, source: sources.Source, specific: list[str]) -> None:
    """A regulator of the visitor's choice: its activity on the map beside its targets."""
    table = result.tables["regulators"]
    others = [factor for factor in table["factor"].unique() if factor not in specific]
    left, right = st.columns([2, 3], gap="medium")
    factor = left.selectbox(
        "Show on the map",
        [*specific, *others],
        index=None,
        key="gene_modules-regulator",
        placeholder="Choose a regulator",
        help="the most specific ones of each group first",
    )
    if factor is None:
        return
    with page.guard():
        with left:
            details.show_targets(result, factor)
        with right:
            details.show_map(result, source, factor=factor)


def show_views(result: Result) -> None:
    """What each view is worth here, the resolutions, and what was measured on known networks."""
    with st.expander("What links genes, how stable it is, and what was measured", icon=":material/compare_arrows:"):
        left, right = st.columns(2, gap="large")
        names = {"title": "View", "weight": "Weight", "reliability": "Half against half", "loss": "Loss"}
        shown = result.tables["views"][list(names)].dropna(axis=1, how="all").rename(columns=names)
        numbers = {name: st.column_config.NumberColumn(format="%.3f") for name in ("Weight", "Half against half")}
        left.dataframe(
            shown, hide_index=True, column_config=numbers | {"Loss": st.column_config.NumberColumn(format="%.5f")}
        )
        left.caption(
            "Weights are learned by predicting correlations over single cells of a half that no view has seen. *Half "
            "against half*: correlation of all links of one half of the cells with those of the other."
        )
        curve = result.tables["resolutions"]
        right.plotly_chart(draw_curve(curve), key="gene_modules-curve", config=toolbar("resolutions"))
        right.caption("How far modules repeat in halves of the cells, by the resolution; the chosen one is filled.")
        for sentence in words.measured():
            st.markdown(f"- {sentence}")


def draw_heatmap(table: pd.DataFrame, row: str, color: str, value: str, order: list[str]) -> go.Figure:
    """Rows by groups; groups and rows in an order that puts what is alike together."""
    wide = table.pivot_table(index=row, columns="group", values=color, observed=True).reindex(order)
    raw = table.pivot_table(index=row, columns="group", values=value, observed=True).reindex(order)
    columns = wide.columns[np.argsort(np.nan_to_num(wide.to_numpy()).argmax(axis=0), kind="stable")]
    wide, raw = wide[columns], raw[columns]
    limit = float(max(np.nanmax(np.abs(wide.to_numpy()), initial=0), 1e-9))
    figure = go.Figure(
        go.Heatmap(
            z=wide.to_numpy(),
            x=[hover(name, 30) for name in columns],
            y=[hover(name, 44) for name in wide.index],
            customdata=raw.to_numpy(),
            zmin=-limit,
            zmax=limit,
            colorscale=_SCALE,
            colorbar={"title": "sd", "thickness": 10},
            hovertemplate=f"%{{y}}<br>%{{x}}<br>{value} %{{customdata:.3f}}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    figure.update_layout(
        height=max(120 + 22 * len(wide), 220) + TOOLBAR_PIXELS,
        margin={"l": 8, "r": 8, "t": TOOLBAR_PIXELS, "b": 8},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
        xaxis={"automargin": True, "type": "category"},
        **CLEAR,
    )
    return figure


def draw_curve(curve: pd.DataFrame) -> go.Figure:
    """Stability by resolution, with the number of modules."""
    figure = go.Figure(
        go.Scatter(
            x=curve["resolution"],
            y=curve["stability"],
            text=[f"{plain(n)}" for n in curve["n_modules"]],
            mode="lines+markers+text",
            textposition="top center",
            line={"color": "#2f98a0", "width": 2},
            marker={
                "size": 10,
                "color": ["#2f98a0" if chosen else "rgba(0, 0, 0, 0)" for chosen in curve["is_chosen"]],
                "line": {"color": "#2f98a0", "width": 1.5},
            },
            hovertemplate="resolution %{x}<br>stability %{y:.2f}<br>%{text} modules<extra></extra>",
        )
    )
    figure.update_layout(
        height=260 + TOOLBAR_PIXELS,
        margin={"l": 8, "r": 8, "t": TOOLBAR_PIXELS, "b": 8},
        xaxis={"title": "resolution", "type": "log"},
        yaxis={"title": "adjusted Rand index", "rangemode": "tozero"},
        **CLEAR,
    )
    return figure
