"""The job `differential_expression`: genes that differ between two selections, or between one and all other cells.

Result files: `table.parquet` (every measured gene, see `Comparison.table` and `PseudobulkComparison.table`);
`samples.parquet` (pseudobulk only: the donors); `report.json` (method, numbers of cells, selections in words and as
rules, notes, `trust`: which test to believe, `donor_columns`: columns that can make replicates, seconds).
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import OptionError
from scfviz.jobs.memory import Need, refuse_what_cannot_fit
from scfviz.jobs.options import Report, ShouldStop, check_job_ids, fill_options, named_data
from scfviz.jobs.workspace import Workspace, read_json, write_json
from scfviz.tasks.names import describe as describe_rule

if TYPE_CHECKING:
    from scfviz.analysis.differential_expression import Comparison
    from scfviz.analysis.expression import Expression
    from scfviz.analysis.pseudobulk import PseudobulkComparison
    from scfviz.data.align import AlignedCounts

TITLE = "Comparison"
VERSION = 3  # part of the identity: raise it when the same options give other results
PSEUDOBULK = "pseudobulk"
# Measured by benchmarks/jobs.py --memory. The programs, with the sums of donors where these are compared; the table of
# cells; a block of genes; and, without the store of genes, what one pass over the file keeps.
PROGRAMS, DONORS_BYTES, BYTES_PER_CELL = 0.3e9, 0.2e9, 200.0
BLOCK_BYTES, BLOCK_CELLS = 0.45e9, 6_000
PASS_BYTES, PASS_CELLS = 1.6e9, 120_000
METHODS = ("wilcoxon", "t-test", PSEUDOBULK)
DEFAULTS: dict[str, Any] = {
    "dataset": None,
    "group": None,
    "reference": None,
    "method": "wilcoxon",
    "donor_column": None,
    "embed_job": None,
    "task_jobs": [],
    "gene_column": None,
    "gene_store": None,
}


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options of a comparison; see `DEFAULTS` for their names.

    `dataset` is a path. `group` and `reference` are selections as `to_json` of `selection.rules` writes them; no
    reference: all other cells. `method` is "wilcoxon", "t-test" or "pseudobulk", which needs `donor_column`.
    `embed_job` is the id of an embedding whose maps and clusters the selections speak of; cells that it filtered out
    take no part; `task_jobs` are the ids of other finished tasks whose columns they speak of. `gene_store` is the
    folder of the counts by genes, if there is one: it only makes the job faster.
    """
    from scfviz.analysis.selection.rules import from_json, to_json
    from scfviz.data.source import dataset_id
    from scfviz.jobs.access import content_key
    from scfviz.jobs.labels import labels_used

    options = fill_options(options, DEFAULTS)
    if not options["dataset"] or not options["group"]:
        raise OptionError("No dataset or no selection was given.", "A comparison needs both.", "Select cells first.")
    if options["method"] not in METHODS:
        raise OptionError(f"There is no test '{options['method']}'.", f"There are: {', '.join(METHODS)}.")
    if (options["method"] == PSEUDOBULK) != bool(options["donor_column"]):
        raise OptionError(
            "Donors and the test do not fit together.",
            f"The test '{PSEUDOBULK}' needs a column of donors, the others have none.",
            "Choose a column of donors, or another test.",
        )
    check_job_ids(options)
    for side in ("group", "reference"):
        if options[side] is not None:
            options[side] = to_json(from_json(options[side]))
    options["dataset"] = str(Path(options["dataset"]).expanduser().resolve())
    identity = {name: value for name, value in options.items() if name != "gene_store"}
    dataset = dataset_id(options["dataset"])
    rules = [from_json(options[side]) for side in ("group", "reference") if options[side] is not None]
    labels = labels_used(workspace, content_key(workspace, options["dataset"]), rules)
    return options, identity | {"dataset": dataset, "version": VERSION} | ({"labels": labels} if labels else {})


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset, its counts by genes, and the embedding."""
    return named_data(options, "dataset", "gene_store", jobs=("embed_job", "task_jobs"))


def memory(options: dict[str, Any]) -> Need:
    """Blocks of genes and the table of cells; from the store of genes it does not grow with what a pass keeps.

    Pages of the store that are mapped into memory are not counted: they are given back when others need them.
    """
    if options.get("method") == PSEUDOBULK:
        return Need(PROGRAMS + DONORS_BYTES, BYTES_PER_CELL, "Sums of each donor, and the table of cells")
    what = "Expression of some genes in all cells, and the table of cells"
    of_pass = 0.0 if options.get("gene_store") else PASS_BYTES
    return Need(PROGRAMS, BYTES_PER_CELL, what, BLOCK_BYTES, BLOCK_CELLS, of_pass, PASS_CELLS)


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Compute; see the module's text for the result files."""
    from scfviz.analysis.pseudobulk import donor_columns, find_replicates, what_to_trust
    from scfviz.analysis.selection.rules import evaluate, from_json
    from scfviz.jobs.access import content_key
    from scfviz.jobs.context import is_stored, open_expression, open_file, read_context, result_folders
    from scfviz.jobs.labels import refuse_changed_labels

    start = time.monotonic()
    report(0.0, "Reading and checking the dataset")
    identity = (read_json(folder / "job.json") or {})["identity"]
    workspace = Workspace(folder.parents[1])
    opened = open_file(options["dataset"], workspace, options["gene_column"])
    adata, counts = opened.adata, opened.counts
    expression = open_expression(counts, options["gene_store"])
    refuse_what_cannot_fit(memory(options | {"gene_store": is_stored(expression)}), counts.n_obs)
    results = result_folders(workspace, [options["embed_job"], *options["task_jobs"]])
    context, takes_part = read_context(adata, lambda: expression, results, workspace=workspace)
    report(0.05, "Finding the selected cells")
    rules = {side: from_json(options[side]) if options[side] else None for side in ("group", "reference")}
    refuse_changed_labels(
        workspace, content_key(workspace, options["dataset"]), rules.values(), identity.get("labels", {})
    )
    group = evaluate(rules["group"], context) & takes_part
    reference = (evaluate(rules["reference"], context) if rules["reference"] else ~group) & takes_part
    comparison = _compare(counts, expression, group, reference, options, report, should_stop)
    report(0.98, "Writing the result")
    columns = [options["donor_column"]] if options["donor_column"] else donor_columns(counts.obs)
    replicates = [find_replicates(counts.obs, group, reference, column) for column in columns]
    best = max(replicates, key=lambda r: (r.can_test, min(len(r.donors_in), len(r.donors_out))), default=None)
    result = folder / "result.partial"
    comparison.table.to_parquet(result / "table.parquet")
    if options["method"] == PSEUDOBULK:
        comparison.samples.to_parquet(result / "samples.parquet")
    write_json(
        result / "report.json",
        comparison.as_dict()
        | {
            "dataset": Path(options["dataset"]).name,
            "n_group": int(group.sum()),
            "n_reference": int(reference.sum()),
            "selections": {side: describe_rule(rule) if rule else "all other cells" for side, rule in rules.items()},
            "rules": {side: options[side] for side in rules},
            "trust": what_to_trust(best),
            "donor_columns": [r.column for r in replicates if r.can_test],
            "seconds": round(time.monotonic() - start, 3),
        },
    )


def _compare(
    counts: "AlignedCounts",
    expression: "Expression",
    group: np.ndarray,
    reference: np.ndarray,
    options: dict[str, Any],
    report: Report,
    should_stop: ShouldStop,
) -> "Comparison | PseudobulkComparison":
    from scfviz.analysis.differential_expression import compare_cells
    from scfviz.analysis.pseudobulk import compare_donors

    def progress_of(stage: str):
        return lambda share: report(0.08 + 0.9 * share, stage)

    if options["method"] == PSEUDOBULK:
        progress = progress_of("Adding up the counts of each donor, then comparing donors")
        return compare_donors(
            counts, group, reference, options["donor_column"], progress=progress, should_stop=should_stop
        )
    progress = progress_of("Comparing the genes")
    return compare_cells(
        expression, group, reference, method=options["method"], progress=progress, should_stop=should_stop
    )
