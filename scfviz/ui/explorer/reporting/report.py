"""Share and export a view: a link, a session file, a report, and a script that reproduces it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.selection.rules import Rule
from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.labels import list_labels
from scfviz.jobs.scenarios import list_kept
from scfviz.jobs.workspace import read_json
from scfviz.reporting.record import AnalysisRecord, Colored, Compared, Composed, Pictured
from scfviz.reporting.report import Pictures, write_report
from scfviz.reporting.script import as_notebook, as_python, script_cells
from scfviz.reporting.session import SavedSession
from scfviz.tasks.fragments import Contribution
from scfviz.tasks.names import public_names
from scfviz.tasks.perturbation.scenarios import contribute
from scfviz.tasks.registry import get_task
from scfviz.tasks.reporting import Answered
from scfviz.ui.drawing import coloring, figure
from scfviz.ui.explorer.panels import comparison, result_figures
from scfviz.ui.explorer.reporting import report_panels, session
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe, job_panel, models, sharing, state
from scfviz.ui.frame.text import plural
from scfviz.ui.screens import scores
from scfviz.ui.tasks.results import load_result


@dataclass(frozen=True)
class Export:
    """What the session says about a view, taken while the page runs: a download is made later, without a session."""

    gene_column: str | None
    model: str
    maps: Answered | None
    comparisons: tuple[JobStatus, ...]
    looks: report_panels.Looks
    session: SavedSession
    tasks: tuple[Answered, ...] = ()
    scenarios: tuple[Contribution, ...] = ()


def show(view: View) -> None:
    """Ways to share and export this view; each is made when it is asked for."""
    stem = Path(view.source.title).name.split(".")[0] or "cells"
    asked = take(view)
    with st.container(key="x_report_sides"):
        left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### For a colleague on this server")
        st.code(session.link(view), language=None, wrap_lines=True)
        st.caption("The link opens this view: dataset, maps, colours, panel and selection.")
        sharing.show(view.source.ref, "link")
        st.markdown("##### For another server")
        st.download_button(
            "Session file",
            lambda: session.with_labels(asked.session, view.data.key).to_bytes(),
            f"{stem}_session.json",
            "application/json",
            on_click="ignore",
            icon=":material/save:",
            key="x_session",
        )
        st.caption(
            "A small file with the view, the rules of all named selections, the labels and the options; no data. It "
            "restores the view wherever the same dataset is."
        )
        session.show_open(view.source, view.data.dataset)
    with right:
        st.markdown("##### For a paper or a lab book")
        author = st.text_input("Your name in the report", key="x_author", placeholder="optional", width=320)
        st.download_button(
            "Report (HTML)",
            lambda: report_html(view, asked, author),
            f"{stem}_report.html",
            "text/html",
            on_click="ignore",
            type="primary",
            icon=":material/description:",
            key="x_report",
        )
        st.caption(
            "The analysis record, the maps as they are coloured now, selections with their rules, the last "
            "comparison with its gene sets, the pictures of genes and of composition as you last saw them, versions, a "
            "methods paragraph and what to cite. One file that opens without a network."
        )
        st.markdown("##### To reproduce it")
        with st.container(horizontal=True):
            st.download_button(
                "Script (.py)",
                lambda: as_python(script_cells(gather(view, asked))),
                f"{stem}_analysis.py",
                "text/x-python",
                on_click="ignore",
                icon=":material/code:",
                key="x_script",
            )
            st.download_button(
                "Notebook (.ipynb)",
                lambda: as_notebook(script_cells(gather(view, asked))),
                f"{stem}_analysis.ipynb",
                "application/x-ipynb+json",
                on_click="ignore",
                icon=":material/menu_book:",
                key="x_notebook",
            )
        st.caption(
            "Python that opens the file, embeds, computes the maps, evaluates the selections, compares, and counts "
            "again what the report shows. It stops where a number differs from this view. It needs scfviz and the "
            "dataset."
        )


def take(view: View) -> Export:
    """What the session and the queue say now."""
    last = comparison.current(view)
    jobs = [] if last is None else [last, comparison.newest_of_donors(view, last)]
    same = (view.embed_job, state.gene_column())
    finished = tuple(
        job
        for job in jobs
        if job is not None and job.state == "done" and (job.options["embed_job"], job.options["gene_column"]) == same
    )
    looks = report_panels.take(view)
    maps = None if view.embed_job is None else _answered(view.embed_job)
    tasks = tuple(map(_answered, view.task_jobs))
    return Export(
        state.gene_column(), state.model(), maps, finished, looks, session.save(view, last), tasks, _scenarios(view)
    )


def _scenarios(view: View) -> tuple[Contribution, ...]:
    """What the visitor keeps of what predictors fitted to this dataset said."""
    kept = list_kept(Workspace(), state.visitor())[::-1]
    found = [[one for one in kept if one.predictor == job_id] for job_id in view.task_jobs]
    stem = Path(view.source.title).name.split(".")[0] or "screen"
    code = "from scfviz.tasks.perturbation.run import predictor_of\n\npredictor = predictor_of(perturbation)"
    return tuple(contribute(own, f"{stem}_predictor", code) for own in found if own)


def _answered(job_id: str) -> Answered:
    job = job_panel.status_of(job_id)
    return Answered(get_task(job.kind), load_result(job.id), job.finished_at)


def report_html(view: View, asked: Export, author: str = "") -> str:
    """The report of this view."""
    maps, captions = [], []
    for start in range(0, len(view.chosen.maps), 2):
        names = view.chosen.maps[start : start + 2]
        shown = {view.data.titles[name]: view.data.maps[name] for name in names}
        n_cells = plural(len(view.data.shown), "cell")
        maps.append(figure.draw_maps(shown, view.chosen.coloring, "svg", selected=view.mask, caption=n_cells))
        text = f"{' and '.join(shown)}: {view.caption}."
        if view.mask is not None:
            text += f" {plural(int(view.mask.sum()), 'cell is', 'cells are')} selected, the others are faint."
        captions.append(text)
    genes = report_panels.read_genes(view, asked.looks, asked.gene_column)
    parts = report_panels.read_parts(view, asked.looks)
    record = _gather(view, asked, None if genes is None else genes[0], None if parts is None else parts[0])
    pictures = Pictures(
        maps,
        captions,
        [result_figures.print_volcano(compared.table, "svg", "") for compared in record.comparisons],
        None if record.enriched is None else report_panels.draw_enriched(record.enriched),
        None if genes is None else genes[1](),
        None if parts is None else parts[1](),
    )
    return write_report(record, pictures, scores=_scores(asked), author=author)


def gather(view: View, asked: Export) -> AnalysisRecord:
    """What was really done, from results and rules."""
    genes = report_panels.read_genes(view, asked.looks, asked.gene_column)
    parts = report_panels.read_parts(view, asked.looks)
    return _gather(view, asked, None if genes is None else genes[0], None if parts is None else parts[0])


def _gather(view: View, asked: Export, pictured: Pictured | None, composed: Composed | None) -> AnalysisRecord:
    data, history, maps = view.data, view.history, asked.maps
    about = describe.describe(view.source, asked.gene_column)
    names = public_names(_own_names(view))
    return AnalysisRecord(
        title=view.source.title,
        dataset=data.dataset,
        format=about["source"]["format"],
        demo=view.source.ref.removeprefix("demo:") if view.source.ref.startswith("demo:") else None,
        n_obs=data.context.n_obs,
        n_shown=data.context.n_obs if maps is None else len(maps.result.kept),
        n_vars=about["n_vars"],
        median_depth=about["median_depth"],
        median_genes=about["median_genes"],
        counts=about["counts"],
        genes=about["genes"],
        gene_column=asked.gene_column,
        labels=list_labels(Workspace(), data.key),
        maps=None if maps is None else maps.contribute(names),
        filters=None if maps is None else maps.result.report["options"]["filters"],
        named=history.named,
        n_now=tuple(_count(view, kept.rule) for kept in history.named),
        current=history.current,
        n_current=0 if view.mask is None else int(view.mask.sum()),
        comparisons=tuple(
            Compared(job.options, _report_of(job), _table_of(job), job.finished_at) for job in asked.comparisons
        ),
        enriched=report_panels.read_enriched(asked.looks, asked.comparisons),
        pictured=pictured,
        composed=composed,
        colored=_colored(view),
        names=names,
        tasks=(*(answered.contribute(names) for answered in asked.tasks), *asked.scenarios),
    )


def _own_names(view: View) -> set[str]:
    """Columns and maps of the file itself, so that the tasks' names stay apart from them."""
    return {*map(str, view.data.context.obs.columns), *view.data.context.maps}


