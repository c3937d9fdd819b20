"""What an enhancement is asked with."""

from dataclasses import dataclass

from scfviz.errors import OptionError
from scfviz.tasks.spec import ModelOptions, option

DEFAULT_FOLD = 5.0  # the paper's headline
COMBINATION, DATASET_ALONE, NEIGHBORS = "combination", "dataset alone", "neighbours"
POSTERIOR, LOW_RANK, CLUSTER_MEANS, INPUT = "posterior", "low rank", "cluster means", "input"
METHODS = (COMBINATION, DATASET_ALONE, POSTERIOR, NEIGHBORS, LOW_RANK, CLUSTER_MEANS, INPUT)
WITH_INTERVALS = (COMBINATION, DATASET_ALONE, POSTERIOR)


@dataclass(frozen=True)
class EnhancementOptions(ModelOptions):
    """Options of an enhancement."""

    target_depth: float | None = option(
        None, low=1.0, unit="counts per cell", help="read depth to predict for; deeper cells keep their own counts"
    )
    depth_fold: float | None = option(
        None,
        low=1.0,
        high=100.0,
        title="Times its own depth",
        help=f"the same as a multiple of each cell's own depth; {DEFAULT_FOLD:g} when both are left out",
    )
    genes: tuple[str, ...] | None = option(
        None, kind="genes", help="genes to predict; the 2,000 most variable ones when left out"
    )
    all_genes: bool = option(False, help="predict every gene of the file that the model knows", title="All genes")
    method: str = option(
        COMBINATION,
        choices=METHODS,
        help="the learned combination of all methods and the model, the same without the model, the dataset's "
        "posterior, which sees less and invents least, or a simple method",
    )
    intervals: bool = option(
        False,
        help="also the ends of the interval that holds 90 % of what is expected; of the combinations and the posterior",
    )
    seed: int = option(0, low=0, help="of the split of counts and of the principal components", in_form=False)

    def check(self) -> None:
        """See `TaskOptions.check`."""
        if self.target_depth is not None and self.depth_fold is not None:
            raise OptionError(
                "Both a target depth and a depth fold were given.", "Only one can hold.", "Leave one out."
            )
        if self.genes is not None and self.all_genes:
            raise OptionError("Both genes and all genes were asked for.", "Only one can hold.", "Leave one out.")
        if self.genes is not None and (not self.genes or len(set(self.genes)) < len(self.genes)):
            raise OptionError(
                "No genes were given." if not self.genes else "A gene was given twice.",
                "Each chosen gene is needed once.",
                "Correct the list.",
            )
        if self.intervals and self.method not in WITH_INTERVALS:
            raise OptionError(
                f"Intervals were asked for with the method '{self.method}'.",
                "Only the posterior knows how certain it is, and the combinations by it.",
                f"Choose the method '{COMBINATION}', '{DATASET_ALONE}' or '{POSTERIOR}'.",
            )
