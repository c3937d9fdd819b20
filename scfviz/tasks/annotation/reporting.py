"""What reports say of an annotation: how types were learned, what was measured, what a reader must know first."""

from dataclasses import replace
from pathlib import Path

from scfviz.tasks import reporting
from scfviz.tasks.annotation.card import coverage_sentence, verdict
from scfviz.tasks.annotation.classifier import CLASSIFIERS
from scfviz.tasks.annotation.options import METHODS
from scfviz.tasks.fragments import Cell
from scfviz.tasks.reporting import Answered

_GUO = (
    "Guo C, Pleiss G, Sun Y, Weinberger KQ (2017). On calibration of modern neural networks. Proceedings of the 34th "
    "International Conference on Machine Learning. arXiv:1706.04599 (temperature of the probabilities)"
)
_VOVK = "Vovk V, Gammerman A, Shafer G (2005). Algorithmic Learning in a Random World, chapter 4.5. Springer (the sets)"
_REN = (
    "Ren J, Fort S, Liu J, et al. (2021). A simple fix to Mahalanobis distance for improving near-OOD detection. "
    "arXiv:2106.09022 (the distance to types)"
)


def methods(answered: Answered) -> str:
    """Sentences for a methods paragraph."""
    report, scores = answered.result.report, answered.result.scores
    about, reference = report["provenance"], report["provenance"]["reference"]
    held = f"whole parts of '{reference['unit']}'" if reference["unit"] else "cells"
    where = f"the fitted classifier '{reference['name']}'" if reference["is_fitted"] else f"'{reference['name']}'"
    used = [name for name, weight in scores["weights"].items() if weight > 0]
    how = " and ".join(f"{METHODS[name].lower()} (weight {scores['weights'][name]:.2f})" for name in used)
    model = ""
    if any(name.startswith("model_") for name in used):
        model = f" The embedding is that of '{report['checkpoint']['name']}' (content {report['checkpoint']['hash']})."
    found = answered.result.cells["annotated_type"].astype(str)
    return (
        f"Each of {report['n_obs']:,} cells was given one of {len(about['labels'])} types, learned from "
        f"{reference['n_cells']:,} labelled cells of {where} by {how}; weights, temperatures and scores are of {held} "
        f"that were held out in turn.{model} {verdict(scores)} Sets of possible types are class-conditional conformal "
        f"sets for a coverage of {about['coverage']:.0%}. {coverage_sentence(scores, reference['unit'])} "
        f"{int((found == 'unknown').sum()):,} cells are unlike every type and were called unknown."
    )


def citations(answered: Answered) -> tuple[str, ...]:
    """The model where its embedding was read, calibration, sets, and the distance where it was used."""
    scores = answered.result.scores
    reads_model = any(weight > 0 and name.startswith("model_") for name, weight in scores["weights"].items())
    by_distance = answered.result.report["provenance"].get("by_distance", True)
    return (*(reporting.citations(answered) if reads_model else ()), _GUO, _VOVK, *((_REN,) if by_distance else ()))


def caveats(answered: Answered) -> tuple[str, ...]:
    """An untrained model; a reference of one batch; many cells that are like no type."""
    result = answered.result
    found = list(reporting.caveats(answered)) if "scfoundation" in citations(answered) else []
    if not result.report["provenance"].get("by_distance", True):
        found.append(
            "Annotation: the reference is of one batch; a type that it lacks may have got the label of a similar one, "
            "and the measured scores hold for cells like the reference's."
        )
    share = float((result.cells["annotated_type"].astype(str) == "unknown").mean())
    if share > 0.5:
        found.append(f"Annotation: {share:.0%} of the cells are unlike the reference; it may not fit these cells.")
    return tuple(found)


def script(answered: Answered) -> Cell:
    """The same computation; a classifier that ships is found where scfviz is installed."""
    cell, reference = reporting.script(answered), answered.result.report["options"]["reference"]
    known = {path.resolve(): name for name, path in CLASSIFIERS.shipped().items()}
    name = None if reference is None else known.get(Path(reference).resolve())
    if name is None:
        return cell
    code = cell.code.replace(f"reference=Path({Path(reference).name!r})", f"reference=find_classifier({name!r})")
    return replace(cell, code=f"from scfviz.tasks.annotation.classifier import find_classifier\n\n{code}")