def _colored(view: View) -> Colored | None:
    """How the maps are coloured, with numbers that a script can check."""
    request, colors = view.chosen.request, view.chosen.coloring
    if request is None:
        return None
    title = getattr(colors, "title", "") or request.name or " and ".join(request.genes)
    genes = request.genes
    if request.kind in ("gene", "genes"):
        genes = tuple(view.data.index.names[view.data.index.find(name)] for name in genes)
    summary: dict[str, float] = {}
    if request.kind == "label":
        counts = view.data.column(request.name).dropna().astype(str).value_counts()
        summary = {name: int(n) for name, n in counts.items() if n}
    elif isinstance(colors, coloring.Values):
        values = colors.values[np.isfinite(colors.values)]
        summary = {"n_cells": len(values), "mean": float(values.mean(dtype=float))} if len(values) else {}
    return Colored(request.kind, title, request.name if request.kind in ("label", "value") else "", genes, summary)


def _table_of(job: JobStatus) -> pd.DataFrame:
    return pd.read_parquet(result_dir(Workspace(), job.id) / "table.parquet")


def _report_of(job: JobStatus) -> dict:
    return read_json(result_dir(Workspace(), job.id) / "report.json") or {}


def _count(view: View, rule: Rule) -> int | None:
    try:
        return int(view.data.mask(rule).sum())
    except ScfvizError:  # drawn on a map that is not here
        return None


def _scores(asked: Export) -> list[dict]:
    """The checkpoint's own scores, by question; empty where it has none for the weights that were used."""
    if asked.maps is None:
        return []
    used = asked.maps.result.report["checkpoint"]["hash"]
    try:
        info = models.info_of(asked.model)
        found = scores.read_scores(info) if info.hash == used else None
    except ScfvizError:
        return []
    return found["summary"] if found is not None and found["checkpoint"]["hash"] == used else []
