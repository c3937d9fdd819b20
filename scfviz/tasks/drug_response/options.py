"""What a prediction of drug response is asked with."""

from dataclasses import dataclass

from scfviz.tasks.spec import TaskOptions, option


@dataclass(frozen=True)
class DrugResponseOptions(TaskOptions):
    """Options of predictions for bulk samples with counts."""

    drugs: tuple[str, ...] | None = option(
        None, title="Drugs", help="names of drugs; all of the predictor when left out", in_form=False
    )
