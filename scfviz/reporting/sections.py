"""The sections of a report about cells, selections, comparisons and what panels showed, as plain data."""

from collections.abc import Sequence
from typing import Any

from scfviz.analysis.differential_expression import with_measured_changes
from scfviz.reporting.methods import TESTS, UNIT, describe_enrichment
from scfviz.reporting.numbers import as_text, median_text
from scfviz.reporting.record import AnalysisRecord, Compared, Composed, Enriched, Pictured
from scfviz.tasks.fragments import Block, File, Items, Pairs, Picture, Section, Table, Text
from scfviz.tasks.reporting import describe_filters

TOP_GENES, BOTTOM_GENES, TOP_SETS = 20, 10, 20
_MOST_CHANGES = 30  # of labels
_MOST_COLUMNS = 8  # of a table of groups; a larger one could not be read, and is in its file
_COLUMNS = {
    "names": ("Gene", None),
    "scores": ("Score", "{:.2f}"),
    "logfoldchanges": ("log2 fold change", "{:.2f}"),
    "only_in": ("Only in", None),
    "pvals": ("p", "p"),
    "pvals_adj": ("Adjusted p", "p"),
    "pct_in": ("In first (%)", "percent"),
    "pct_out": ("In second (%)", "percent"),
    "mean_in": ("Mean first", "{:.2f}"),
    "mean_out": ("Mean second", "{:.2f}"),
    "base_mean": ("Mean counts per donor", "{:.1f}"),
}
_LISTED_SETS = {
    "name": ("Gene set", None),
    "pvals_adj": ("Adjusted p", "p"),
    "n_overlap": ("In the list", "{:,.0f}"),
    "n_set": ("Tested genes in the set", "{:,.0f}"),
    "fold": ("Fold over chance", "{:.1f}"),
}
_RANKED_SETS = {
    "name": ("Gene set", None),
    "nes": ("Normalised score", "{:.2f}"),
    "fdr": ("False discovery rate", "rate"),
    "n_leading": ("Leading genes", "{:,.0f}"),
    "n_set": ("Tested genes in the set", "{:,.0f}"),
}


def facts(record: AnalysisRecord) -> dict[str, str]:
    """The numbers that stand on top."""
    return {
        "Cells": f"{record.n_shown:,}" + (f" of {record.n_obs:,}" if record.n_shown < record.n_obs else ""),
        "Genes in the file": f"{record.n_vars:,}",
        "Counts per cell (median)": median_text(record.median_depth),
        "Of the model's genes": f"{record.genes['model_coverage']:.1f} %",
    }


def selections(record: AnalysisRecord) -> Section:
    """Named selections with their rules, and the one in force."""
    rows = []
    for kept, number in zip(record.named, record.n_now, strict=True):
        now = "cannot be evaluated on these maps" if number is None else f"{number:,}"
        if number is not None and number != kept.n_cells:
            now += f" ({kept.n_cells:,} when it was made)"
        rows.append((kept.name, now, record.words(kept.rule), kept.created_at[:16].replace("T", " ")))
    if record.current is not None and not record.current_name:
        rows.append(("selected now, without a name", f"{record.n_current:,}", record.words(record.current), ""))
    return Section("Selections", [Table(("Name", "Cells", "Rule", "Made (UTC)"), rows, "Selections", (1,))])


def labels(record: AnalysisRecord) -> Section:
    """User-defined labels: each column with its groups, and who changed what."""
    blocks: list[Block] = []
    for name, column in record.labels.items():
        n_labelled = sum(column.counts().values())
        about = f"'{name}': {n_labelled:,} of {record.n_obs:,} cells have a label."
        blocks.append(Text(f"{about} It began as {column.origin}." if column.origin else about))
        rows = [(label, f"{n_cells:,}") for label, n_cells in column.counts().items()]
        blocks.append(Table(("Label", "Cells"), rows, f"Labels of {name}", (1,)))
        changes = [(_told(change), str(change.get("at", ""))[:16].replace("T", " ")) for change in column.history()]
        if changes:
            blocks.append(Items(changes[-_MOST_CHANGES:], is_numbered=True))
        if len(changes) > _MOST_CHANGES:
            blocks.append(Text(f"The last {_MOST_CHANGES} of {len(changes):,} changes.", "note"))
    return Section("User-defined labels", blocks)


def _told(change: dict[str, Any]) -> str:
    by = f" by {change['author']}" if change.get("author") else ""
    how = f" ({change['how']})" if change.get("how") else ""
    n_cells = change.get("n_cells")
    cells = "" if n_cells is None else f": {n_cells:,} cells"
    return f"{change.get('action', '')}{cells}{how}{by}"


