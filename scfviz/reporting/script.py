"""A Python script, or the same as a notebook, that reproduces the steps and compares its numbers with the report's.

Names from files enter the text as Python literals only, so that no name can become code.
"""

import hashlib
import json
import math
import pprint
import textwrap
from collections.abc import Iterable
from typing import Any

from scfviz.analysis.selection.rules import Rule, from_json, to_json
from scfviz.reporting.record import AnalysisRecord, Colored, Compared, Composed, Enriched, Groups, Pictured
from scfviz.reporting.session import pack_codes
from scfviz.tasks.fragments import Cell, Contribution
from scfviz.tasks.names import public_rule

_LINE = 110
_CHECKED = 10  # genes or sets at the top of a result whose numbers are compared


_CHECKS = """\
def check(what, found, reported):
    print(f"{what}: {found}")
    if found != reported:
        raise SystemExit(f"{what}: {found} here, {reported} in the report.")


def check_close(what, found, reported):
    found, reported = np.asarray(found, dtype=float), np.asarray(reported, dtype=float)
    if found.shape != reported.shape or not np.allclose(found, reported, rtol=1e-3, atol=1e-6, equal_nan=True):
        raise SystemExit(f"{what}: {found} here, {reported} in the report.")
    print(f"{what}: {found.size} numbers agree")
"""


def script_of(contribution: Contribution) -> list[Cell]:
    """The script of a contribution that needs no dataset."""
    text = "Made by scfviz. Run it with scfviz installed: it stops where a number differs from the report."
    code = f"""\
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path("scfviz_results")
RESULTS.mkdir(exist_ok=True)


{_CHECKS}"""
    return [Cell(text, code), *contribution.cells]


def script_cells(record: AnalysisRecord) -> list[Cell]:
    """The steps that reproduce an analysis, in order."""
    cells = [_introduction(record), _open(record)]
    for task in record.contributions:
        cells += task.first
    cells.append(_context(record))
    if record.colored is not None:
        cells.append(_coloring(record.colored, record.names))
    if record.named or record.current is not None:
        cells.append(_selections(record))
    for place, compared in enumerate(record.comparisons):
        cells.append(_comparison(compared, record.names))
        if record.enriched is not None and record.enriched.of == place:
            cells.append(_enrichment(record.enriched))
    if record.pictured is not None or record.composed is not None:
        cells.append(_numbering())
    if record.pictured is not None:
        cells.append(_expression(record.pictured, record.names))
    if record.composed is not None:
        cells.append(_composition(record.composed, record.names))
    for task in record.contributions:
        cells += task.cells
    return cells


def as_python(cells: list[Cell]) -> str:
    """The steps as one script; words become comments."""
    parts = []
    for cell in cells:
        words = "\n".join(f"# {line}" if line else "#" for line in cell.text.splitlines())
        parts.append(f"{words}\n{cell.code}".rstrip())
    return "\n\n".join(parts) + "\n"


def as_notebook(cells: list[Cell]) -> str:
    """The same steps as a Jupyter notebook (nbformat 4.5)."""
    entries: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        entries.append(_entry("markdown", number, cell.text))
        if cell.code:
            entries.append(_entry("code", number, cell.code) | {"outputs": [], "execution_count": None})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": entries,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False)


