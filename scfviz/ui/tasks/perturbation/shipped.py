"""Asking the predictors that ship: changes of a screen, or answers for knock-downs of a line. Needs no data."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.tasks.perturbation import answers
from scfviz.tasks.perturbation.card import answers_verdict
from scfviz.tasks.perturbation.fit import PerturbationModel
from scfviz.tasks.perturbation.methods import COMBINATION
from scfviz.tasks.perturbation.predictor import PREDICTORS, LineAnswers
from scfviz.tasks.perturbation.scenarios import PROBABILITY
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import page, sources
from scfviz.ui.frame.text import plain
from scfviz.ui.tasks.perturbation import figures, own, scenarios, steer, words
from scfviz.ui.tasks.perturbation.ask import (
    choose_genes,
    choose_method,
    show_effects,
    show_on_map,
    show_status,
    spaces_in_use,
)
from scfviz.ui.tasks.perturbation.read import answerers, shipped_predictor

_MOST_BARS, _MOST_ROWS, _LIKELY = 20, 2_000, 0.3
_OWN = "own cells"


@st.fragment
def show(source: sources.Source | None) -> None:
    """Ask one of the predictors that ship; needs no data."""
    with page.guard():
        found = PREDICTORS.shipped()
        if not found:
            page.show_empty("No predictor", "This installation ships none: fit one to your own screen.")
            return
        titles = {name: PREDICTORS.describe(folder)["about"]["title"] for name, folder in found.items()}
        if source is not None:
            titles[_OWN] = "My own cells, from the lines that were measured (extrapolation)"
        with st.container(border=True, key="card-ask"):
            left, right = st.columns([2, 3], gap="large")
            name = left.selectbox("Predictor", list(titles), format_func=titles.get, key="perturbation-predictor")
            if name == _OWN and source is not None:
                own.show(found, source, right)
                return
            model = shipped_predictor(str(found[name]))
            if isinstance(model, LineAnswers):
                _ask_line(model, found[name], source, right)
            else:
                asked = scenarios.Asked(titles[name], name, name)
                show_effects(model, None, source, key=name, asked=asked, place=right)
        if isinstance(model, PerturbationModel):
            steer.show(model, source, name, str(model.about.get("line", "another line")))
        _show_measured()
        with st.expander("Card of the predictor", icon=":material/badge:"):
            st.markdown((found[name] / "README.md").read_text(encoding="utf-8"))


def _show_measured() -> None:
    """What the benchmark found of these predictors, where its results are there."""
    table = words.table_of_lines()
    if table.empty:
        return
    with st.expander("What was measured: every view on unseen knock-downs", icon=":material/fact_check:"):
        for sentence in words.sentences():
            st.markdown(sentence)
        formats = {name: st.column_config.NumberColumn(format="%.3f") for name in table.columns[2:]}
        st.dataframe(table, hide_index=True, column_config=formats)
        st.caption(
            "AUROC of each gene over knock-downs, mean over genes: 0.5 is chance, and what a table of gene frequencies "
            "reaches. Official split of PerturbQA (`benchmarks/perturbation.py`); how fast similarity fades was set "
            "with a look at these lines: they are not quite independent evidence."
        )


def _ask_line(model: LineAnswers, folder: Path, source: sources.Source | None, place: Any) -> None:
    """Answers for a knock-down: is a gene changed, and which way."""
    spaces, known = spaces_in_use(None, model.changed.checkpoint["hash"]), set(model.changed.table.perturbations)
    key = str(model.about["line"]).lower()
    genes = choose_genes(key, known, set(), spaces, place, most=1, first=_first_of_line(known))
    if not genes:
        st.markdown("Choose a gene. Two at once were not measured in these screens.")
        return
    gene = genes[0]
    show_status(genes, known, set(), spaces)
    method = choose_method(answers.TITLES, key)
    with st.spinner("Reading the predictor …"):
        ready = answerers(str(folder)) if method == COMBINATION else {}
        changed, direction = (
            answers.predict_answers(one, [gene], spaces, ready.get(name), method=method)
            for name, one in ((answers.CHANGED, model.changed), (answers.DIRECTION, model.direction))
        )
    table = line_table(gene, changed, direction)
    with st.container(border=True, key=f"card-verdict-{key}"):
        st.markdown(f"#### Knock-down of {plain(gene)} in {plain(model.about['line'])}")
        if method == COMBINATION:
            st.markdown(answers_verdict(model.changed, "Which genes change?"))
            st.markdown(answers_verdict(model.direction, "Up or down?"))
        else:
            st.markdown(
                f"{answers.TITLES[method]}, alone, as a baseline: not calibrated, and no interval was learned for it."
            )
    _show_line(table, key)
    show_on_map([gene], source, key)
    signed = _signed(table)
    asked = scenarios.Asked(f"Knock-down in {model.about['line']}", folder.name, folder.name)
    if method == COMBINATION:
        scenarios.show(gene, signed, asked, key, PROBABILITY)
    else:
        st.caption("Scenarios are kept of the combination.")


def _first_of_line(known: set[str]) -> list[str]:
    return [gene for gene in ("GATA1", "MED12", "POLR2B") if gene in known][:1] or sorted(known)[:1]


def line_table(gene: str, changed: answers.AnsweredGenes, side: answers.AnsweredGenes) -> pd.DataFrame:
    """One row a gene read out, the likeliest change first; the knocked-down gene itself is left out."""
    table = pd.DataFrame(
        {
            "gene": changed.genes,
            "p_changed": changed.estimate[0],
            "low": changed.low[0],
            "high": changed.high[0],
            "p_up": side.estimate[0],
            "p_up_low": side.low[0],
            "p_up_high": side.high[0],
        }
    )
    table = table[table["gene"] != gene]
    return table.sort_values("p_changed", ascending=False, kind="stable", ignore_index=True)


def _signed(table: pd.DataFrame) -> pd.DataFrame:
    """Probabilities of a change with the sign of its direction, with both ends of the interval."""
    sign = np.where(table["p_up"] > 0.5, 1.0, -1.0)
    ends = np.sort(np.stack([sign * table["low"], sign * table["high"]]), axis=0)
    change = sign * table["p_changed"]
    return pd.DataFrame({"gene": table["gene"], "change": change, "low": ends[0], "high": ends[1]})


def _show_line(table: pd.DataFrame, key: str) -> None:
    side = np.where(table["p_up"] > 0.5, 1, -1)
    points = pd.DataFrame(
        {
            "gene": table["gene"],
            "x": 2 * table["p_up"] - 1,
            "y": table["p_changed"],
            "side": np.where(table["p_changed"] > _LIKELY, side, 0),
        }
    )
    bars = _signed(table.head(_MOST_BARS))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Every gene")
        st.plotly_chart(
            figures.draw_volcano(points, "down (-1) to up (1)", "probability of a change"),
            config=toolbar(f"{key}_answers"),
            key=f"volcano-{key}",
        )
    with right:
        st.markdown("##### The likeliest changes, to the right up")
        figure = figures.draw_bars(bars)
        figure.update_layout(xaxis={"title": "probability of a change, with its side"})
        st.plotly_chart(figure, config=toolbar(f"{key}_bars"), key=f"bars-{key}")
    names = {
        "gene": "Gene",
        "p_changed": "Changed",
        "low": "2.5 %",
        "high": "97.5 %",
        "p_up": "Up, if changed",
    }
    shown = table[list(names)].dropna(axis=1, how="all").rename(columns=names)
    st.dataframe(
        shown.head(_MOST_ROWS),
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format="%.3f") for name in shown.columns[1:]},
    )
    st.caption(
        "Probabilities as they held on held-out knock-downs of the benchmark, of whose pairs one in eight is a change: "
        "they rank genes. The predictor keeps what similar knock-downs have in common, not the labels of the screen."
    )
    st.download_button(
        "Table of answers (CSV)",
        lambda: table.to_csv(index=False),
        f"knockdown_{key}.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key=f"download-answers-{key}",
    )
