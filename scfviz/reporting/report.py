"""The report: one HTML file that needs no network and no script, made of what was really done.

Every text that comes from a file is escaped; figures are pictures inside the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from scfviz.reporting import html as html
from scfviz.reporting.html import Figure
from scfviz.reporting.methods import (
    TESTS,
    UNIT,
    caveats,
    citations,
    describe_enrichment,
    describe_filters,
    methods_paragraph,
    steps,
    version,
    versions,
)
from scfviz.reporting.record import Compared, Composed, Enriched, Pictured, Work

TOP_GENES, BOTTOM_GENES, TOP_SETS = 20, 10, 20
_MOST_COLUMNS = 8  # of a table of groups; a larger one could not be read, and is in its file
_COLUMNS = {
    "names": ("Gene", None),
    "scores": ("Score", "{:.2f}"),
    "logfoldchanges": ("log2 fold change", "{:.2f}"),
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


@dataclass(frozen=True)
class Pictures:
    """What the report shows: the maps as they are coloured now, one picture of each comparison, and what else there is.

    `enriched`, `pictured` and `composed` belong to the parts of `Work` with these names.
    """

    maps: Sequence[bytes]
    map_captions: Sequence[str]
    comparisons: Sequence[bytes] = ()
    enriched: bytes | None = None
    pictured: bytes | None = None
    composed: bytes | None = None


def write_report(work: Work, pictures: Pictures, *, scores: Sequence[dict] = (), author: str = "") -> str:
    """The whole report as HTML.

    Parameters
    ----------
    scores
        What the model is good for, from its own scores: by question `score`, `metric`, `ahead`, `behind`,
        `no clear difference` (numbers of datasets, beside the best of several simple methods).
    author
        Who hands the report on, if they said so.
    """
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    by = f" by {escape(author)}" if author.strip() else ""
    head = (
        f"<h1>{escape(work.title)}</h1><p class='soft'>Report of an analysis with scfviz {escape(version('scfviz'))}, "
        f"made {made}{by}</p>{_facts(work)}{_caveats(work)}"
    )
    sections = [("What was done", _steps(work))]
    if pictures.maps:
        sections.append(("The maps", "".join(map(_map, pictures.maps, pictures.map_captions))))
    if work.named or work.current is not None:
        sections.append(("Selections", _selections(work)))
    for compared, volcano in zip(work.comparisons, pictures.comparisons, strict=True):
        between = " between donors" if compared.method == "pseudobulk" else ""
        sections.append((f"Which genes differ{between}", _comparison(compared, volcano)))
    if work.enriched is not None:
        of = work.comparisons[work.enriched.of]
        sections.append(("What these genes do", _enrichment(work.enriched, of, pictures.enriched)))
    if work.pictured is not None:
        sections.append(("How genes are expressed", _expression(work.pictured, work.n_shown, pictures.pictured)))
    if work.composed is not None:
        sections.append(("What groups are made of", _composition(work.composed, work.n_shown, pictures.composed)))
    sections.append(("Dataset", _dataset(work)))
    if work.embed_report is not None:
        sections.append(("Model", _model(work, scores)))
    sections += [
        ("Methods", f"<p>{escape(methods_paragraph(work))}</p>"),
        ("Please cite", "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in citations(work)) + "</ul>"),
        ("Versions", html.pairs(versions(work), name="Versions")),
    ]
    return html.make_page(f"{work.title} · scfviz report", head, sections)


def _facts(work: Work) -> str:
    facts = {
        "Cells": f"{work.n_shown:,}" + (f" of {work.n_obs:,}" if work.n_shown < work.n_obs else ""),
        "Genes in the file": f"{work.n_vars:,}",
        "Counts per cell (median)": f"{work.median_depth:,.0f}",
        "Of the model's genes": f"{work.genes['model_coverage']:.1f} %",
    }
    return (
        "<dl class='facts'>"
        + "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
        + "</dl>"
    )


def _caveats(work: Work) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in caveats(work))
    return f"<div class='warn'><strong>Before you believe it</strong><ul>{items}</ul></div>" if items else ""


def _steps(work: Work) -> str:
    items = ""
    for when, what in steps(work):
        time = f" <span class='soft when'>({escape(when)} UTC)</span>" if when else ""
        items += f"<li>{escape(what)}{time}</li>"
    return f"<ol>{items}</ol>"


def _map(picture: bytes, caption: str) -> str:
    return html.figure(Figure(picture, caption, caption))


def _selections(work: Work) -> str:
    rows = []
    for kept, number in zip(work.named, work.n_now, strict=True):
        now = "cannot be evaluated on these maps" if number is None else f"{number:,}"
        if number is not None and number != kept.n_cells:
            now += f" ({kept.n_cells:,} when it was made)"
        rows.append((kept.name, now, kept.rule.describe(), kept.created_at[:16].replace("T", " ")))
    if work.current is not None and not work.current_name:
        rows.append(("selected now, without a name", f"{work.n_current:,}", work.current.describe(), ""))
    return html.table(("Name", "Cells", "Rule", "Made (UTC)"), rows, name="Selections", numbers=(1,))


def _comparison(compared: Compared, picture: bytes) -> str:
    report, sides, genes = compared.report, compared.report["selections"], compared.table
    words = (
        f"{report['n_group']:,} cells ({sides['group']}) against {report['n_reference']:,} cells "
        f"({sides['reference']}), with {TESTS[compared.method]}; {report['n_genes']:,} genes."
    )
    volcano = Figure(
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
    rows = [[html.number(gene[name], _COLUMNS[name][1]) for name in columns] for _, gene in shown.iterrows()]
    trust = f"<p class='warn'>{escape(str(report['trust']))}</p>" if report.get("trust") else ""
    of_donors = compared.method == "pseudobulk"
    units = f"Means are of {UNIT}, shares of the cells that express the gene." if "mean_in" in columns else ""
    file = "comparison_of_donors" if of_donors else "comparison"
    return (
        f"<p>{escape(words)}</p>{trust}{html.figure(volcano)}<p class='soft lead'>{escape(ends + units)}</p>"
        + html.table([_COLUMNS[name][0] for name in columns], rows, name="Genes", numbers=range(1, len(columns)))
        + html.file(genes, file, f"all {len(genes):,} genes")
    )


def _enrichment(enriched: Enriched, compared: Compared, picture: bytes | None) -> str:
    sets, report = enriched.table, compared.report
    test = "gene set enrichment analysis" if enriched.is_ranking else "the hypergeometric test"
    judged = "a false discovery rate" if enriched.is_ranking else "an adjusted p"
    words = (
        f"{describe_enrichment(enriched, compared)}, by {test}. {enriched.n_clear:,} of {len(sets):,} sets have "
        f"{judged} below 0.05."
    )
    shuffled = "<p class='warn'>" + escape(
        "Genes were shuffled, not cells or donors: genes that vary together make sets look surer than they are."
    ) + "</p>" if enriched.is_ranking else ""  # fmt: skip
    columns = _RANKED_SETS if enriched.is_ranking else _LISTED_SETS
    if enriched.is_ranking:
        half = TOP_SETS // 2
        top, bottom = sets[sets["nes"] > 0].head(half), sets[sets["nes"] < 0].tail(half)
        shown, which = [*top.iterrows(), *bottom.iterrows()], f"best {len(top)} at the top and {len(bottom)} at the end"
    else:
        shown = list(sets[sets["n_overlap"] > 0].head(TOP_SETS).iterrows())
        which = f"best {len(shown)}"
    rows = [
        [html.number(row[name], form) for name, (_, form) in columns.items()] + [_some(str(row["genes"]))]
        for _, row in shown
    ]
    text = f"<p>{escape(words)}</p>{shuffled}"
    if picture is not None:
        n_cells = f"{report['n_group']:,} with {report['n_reference']:,} cells"
        caption = f"The {which} of {len(sets):,} gene sets, from the comparison of {n_cells}; grey: not beyond chance."
        text += html.figure(Figure(picture, "The best gene sets as bars", caption))
    titles = [title for title, _ in columns.values()] + [
        "Leading genes" if enriched.is_ranking else "Genes of the list"
    ]
    return (
        text
        + html.table(titles, rows, name="Gene sets", numbers=range(1, len(columns)))
        + html.file(sets, "gene_sets", f"all {len(sets):,} sets")
    )


def _expression(pictured: Pictured, n_shown: int, picture: bytes | None) -> str:
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
    text = "" if picture is None else html.figure(Figure(picture, caption.partition(".")[0], caption))
    counted = [f"{name} (n\u00a0=\u00a0{n:,})" for name, n in zip(groups.names, groups.n_cells, strict=True)]
    about = f"Mean of {UNIT}, and in brackets the share of the group's cells with any count."
    text += _grid(("Group", "Gene"), counted, genes, values, about)
    return text + html.file(
        pictured.table, "expression", f"the numbers of {len(genes)} genes in {len(groups.names)} groups"
    )


def _composition(composed: Composed, n_shown: int, picture: bytes | None) -> str:
    groups, parts, counts = composed.groups, composed.parts, composed.counts
    caption = (
        f"{parts.title} within {groups.title}: {counts.sum():,} of {n_shown:,} cells. A bar is a group, a piece is the "
        "cells of one value in it."
    )
    values = [[f"{n:,} ({100 * n / max(1, row.sum()):.0f} %)" if n else "0" for n in row] for row in counts]
    counted = [f"{name} (n\u00a0=\u00a0{row.sum():,})" for name, row in zip(groups.names, counts, strict=True)]
    text = "" if picture is None else html.figure(Figure(picture, caption.partition(":")[0], caption))
    about = "Cells, and in brackets their share of the group."
    text += _grid(("Group", parts.title), counted, parts.names, values, about)
    return text + html.file(composed.table, "composition", "the numbers of cells")


def _grid(
    what: tuple[str, str], rows: Sequence[str], columns: Sequence[str], values: list[list[str]], about: str
) -> str:
    """A table with its shorter side on top; empty where even that is too long to be read."""
    if len(columns) > len(rows):
        values, rows, columns = [list(column) for column in zip(*values, strict=True)], columns, rows
        what = what[::-1]
    if len(columns) > _MOST_COLUMNS:
        return ""
    lines = [[name, *line] for name, line in zip(rows, values, strict=True)]
    table = html.table([what[0], *columns], lines, name=about, numbers=range(1, len(columns) + 1))
    return f"<p class='soft lead'>{escape(about)}</p>{table}"


def _some(genes: str, most: int = 8) -> str:
    names = genes.split(", ")
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _dataset(work: Work) -> str:
    genes, counts = work.genes, work.counts
    rows = {
        "Content (SHA-256, first 16 digits)": work.dataset,
        "Format": work.format,
        "Cells, genes": f"{work.n_obs:,} x {work.n_vars:,}",
        "Where the counts are": counts["location"],
        "What they are": "raw counts" if counts["kind"] == "counts" else "counts recovered from normalised values",
        "Median per cell": f"{work.median_depth:,.0f} counts, {work.median_genes:,.0f} genes",
        "Column with the names of genes": genes["column"],
        "Matched by symbol or Ensembl ID": f"{genes['n_matched']:,}",
        "Matched by alias or earlier symbol": f"{genes['n_alias']:,}",
        "Matched as mouse orthologs": f"{genes['n_ortholog']:,}",
        "Unknown to the model, left out": f"{genes['n_unknown']:,}",
        "Genes of the model that were not measured": f"{genes['n_not_measured']:,} (not the same as zero)",
        "Filters": describe_filters((work.embed_options or {}).get("filters")) or "none",
    }
    notes = "".join(f"<li>{escape(str(text))}</li>" for text in genes["notices"])
    return html.pairs(rows, name="Dataset") + (f"<ul>{notes}</ul>" if notes else "")


def _model(work: Work, scores: Sequence[dict]) -> str:
    report = work.embed_report or {}
    checkpoint, provenance = report["checkpoint"], report["provenance"]
    rows = {
        "Name": checkpoint["name"],
        "Content": checkpoint["hash"],
        "Trained": "yes" if checkpoint["is_trained"] else "no: its weights are random",
        "Licence of the weights": checkpoint["licence"],
        "Precision, device": f"{provenance['precision']}, {provenance['device']}",
    }
    text = html.pairs(rows, name="Model") + _agreement(report.get("agreement", {}))
    if scores:
        names = ("score", "metric", "ahead", "no clear difference", "behind")
        head = ("Question", "Measure", "Ahead", "No clear difference", "Behind")
        text += (
            "<p>What the model is good for, beside the best of several simple methods (numbers of datasets that it "
            "was not trained on, unless said):</p>"
        ) + html.table(
            head, [[str(entry[name]) for name in names] for entry in scores], name="Scores", numbers=range(2, 5)
        )
    return text


def _agreement(agreement: dict) -> str:
    rows = []
    for label, ways in agreement.items():
        for way, name in (("model", "model"), ("baseline", "variable genes + PCA"), ("joint", "both together")):
            if way not in ways:  # a result of an older version
                continue
            scores = ways[way]
            numbers = ["–" if scores.get(k) is None else f"{scores[k]:.2f}" for k in ("ari", "nmi", "silhouette")]
            rows.append((label, name, *numbers, f"{scores['n']:,}"))
    if not rows:
        return ""
    head = ("Labels", "Map", "Rand index (ARI)", "Mutual information (NMI)", "Silhouette", "Cells")
    return "<p>Agreement with labels of the file (1 is perfect):</p>" + html.table(
        head, rows, name="Agreement", numbers=range(2, 6)
    )