def _entry(kind: str, number: int, text: str) -> dict[str, Any]:
    name = hashlib.sha256(f"{kind}{number}{text}".encode()).hexdigest()[:12]
    return {"cell_type": kind, "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}


def _introduction(record: AnalysisRecord) -> Cell:
    text = (
        "Made by scfviz: it reproduces the steps of the report with scfviz's public functions and compares numbers.\n"
        "Run it in the folder with the dataset, with scfviz installed. It stops where a number differs from the report."
    )
    code = f"""\
from pathlib import Path

import numpy as np
import pandas as pd

import scfviz
from scfviz.data.qc import filter_cells, qc_metrics
from scfviz.data.source import dataset_id
from scfviz.analysis.expression import AlignedExpression, read_gene
from scfviz.analysis.selection.rules import SelectionContext, evaluate, from_json
from scfviz.reporting.session import unpack_codes

DATASET = {_dataset_path(record)}
RESULTS = Path("scfviz_results")
RESULTS.mkdir(exist_ok=True)


{_CHECKS}"""
    if record.demo is not None:
        code = code.replace("import scfviz\n", "import scfviz\nfrom scfviz.data.catalog import demo_path\n")
    return Cell(text, code)


def _dataset_path(record: AnalysisRecord) -> str:
    return f"demo_path({record.demo!r}, '.')" if record.demo is not None else f"Path({record.title!r})"


def _open(record: AnalysisRecord) -> Cell:
    code = f"""\
check("content of the dataset", dataset_id(DATASET), {record.dataset!r})
opened = scfviz.open_dataset(DATASET{_gene_column(record)})
adata, counts = opened.adata, opened.counts  # all genes of the file
check("cells", counts.n_obs, {record.n_obs})
check("genes of the file", counts.n_genes, {int(record.genes["n_genes"])})
check("genes of the model in the file", opened.gene_report.n_measured, {int(record.genes["n_measured"])})"""
    return Cell("Open the file and match its genes to the model's.", code)


def _gene_column(record: AnalysisRecord) -> str:
    return "" if record.gene_column is None else f", column={record.gene_column!r}"


def _context(record: AnalysisRecord) -> Cell:
    code = "" if record.maps else "maps, obs, takes_part = {}, counts.obs, np.ones(counts.n_obs, dtype=bool)\n"
    code += "".join(task.columns for task in record.contributions)
    own = sorted(_maps_in([to_json(rule) for rule in _rules(record)]) - set(record.names.values()))
    if own:
        code += f"maps |= {{name: np.asarray(adata.obsm[name])[:, :2] for name in {own!r}}}\n"
    for name, column in record.labels.items():
        packed = _literal(pack_codes(column.codes))
        code += f"""\
codes = unpack_codes({packed}, counts.n_obs)  # user-defined labels
obs = obs.assign(**{{{name!r}: pd.Categorical.from_codes(codes, {_literal(list(column.labels))})}})
"""
    code += """\
expression = AlignedExpression(counts)
context = SelectionContext(obs, maps, lambda name: read_gene(expression, name))
obs[takes_part].to_csv(RESULTS / "cells.csv")"""
    return Cell("The table of cells, the maps and the expression: what selections are evaluated on.", code)


def _coloring(colored: Colored, names: dict[str, str]) -> Cell:
    text = f"What the colours of the maps stood for: {' '.join(colored.title.split())}. In colors.csv."
    if colored.kind in ("label", "value"):
        code = f"colors = pd.DataFrame({{'value': obs[{names.get(colored.column, colored.column)!r}]}})"
    elif colored.kind == "set":
        code = f"""\
from scfviz.analysis.gene_sets import score_set

GENE_SET = {_literal(list(colored.genes))}
colors = pd.DataFrame({{"value": score_set(expression, GENE_SET).values}}, index=obs.index)"""
    else:
        names = f"{{name: read_gene(expression, name) for name in {_literal(list(colored.genes))}}}"
        code = f"colors = pd.DataFrame({names}, index=obs.index)"
        code += "\ncolors.columns = ['value']" if colored.kind == "gene" else ""
    code += "\ncolors = colors[takes_part]"
    if colored.kind == "label":
        code += f"""
cells_of = colors["value"].astype(str).value_counts()
check("cells by colour", {{name: int(cells_of[name]) for name in {_literal(list(colored.summary))}}}, {
            _literal(colored.summary)
        })"""
    elif colored.summary:
        code += f"""
found = colors["value"].astype(float)
found = found[np.isfinite(found)]
check("cells with a colour", len(found), {int(colored.summary["n_cells"])})
check_close("mean behind the colours", [found.mean()], {_numbers([colored.summary["mean"]])})"""
    return Cell(text, code + '\ncolors.to_csv(RESULTS / "colors.csv")')


def _rules(record: AnalysisRecord) -> list[Rule]:
    sides = [compared.options[side] for compared in record.comparisons for side in ("group", "reference")]
    rules = [kept.rule for kept in record.named] + [from_json(side) for side in sides if side is not None]
    groups = [record.pictured.groups] if record.pictured is not None else []
    groups += [record.composed.groups, record.composed.parts] if record.composed is not None else []
    rules += [rule for found in groups for _, rule in found.rules]
    rules += [] if record.current is None else [record.current]
    return [public_rule(rule, record.names) for rule in rules]


def _maps_in(content: Any) -> set[str]:
    """Names of the maps that rules speak of."""
    if isinstance(content, dict):
        found = _maps_in(list(content.values()))
        return found | {content["map"]} if isinstance(content.get("map"), str) else found
    return set().union(*map(_maps_in, content)) if isinstance(content, list) else set()


def _selections(record: AnalysisRecord) -> Cell:
    named = [
        (kept.name, to_json(public_rule(kept.rule, record.names)), number)
        for kept, number in zip(record.named, record.n_now, strict=True)
        if number is not None
    ]
    if record.current is not None and not record.current_name:
        rule = to_json(public_rule(record.current, record.names))
        named.append(("selected when the report was made", rule, record.n_current))
    code = f"""\
SELECTIONS = {_literal(named)}
for name, rule, reported in SELECTIONS:
    mask = evaluate(from_json(rule), context) & takes_part
    check(f"cells in {{name!r}}", int(mask.sum()), reported)"""
    return Cell("The selections as they were drawn or asked for: (name, rule, number of cells).", code)


def _comparison(compared: Compared, names: dict[str, str]) -> Cell:
    options, report = compared.options, compared.report
    sides = {
        side: None if options.get(side) is None else to_json(public_rule(from_json(options[side]), names))
        for side in ("group", "reference")
    }
    reference = sides["reference"]
    other = f"evaluate(from_json({_literal(reference)}), context)" if reference is not None else "~group"
    code = f"""\
group = evaluate(from_json({_literal(sides["group"])}), context) & takes_part
reference = {other} & takes_part
check("cells of the first selection", int(group.sum()), {int(report["n_group"])})
check("cells of the second selection", int(reference.sum()), {int(report["n_reference"])})
"""
    of_donors = compared.method == "pseudobulk"
    file = "comparison_of_donors.csv" if of_donors else "comparison.csv"
    if of_donors:
        code += f"""\
from scfviz.analysis.pseudobulk import compare_donors

comparison = compare_donors(counts, group, reference, {options["donor_column"]!r})"""
    else:
        code += f"""\
from scfviz.analysis.differential_expression import compare_cells

comparison = compare_cells(expression, group, reference, method={compared.method!r})"""
    code += f"""
comparison.table.to_csv(RESULTS / "{file}", index=False)
print(comparison.table.head(20).to_string(index=False))"""
    best = compared.table.head(_CHECKED)
    code += f"""
first = comparison.table.set_index("names").loc[{_literal(best["names"].astype(str).tolist())}]
check_close("scores of the first genes", first["scores"], {_numbers(best["scores"])})
check_close("fold changes of the first genes", first["logfoldchanges"], {_numbers(best["logfoldchanges"])})"""
    what = "The same comparison between donors" if of_donors else "The last comparison: which genes differ"
    return Cell(f"{what}. Every gene goes into {file}.", code)


def _enrichment(enriched: Enriched) -> Cell:
    options, report = enriched.options, enriched.report
    sizes = f"smallest={options['smallest']!r}, largest={options['largest']!r}"
    if enriched.digest:
        read = f"""\
import hashlib

from scfviz.analysis.gene_sets import read_gmt

GENE_SETS = Path({enriched.sets!r})  # the file of gene sets
check("content of the gene sets", hashlib.sha256(GENE_SETS.read_bytes()).hexdigest(), {enriched.digest!r})
sets = read_gmt(GENE_SETS)"""
    else:
        read = "from scfviz.analysis.gene_sets import load_gene_ontology\n\nsets = load_gene_ontology()"
    if enriched.is_ranking:
        import_line, column = "from scfviz.analysis.enrichment import enrich_ranking, gene_symbols", "nes"
        compute = f"""\
gene_sets = enrich_ranking(
    gene_symbols(tested), tested["scores"], sets, {sizes},
    n_permutations={options["n_permutations"]!r}, seed={options["seed"]!r},
)"""
    else:
        import_line, column = "from scfviz.analysis.enrichment import enrich_list, gene_symbols, top_genes", "pvals_adj"
        limits = ", ".join(repr(options[name]) for name in ("direction", "max_padj", "min_change", "most"))
        compute = f"""\
genes = top_genes(tested, {limits})  # side, adjusted p, log2 fold change, number of genes
check("genes of the list", len(genes), {report["n_list"]!r})
gene_sets = enrich_list(genes, sets, gene_symbols(tested), {sizes})"""
    best = enriched.table.head(_CHECKED)
    code = f"""\
{import_line}
{read}
tested = comparison.table
{compute}
check("gene sets", len(gene_sets), {len(enriched.table)})
best = gene_sets.set_index("name").loc[{_literal(best["name"].astype(str).tolist())}]
check_close("best gene sets", best[{column!r}], {_numbers(best[column])})
gene_sets.to_csv(RESULTS / "gene_sets.csv", index=False)
print(gene_sets.drop(columns="genes").head(20).to_string(index=False))"""
    return Cell("Gene sets that the comparison is rich in. Every set goes into gene_sets.csv.", code)


def _numbering() -> Cell:
    code = """\
from scfviz.analysis.groups import Grouping


def number_cells(groups):
    codes = np.full(counts.n_obs, -1, dtype=np.int32)
    for number, (name, rule) in enumerate(groups):
        codes[evaluate(from_json(rule), context) & takes_part] = number
    return Grouping(tuple(name for name, rule in groups), codes)"""
    return Cell("Groups of cells for pictures are given as (name, rule).", code)


def _rules_of(groups: Groups, names: dict[str, str]) -> str:
    return _literal([(name, to_json(public_rule(rule, names))) for name, rule in groups.rules])


def _expression(pictured: Pictured, names: dict[str, str]) -> Cell:
    checked = ["mean", "fraction"]
    if pictured.kind == "violins":
        checked.append("median")
        import_line = "from scfviz.analysis.groups import make_violins, violin_table"
        compute = "violin_table(make_violins(expression, GENES, groups))"
    else:
        import_line = "from scfviz.analysis.groups import summarise_groups"
        compute = "summarise_groups(expression, GENES, groups).as_table()"
    code = f"""\
{import_line}

GENES = {_literal(list(pictured.genes))}
groups = number_cells({_rules_of(pictured.groups, names)})
check("cells in groups", groups.n_cells.tolist(), {_literal(list(pictured.groups.n_cells))})
shown = {compute}
"""
    for name in checked:
        code += f"check_close('{name} of each gene and group', shown['{name}'], {_numbers(pictured.table[name])})\n"
    code += 'shown.to_csv(RESULTS / "expression.csv", index=False)'
    return Cell("Genes in groups of cells: the numbers of the picture, in expression.csv.", code)


def _composition(composed: Composed, names: dict[str, str]) -> Cell:
    code = f"""\
from scfviz.analysis.groups import compose

bars = number_cells({_rules_of(composed.groups, names)})
pieces = number_cells({_rules_of(composed.parts, names)})
composition = compose(bars, pieces)
check("cells of each part in each group", composition.counts.tolist(), {_literal(composed.counts.tolist())})
table = pd.DataFrame(composition.counts, index=composition.rows, columns=composition.parts)
table.to_csv(RESULTS / "composition.csv")"""
    return Cell("What groups are made of: numbers of cells, in composition.csv.", code)


def _numbers(values: Iterable[float]) -> str:
    """Numbers in six digits as Python text."""
    texts = [f"{value:.6g}" if math.isfinite(value) else f"float('{value}')" for value in map(float, values)]
    return "[" + textwrap.fill(", ".join(texts), _LINE) + "]"


def _literal(value: Any) -> str:
    """A value as Python text; whatever its strings hold, they stay strings."""
    return pprint.pformat(value, width=_LINE, compact=True, sort_dicts=False)
