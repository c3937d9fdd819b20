"""The job `enrichment`: which gene sets the result of a comparison is rich in.

Result files: `table.parquet` (see `enrich_list` and `enrich_ranking` in `scfviz.analysis.enrichment`) and `report.json`
(`way`, `n_genes` that were tested, `n_list` and `list`: the top genes, `n_sets` that fitted of `n_sets_given`,
`seconds`).
"""

import hashlib
import time
from pathlib import Path
from typing import Any

from scfviz.errors import JobError, OptionError
from scfviz.jobs.options import Report, ShouldStop, fill_options, named_data
from scfviz.jobs.workspace import Workspace, write_json

TITLE = "Gene sets of a comparison"
VERSION = 2  # part of the identity: raise it when the same options give other results
WAYS = ("list", "ranking")
ONLY_LIST = ("direction", "max_padj", "min_change", "most")
ONLY_RANKING = ("n_permutations", "seed")
DEFAULTS: dict[str, Any] = {
    "comparison": None,
    "way": "list",
    "gmt": None,
    "direction": "higher",
    "max_padj": 0.05,
    "min_change": 1.0,
    "most": 500,
    "smallest": 5,
    "largest": 500,
    "n_permutations": 1000,
    "seed": 0,
}


def prepare(options: dict[str, Any], workspace: Workspace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the options of an enrichment; see `DEFAULTS` for their names.

    `comparison` is the id of a finished `differential_expression`. `way` is "list" (the top genes: `direction`
    "higher" or "lower", adjusted p at most `max_padj`, log2 fold change at least `min_change`, the `most` extreme) or
    "ranking" (all genes by their score, `n_permutations` shuffles). `gmt` is the path of a file of gene sets; none: the
    Gene Ontology that ships with scfviz. Sets of fewer than `smallest` or more than `largest` tested genes are left
    out.
    """
    from scfviz.analysis.enrichment import check_thresholds
    from scfviz.jobs.options import JOB_ID

    options = fill_options(options, DEFAULTS)
    if not JOB_ID.fullmatch(str(options["comparison"])):
        raise OptionError("There is no comparison.", "The id of a finished one is needed.", "Compare two groups first.")
    if options["way"] not in WAYS:
        raise OptionError(f"There is no method '{options['way']}'.", f"There are: {', '.join(WAYS)}.")
    if not 1 <= int(options["smallest"]) <= int(options["largest"]):
        raise OptionError("The limits of the sizes of sets do not fit.", "The smallest is at least 1.", "Change them.")
    if not 10 <= int(options["n_permutations"]) <= 100_000:
        raise OptionError("That many shuffles are not possible.", "10 to 100,000 are.", "Choose another number.")
    check_thresholds(options["direction"], options["max_padj"], options["min_change"], options["most"])
    digest = "gene ontology"
    if options["gmt"] is not None:
        path = Path(options["gmt"]).resolve()
        if not path.is_file():
            raise OptionError("The file of gene sets is no longer there.", "", "Choose it again.")
        options["gmt"] = str(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    unused = ONLY_RANKING if options["way"] == "list" else ONLY_LIST
    identity = {name: value for name, value in options.items() if name not in unused}
    return options, identity | {"gmt": digest, "version": VERSION}


def datasets(options: dict[str, Any]) -> tuple[str, ...]:
    """The comparison, which is on a dataset, and the file of gene sets."""
    return named_data(options, "gmt", jobs=("comparison",))


def run(folder: Path, options: dict[str, Any], report: Report, should_stop: ShouldStop) -> None:
    """Compute; see the module's text for the result files."""
    import pandas as pd

    from scfviz.analysis.enrichment import enrich_list, enrich_ranking, gene_symbols, top_genes
    from scfviz.analysis.gene_sets import load_gene_ontology, read_gmt

    start = time.monotonic()
    path = folder.parent / options["comparison"] / "result" / "table.parquet"
    if not path.is_file():
        raise JobError("The comparison is not there.", "", "It may have been removed; compare the groups again.")
    table = pd.read_parquet(path)
    report(0.0, "Reading the gene sets")
    sets = load_gene_ontology() if options["gmt"] is None else read_gmt(options["gmt"])
    limits = {"smallest": int(options["smallest"]), "largest": int(options["largest"]), "should_stop": should_stop}
    chosen: list[str] = []
    if options["way"] == "list":
        chosen = top_genes(table, *(options[name] for name in ONLY_LIST))
        found = enrich_list(
            chosen,
            sets,
            gene_symbols(table),
            progress=lambda share: report(0.05 + 0.9 * share, "Counting genes in sets"),
            **limits,
        )
    else:
        found = enrich_ranking(
            gene_symbols(table),
            table["scores"],
            sets,
            n_permutations=int(options["n_permutations"]),
            seed=int(options["seed"]),
            progress=lambda share: report(0.05 + 0.9 * share, "Shuffling the genes"),
            **limits,
        )
    result = folder / "result.partial"
    found.to_parquet(result / "table.parquet")
    write_json(
        result / "report.json",
        {
            "way": options["way"],
            "n_genes": len(table),
            "n_list": len(chosen),
            "list": chosen,
            "n_sets": len(found),
            "n_sets_given": len(sets),
            "seconds": round(time.monotonic() - start, 3),
        },
    )
