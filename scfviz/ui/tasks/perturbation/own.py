"""Knock-downs in own cells that were never perturbed: what the lines that were measured say, labelled as such."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from scfviz.tasks.perturbation import extrapolate
from scfviz.tasks.perturbation.predictor import LineAnswers
from scfviz.ui.drawing.charts import CLEAR, toolbar
from scfviz.ui.frame import describe, sources, state
from scfviz.ui.frame.text import hover, plain, plural
from scfviz.ui.tasks.perturbation import words
from scfviz.ui.tasks.perturbation.ask import choose_genes, show_on_map, show_status, spaces_in_use
from scfviz.ui.tasks.perturbation.read import answerers, shipped_predictor

_MOST_GROUPS, _MOST_SHOWN, _MOST_ROWS = 100, 30, 2_000
_DETECTED = 0.02  # share of cells


def show(found: dict[str, Path], source: sources.Source, place: Any) -> None:
    """Ask every line about one gene, for cells of the dataset in use.

    Parameters
    ----------
    found
        Folders of the predictors that ship.
    place
        Column in which the gene is chosen.
    """
    models = {str(path): shipped_predictor(str(path)) for path in found.values()}
    folders = {str(one.about["line"]): path for path, one in models.items() if isinstance(one, LineAnswers)}
    lines = {line: models[path] for line, path in folders.items()}
    spaces = spaces_in_use(None, next(iter(lines.values())).changed.checkpoint["hash"])
    known = {gene for line in lines.values() for gene in line.changed.table.perturbations}
    genes = choose_genes("own-cells", known, set(), spaces, place, most=1, first=[])
    st.warning(
        "Extrapolation: no perturbation was measured in these cells. Each line is a cell line of its own, and answers "
        "for itself.",
        icon=":material/explore:",
    )
    for sentence in words.transfer_sentences():
        st.markdown(sentence)
    rows, where = _choose_cells(source)
    if not genes:
        st.markdown("Choose a gene to knock down.")
        return
    gene = genes[0]
    show_status(genes, known, set(), spaces)
    with st.spinner("Asking every line …"):
        ready = {line: answerers(path) for line, path in folders.items()}
        said = extrapolate.ask_lines(lines, gene, spaces, ready)
        levels = _levels(source, where, rows)
        table = extrapolate.join_lines(said, gene, levels)
    table = table[table["detected"] >= _DETECTED].reset_index(drop=True)
    measured = extrapolate.measured_in(lines, gene)
    named = ", ".join(measured) if measured else "no line"
    own = levels["detected"].get(gene)
    level = (
        f"{plain(gene)} is not among the genes of the file."
        if own is None
        else f"{own:.0%} of the chosen cells have counts of {plain(gene)}."
    )
    agreed = int((table["n_agree"] >= 2).sum())
    st.markdown(
        f"**Knock-down of {plain(gene)}** was measured in {named}. {level} Of {plural(len(table), 'gene')} that these "
        f"cells express and a line reads out, at least two lines call {agreed:,} changed in the same direction."
    )
    if own is not None and own < _DETECTED:
        st.warning("Hardly any of these cells express the gene: there is little to knock down.")
    _show_table(table, list(lines), gene)
    show_on_map([gene], source, "own-cells")


def _choose_cells(source: sources.Source) -> tuple[np.ndarray | None, tuple[str, str] | None]:
    counts = describe.open_dataset(source, state.gene_column()).counts
    columns = [str(n) for n in counts.obs if 2 <= counts.obs[n].astype(str).nunique() <= _MOST_GROUPS]
    left, right = st.columns(2, gap="large")
    column = left.selectbox("Only cells of", columns, index=None, key="own-cells-column", placeholder="All cells")
    if column is None:
        return None, None
    groups = counts.obs[column].astype(str)
    group = right.selectbox("Group", groups.value_counts().index.tolist(), key=f"own-cells-group-{column}")
    return np.flatnonzero(groups.to_numpy() == group), (column, str(group))


def _levels(source: sources.Source, where: tuple[str, str] | None, rows: np.ndarray | None) -> pd.DataFrame:
    """Levels of genes in the chosen cells, kept for the visit."""
    kept = st.session_state.setdefault("scfviz.own_levels", {})
    key = (source.ref, state.gene_column(), where)
    if key not in kept:
        kept.clear()
        kept[key] = extrapolate.levels_of(describe.open_dataset(source, state.gene_column()).counts, rows)
    return kept[key]


def _show_table(table: pd.DataFrame, lines: list[str], gene: str) -> None:
    st.markdown("##### The likeliest changes, line by line")
    st.plotly_chart(draw_lines(table.head(_MOST_SHOWN), lines), config=toolbar("own_cells"), key="own-cells-lines")
    st.caption(
        "Colour: probability of a change with its side, of each line and their mean; an empty field: the line does not "
        "read the gene out. Only genes that at least 2 % of the chosen cells have counts of. Probabilities as they "
        "held in the line itself, of whose pairs one in eight is a change: for your cells they rank genes, no more."
    )
    names = {
        "gene": "Gene",
        "p_changed": "Changed, mean",
        "p_up": "Up, if changed",
        "n_agree": "Lines that agree",
        "n_lines": "Lines that read it out",
        "level": "Level in my cells",
        "detected": "Cells with counts",
    } | {f"p_changed {line}": f"Changed, {line}" for line in lines}
    shown = table[list(names)].head(_MOST_ROWS).copy()
    for line in lines:
        shown[f"p_changed {line}"] = [
            f"{p:.3f}" if np.isfinite(p) else "not read out" for p in shown[f"p_changed {line}"]
        ]
    numbers = ("p_changed", "p_up", "level")
    formats = {names[name]: st.column_config.NumberColumn(format="%.3f") for name in numbers}
    for name in ("Lines that agree", "Lines that read it out"):
        formats[name] = st.column_config.NumberColumn(format="%d")
    formats["Cells with counts"] = st.column_config.NumberColumn(format="percent")
    st.dataframe(shown.rename(columns=names), hide_index=True, column_config=formats)
    st.download_button(
        "Table of answers (CSV)",
        lambda: table.to_csv(index=False),
        f"knockdown_{gene}_own_cells.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key="download-own-cells",
    )


def draw_lines(table: pd.DataFrame, lines: list[str]) -> go.Figure:
    """Genes by lines: the probability of a change, with the sign of its direction."""
    columns = ["mean", *lines]
    values = [np.where(table["p_up"] > 0.5, 1, -1) * table["p_changed"]]
    values += [np.where(table[f"p_up {line}"] > 0.5, 1, -1) * table[f"p_changed {line}"] for line in lines]
    figure = go.Figure(
        go.Heatmap(
            z=np.array(values),
            x=[hover(gene, 18) for gene in table["gene"]],
            y=columns,
            zmid=0,
            zmin=-1,
            zmax=1,
            colorscale="RdBu_r",
            xgap=1,
            ygap=1,
            colorbar={"title": "down · up", "thickness": 12},
            hovertemplate="<b>%{x}</b>, %{y}<br>%{z:.2f}<extra></extra>",
        )
    )
    figure.update_layout(
        height=110 + 42 * len(columns) + 60,
        xaxis={"dtick": 1, "tickangle": -60},
        yaxis={"autorange": "reversed"},
        **CLEAR,
        margin={"t": 34, "r": 8, "b": 80},
    )
    return figure
