"""The report: one HTML file that needs no network and no script, made of what was really done.

Every text that comes from a file is escaped; figures are pictures inside the file.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.methods import (
    TESTS,
    Compared,
    Work,
    caveats,
    citations,
    describe_filters,
    methods_paragraph,
    steps,
    version,
    versions,
)

if TYPE_CHECKING:
    import pandas as pd

TOP_GENES = 30
_SMALLEST_P = 1e-300
_INK, _FAINT, _UP, _DOWN = "#16282c", "#b9c4c4", "#b34700", "#005a94"
_STYLE = """
:root { color-scheme: light dark; --ink: #16282c; --soft: #55686c; --line: #d5dddd; --card: #f5f8f8; --back: #fff;
  --accent: #0b6b74; --warn: #fff4e0; --warn-line: #c77700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eeee; --soft: #a9b8ba; --line: #35474a; --card: #172327;
  --back: #0f181b; --accent: #6fd0d8; --warn: #33260f; --warn-line: #e0a040; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .7rem; padding-top: .9rem; border-top: 1px solid var(--line); }
p, li { overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0; padding: 0; }
.facts div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem; }
.facts dt { color: var(--soft); font-size: .85rem; } .facts dd { margin: 0; font-size: 1.3rem; font-weight: 600; }
figure { margin: 1rem 0; } figure img { width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .5rem; } figcaption { color: var(--soft); font-size: .9rem; margin-top: .3rem; }
.narrow { max-width: 40rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } 
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.warn { background: var(--warn); border-left: 4px solid var(--warn-line); border-radius: .3rem;
  padding: .6rem .9rem; margin: .5rem 0; }
code { font-size: .88em; background: var(--card); padding: .1em .3em; border-radius: .25em; }
ol, ul { padding-left: 1.3rem; } .warn ul { margin: .3rem 0; }
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""
_COLUMNS = {
    "names": ("Gene", None),
    "scores": ("Score", "{:.2f}"),
    "logfoldchanges": ("log2 fold change", "{:.2f}"),
    "pvals": ("p", "{:.2g}"),
    "pvals_adj": ("Adjusted p", "{:.2g}"),
    "pct_in": ("In first (%)", "percent"),
    "pct_out": ("In second (%)", "percent"),
    "mean_in": ("Mean first", "{:.2f}"),
    "mean_out": ("Mean second", "{:.2f}"),
    "base_mean": ("Mean counts per donor", "{:.1f}"),
}


@dataclass(frozen=True)
class Figure:
    """A picture in the report: the bytes of an SVG or PNG file, what it shows, and a caption."""

    content: bytes
    alt: str
    caption: str

    @property
    def address(self) -> str:
        """The picture as text that an HTML page can hold; shown as an image, so nothing in it can run."""
        kind = "png" if self.content.startswith(b"\x89PNG") else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"


def write_report(
    work: Work,
    maps: Sequence[Figure],
    tables: "Sequence[pd.DataFrame]",
    *,
    scores: Sequence[dict] = (),
    author: str = "",
) -> str:
    """The whole report as HTML.

    Parameters
    ----------
    maps
        The maps as they are coloured now.
    tables
        Of the comparisons, in their order; see `scfviz.tasks.differential_expression.Comparison.table`.
    scores
        What the model is good for, from its own scores: by question `score`, `metric`, `ahead`, `behind`,
        `no clear difference` (numbers of datasets, beside the best of several simple methods).
    author
        Who hands the report on, if they said so.
    """
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    by = f" by {escape(author)}" if author.strip() else ""
    parts = [
        f"<h1>{escape(work.title)}</h1><p class='soft'>Report of an analysis with scfviz {escape(version('scfviz'))}, "
        f"made {made}{by}</p>",
        _facts(work),
        _caveats(work),
        "<h2>What was done</h2>" + _steps(work),
    ]
    if maps:
        parts.append("<h2>The maps</h2>" + "".join(map(_figure, maps)))
    if work.named or work.current is not None:
        parts.append("<h2>Selections</h2>" + _selections(work))
    for compared, table in zip(work.comparisons, tables, strict=True):
        between = " between donors" if compared.method == "pseudobulk" else ""
        parts.append(f"<h2>Which genes differ{between}</h2>" + _comparison(compared, table))
    parts += [
        "<h2>Dataset</h2>" + _dataset(work),
        *([f"<h2>Model</h2>{_model(work, scores)}"] if work.embed_report is not None else []),
        f"<h2>Methods</h2><p>{escape(methods_paragraph(work))}</p>",
        "<h2>Please cite</h2><ul>" + "".join(f"<li>{escape(text)}</li>" for text in citations(work)) + "</ul>",
        "<h2>Versions</h2>" + _pairs(versions(work)),
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src "
        "'unsafe-inline'\">"
        f"<title>{escape(work.title)} · scfviz report</title><style>{_STYLE}</style></head><body><main>"
        + "\n".join(parts)
        + "</main></body></html>\n"
    )


