"""Sensitivity of cells: verdict, a drug on the map and by group, what else explains it, drugs that differ or cover."""

import contextlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.metrics import choose_labels
from scfviz.analysis.selection.rules import evaluate
from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus
from scfviz.tasks.drug_sensitivity.compute import SURE
from scfviz.tasks.drug_sensitivity.domain import say_domain
from scfviz.tasks.drug_sensitivity.groups import cover_groups, describe_groups, group_means, rank_differences
from scfviz.tasks.drug_sensitivity.names import column_of
from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task
from scfviz.ui.drawing.cell_map import cell_map
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.drawing.coloring import color_by_labels, color_by_values
from scfviz.ui.frame import describe, page, routes, sources, state
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks.drug_response import cells_figures, cells_measured, cells_words
from scfviz.ui.tasks.request import finished_jobs
from scfviz.ui.tasks.result import show_downloads, show_facts
from scfviz.ui.tasks.results import load_result

_HEIGHT, _MOST_GROUPS, _N_DRUGS = 420, 40, 12
_CLUSTERS, _SELECTION = "Clusters of these cells", "Selection in the Explorer"


@dataclass(frozen=True)
class _Grouped:
    """Groups of the cells by one column."""

    title: str
    names: list[str]
    codes: np.ndarray


def show(task: Task, job: JobStatus, source: sources.Source) -> None:
    """Everything about finished predictions."""
    result = load_result(job.id)
    show_facts(task, result)
    _show_domain(result)
    _show_drug(job.id, source)
    _show_differences(job.id, source)
    _show_cover(job.id, source)
    cells_measured.show()
    _show_table(result)
    show_downloads(task, result, source)


def _show_domain(result: Result) -> None:
    kind = result.report["provenance"]["domain"]
    said = say_domain(kind, result.scores.get("dividing"))
    shown = {"growing": st.info, "between": st.warning, "resting": st.error, "unknown": st.warning}[kind]
    shown(said, icon=":material/biotech:")


@st.fragment
def _show_drug(job_id: str, source: sources.Source) -> None:
    with page.guard(), st.container(border=True, key="card-maps"):
        result = load_result(job_id)
        drugs = result.tables["drugs"].set_index("drug", drop=False)
        left, right = st.columns(2, gap="large")
        drug = left.selectbox(
            "Drug",
            cells_words.order_drugs(result.tables["drugs"]),
            format_func=lambda name: cells_words.drug_title(drugs.loc[name]),
            key="drug_cells-drug",
            help="those of more trust first, and among them those that differ most between clusters",
        )
        grouped = _ask_groups(right, result, source, "drug_cells-groups")
        st.markdown(cells_words.sentence_of_trust(drugs.loc[drug]))
        place = list(result.tables["drugs"]["drug"]).index(drug)
        p = np.asarray(result.arrays["probability"][:, place], dtype=np.float32)
        if not np.isfinite(p).any():
            page.show_empty(
                "No published threshold", "For this drug there is none. Choose another, or *Other options*: median."
            )
            return
        _draw_maps(result, drug, p, grouped)
        n_clusters = len(result.tables["clusters"])
        st.markdown("##### Could read depth or cell cycle alone explain this?")
        st.markdown(cells_words.sentence_of_explanation(drugs.loc[drug], n_clusters))
        _draw_groups(p, grouped, drug)
        _offer_selection(result, source, drug, p)


def _ask_groups(
    column: "st.delta_generator.DeltaGenerator", result: Result, source: sources.Source, key: str
) -> _Grouped:
    obs = _labels_of(source, result)
    chosen = column.selectbox(
        "Groups",
        [_CLUSTERS, *obs],
        key=key,
        help="clusters found here, labels of your file, and labels or a selection that you made in the Explorer",
    )
    labels = result.cells["sensitivity_cluster"] if chosen == _CLUSTERS else obs[chosen]
    texts = labels.astype(object).where(labels.notna(), None)
    sizes = texts.dropna().astype(str).value_counts()
    names = list(sizes.index[:_MOST_GROUPS])
    names = sorted(names, key=lambda name: (not name.isdigit(), len(name) if name.isdigit() else 0, name))
    place = {name: i for i, name in enumerate(names)}
    codes = np.array([-1 if text is None else place.get(str(text), -1) for text in texts])
    return _Grouped(chosen, names, codes)


