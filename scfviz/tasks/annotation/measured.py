"""What `benchmarks/annotation.py` measured on public datasets, in sentences and as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scfviz.places import RESULTS

FILE = RESULTS / "annotation.json"
_AUTO, _MODEL, _PLAIN = "macro_f1 auto", "macro_f1 combination", "macro_f1 genes_logistic"
_RULE = "belief all of it, distance half"  # of the errors of sets
COLUMNS = {
    "Macro-F1": _AUTO,
    "Combination": _MODEL,
    "Logistic regression": _PLAIN,
    "CellTypist's recipe": "macro_f1 celltypist",
    "Calibration error": "ece",
    "Coverage": "coverage",
    "Coverage of the worst type": "coverage of the worst type",
    "AUROC of types not learned": "unseen auroc",
}


def read_measured(path: Path = FILE) -> dict[str, Any] | None:
    """The recorded results; None where they are not at hand."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("within") or found.get("across") else None


def describe_measured(found: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences: within datasets, from one to another, with few labels, sets."""
    said = []
    for kind, where, more in (
        ("within", "within a dataset", ""),
        ("across", "from one dataset to another", ", where the task takes logistic regression by itself"),
    ):
        sets = found.get(kind) or {}
        if sets:
            said.append(
                f"{_compare([of['scores']['combination minus logistic'] for of in sets.values()], where)}{more}."
            )
    few = [_of_few(of["curve"]) for of in (found.get("within") or {}).values() if of.get("curve")]
    few = [pair for pairs in few for pair in pairs]
    if few:
        ahead = sum(combined > plain for combined, plain in few)
        said.append(
            f"With 5 and 10 labels per type the combination was ahead on average in {ahead} of {len(few)} cases."
        )
    covered = [of["scores"]["coverage"][0] for kind in ("within", "across") for of in (found.get(kind) or {}).values()]
    said.append(
        f"Sets made for a coverage of {found['nominal_coverage']:.0%} held the right type for "
        f"{min(covered):.0%} to {max(covered):.0%} of the cells, by dataset."
    )
    if by_unit := [of["scores"]["coverage"][0] for of in (found.get("within") or {}).values() if of.get("units")]:
        said[-1] += (
            f" On held-out donors or batches ({len(by_unit)} datasets) it was {min(by_unit):.0%} to {max(by_unit):.0%}."
        )
    return [*said, *_sets(found), *_celltypist(found)]


def _sets(found: Mapping[str, Any]) -> list[str]:
    """What sets by genes alone held, on more held-out donors and batches; see `benchmarks/annotation_sets.py`."""
    rows = {name: of for name, of in (found.get("sets") or {}).items() if name.startswith("evaluation/")}
    whole = [of for of in rows.values() if of.get("units")]
    if not whole:
        return []
    held, all_held = ([of[_RULE]["coverage"][0] for of in part] for part in (whole, rows.values()))
    return [
        f"By genes alone, sets held the right type for {min(held):.0%} to {max(held):.0%} of the cells of held-out "
        f"donors or batches ({len(whole)} datasets), and for {min(all_held):.0%} to {max(all_held):.0%} on all "
        f"{len(rows)}."
    ]


def _celltypist(found: Mapping[str, Any]) -> list[str]:
    """How near the recipe that stands for CellTypist comes to CellTypist itself."""
    runs = [run for of in (found.get("celltypist") or {}).values() for run in of.values()]
    if not runs:
        return []
    equal, scores = (
        [run["equal labels"] for run in runs],
        [run["macro_f1"] - run["macro_f1 of the recipe"] for run in runs],
    )
    return [
        f"CellTypist itself gave the same labels as its recipe in the table for {min(equal):.0%} to {max(equal):.0%} "
        f"of the cells ({len(found['celltypist'])} datasets); its macro-F1 differed by {min(scores):+.3f} to "
        f"{max(scores):+.3f}."
    ]


def measured_table(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a dataset or pair: mean over seeds with its 95 % interval, as text."""
    rows = []
    for kind, what in (("within", "held-out cells"), ("across", "another dataset")):
        for name, of in (found.get(kind) or {}).items():
            tested = f"held-out values of {of['units']}" if of.get("units") else what
            scores = dict(of["scores"]) | dict(of.get("left_out_mean") or {})
            row = {"Data": name.replace("_", " "), "Tested on": tested}
            rows.append(row | {title: _text(scores.get(score)) for title, score in COLUMNS.items()})
    return rows


def _compare(differences: list[list[float]], where: str) -> str:
    ahead, behind = (sum(end > 0 for _, end, _ in differences), sum(end < 0 for *_, end in differences))
    return (
        f"Against logistic regression on genes, {where} the combination with the model was better in {ahead}, worse in "
        f"{behind} and not clearly different in {len(differences) - ahead - behind} of {len(differences)} comparisons"
    )


def _of_few(curve: Mapping[str, Any]) -> list[tuple[float, float]]:
    rows = [curve[size] for size in ("5", "10") if size in curve]
    return [(row["combination"][0], row["genes_logistic"][0]) for row in rows]


def _text(score: list[float] | None) -> str:
    return "" if score is None else f"{score[0]:.3f} ({score[1]:.3f} to {score[2]:.3f})"
