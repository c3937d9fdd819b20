"""What the share is asked with."""

from dataclasses import dataclass

from scfviz.tasks.spec import TaskOptions, option


@dataclass(frozen=True)
class MitoOptions(TaskOptions):
    """Options of the throw-away task."""

    threshold: float = option(5.0, low=0.0, high=100.0, unit="% of counts", help="above it a cell counts as high")
    level: str = option("strict", choices=("strict", "loose"), help="strict: above the threshold, loose: at it, too")
    reference: str | None = option(None, kind="dataset", help="cells to compare with")
    rival: str | None = option(None, kind="checkpoint", help="a model that is named beside", in_form=False)
    pause: float = option(0.0, low=0.0, unit="seconds", help="between two cells", in_form=False)
