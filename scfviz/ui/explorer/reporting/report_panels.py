"""What the panels showed, for reports and scripts: gene sets of the comparison, genes in groups, parts of groups.

Choices are taken while the page runs; numbers and pictures are made when something is exported, without a session.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scfviz.analysis.groups import Composition, make_violins, summarise_groups, violin_table
from scfviz.analysis.selection.rules import Intersection, Rule
from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus, Workspace, result_dir
from scfviz.jobs.workspace import read_json
from scfviz.reporting import record
from scfviz.reporting.sections import TOP_SETS
from scfviz.ui.drawing import coloring, palette
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import title_of
from scfviz.ui.explorer.panels import composition, enrichment, gene_sets, plot_prints, plots, result_figures
from scfviz.ui.explorer.panels.groups import Groups, categories_of, list_kinds, make_groups, rule_of
from scfviz.ui.explorer.reporting.shown import recall
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe

Draw = Callable[[], bytes]  # the picture as SVG


@dataclass(frozen=True)
class Looks:
    """What the panels show, as far as it still can be shown: choices, and the groups that they stand for."""

    genes: tuple[dict[str, Any], Groups] | None
    parts: tuple[dict[str, Any], Groups, coloring.Labels, Composition, list[str]] | None
    enriched: JobStatus | None


def take(view: View) -> Looks:
    """What the session says now."""
    genes, parts = None, None
    choices = recall(view.data, "plots")
    if choices is not None and _can_read(view):
        known = view.data.index.position
        choices = choices | {"genes": [gene for gene in choices["genes"] if gene in known]}
        groups = _groups(view, choices)
        genes = None if groups is None or not choices["genes"] else (choices, groups)
    choices = recall(view.data, "composition")
    if choices is not None and choices["what"] in view.data.labels:
        groups = _groups(view, choices)
        parts = None if groups is None else (choices, groups, *composition.count_parts(view, choices["what"], groups))
    job = enrichment.current(view)
    return Looks(genes, parts, job if job is not None and job.state == "done" else None)


def read_genes(view: View, looks: Looks, gene_column: str | None) -> tuple[record.Pictured, Draw] | None:
    """The genes in groups as their panel shows them."""
    if looks.genes is None:
        return None
    choices, groups = looks.genes
    expression = describe.expression(str(view.source.path), gene_column, view.store)
    wanted, kind, scaling = choices["genes"], choices["kind"], choices["scaling"]
    grouping = plots.on_all_cells(view, groups.grouping)
    summary = summarise_groups(expression, wanted, grouping)
    at_groups, at_genes = plots.find_order(summary, choices["order"])
    summary = summary.take(at_groups, at_genes)
    names = [groups.counted_names[i] for i in at_groups]
    colors = plots.VALUE_TITLES[scaling]
    if kind == "violins":
        made, n = make_violins(expression, wanted, grouping), len(names)
        violins = [made[gene * n + group] for gene in at_genes for group in at_groups]
        shades = [groups.colors.get(name, palette.OTHER) for name in summary.groups]
        table, colors = violin_table(violins), ""

        def draw() -> bytes:
            return plot_prints.print_violins(violins, names, shades, "svg", caption="")

    else:
        values = {"mean": summary.mean, "scaled": summary.scaled(), "z": summary.standardised()}[scaling]
        table = summary.as_table()

        def draw() -> bytes:
            return plot_prints.print_grid(
                summary, values, names, colors, "svg", diverging=scaling == "z", dots=kind == "dots", caption=""
            )

    shown = _describe_groups(view, choices, groups, at_groups)
    return record.Pictured(kind, tuple(map(str, summary.genes)), shown, colors, table), draw


def read_parts(view: View, looks: Looks) -> tuple[record.Composed, Draw] | None:
    """The parts of groups as their panel shows them."""
    if looks.parts is None:
        return None
    choices, groups, labels, found, colors = looks.parts
    what = choices["what"]
    rules = [categories_of(view.data, what, labels.codes == labels.names.index(name)) for name in found.parts]
    n_parts = tuple(int(n) for n in found.counts.sum(axis=0))
    parts = record.Groups(title_of(what), tuple(zip(found.parts, rules, strict=True)), n_parts)

    def draw() -> bytes:
        return plot_prints.print_composition(
            found,
            groups.counted_names,
            colors,
            "svg",
            shares=choices["length"] == "share",
            what=title_of(what),
            caption="",
        )

    shown = _describe_groups(view, choices, groups, np.arange(len(groups.grouping.names)))
    return record.Composed(shown, parts, found.counts, composition.as_table(found)), draw


def read_enriched(looks: Looks, comparisons: Sequence[JobStatus]) -> record.Enriched | None:
    """The gene sets of one of the comparisons; `None` where they belong to another."""
    job = looks.enriched
    places = [place for place, of in enumerate(comparisons) if job is not None and of.id == job.options["comparison"]]
    if job is None or not places:
        return None
    folder = result_dir(Workspace(), job.id)
    digest = "" if job.options["gmt"] is None else str(job.identity["gmt"])
    return record.Enriched(
        job.options,
        read_json(folder / "report.json") or {},
        pd.read_parquet(folder / "table.parquet"),
        places[0],
        gene_sets.title_of(enrichment.origin_of(job.options)),
        digest,
        job.finished_at,
    )


def draw_enriched(enriched: record.Enriched) -> bytes | None:
    """The best gene sets as bars; `None` where no set has a gene of the list."""
    way = enriched.report["way"]
    if not result_figures.lay_out_bars(enriched.table, way, TOP_SETS).names:
        return None
    return result_figures.print_bars(enriched.table, way, TOP_SETS, "svg", "")


def _can_read(view: View) -> bool:
    return not explorer_data.must_wait(view.data, view.store)


def _groups(view: View, choices: dict[str, Any]) -> Groups | None:
    """The groups of a panel; `None` where its label or selection is gone, or no cell takes part."""
    by, only_selected = choices["by"], choices["only_selected"]
    if by not in list_kinds(view) or (only_selected and view.mask is None):
        return None
    try:
        groups = make_groups(view, by, only_selected=only_selected)
    except ScfvizError:  # a named selection was drawn on a map that is not here
        return None
    return groups if groups.grouping.names else None


def _describe_groups(view: View, choices: dict[str, Any], groups: Groups, order: np.ndarray) -> record.Groups:
    rules: list[tuple[str, Rule]] = []
    for place in order:
        rule = rule_of(view, choices["by"], groups, int(place))
        if choices["only_selected"]:
            rule = Intersection((view.history.current, rule))
        rules.append((groups.grouping.names[place], rule))
    title = f"{groups.title} (selected cells only)" if choices["only_selected"] else groups.title
    return record.Groups(title, tuple(rules), tuple(int(groups.grouping.n_cells[place]) for place in order))