def comparison(compared: Compared, picture: bytes) -> Section:
    """A comparison with its volcano plot and its genes."""
    report, sides, genes = compared.report, compared.report["selections"], compared.table
    words = (
        f"{report['n_group']:,} cells ({sides['group']}) against {report['n_reference']:,} cells "
        f"({sides['reference']}), with {TESTS[compared.method]}; {report['n_genes']:,} genes."
    )
    volcano = Picture(
        picture,
        f"Volcano plot of {report['n_genes']:,} genes",
        f"A point is one of {report['n_genes']:,} genes, in {report['n_group']:,} against {report['n_reference']:,} "
        "cells. Orange are genes that are clearly higher in the first, blue those that are clearly lower: adjusted p "
        "below 0.01 and a fold change above 2. Genes at the left and right edge may lie farther out.",
    )
    columns = [name for name in _COLUMNS if name in genes.columns]
    ranked, ends = genes[genes["scores"].notna()], ""  # DESeq2 sets some genes aside
    shown = ranked
    if len(ranked) > TOP_GENES + BOTTOM_GENES:
        shown = ranked.iloc[[*range(TOP_GENES), *range(len(ranked) - BOTTOM_GENES, len(ranked))]]
        ends = (
            f"The {TOP_GENES} genes with the highest scores and the {BOTTOM_GENES} with the lowest, of {len(genes):,}. "
        )
    rows = [
        [as_text(gene[name], _COLUMNS[name][1]) for name in columns]
        for _, gene in with_measured_changes(shown).iterrows()
    ]
    of_donors = compared.method == "pseudobulk"
    units = f"Means are of {UNIT}, shares of the cells that express the gene." if "mean_in" in columns else ""
    if "only_in" in columns:
        units += " A gene that one side has no count of has no fold change; it is only in the other."
    file = "comparison_of_donors" if of_donors else "comparison"
    blocks: list[Block] = [Text(words)]
    if report.get("trust"):
        blocks.append(Text(str(report["trust"]), "warning"))
    blocks += [
        volcano,
        Text(ends + units, "note"),
        Table([_COLUMNS[name][0] for name in columns], rows, "Genes", range(1, len(columns))),
        File(genes, file, f"all {len(genes):,} genes"),
    ]
    return Section("Which genes differ between donors" if of_donors else "Which genes differ", blocks)


def enrichment(enriched: Enriched, compared: Compared, picture: bytes | None) -> Section:
    """Gene sets that a comparison is rich in."""
    sets, report = enriched.table, compared.report
    test = "gene set enrichment analysis" if enriched.is_ranking else "the hypergeometric test"
    judged = "a false discovery rate" if enriched.is_ranking else "an adjusted p"
    words = (
        f"{describe_enrichment(enriched, compared)}, by {test}. {enriched.n_clear:,} of {len(sets):,} sets have "
        f"{judged} below 0.05."
    )
    columns = _RANKED_SETS if enriched.is_ranking else _LISTED_SETS
    if enriched.is_ranking:
        half = TOP_SETS // 2
        top, bottom = sets[sets["nes"] > 0].head(half), sets[sets["nes"] < 0].tail(half)
        shown, which = [*top.iterrows(), *bottom.iterrows()], f"best {len(top)} at the top and {len(bottom)} at the end"
    else:
        shown = list(sets[sets["n_overlap"] > 0].head(TOP_SETS).iterrows())
        which = f"best {len(shown)}"
    rows = [
        [as_text(row[name], form) for name, (_, form) in columns.items()] + [_some(str(row["genes"]))]
        for _, row in shown
    ]
    blocks: list[Block] = [Text(words)]
    if enriched.is_ranking:
        words = "Genes were permuted, not cells or donors: genes that vary together make sets look surer than they are."
        blocks.append(Text(words, "warning"))
    if picture is not None:
        n_cells = f"{report['n_group']:,} with {report['n_reference']:,} cells"
        caption = f"The {which} of {len(sets):,} gene sets, from the comparison of {n_cells}; grey: not beyond chance."
        blocks.append(Picture(picture, "The best gene sets as bars", caption))
    titles = [title for title, _ in columns.values()] + [
        "Leading genes" if enriched.is_ranking else "Genes of the list"
    ]
    blocks.append(Table(titles, rows, "Gene sets", range(1, len(columns))))
    blocks.append(File(sets, "gene_sets", f"all {len(sets):,} sets"))
    return Section("What these genes do", blocks)


