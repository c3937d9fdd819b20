"""What the fit to a screen, and a change in silico, are asked with."""

from dataclasses import dataclass

from scfviz.errors import OptionError
from scfviz.tasks.spec import ModelOptions, option

KNOCKOUT, OVEREXPRESS = "knockout", "overexpress"


@dataclass(frozen=True)
class PerturbationOptions(ModelOptions):
    """Options of the fit to a perturbation screen."""

    column: str | None = option(
        None,
        kind="column",
        title="Column of perturbations",
        help="column of the cells with their perturbation; found by content when left out",
    )
    control: str | None = option(
        None, title="Control", help="the value of that column that is the control; the usual names are known"
    )
    guides: str | None = option(
        None,
        kind="dataset",
        title="Table of guide counts",
        help="counts of each guide in each cell, instead of a column: a CSV file with the barcodes first, or a dataset",
        in_form=False,
    )
    conditions: str = option(
        "auto",
        choices=("auto", "genes", "other"),
        help="whether the conditions are genes or something else (a drug, a cytokine, a time); auto: by their names",
    )
    library: str | None = option(
        None,
        kind="column",
        title="Counts of each cell",
        help="column with the counts of each cell over all genes, for files that hold only some genes; the file's own "
        "counts when left out",
    )
    most_genes: int = option(5_000, low=10, high=20_000, unit="genes", help="genes of the highest mean are read out")
    seed: int = option(0, low=0, high=2**31 - 1, help="of what is held out", in_form=False)

    def check(self) -> None:
        """See `TaskOptions.check`."""
        if self.guides is not None and self.column is not None:
            raise OptionError(
                "A column and a table of guides were given.", "Conditions come from one of them.", "Leave one out."
            )


@dataclass(frozen=True)
class InSilicoOptions(ModelOptions):
    """Options of an in-silico perturbation."""

    gene: str | None = option(None, kind="gene", help="the gene whose counts are changed")
    mode: str = option(
        KNOCKOUT,
        choices=(KNOCKOUT, OVEREXPRESS),
        help="knockout: no counts of the gene; overexpress: its 99th percentile among the cells that have it",
    )
    column: str | None = option(None, kind="column", title="Only cells of", help="column of the cells with groups")
    group: str | None = option(None, title="Group", help="value of that column; all cells when left out")
    most_cells: int = option(
        1_000, low=10, high=20_000, unit="cells", title="Most cells", help="of more cells a random sample is computed"
    )
    seed: int = option(0, low=0, high=2**31 - 1, help="of the sample and of the map", in_form=False)

    def check(self) -> None:
        """See `TaskOptions.check`."""
        if not self.gene:
            raise OptionError("No gene was given.", "One gene of the dataset is changed.", "Choose a gene.")
        if (self.group is None) != (self.column is None):
            raise OptionError(
                "A column or a group was given without the other.", "Both choose the cells.", "Give both, or none."
            )