def draw_volcano(table: "pd.DataFrame", *, n_named: int = 14) -> bytes:
    """Fold change against adjusted p value of every gene, as SVG.

    Genes beyond the 97th percentile of the fold changes by a fifth are drawn at the edge.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    change = table["logfoldchanges"].to_numpy(float)
    adjusted = table["pvals_adj"].to_numpy(float)
    height = -np.log10(np.maximum(adjusted, _SMALLEST_P))
    finite = np.isfinite(change) & np.isfinite(height)
    edge = max(1.0, 1.2 * float(np.percentile(np.abs(change[finite]), 97))) if finite.any() else 1.0
    x, differs = np.clip(change, -edge, edge), finite & (height > 2) & (np.abs(change) > 1)
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 9, "font.sans-serif": ["DejaVu Sans"]}):
        canvas = Canvas(figsize=(6.4, 4.6), facecolor="white", layout="constrained")
        axes = canvas.add_subplot()
        for mask, color in (
            (finite & ~differs, _FAINT),
            (differs & (change > 0), _UP),
            (differs & (change < 0), _DOWN),
        ):
            axes.plot(x[mask], height[mask], ".", color=color, markersize=4, alpha=0.7, rasterized=True)
        order = np.flatnonzero(differs)[np.argsort(-np.abs(table["scores"].to_numpy(float)[differs]))]
        top, placed = max(1.0, float(height[finite].max(initial=1.0))), []
        for i in order:
            at = (x[i] / edge, height[i] / top)
            if len(placed) < n_named and all(abs(at[0] - a) > 0.28 or abs(at[1] - b) > 0.05 for a, b in placed):
                placed.append(at)
                name = str(table["names"].iloc[i])[:20].replace("$", r"\$")
                axes.annotate(
                    name, (x[i], height[i]), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=7
                )
        axes.set_xlabel("log2 fold change of mean expression", color=_INK)
        axes.set_ylabel("−log10 adjusted p value", color=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        out = BytesIO()
        canvas.savefig(out, format="svg", dpi=200, metadata={"Date": None})
    return out.getvalue()


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
    items = "".join(
        f"<li>{escape(what)}{f' <span class=soft>({escape(when)} UTC)</span>' if when else ''}</li>"
        for when, what in steps(work)
    )
    return f"<ol>{items}</ol>"


def _figure(figure: Figure, style: str = "") -> str:
    return (
        f"<figure class='{style}'><img src='{figure.address}' alt='{escape(figure.alt, quote=True)}'>"
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _selections(work: Work) -> str:
    rows = []
    for kept, number in zip(work.named, work.n_now, strict=True):
        now = "cannot be evaluated on these maps" if number is None else f"{number:,}"
        if number is not None and number != kept.n_cells:
            now += f" ({kept.n_cells:,} when it was made)"
        rows.append((kept.name, now, kept.rule.describe(), kept.created_at[:16].replace("T", " ")))
    if work.current is not None and not work.current_name:
        rows.append(("selected now, without a name", f"{work.n_current:,}", work.current.describe(), ""))
    return _table(("Name", "Cells", "Rule", "Made (UTC)"), rows, numbers=(1,))


def _comparison(compared: Compared, table: "pd.DataFrame") -> str:
    report = compared.report
    sides = report["selections"]
    words = (
        f"{report['n_group']:,} cells ({sides['group']}) against {report['n_reference']:,} cells "
        f"({sides['reference']}), with {TESTS[compared.method]}; {report['n_genes']:,} genes."
    )
    volcano = Figure(
        draw_volcano(table),
        "Volcano plot of the comparison",
        "A point is a gene; coloured are those with an adjusted p value below 0.01 and a fold change above 2. Genes at "
        "the left and right edge may lie farther out.",
    )
    columns = [name for name in _COLUMNS if name in table.columns]
    rows = []
    for _, gene in table.head(TOP_GENES).iterrows():
        rows.append([_cell(gene[name], _COLUMNS[name][1]) for name in columns])
    shown = _table([_COLUMNS[name][0] for name in columns], rows, numbers=range(1, len(columns)))
    trust = f"<p class='warn'>{escape(str(report['trust']))}</p>" if report.get("trust") else ""
    head = f"<p class='soft'>The {len(rows)} genes with the highest scores, of {len(table):,}.</p>"
    return f"<p>{escape(words)}</p>{trust}{_figure(volcano, 'narrow')}{head}{shown}"


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
    return _pairs(rows) + (f"<ul>{notes}</ul>" if notes else "")


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
    text = _pairs(rows) + _agreement(report.get("agreement", {}))
    if scores:
        names = ("score", "metric", "ahead", "no clear difference", "behind")
        head = ("Question", "Measure", "Ahead", "No clear difference", "Behind")
        text += (
            "<p>What the model is good for, beside the best of several simple methods (numbers of datasets that it "
            "was not trained on, unless said):</p>"
        ) + _table(head, [[str(entry[name]) for name in names] for entry in scores], numbers=range(2, 5))
    return text


def _agreement(agreement: dict) -> str:
    rows = []
    for label, ways in agreement.items():
        for way, name in (("model", "model"), ("baseline", "variable genes + PCA")):
            scores = ways[way]
            numbers = ["–" if scores.get(k) is None else f"{scores[k]:.2f}" for k in ("ari", "nmi", "silhouette")]
            rows.append((label, name, *numbers, f"{scores['n']:,}"))
    if not rows:
        return ""
    head = ("Labels", "Map", "Rand index (ARI)", "Mutual information (NMI)", "Silhouette", "Cells")
    return "<p>Agreement with labels of the file (1 is perfect):</p>" + _table(head, rows, numbers=range(2, 6))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] | range = ()) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if i in numbers else ''}>{escape(str(cell))}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"


def _pairs(rows: dict[str, str]) -> str:
    body = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<div class='scroll'><table>{body}</table></div>"


def _cell(value: object, form: str | None) -> str:
    if form is None:
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    if number != number:
        return "–"
    return f"{100 * number:.1f}" if form == "percent" else form.format(number)