def expression(pictured: Pictured, n_shown: int, picture: bytes | None) -> Section:
    """Genes in groups of cells, as a panel drew them."""
    groups, genes = pictured.groups, pictured.genes
    n_cells = f"{sum(groups.n_cells):,} of {n_shown:,} cells, in {len(groups.names)} groups of {groups.title}"
    caption = {
        "dots": f"Dot plot of {n_cells}. The area of a dot is the share of the group's cells with any count of the "
        f"gene, its colour is the {pictured.colors}.",
        "heatmap": f"Heatmap of {n_cells}. The colour is the {pictured.colors}.",
        "violins": f"Violins of {n_cells}: distributions of {UNIT}. A line runs from the first to the third quartile, "
        "a dot is the median; each gene has its own scale.",
    }[pictured.kind]
    rows = pictured.table.itertuples()
    found = {(row.group, row.gene): f"{row.mean:.2f} ({100 * row.fraction:.0f} %)" for row in rows}
    values = [[found[group, gene] for gene in genes] for group in groups.names]
    blocks: list[Block] = [] if picture is None else [Picture(picture, caption.partition(".")[0], caption)]
    counted = [f"{name} (n\u00a0=\u00a0{n:,})" for name, n in zip(groups.names, groups.n_cells, strict=True)]
    about = f"Mean of {UNIT}, and in brackets the share of the group's cells with any count."
    blocks += _grid(("Group", "Gene"), counted, genes, values, about)
    what = f"the numbers of {len(genes)} genes in {len(groups.names)} groups"
    return Section("How genes are expressed", [*blocks, File(pictured.table, "expression", what)])


def composition(composed: Composed, n_shown: int, picture: bytes | None) -> Section:
    """What groups are made of, as a panel drew it."""
    groups, parts, counts = composed.groups, composed.parts, composed.counts
    caption = (
        f"{parts.title} within {groups.title}: {counts.sum():,} of {n_shown:,} cells. A bar is a group, a piece is the "
        "cells of one value in it."
    )
    values = [[f"{n:,} ({100 * n / max(1, row.sum()):.0f} %)" if n else "0" for n in row] for row in counts]
    counted = [f"{name} (n\u00a0=\u00a0{row.sum():,})" for name, row in zip(groups.names, counts, strict=True)]
    blocks: list[Block] = [] if picture is None else [Picture(picture, caption.partition(":")[0], caption)]
    about = "Cells, and in brackets their share of the group."
    blocks += _grid(("Group", parts.title), counted, parts.names, values, about)
    return Section("What groups are made of", [*blocks, File(composed.table, "composition", "the numbers of cells")])


def _grid(
    what: tuple[str, str], rows: Sequence[str], columns: Sequence[str], values: list[list[str]], about: str
) -> list[Block]:
    """A table with its shorter side on top; nothing where even that is too long to be read."""
    if len(columns) > len(rows):
        values, rows, columns = [list(column) for column in zip(*values, strict=True)], columns, rows
        what = what[::-1]
    if len(columns) > _MOST_COLUMNS:
        return []
    lines = [[name, *line] for name, line in zip(rows, values, strict=True)]
    return [Text(about, "note"), Table([what[0], *columns], lines, about, range(1, len(columns) + 1))]


def _some(genes: str, most: int = 8) -> str:
    names = genes.split(", ")
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def dataset(record: AnalysisRecord) -> Section:
    """What the checks found in the file."""
    genes, counts = record.genes, record.counts
    rows = {
        "Content (SHA-256, first 16 digits)": record.dataset,
        "Format": record.format,
        "Cells, genes": f"{record.n_obs:,} x {record.n_vars:,}",
        "Where the counts are": counts["location"],
        "What they are": "raw counts" if counts["kind"] == "counts" else "counts recovered from normalised values",
        "Median per cell": f"{median_text(record.median_depth)} counts, {median_text(record.median_genes)} genes",
        "Column with the names of genes": genes["column"],
        "Matched by symbol or Ensembl ID": f"{genes['n_matched']:,}",
        "Matched by alias or earlier symbol": f"{genes['n_alias']:,}",
        "Matched as mouse orthologs": f"{genes['n_ortholog']:,}",
        "Unknown to the model, left out": f"{genes['n_unknown']:,}",
        "Genes of the model that were not measured": f"{genes['n_not_measured']:,} (not the same as zero)",
        "Filters": describe_filters(record.filters) or "none",
    }
    blocks: list[Block] = [Pairs(rows, "Dataset")]
    if genes["notices"]:
        blocks.append(Items([(str(text), "") for text in genes["notices"]]))
    return Section("Dataset", blocks)


def scores(found: Sequence[dict]) -> list[Block]:
    """What a model is good for elsewhere, by question; see `scfviz.reporting.report.write_report`."""
    names = ("score", "metric", "ahead", "no clear difference", "behind")
    head = ("Question", "Measure", "Ahead", "No clear difference", "Behind")
    text = (
        "What the model is good for, beside the best of several simple methods (numbers of datasets that it was "
        "not trained on, unless stated):"
    )
    table = [[str(entry[name]) for name in names] for entry in found]
    return [Text(text), Table(head, table, "Scores", range(2, 5))] if found else []