def _labels_of(source: sources.Source, result: Result) -> pd.DataFrame:
    """Labels of the cells: those of the file, those given here, and whether the Explorer's selection holds a cell."""
    from scfviz.ui.explorer import data as explorer_data
    from scfviz.ui.explorer.selection import selections

    kept = np.asarray(result.kept)
    obs = describe.open_dataset(source, state.gene_column()).counts.obs.iloc[kept]
    data = explorer_data.explore(source, None, None, finished_jobs(source))
    labels = obs[choose_labels(obs)[0]].assign(**{name: data.context.obs[name].to_numpy()[kept] for name in data.own})
    rule = selections.load(data.key).current
    with contextlib.suppress(ScfvizError):  # it may speak of what is no longer there
        mask = np.zeros(len(kept), dtype=bool) if rule is None else evaluate(rule, data.context)[kept]
        if 0 < mask.sum() < len(mask):
            labels[_SELECTION] = np.where(mask, "selected", "not selected")
    return labels


def _draw_maps(result: Result, drug: str, p: np.ndarray, grouped: _Grouped) -> None:
    umap = np.asarray(result.arrays["umap_sensitivity"])
    placed = np.isfinite(umap).all(axis=1)
    if placed.sum() < 3:
        st.caption("Too few cells for a map.")
        return
    names = np.array([*grouped.names, None], dtype=object)[grouped.codes[placed]]
    left, right = st.columns(2, gap="medium")
    for column, key, title, coloring in (
        (left, "drug", drug, color_by_values(f"Sensitive to {drug}", "probability", p[placed])),
        (right, "groups", grouped.title, color_by_labels(grouped.title, pd.Series(names, dtype=object))),
    ):
        with column:
            cell_map(
                {"cells": umap[placed]},
                coloring,
                key=f"maps-drug_cells-{key}",
                height=_HEIGHT,
                filename=f"{_file_name(drug)}_{key}",
                titles={"cells": title},
                names=result.cells.index[placed],
            )


def _draw_groups(p: np.ndarray, grouped: _Grouped, drug: str) -> None:
    table = describe_groups(p, grouped.codes, grouped.names)
    left, right = st.columns(2, gap="medium")
    violins = cells_figures.draw_violins(p, grouped.codes, grouped.names)
    left.plotly_chart(violins, config=toolbar("sensitivity_violins"), key="drug_cells-violins")
    right.plotly_chart(cells_figures.draw_shares(table), config=toolbar("sensitivity_shares"), key="drug_cells-shares")
    st.download_button(
        "Table by group (CSV)",
        lambda: table.to_csv(index=False),
        f"{_file_name(drug)}_by_group.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key="drug_cells-groups-csv",
        help=plain(drug),
    )


def _offer_selection(result: Result, source: sources.Source, drug: str, p: np.ndarray) -> None:
    """The cells that would survive, as a selection of the Explorer."""
    resistant = np.flatnonzero(p <= 1 - SURE)
    known = int(np.isfinite(p).sum())
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plural(len(resistant), 'cell')}** of {known:,} are called resistant to {plain(drug)}.")
        if st.button(
            "Select them in the Explorer",
            icon=":material/select_all:",
            key="drug_cells-select",
            disabled=not 0 < len(resistant) < known,
            help="there: which genes tell them from the others, with a test",
        ):
            from scfviz.analysis.selection.rules import Cells
            from scfviz.jobs import Workspace
            from scfviz.jobs.access import content_key
            from scfviz.ui.explorer.selection import selections

            key = content_key(Workspace(), source.path)
            rule = Cells(tuple(map(str, result.cells.index[resistant])))
            selections.save(key, selections.load(key).select(rule))
            routes.go("explorer")


