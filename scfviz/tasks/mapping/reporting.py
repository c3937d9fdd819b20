"""What reports say of a mapping beyond its line: what to cite, and what a reader must know first."""

from scfviz.tasks import reporting
from scfviz.tasks.mapping.harmony import HARMONY, SYMPHONY
from scfviz.tasks.reporting import Answered

_SHIFT = (
    "Haghverdi L, Lun ATL, Morgan MD, Marioni JC (2018). Batch effects in single-cell RNA-sequencing data are "
    "corrected by matching mutual nearest neighbors. Nature Biotechnology 36, 421-427. doi:10.1038/nbt.4091"
)
_ENOUGH = 0.8  # of the control's cells


def citations(answered: Answered) -> tuple[str, ...]:
    """The model, the correction, and the index of mixing, which came with Harmony."""
    options = answered.result.report["options"]
    by_correction = {"shift": _SHIFT, "clusters": SYMPHONY, "harmony": HARMONY}
    used = by_correction.get(options.get("correction", "shift"))
    return (*reporting.citations(answered), *dict.fromkeys(text for text in (used, HARMONY) if text))


def caveats(answered: Answered) -> tuple[str, ...]:
    """An untrained model; a mapping that would not notice missing types or a wrong tissue."""
    scores, found = answered.result.scores, list(reporting.caveats(answered))
    n_labels, n_noticed = scores.get("n_labels_left_out"), scores.get("n_labels_noticed", 0)
    if n_labels and "noticed_from" not in scores:
        found.append(
            f"Mapping: of {n_labels} labels left out of the reference in turn, only {n_noticed} were noticed as new; "
            "that a cell has a counterpart is weak evidence that its type is in the reference."
        )
    control = scores.get("control_no_counterpart")
    if control is not None and control < _ENOUGH:
        found.append(
            f"Mapping: of cells whose genes were exchanged only {control:.0%} were called without counterpart; a wrong "
            "tissue may pass unnoticed."
        )
    return tuple(found)
