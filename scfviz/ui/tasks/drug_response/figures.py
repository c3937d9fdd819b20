"""Pictures of drug responses: samples by drugs, a ranked list, a drug among the training lines, groups, genes."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from scfviz.tasks.drug_response.predictor import GRID, DrugPredictor, DrugResponses
from scfviz.ui.drawing.charts import CLEAR
from scfviz.ui.frame.text import hover

SENSITIVE, RESISTANT, MIDDLE = "#0072b2", "#d55e00", "#8f999b"  # told apart by the colour-blind, too
_SCALE = [[0.0, SENSITIVE], [0.5, "#c9cfd0"], [1.0, RESISTANT]]
NAMES = {"type": "category", "dtick": 1, "tickfont": {"size": 11}}  # of drugs, some of which are numbers
_LAYOUT = {**CLEAR, "margin": {"t": 34, "r": 8, "b": 48}}
MOST_SAMPLES, MOST_DRUGS = 200, 60


def draw_heatmap(found: DrugResponses, predictor: DrugPredictor, samples: np.ndarray, drugs: np.ndarray) -> go.Figure:
    """Percentiles among the training lines: samples by drugs, drugs grouped by the pathway of their targets.

    Parameters
    ----------
    samples, drugs
        Places of what is shown.
    """
    about = {drug.name: drug for drug in predictor.drugs}
    pathways = [about[found.drugs[i]].pathway or "Not known" for i in drugs]
    order = sorted(range(len(drugs)), key=lambda k: (pathways[k], found.drugs[drugs[k]]))
    rows, columns = samples[np.argsort(found.general[samples], kind="stable")], drugs[order]
    names = [hover(found.drugs[i], 28) for i in columns]
    groups = [hover(pathways[k], 30) for k in order]
    labels = [hover(found.samples[i], 26) for i in rows]
    figure = go.Figure(
        go.Heatmap(
            z=found.percentile[np.ix_(rows, columns)].T,
            x=labels,
            y=[groups, names],
            zmin=0,
            zmax=100,
            colorscale=_SCALE,
            colorbar={"title": "percentile", "thickness": 12},
            customdata=np.exp(found.ln_ic50[np.ix_(rows, columns)].T),
            hovertemplate="<b>%{y}</b><br>%{x}<br>percentile %{z:.0f}<br>IC50 %{customdata:.3g} uM<extra></extra>",
        )
    )
    height = int(np.clip(15 * len(columns) + 120, 300, 1100))
    figure.update_layout(
        height=height,
        xaxis={
            "type": "category",  # names of samples may be numbers
            "showticklabels": len(rows) <= MOST_DRUGS,
            "tickangle": -60,
            "title": "samples, the most sensitive first",
        },
        yaxis={"autorange": "reversed", "tickfont": {"size": 10}, "dtick": 1, "showdividers": True},
        **_LAYOUT,
    )
    return figure


def draw_ranked(table: pd.DataFrame) -> go.Figure:
    """Drugs of a sample by percentile with its 90 % interval, the most sensitive above."""
    rows = table.iloc[::-1]
    middle = rows["percentile"].to_numpy()
    figure = go.Figure(
        go.Scatter(
            x=middle,
            y=[hover(name, 26) for name in rows["drug"]],
            mode="markers",
            marker={"size": 10, "color": middle, "colorscale": _SCALE, "cmin": 0, "cmax": 100},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows["percentile_high"] - middle,
                "arrayminus": middle - rows["percentile_low"],
                "thickness": 1.2,
                "width": 0,
                "color": MIDDLE,
            },
            customdata=np.stack(
                [rows["percentile_low"], rows["percentile_high"], rows["ic50_um"], rows["unseen_line_r"]], axis=1
            ),
            hovertemplate="<b>%{y}</b><br>percentile %{x:.0f} (%{customdata[0]:.0f} to %{customdata[1]:.0f})<br>"
            "IC50 %{customdata[2]:.3g} uM<br>r on unseen lines %{customdata[3]:.2f}<extra></extra>",
        )
    )
    figure.update_layout(
        height=int(22 * len(rows) + 100),
        xaxis={"title": "percentile among the lines; 0: most sensitive", "range": [-3, 103]},
        yaxis=NAMES,
        **_LAYOUT,
    )
    return figure


def draw_among_lines(found: DrugResponses, predictor: DrugPredictor, drug: str, marked: str | None) -> go.Figure:
    """Measured ln(IC50) of the training lines as a curve from sensitive to resistant, samples at their places on it."""
    place, column = predictor.names.index(drug), found.drugs.index(drug)
    values = predictor.measured[place]
    figure = go.Figure(
        go.Scatter(
            x=100 * GRID,
            y=values,
            mode="lines",
            name="training lines, measured",
            line={"color": MIDDLE, "width": 3},
            hovertemplate="%{x:.0f} % of the lines<br>at most ln IC50 %{y:.2f}<extra></extra>",
        )
    )
    for is_marked, name, color, size in ((False, "samples", SENSITIVE, 7), (True, "this sample", RESISTANT, 13)):
        rows = [i for i, one in enumerate(found.samples) if (one == marked) == is_marked]
        if not rows:
            continue
        reach = {"type": "data", "symmetric": False, "thickness": 1.4, "width": 4, "color": color}
        y = found.ln_ic50[rows, column]
        figure.add_trace(
            go.Scatter(
                x=found.percentile[rows, column],
                y=y,
                mode="markers",
                name=name,
                marker={"size": size, "color": color, "opacity": 0.85, "line": {"width": 0}},
                error_y=reach | {"array": found.high[rows, column] - y, "arrayminus": y - found.low[rows, column]}
                if is_marked
                else None,
                text=[hover(found.samples[i]) for i in rows],
                hovertemplate="<b>%{text}</b><br>expected percentile %{x:.0f}<br>ln IC50 %{y:.2f}<extra></extra>",
            )
        )
    figure.update_layout(
        height=400,
        xaxis={"title": "percentile among the training lines"},
        yaxis={"title": "ln(IC50 in uM)"},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        **_LAYOUT | {"margin": {"t": 34, "r": 8, "b": 84}},
    )
    return figure


def draw_signed(table: pd.DataFrame, name: str, value: str, title: str) -> go.Figure:
    """Signed bars, the first above; `low` and `high` as intervals where the table has them."""
    rows = table.iloc[::-1]
    has_ends = "low" in rows and rows["low"].notna().all()
    figure = go.Figure(
        go.Bar(
            x=rows[value],
            y=[hover(one, 26) for one in rows[name]],
            orientation="h",
            marker={"color": np.where(rows[value] < 0, SENSITIVE, RESISTANT), "opacity": 0.85},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows["high"] - rows[value],
                "arrayminus": rows[value] - rows["low"],
                "thickness": 1,
                "width": 2,
            }
            if has_ends
            else None,
            hovertemplate="<b>%{y}</b><br>%{x:.3f}<extra></extra>",
        )
    )
    figure.update_layout(
        height=int(20 * len(rows) + 110),
        xaxis={"title": title, "zeroline": True},
        yaxis=NAMES,
        showlegend=False,
        **_LAYOUT,
    )
    return figure
