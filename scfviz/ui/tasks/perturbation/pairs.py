"""All pairs of a screen's single perturbations: measured and predicted interactions, by type; a click opens a pair."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from scfviz.tasks.perturbation import interactions
from scfviz.tasks.perturbation.fit import PerturbationModel
from scfviz.tasks.perturbation.interactions import InteractionLaw
from scfviz.tasks.perturbation.run import predictor_of
from scfviz.ui.drawing.charts import CLEAR, toolbar
from scfviz.ui.frame import page
from scfviz.ui.frame.text import hover, plural
from scfviz.ui.tasks.results import load_result

_MOST, _MOST_ROWS = 40, 2_000
_SIZE, _TYPE, _LIKENESS = "Size of the interaction", "Type", "Likeness of the single effects"
_COLORS = {
    interactions.SYNERGY: "#d55e00",
    interactions.BUFFERING: "#0072b2",
    interactions.REDUNDANT: "#56b4e9",
    interactions.EPISTATIC: "#7b4fa3",
    interactions.NEW: "#e0b000",
    interactions.ADDITIVE: "#16a06a",
    interactions.UNCLEAR: "#b9c1c3",
}
_ASKED = "perturbation-genes-own"  # the control in which pairs are asked for


@st.fragment
def show(job_id: str) -> None:
    """Matrix, verdict and table; nothing for a screen with one single perturbation."""
    with page.guard():
        model = predictor_of(load_result(job_id))
        genes = strongest_singles(model)
        if len(genes) < 3:
            return
        with st.container(border=True, key="card-pairs"):
            st.markdown("#### All pairs: how they differ from the sum of both")
            measured = interactions.measure_interactions(model.effects)
            law = interactions.learn_law(measured)
            st.markdown(say_law(law, measured))
            table = interactions.predict_interactions(model.effects, law, genes)
            kinds = [_LIKENESS] if not law.is_learned and measured.empty else [_SIZE, _TYPE, _LIKENESS]
            by = st.segmented_control("Colour", kinds, default=kinds[0], required=True, key="pairs-colour")
            event = st.plotly_chart(
                draw_pairs(table, genes, str(by)),
                config=toolbar("pairs"),
                key=f"pairs-{by}",
                on_select="rerun",
                selection_mode="points",
            )
            _open(event)
            st.caption(
                f"The {len(genes)} single perturbations with the largest changes. A ring: the pair was measured; an "
                "empty field: open, as of every perturbation whose change is hardly above its sampling noise. Click a "
                "field to predict the pair above. Size: -0.3 is a pair that does 30 % less than the sum. "
                + "; ".join(f"*{name}*: {words}" for name, words in interactions.MEANINGS.items())
                + "."
            )
            _show_table(table)


def strongest_singles(model: PerturbationModel) -> list[str]:
    """Genes perturbed alone whose change is largest over its noise, in alphabetical order."""
    pairs = zip(model.effects.targets, model.effects.strength(), strict=True)
    strength = {one[0]: value for one, value in pairs if len(one) == 1}
    return sorted(sorted(strength, key=lambda gene: -strength[gene])[:_MOST])


def say_law(law: InteractionLaw, measured: pd.DataFrame) -> str:
    """What this screen says of interactions, in sentences."""
    if measured.empty:
        return (
            "No pair of this screen has both genes measured alone, so that nothing can be said of interactions: a "
            "predicted pair is the sum of its parts. The colour is how alike the two single effects are."
        )
    clear = measured[~measured["type"].isin((interactions.ADDITIVE, interactions.UNCLEAR))]
    found = ", ".join(f"{n} {name}" for name, n in clear["type"].value_counts().items())
    text = f"{plural(len(measured), 'pair')} with both genes measured alone: {found or 'none differs clearly'}."
    if not law.is_learned:
        return (
            f"{text} That is too few (at least {interactions.MIN_PAIRS}) to learn interactions of others: those are "
            "left open, and a predicted pair is the sum of its parts."
        )
    worth = "no number" if not np.isfinite(law.correlation) else f"r = {law.correlation:.2f}"
    weak = "" if law.correlation > 0.3 else " **So weak, predicted sizes say little more than the mean of all pairs.**"
    return (
        f"{text} Sizes of the others are predicted from how alike the two single effects are; with each pair left out, "
        f"predicted and measured sizes agree with {worth} (90 % interval ± {1.645 * law.spread:.2f}).{weak}"
    )


def draw_pairs(table: pd.DataFrame, genes: list[str], by: str) -> go.Figure:
    """Fields of all pairs, both halves alike; measured ones with a ring."""
    both = pd.concat([table, table.rename(columns={"first": "second", "second": "first"})])
    both["value"] = both["measured"].fillna(both["predicted"]) if by != _LIKENESS else both["likeness"]
    side = int(min(26, max(9, 560 / len(genes))))
    figure = go.Figure()
    if by == _TYPE:
        for name in interactions.TYPES:
            figure.add_trace(_fields(both[both["type"] == name], name, side, {"color": _COLORS[name]}))
    else:
        known = both["value"].notna()
        figure.add_trace(_fields(both[~known], "open", side, {"color": "rgba(0,0,0,0)"}))
        figure.add_trace(_fields(both[known], "", side, _scale(both["value"][known])))
    ringed = both[both["measured"].notna()]
    marker = {"symbol": "circle-open", "size": max(side - 5, 5), "color": "#7f8c8f", "line": {"width": 1.5}}
    figure.add_trace(
        go.Scatter(
            x=ringed["first"].map(hover),
            y=ringed["second"].map(hover),
            mode="markers",
            name="measured",
            marker=marker,
            hoverinfo="skip",
        )
    )
    names = [hover(gene) for gene in genes]
    axis = {"type": "category", "categoryorder": "array", "categoryarray": names, "showgrid": False, "dtick": 1}
    figure.update_layout(
        height=int(side * 1.12 * len(genes) + 190),
        xaxis=axis | {"tickangle": -60},
        yaxis=axis | {"autorange": "reversed"},
        showlegend=by == _TYPE,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        **CLEAR,
        margin={"t": 34, "r": 8, "b": 110},
        dragmode=False,
        clickmode="event+select",
    )
    return figure


def _scale(values: pd.Series) -> dict[str, object]:
    reach = float(np.nanquantile(np.abs(values), 0.95)) if values.notna().any() else 1.0
    return {
        "color": values,
        "colorscale": "RdBu_r",
        "cmid": 0,
        "cmin": -max(reach, 0.05),
        "cmax": max(reach, 0.05),
        "colorbar": {"thickness": 12},
    }


def _fields(part: pd.DataFrame, name: str, side: int, color: dict[str, object]) -> go.Scatter:
    shown = part[["predicted", "low", "high", "measured", "likeness"]].round(2).astype(object)
    shown = shown.where(shown.notna(), "unknown")
    custom = np.column_stack([part["first"], part["second"], shown.to_numpy(), part["type"]])
    return go.Scatter(
        x=part["first"].map(hover),
        y=part["second"].map(hover),
        mode="markers",
        name=name,
        marker={"symbol": "square", "size": side, "line": {"width": 0.7, "color": "rgba(127,140,143,0.45)"}, **color},
        customdata=custom,
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 0.85}},
        hovertemplate="<b>%{x} + %{y}</b><br>%{customdata[7]}<br>measured %{customdata[5]}<br>"
        "predicted %{customdata[2]} (%{customdata[3]} to %{customdata[4]})<br>likeness %{customdata[6]}<extra></extra>",
    )


def _open(event: Any) -> None:
    """The pair that was clicked is asked for above."""
    points = (event or {}).get("selection", {}).get("points", [])
    pair = next((list(map(str, one["customdata"][:2])) for one in points if one.get("customdata")), None)
    if pair is None or st.session_state.get("scfviz.pair") == pair:
        return
    st.session_state["scfviz.pair"] = pair
    st.session_state["scfviz.asked"] = pair
    st.rerun()


def take_pair() -> None:
    """Before the control of genes is drawn: what was clicked becomes its value."""
    pair = st.session_state.pop("scfviz.asked", None)
    if pair is not None:
        st.session_state[_ASKED] = pair


def _show_table(table: pd.DataFrame) -> None:
    names = {
        "first": "First",
        "second": "Second",
        "type": "Type",
        "measured": "Measured size",
        "predicted": "Predicted size",
        "low": "5 %",
        "high": "95 %",
        "likeness": "Likeness",
    }
    with st.expander("Table of pairs"):
        formats = {title: st.column_config.NumberColumn(format="%.2f") for title in list(names.values())[3:]}
        order = table["measured"].fillna(table["predicted"]).abs().fillna(table["likeness"].abs())
        shown = table.iloc[np.argsort(-order.to_numpy(), kind="stable")].head(_MOST_ROWS)
        st.dataframe(shown[list(names)].rename(columns=names), hide_index=True, column_config=formats)
    st.download_button(
        "Pairs (CSV)",
        lambda: table.to_csv(index=False),
        "pairs.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key="download-pairs",
    )
