"""The table of genes of a comparison: narrow enough to stand beside the maps; what has no number says why in words."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.differential_expression import with_measured_changes

# By column of the table: heading, width in pixels, how its numbers are written, what they are. In this order; what
# matters least stands last, where a narrow window cuts off.
_COLUMNS = {
    "names": ("Gene", 72, None, "Click a row to see the gene on the maps"),
    "logfoldchanges": ("log2 fold", 64, "{:.1f}", "of mean counts per 10,000; between donors, of DESeq2's model"),
    "pvals_adj": ("adj. p", 54, "{:.0e}", "Benjamini-Hochberg over the tested genes; – where DESeq2 set one aside"),
    "pct_in": ("{first}", 50, "{:.0%}", "share of the cells of {first} that express the gene"),
    "pct_out": ("{second}", 52, "{:.0%}", "share of the cells of {second} that express the gene"),
    "scores": ("Score", 58, "{:.1f}", "z of the rank sum, t, or Wald statistic: positive means higher in {first}"),
    "mean_in": ("Mean {first}", 76, "{:.2f}", "mean of ln(1 + counts per 10,000)"),
    "mean_out": ("Mean {second}", 76, "{:.2f}", "mean of ln(1 + counts per 10,000)"),
    "lfc_se": ("Its error", 70, "{:.2f}", "standard error of the log2 fold change"),
    "base_mean": ("Mean count", 76, "{:.1f}", "mean of the normalised counts per donor and side"),
    "pvals": ("p", 60, "{:.0e}", "of one gene alone"),
    "model_gene": ("In the model", 90, None, "What the model calls the gene; empty where it does not know it"),
}
_P_VALUES = {"pvals_adj", "pvals"}


def show(
    table: pd.DataFrame, key: str, choose: Callable[[str], None], *, first: str, second: str, height: int = 340
) -> None:
    """Draw rows of a comparison; a click on one calls `choose` with the gene.

    Parameters
    ----------
    first, second
        What both sides are called, in a word.
    """
    titles = {"first": first, "second": second}
    columns = {
        name: st.column_config.Column(label.format(**titles), help=text.format(**titles), width=width)
        for name, (label, width, _, text) in _COLUMNS.items()
    }
    st.dataframe(
        _write(table, titles).set_uuid(key),  # else it would be another table, and sent again, at every click
        hide_index=True,
        height=height,
        key=key,
        selection_mode="single-row",
        on_select=lambda: _choose(table, key, choose),
        column_config=columns,
        column_order=[name for name in _COLUMNS if name in table],
    )


def _write(table: pd.DataFrame, titles: dict[str, str]):
    """Numbers as they are read; a gene that one side has no count of has no fold change, but the side's name.

    It is infinite beneath the words, which sorts it beside the largest ones, and a p value that is not there is sorted
    last: where a value is missing the browser writes "None" in place of the words.
    """
    shown = with_measured_changes(table).reset_index(drop=True)
    sides = shown["only_in"] if "only_in" in shown else pd.Series("", index=shown.index)
    rows = {side: shown.index[(sides == side).to_numpy()] for side in titles}
    for side, infinite in (("first", np.inf), ("second", -np.inf)):
        shown.loc[rows[side], "logfoldchanges"] = infinite
    numbers = {name: form for name, (_, _, form, _) in _COLUMNS.items() if form and name in shown}
    written = shown.style.format(numbers, na_rep="–")
    for name in _P_VALUES & set(shown):
        without = shown.index[shown[name].isna().to_numpy()]
        shown.loc[without, name] = np.inf
        written = written.format(lambda _: "–", subset=(without, [name]))
    for side, title in titles.items():
        if len(rows[side]):
            written = written.format(lambda _, title=title: f"{title} only", subset=(rows[side], ["logfoldchanges"]))
    return written


def _choose(table: pd.DataFrame, key: str, choose: Callable[[str], None]) -> None:
    rows = st.session_state[key].selection.rows
    if rows:
        choose(str(table["names"].iloc[rows[0]]))
