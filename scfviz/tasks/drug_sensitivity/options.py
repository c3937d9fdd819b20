"""What is asked of the sensitivity of cells."""

from dataclasses import dataclass

from scfviz.tasks.spec import TaskOptions, option

THRESHOLDS = {
    "median": "more than half of the cell lines need more",
    "quarter": "three in four cell lines need more",
    "published": "below published concentrations",
}


@dataclass(frozen=True)
class SensitivityOptions(TaskOptions):
    """Options of the sensitivity of cells."""

    drugs: tuple[str, ...] = option(
        (),
        in_form=False,
        help="drugs that get columns in the file; all drugs are computed anyway, `scfviz drugs list` names them",
    )
    smoothing: bool = option(
        True,
        title="Average over similar cells",
        help="each cell's score becomes the mean over its 15 nearest cells and itself: one cell alone says little",
    )
    threshold: str = option(
        "median",
        choices=THRESHOLDS,
        title="Sensitive means",
        help="median: more than half of the cell lines need more of the drug; quarter: three in four do; published: "
        "below published concentrations, where a drug has one",
    )
    seed: int = option(0, low=0, high=2**31 - 1, help="of the map", in_form=False)
