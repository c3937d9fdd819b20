"""What the response of cell types to a treatment is asked with."""

from dataclasses import dataclass

from scfviz.errors import OptionError
from scfviz.tasks.spec import ModelOptions, option


@dataclass(frozen=True)
class ResponseOptions(ModelOptions):
    """Options of the response of each cell type, predicted from that of the others."""

    types: str | None = option(None, kind="column", title="Column of cell types", help="column of the cells' types")
    column: str | None = option(
        None,
        kind="column",
        title="Column of conditions",
        help="column of the cells with the treatment and its control; found by content when left out",
    )
    control: str | None = option(
        None, title="Control", help="the value of that column that is the control; the usual names are known"
    )
    treatment: str | None = option(
        None, title="Treatment", help="the value whose response is asked for; the one with most cells when left out"
    )
    library: str | None = option(
        None,
        kind="column",
        title="Counts of each cell",
        help="column with the counts of each cell over all genes, for files that hold only some genes; the file's own "
        "counts when left out",
    )
    most_genes: int = option(5_000, low=10, high=40_000, unit="genes", help="genes of the highest mean are read out")
    seed: int = option(0, low=0, high=2**31 - 1, help="of the cells that are embedded", in_form=False)

    def check(self) -> None:
        """See `TaskOptions.check`."""
        if not self.types:
            raise OptionError(
                "No column of cell types was given.",
                "The response of a type is predicted from that of the others.",
                "Choose the column; annotate the cells first if there is none.",
            )
