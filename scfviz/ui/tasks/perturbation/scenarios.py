"""Scenarios: predictions kept by name beyond this visit, up to four of them side by side."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.jobs import Workspace, scenarios
from scfviz.reporting.report import write_sections
from scfviz.reporting.script import as_python, script_of
from scfviz.tasks.fragments import Contribution
from scfviz.tasks.perturbation.scenarios import CHANGE, COLUMNS, Scenario, command, contribute
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import page, state
from scfviz.ui.frame.text import plain
from scfviz.ui.tasks.perturbation import figures

MOST_SHOWN, _MOST_BARS = 4, 10


@dataclass(frozen=True)
class Asked:
    """The predictor on the screen.

    Attributes
    ----------
    title
        In words.
    predictor
        See `Scenario.predictor`.
    folder
        As `scfviz perturb predict` takes it.
    """

    title: str
    predictor: str
    folder: str


def show(asked: str, table: pd.DataFrame, source: Asked, key: str, unit: str = CHANGE) -> None:
    """What was asked can be kept by a name; what is kept can be laid side by side.

    Parameters
    ----------
    asked
        The condition.
    table
        `gene`, `change`, `low`, `high`, the largest change first, without the perturbed gene.
    source
        The predictor.
    key
        Tells its controls from those of other predictors.
    unit
        What the numbers are.
    """
    workspace, visitor = Workspace(), state.visitor()
    kept = scenarios.list_kept(workspace, visitor)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of this scenario",
            scenarios.free_name(kept, asked),
            key=f"scenario-name-{key}-{asked}",
            max_chars=scenarios.MOST_LETTERS,
            width=320,
        )
        if st.button("Keep this scenario", icon=":material/bookmark_add:", key=f"keep-{key}"):
            with page.guard():
                columns = {one: table[one].tolist() for one in COLUMNS}
                scenarios.keep(
                    workspace, visitor, Scenario(name, asked, source.title, unit, columns, predictor=source.predictor)
                )
                shown = [one for one in st.session_state.get(_shown(key), _first(kept)) if one != name.strip()]
                st.session_state[_shown(key)] = [*shown, name.strip()][-MOST_SHOWN:]
                st.rerun()
    if kept:
        _show_side_by_side(kept, key)
    if own := [one for one in kept if source.predictor and one.predictor == source.predictor]:
        _show_export(own[::-1], source, key)


def _show_export(own: list[Scenario], source: Asked, key: str) -> None:
    with st.expander("Report, command and script of this predictor's scenarios", icon=":material/description:"):
        st.code(command(own, source.folder), language="bash", wrap_lines=True)
        if source.folder != source.predictor:
            st.caption("In the folder with the predictor, unpacked: download it below.")
        with st.container(horizontal=True):
            st.download_button(
                "Report (HTML)",
                lambda: report_html(own, source),
                "scenarios_report.html",
                "text/html",
                on_click="ignore",
                icon=":material/description:",
                key=f"report-scenarios-{key}",
            )
            st.download_button(
                "Script (.py)",
                lambda: script_text(own, source),
                "scenarios.py",
                "text/x-python",
                on_click="ignore",
                icon=":material/code:",
                key=f"script-scenarios-{key}",
            )


def report_html(own: list[Scenario], source: Asked) -> str:
    """The scenarios of one predictor as a report."""
    said = _contribution(own, source)
    facts = {"Predictor": source.title, "Scenarios": str(len(own))}
    return write_sections("Scenarios", said.sections, facts=facts, caveats=said.caveats)


def script_text(own: list[Scenario], source: Asked) -> str:
    """The same as a script that predicts again and compares."""
    return as_python(script_of(_contribution(own, source)))


def _contribution(own: list[Scenario], source: Asked) -> Contribution:
    code = "from scfviz.tasks.perturbation.predictor import find_predictor, read_predictor\n\n"
    return contribute(own, source.folder, f"{code}predictor = read_predictor(find_predictor({source.folder!r}))")


def _shown(key: str) -> str:
    return f"scenarios-shown-{key}"


def _first(kept: list[Scenario]) -> list[str]:
    return [one.name for one in kept[:MOST_SHOWN]]


def _show_side_by_side(kept: list[Scenario], key: str) -> None:
    by_name = {one.name: one for one in kept}
    place = _shown(key)
    if place in st.session_state:
        st.session_state[place] = [name for name in st.session_state[place] if name in by_name]
    else:
        st.session_state[place] = _first(kept)
    with st.container(border=True, key=f"card-scenarios-{key}"):
        st.markdown("#### Scenarios side by side")
        left, right = st.columns([4, 1], vertical_alignment="bottom")
        names = left.multiselect(
            "Kept scenarios",
            list(by_name),
            max_selections=MOST_SHOWN,
            select_all=False,
            key=place,
            placeholder="Choose up to four",
        )
        if not names:
            st.caption("Choose up to four of those that are kept.")
            return
        if right.button("Delete these", icon=":material/delete:", type="tertiary", key=f"delete-scenarios-{key}"):
            for name in names:
                scenarios.remove(Workspace(), state.visitor(), name)
            st.rerun()
        for column, name in zip(st.columns(len(names)), names, strict=True):
            with column:
                _show_one(by_name[name], key)
        joined = pd.concat(
            {name: pd.Series(by_name[name].columns["change"], index=by_name[name].columns["gene"]) for name in names},
            axis=1,
        ).rename_axis("gene")
        if len(names) > 1:
            _show_agreement(joined, names)
        st.download_button(
            "Scenarios (CSV)",
            lambda: joined.to_csv(),
            "scenarios.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
            key=f"download-scenarios-{key}",
        )
        st.caption("Kept in the workspace for you alone, also for later visits.")


def _show_one(one: Scenario, key: str) -> None:
    st.markdown(f"**{plain(one.name)}**")
    st.caption(f"{plain(one.asked)} · {plain(one.source)}")
    bars = pd.DataFrame(one.columns).head(_MOST_BARS)
    figure = figures.draw_bars(bars, height=300)
    if one.unit != CHANGE:
        figure.update_layout(xaxis={"title": one.unit})
    st.plotly_chart(figure, config=toolbar("scenario"), key=f"scenario-{key}-{one.name}")


def _show_agreement(joined: pd.DataFrame, names: list[str]) -> None:
    """Correlation of each with the first, over the genes that both have."""
    said = []
    for name in names[1:]:
        both = joined[[names[0], name]].dropna()
        if len(both) > 2 and both.std().min() > 0:
            r = float(np.corrcoef(both[names[0]], both[name])[0, 1])
            said.append(f"{plain(name)} r = {r:.2f} over {len(both):,} genes")
    if said:
        st.markdown(f"Alike with {plain(names[0])}: {'; '.join(said)}.")
