"""The job `set_score`: the score of a gene set in every cell of a dataset.

Result files: `values.npy` (float32, one per cell of the file, see `SetScore` of `analysis.gene_sets`) and `report.json`
(`genes` that were used, names `left_out`, `n_controls`).
"""

from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import OptionError
from scfviz.jobs.kinds import differential_expression
from scfviz.jobs.memory import Need, refuse_what_cannot_fit
from scfviz.jobs.options import Report, ShouldStop, fill_options, named_data
from scfviz.jobs.workspace import Workspace, write_json

TITLE = "Score of a gene set"
VERSION = 3  # part of the identity: raise it when the same options give other results
MAX_GENES = 5_000
DEFAULTS: dict[str, Any] = {"dataset": None, "genes": None, "gene_column": None, "gene_store": None}


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options: `dataset` is a path, `genes` the names of the set's genes.

    `gene_store` is the folder of the counts by genes, if there is one: it only makes the job faster.
    """
    from scfviz.data.source import dataset_id

    options = fill_options(options, DEFAULTS)
    if not options["dataset"]:
        raise OptionError("No dataset was given.", "Cells are scored.", "Choose a dataset.")
    genes = options["genes"]
    if not isinstance(genes, list | tuple) or not 0 < len(genes) <= MAX_GENES:
        raise OptionError(
            "The set has no genes, or too many.", f"1 to {MAX_GENES:,} genes are needed.", "Choose another set."
        )
    options["genes"] = list(dict.fromkeys(map(str, genes)))
    options["dataset"] = str(Path(options["dataset"]).expanduser().resolve())
    identity = {name: value for name, value in options.items() if name != "gene_store"}
    return options, identity | {"dataset": dataset_id(options["dataset"]), "version": VERSION}


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The dataset, and its counts by genes."""
    return named_data(options, "dataset", "gene_store")


def memory(options: dict[str, Any]) -> Need:
    """No more than a comparison, which reads the same pieces and does more with them."""
    return differential_expression.memory(options)


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Compute; see the module's text for the result files."""
    from scfviz.analysis.gene_sets import score_set
    from scfviz.jobs.context import is_stored, open_expression, open_file

    report(0.0, "Reading and checking the dataset")
    counts = open_file(options["dataset"], Workspace(folder.parents[1]), options["gene_column"]).counts
    expression = open_expression(counts, options["gene_store"])
    refuse_what_cannot_fit(memory(options | {"gene_store": is_stored(expression)}), counts.n_obs)
    score = score_set(
        expression,
        options["genes"],
        progress=lambda share: report(0.05 + 0.94 * share, "Scoring the cells"),
        should_stop=should_stop,
    )
    result = folder / "result.partial"
    np.save(result / "values.npy", score.values.astype(np.float32))
    about = {"genes": list(score.genes), "left_out": list(score.left_out), "n_controls": score.n_controls}
    write_json(result / "report.json", about)
