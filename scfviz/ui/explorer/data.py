"""What the explorer shows: the cells of a dataset with their table, maps and genes, opened once for all visitors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.metrics import rank_of_types
from scfviz.analysis.selection.rules import Rule, SelectionContext, evaluate
from scfviz.data import gene_store
from scfviz.data.gene_index import GeneIndex
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.labels import labels_version, list_labels, with_labels
from scfviz.tasks.names import describe as describe_rule
from scfviz.tasks.names import inherited, inherited_key
from scfviz.tasks.registry import get_task, written
from scfviz.tasks.result import read_report
from scfviz.ui.drawing import coloring, palette
from scfviz.ui.frame import describe, job_panel, sources, state
from scfviz.ui.frame.text import shorten
from scfviz.ui.tasks import results

# Without the counts ordered by genes each gene costs a reading of the whole file.
MAX_CELLS_WITHOUT_STORE = 30_000
MAX_CATEGORIES = 2_000  # a column with more different texts holds names, not groups
MAX_NUMBERED_GROUPS = 60  # a column with more different whole numbers measures something


@dataclass(frozen=True)
class Explored:
    """A dataset as the explorer has it.

    Attributes
    ----------
    dataset
        Identity of its content.
    key
        Under which its labels and selections are kept here, see `scfviz.jobs.access.content_key`.
    context
        All cells of the file, with the labels that people gave them: what rules are evaluated on.
    shown
        int64 (n_shown,): cells that are drawn; those that the filters of the embedding removed are not.
    maps, titles
        By name: float32 (n_shown, 2); what the map is called on the screen.
    obs
        Table of the shown cells.
    labels, values
        Its columns that hold groups, and those that hold numbers.
    genes, index
        What the genes of the file are called, sorted; every name that they go by.
    is_trained
        Whether the model behind its map is; True where there is no such map.
    colors
        Colours of the groups of a column, in the order of its categories: the file's own, or those of the labels.
    lineage
        Where its cells came from, the first dataset first; see `scfviz.jobs.kinds.export.read_lineage`.
    own, own_version
        Columns of labels that people gave here, and the version that is shown; see `scfviz.jobs.labels`.
    palette
        Which colours this visitor wants for groups, see `scfviz.ui.drawing.palette.category_colors`.
    """

    dataset: str
    key: str
    context: SelectionContext
    shown: np.ndarray
    maps: dict[str, np.ndarray]
    titles: dict[str, str]
    obs: pd.DataFrame
    labels: tuple[str, ...]
    values: tuple[str, ...]
    genes: tuple[str, ...]
    index: GeneIndex
    is_trained: bool
    colors: Mapping[str, list[str]] = field(default_factory=dict)
    lineage: tuple[dict[str, Any], ...] = ()
    own: tuple[str, ...] = ()
    own_version: str = ""
    palette: str = palette.FILE

    def column(self, name: str) -> pd.Series:
        """A column of the table by its name as text."""
        return self.obs.iloc[:, [str(column) for column in self.obs.columns].index(name)]

    def groups(self, name: str) -> coloring.Labels:
        """The groups of a column with their colours, the same on maps and in figures."""
        stored = self.colors.get(name)
        return coloring.color_by_labels(title_of(name), self.column(name), stored=stored, chosen=self.palette)

    def describe(self, rule: Rule) -> str:
        """A rule in words, with maps and columns as the screen calls them."""
        return describe_rule(rule, titles=self.titles | {name: title_of(name) for name in map(str, self.obs.columns)})

    def mask(self, rule: Rule) -> np.ndarray:
        """bool (n_shown,): the shown cells that a rule chooses."""
        return evaluate(rule, self.context)[self.shown]


def store_job(source: sources.Source) -> JobStatus:
    """The computation that orders the counts by genes; it is asked for when it never was."""
    return known_store_job(source) or job_panel.status_of(job_panel.ask("gene_store", _store_options(source)))


def known_store_job(source: sources.Source) -> JobStatus | None:
    """The same where it was asked for before."""
    found = job_panel.newest("gene_store", _store_options(source))
    return found if found is not None and found.identity.get("version") == gene_store.VERSION else None


def _store_options(source: sources.Source) -> dict[str, Any]:
    return {"dataset": str(source.path.resolve()), "gene_column": state.gene_column()}


def store_folder(job: JobStatus) -> str | None:
    """Where the counts by genes lie, once they do."""
    return str(result_dir(Workspace(), job.id) / "store") if job.state == "done" else None


def must_wait(data: "Explored", store: str | None) -> bool:
    """Whether genes of these cells are not read before the counts by genes are written: each would take minutes."""
    return store is None and data.context.n_obs > MAX_CELLS_WITHOUT_STORE


def show_waiting(source: sources.Source) -> None:
    """How far the counts by genes are; the page goes on by itself when they are written."""
    job_panel.show_progress(store_job(source).id, "Ordering the genes, so that each is read at once", place="-store")


def explore(
    source: sources.Source, embed_job: str | None, store: str | None, task_jobs: tuple[str, ...] = ()
) -> Explored:
    """Open a dataset with the results of tasks, if there are any; shared by all visitors, never changed.

    Parameters
    ----------
    embed_job, task_jobs
        Ids of the finished embedding, which decides the cells that are shown, and of other finished tasks.
    """
    jobs = tuple(job for job in (embed_job, *task_jobs) if job is not None)
    opened = (str(source.path), sources.stamp(source.path), state.gene_column(), jobs, store)
    data = _explore(*opened)
    version = labels_version(Workspace(), data.key)
    return _with_labels(*opened, version) if version else data


def gene_values(source: sources.Source, data: Explored, gene: str, store: str | None) -> np.ndarray:
    """A gene in every shown cell: float32 (n_shown,), ln(1 + counts per 10,000); NaN for a cell without counts."""
    found = _open_store(store) if store else None
    values = describe.gene_values(source, state.gene_column(), gene) if found is None else found.values(gene)
    return values if len(data.shown) == len(values) else values[data.shown]


def title_of(column: str) -> str:
    """What a column is called on the screen."""
    if found := inherited(column):
        return f"{found[0].title} (inherited{f', {found[1]}' * (found[1] > 1)})"
    return next((entry.title for entry in written("obs") if entry.name == column), column)


def unit_of(column: str) -> str:
    """The unit of a column of numbers; empty for one of the file, which says none."""
    return next((entry.unit for entry in written("obs") if entry.name == column), "")


@st.cache_resource(max_entries=4, show_spinner=False)
def _open_store(folder: str):
    from scfviz.data.gene_store import open_gene_store

    return open_gene_store(Path(folder))


@st.cache_resource(max_entries=3, show_spinner="Opening the dataset …")
def _explore(path: str, stamp: str, gene_column: str | None, jobs: tuple[str, ...], store: str | None) -> Explored:
    from scfviz.data.source import dataset_id
    from scfviz.jobs.access import content_key
    from scfviz.jobs.context import read_context
    from scfviz.jobs.kinds.export import read_lineage

    opened = describe.open_path(path, gene_column)
    adata, folders = opened.adata, [result_dir(Workspace(), job) for job in jobs]
    context, takes_part = read_context(adata, lambda: describe.expression(path, gene_column, store), folders)
    shown = np.flatnonzero(takes_part)
    obs = context.obs if takes_part.all() else context.obs.iloc[shown]
    maps = {name: np.ascontiguousarray(context.maps[name][shown], np.float32) for name in _order(context.maps)}
    reports = [read_report(folder) for folder in folders]
    is_trained = all(about["checkpoint"] is None or about["checkpoint"]["is_trained"] for about in reports)
    # its clusters and places stay for rules, but the embedding's maps show the same and more
    if maps.keys() & results.map_titles(is_trained=True).keys():
        maps.pop("umap_quick", None)
    titles = _map_titles() | results.map_titles(is_trained=is_trained)
    stored, lineage = describe.own_colors(adata), tuple(read_lineage(adata.uns))
    for name in [name for name in maps if lineage and inherited(name)]:
        entry, level = inherited(name)
        if entry.is_map:
            titles[name] = _inherited_title(entry.title, level, lineage)
        else:
            maps.pop(name)  # an embedding: its first two numbers are no map
    is_trained = is_trained and _is_inheritance_trained(adata.uns, len(lineage))
    titles = {name: titles.get(name, name) for name in maps}
    labels, values = _columns(obs)
    genes = tuple(sorted(opened.index.names))
    return Explored(
        dataset_id(path),
        content_key(Workspace(), path),
        context,
        shown,
        maps,
        titles,
        obs,
        labels,
        values,
        genes,
        opened.index,
        is_trained,
        stored,
        lineage,
    )


@st.cache_resource(max_entries=3, show_spinner=False)
def _with_labels(
    path: str, stamp: str, gene_column: str | None, jobs: tuple[str, ...], store: str | None, version: str
) -> Explored:
    """The same with the labels that people gave to the cells, whenever those change."""
    data = _explore(path, stamp, gene_column, jobs, store)
    labels = list_labels(Workspace(), data.key)
    context = with_labels(data.context, labels)
    own = tuple(name for name in labels if name not in data.obs)
    obs = context.obs if len(data.shown) == context.n_obs else context.obs.iloc[data.shown]
    colors = {
        name: [labels[name].colors.get(group, palette.OTHER) for group in context.obs[name].cat.categories]
        for name in own
    }
    return replace(
        data,
        context=context,
        obs=obs,
        labels=_order_labels([*data.labels, *own], obs),
        own=own,
        own_version=version,
        colors={**data.colors, **colors},
    )


def _order(maps: Mapping[str, np.ndarray]) -> list[str]:
    """Maps of tasks, then the file's own: those made for looking at before principal components."""
    ours = _map_titles()
    own = [name for name in maps if name not in ours]
    own.sort(key=lambda name: not any(word in name.lower() for word in ("umap", "tsne", "spatial", "draw", "phate")))
    return [name for name in ours if name in maps] + own


