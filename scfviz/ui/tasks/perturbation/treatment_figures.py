"""Pictures of responses: how well each cell type's is predicted by each view, beside a repeat of the experiment."""

import pandas as pd
import plotly.graph_objects as go

from scfviz.tasks.response import methods
from scfviz.ui.drawing.charts import CLEAR
from scfviz.ui.frame.text import hover
from scfviz.ui.tasks.perturbation.figures import HIGHER, LOWER, NEITHER

_SHOWN = {
    methods.MEAN: ("circle-open", NEITHER),
    "nearest_basal": ("square-open", LOWER),
    "nearest_model": ("triangle-up-open", "#a04f9a"),
    "combination": ("diamond", HIGHER),
}


def draw_types(table: pd.DataFrame) -> go.Figure:
    """One row a cell type, the best repeated above: r of the replicate as a bar, of views as marks.

    Parameters
    ----------
    table
        `type`, `view`, `pearson_control`, `replicate`, one row a type and view.
    """
    repeats = table.drop_duplicates("type").sort_values("replicate")
    names = [hover(name, 28) for name in repeats["type"]]
    figure = go.Figure(
        go.Bar(
            x=repeats["replicate"],
            y=names,
            orientation="h",
            name="half of the cells against the other",
            marker={"color": "rgba(143,153,155,0.28)"},
            hovertemplate="<b>%{y}</b><br>replicate r %{x:.2f}<extra></extra>",
        )
    )
    for view, (symbol, color) in _SHOWN.items():
        part = table[table["view"] == view].set_index("type").reindex(repeats["type"])
        if part["pearson_control"].notna().any():
            figure.add_trace(
                go.Scatter(
                    x=part["pearson_control"],
                    y=names,
                    mode="markers",
                    name=methods.TITLES.get(view, view.capitalize()),
                    marker={"symbol": symbol, "color": color, "size": 10, "line": {"width": 2}},
                    hovertemplate="<b>%{y}</b><br>r %{x:.3f}<extra></extra>",
                )
            )
    figure.update_layout(
        height=int(max(300, 30 * len(names) + 150)),
        xaxis={"title": "Pearson's r of the change against control", "range": [min(0, table["replicate"].min()), 1.02]},
        yaxis={"dtick": 1},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        **CLEAR,
        margin={"t": 34, "r": 8, "b": 110},
    )
    return figure
