"""The command `drugs cells`: the sensitivity of single cells; it is part of the group `drugs`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.tasks import add_options, run_command
from scfviz.tasks.registry import get_task

if TYPE_CHECKING:
    from scfviz.tasks.result import Result


def add_cells(parts: Any) -> None:
    """Add `cells` to the parts of the group `drugs`."""
    task = get_task("drug_sensitivity")
    parser = parts.add_parser(
        "cells",
        help="read from single tumour cells which drugs would hit them; write the file with what was found",
        description=f"{task.question} Writes obs['sensitivity_DRUG'] and obs['sensitivity_DRUG_confidence']. Research "
        "use only: never for treatment.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="h5ad, zarr, 10x h5 or mtx, loom, csv, tsv")
    parser.add_argument("out", type=Path, metavar="OUT.h5ad", help="a new file: yours with the results added")
    parser.add_argument(
        "--drug",
        dest="drug",
        action="append",
        nargs="+",
        metavar="NAME",
        help="drugs that get columns, in any spelling; the most telling ones when left out",
    )
    add_options(parser, task)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from scfviz.tasks.drug_sensitivity.predictor import read_predictor

    given = [name for names in args.drug or () for name in names]
    args.drugs = tuple(given) or tuple(args.drugs or ())
    read_predictor().find_drugs(args.drugs)  # before a long file is opened
    return run_command(args, get_task("drug_sensitivity"), _caveats)


def _caveats(result: "Result") -> list[str]:
    """Whether these cells are like those that were learned from, and what no prediction is for: as the page has it."""
    from scfviz.tasks.drug_sensitivity.card import CAVEAT
    from scfviz.tasks.drug_sensitivity.domain import say_domain

    kind = result.report["provenance"]["domain"]
    return [say_domain(kind, result.scores.get("dividing")).replace("**", ""), CAVEAT]