def _inherited_title(title: str, level: int, lineage: tuple[dict[str, Any], ...]) -> str:
    if not 1 <= level < len(lineage):
        return f"{title}, of the parent's map"
    return f"{title}, of the map of {shorten(lineage[level - 1]['title'], 30)}"


def _is_inheritance_trained(uns: Mapping[str, Any], n_levels: int) -> bool:
    """Whether no inherited map is known to be of an untrained model; anyone may have written the file."""
    ours = uns.get("scfviz")
    for level in range(1, n_levels + 1):
        try:
            about = json.loads(str(ours[inherited_key(get_task(state.FIRST_TASK).name, level)]))
            if about["checkpoint"]["is_trained"] is False:
                return False
        except (KeyError, TypeError, ValueError):
            continue
    return True


def _map_titles() -> dict[str, str]:
    return {entry.name: entry.title for entry in written("obsm") if entry.is_map}


def _columns(obs: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    labels, values, numbered = [], [], []
    for position, name in enumerate(map(str, obs.columns)):
        column = obs.iloc[:, position]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            values.append(name)
            if _is_numbered(column):
                numbered.append(name)
        elif 0 < column.nunique() <= MAX_CATEGORIES:
            labels.append(name)
    return _order_labels([*labels, *numbered], obs), tuple(values)


def _is_numbered(column: pd.Series) -> bool:
    """Whether numbers may stand for groups, such as those of clusters: a few whole ones, each in several cells."""
    head = column.iloc[:10_000].dropna()
    if head.empty or head.nunique() > MAX_NUMBERED_GROUPS:  # most columns of numbers end here
        return False
    n_groups = column.nunique()
    return 1 < n_groups <= min(MAX_NUMBERED_GROUPS, len(column) // 2) and coloring.is_whole(column.to_numpy(float))


def _order_labels(labels: list[str], obs: pd.DataFrame) -> tuple[str, ...]:
    """Types of cells first, then the others, then what the app computed; what is the same for all cells last."""
    ours = {entry.name for entry in written("obs")}
    places = {str(name): place for place, name in enumerate(obs.columns)}

    def rank(name: str) -> tuple[bool, bool, int]:
        is_constant = obs.iloc[:, places[name]].nunique() < 2
        return is_constant, name in ours or inherited(name) is not None, rank_of_types(name)

    return tuple(sorted(labels, key=rank))