@st.fragment
def _show_differences(job_id: str, source: sources.Source) -> None:
    with page.guard(), st.container(border=True, key="card-differences"):
        result = load_result(job_id)
        st.markdown("#### Which drugs tell two groups of cells apart?")
        columns = st.columns(3, gap="medium")
        grouped = _ask_groups(columns[0], result, source, "drug_cells-compare")
        if len(grouped.names) < 2:
            page.show_empty("One group", "There is nothing to compare. Choose another column of labels.")
            return
        first = columns[1].selectbox("First group", grouped.names, key="drug_cells-first")
        rest = [name for name in grouped.names if name != first]
        second = columns[2].selectbox("Second group", ["All others", *rest], key="drug_cells-second")
        at = grouped.codes == grouped.names.index(first)
        others = ~at if second == "All others" else grouped.codes == grouped.names.index(second)
        found = rank_differences(np.asarray(result.arrays["probability"]), at, others & (grouped.codes >= 0))
        about = result.tables["drugs"][["drug", "targets", "pathway", "trust", "spearman"]]
        table = pd.concat([about.reset_index(drop=True), found], axis=1)
        table = table.dropna(subset=["difference"]).sort_values("difference", ascending=False)
        only = st.toggle("Only drugs of some trust", value=True, key="drug_cells-trusted")
        if only and table["trust"].isin(["better", "some"]).any():
            table = table[table["trust"].isin(["better", "some"])]
        ends = pd.concat([table.head(_N_DRUGS), table.tail(_N_DRUGS)]).drop_duplicates("drug")
        chart = cells_figures.draw_differences(ends, first, second)
        st.plotly_chart(chart, config=toolbar("drug_differences"), key="drug_cells-differences")
        st.caption(
            "Means of probabilities. Cells of one sample are no independent repeats: no p-value is given. Faint bars: "
            "drugs of no measured trust. 'Overlap' in the table: how often a cell of the first group is likelier "
            "sensitive than one of the second; 0.5 is no difference."
        )
        st.dataframe(table, hide_index=True, height=260, column_config=_formats(table))


@st.fragment
def _show_cover(job_id: str, source: sources.Source) -> None:
    with page.guard(), st.container(border=True, key="card-cover"):
        result = load_result(job_id)
        st.markdown("#### Which drugs together cover all groups?")
        columns = st.columns(2, gap="medium")
        grouped = _ask_groups(columns[0], result, source, "drug_cells-cover")
        drugs = result.tables["drugs"]
        most = columns[1].slider("At most so many drugs", 1, 4, 3, key="drug_cells-most")
        means = group_means(np.asarray(result.arrays["probability"]), grouped.codes, len(grouped.names))
        trusted = drugs["trust"].isin(["better", "some"]).to_numpy()
        cover = cover_groups(means, trusted, most)
        names = [plain(drugs["drug"].iloc[i]) for i in cover.drugs]
        st.markdown(cells_words.sentence_of_cover(names, cover.covered, cover.least))
        if names:
            shown = [name for name, row in zip(grouped.names, means, strict=True) if np.isfinite(row).any()]
            chart = cells_figures.draw_cover(cover.by_group, [drugs["drug"].iloc[i] for i in cover.drugs], shown)
            st.plotly_chart(chart, config=toolbar("drug_cover"), key="drug_cells-cover-chart")
        st.caption(
            "Only drugs of some trust are tried; each next one is the one that raises the mean over groups most."
        )


def _show_table(result: Result) -> None:
    drugs = result.tables["drugs"]
    with st.expander(f"All {len(drugs)} drugs", icon=":material/table:"):
        st.dataframe(drugs, hide_index=True, column_config=_formats(drugs))


def _file_name(drug: str) -> str:
    return column_of(drug)


def _formats(table: pd.DataFrame) -> dict[str, object]:
    numbers = [name for name in table if pd.api.types.is_float_dtype(table[name])]
    return {name: st.column_config.NumberColumn(format="%.2f") for name in numbers}
