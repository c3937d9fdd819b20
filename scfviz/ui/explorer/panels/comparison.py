"""The last comparison of a dataset: which computation it is, what it is called, and its result."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from scfviz.analysis.selection.rules import Rule, from_json
from scfviz.errors import JobError
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.kinds.differential_expression import PSEUDOBULK
from scfviz.jobs.workspace import read_json
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import job_panel
from scfviz.ui.frame.text import shorten

KIND, ADDRESS = "differential_expression", "comparison"
REST = "all other cells"


@dataclass(frozen=True)
class Result:
    """A finished comparison.

    Attributes
    ----------
    first, second
        What the two sides are called.
    table
        One row per gene, see `compare_cells` and `compare_donors`.
    report
        How it was made.
    """

    job: JobStatus
    first: str
    second: str
    table: pd.DataFrame
    report: dict[str, Any]
    folder: Path

    @property
    def title(self) -> str:
        """The comparison in words."""
        return f"{self.first} against {self.second}"

    @property
    def of_donors(self) -> bool:
        """Whether donors were compared, not cells."""
        return self.job.options["method"] == PSEUDOBULK


def current(view: View) -> JobStatus | None:
    """The comparison of cells that was asked for last, in this session or by the one who sent the address."""
    for job_id in (st.session_state.get(_key(view.data)), st.query_params.get(ADDRESS)):
        job = None if job_id is None else _find(job_id, view.data)
        if job is not None:
            remember(view, job)
            return job
    forget(view.data)
    return None


def remember(view: View, job: JobStatus) -> None:
    """Make this the last comparison, in the session and in the address."""
    st.session_state[_key(view.data)] = job.id
    st.session_state[f"{_key(view.data)}.title"] = " against ".join(side_names(job, view))
    if st.query_params.get(ADDRESS) != job.id:
        st.query_params[ADDRESS] = job.id


def forget(data: Explored) -> None:
    """There is no last comparison any more."""
    for key in (_key(data), f"{_key(data)}.title"):
        st.session_state.pop(key, None)
    if ADDRESS in st.query_params:
        del st.query_params[ADDRESS]


def read_result(job: JobStatus, view: View) -> Result:
    """What a finished comparison found."""
    folder = result_dir(Workspace(), job.id)
    first, second = side_names(job, view)
    return Result(job, first, second, _read_table(str(folder / "table.parquet")), _read_report(str(folder)), folder)


def of_donors(view: View, job: JobStatus, column: str) -> JobStatus:
    """The same comparison between donors; it is asked for where it never was."""
    here = {"dataset": str(view.source.path.resolve()), "gene_store": view.store}
    return job_panel.ask_once(KIND, job.options | here | {"method": PSEUDOBULK, "donor_column": column})


def newest_of_donors(view: View, job: JobStatus) -> JobStatus | None:
    """The same comparison between donors, where it is done already."""
    same = {name: job.options[name] for name in ("group", "reference", "embed_job", "task_jobs", "gene_column")}
    for other in job_panel.visible_jobs():
        is_same = other.kind == KIND and all(other.options.get(name) == value for name, value in same.items())
        if is_same and other.options["method"] == PSEUDOBULK and other.state == "done" and _is_of(other, view.data):
            return other
    return None


def sides_of(job: JobStatus) -> tuple[Rule, Rule | None]:
    """The rules of both sides; `None` stands for all other cells."""
    return _sides_of(job.id, job.options)


def side_names(job: JobStatus, view: View) -> tuple[str, str]:
    """What both sides are called: the name somebody gave to the selection, else the rule in words."""
    group, reference = sides_of(job)
    return _name(group, view), REST if reference is None else _name(reference, view)


def _name(rule: Rule, view: View) -> str:
    for kept in view.history.named:
        if kept.rule == rule:
            return kept.name
    return shorten(view.data.describe(rule), 120)


def _find(job_id: str, data: Explored) -> JobStatus | None:
    """A comparison of the cells of this dataset; an address may name anything."""
    try:
        job = job_panel.status_of(job_id)
    except JobError:
        return None
    is_ours = job.kind == KIND and job.options["method"] != PSEUDOBULK and _is_of(job, data)
    return job if is_ours else None


def _is_of(job: JobStatus, data: Explored) -> bool:
    """Whether a computation is of this content, wherever the file lies."""
    return job.key in (data.key, data.dataset)


def _key(data: Explored) -> str:
    return f"scfviz.comparison.{data.dataset}"


@st.cache_resource(max_entries=32, show_spinner=False)
def _sides_of(job_id: str, _options: dict[str, Any]) -> tuple[Rule, Rule | None]:
    group, reference = (_options[side] for side in ("group", "reference"))
    return from_json(group), None if reference is None else from_json(reference)


@st.cache_resource(max_entries=8, show_spinner=False)
def _read_table(path: str) -> pd.DataFrame:
    return pd.read_parquet(path)


@st.cache_data(max_entries=16, show_spinner=False)
def _read_report(folder: str) -> dict[str, Any]:
    return read_json(Path(folder) / "report.json") or {}
