"""What gene modules are asked with."""

from dataclasses import dataclass

from scfviz.errors import OptionError
from scfviz.tasks.spec import ModelOptions, option

VIEWS = {
    "combination": "Both, weighed on held-out cells",
    "model": "The model's context embeddings",
    "coexpression": "Co-expression",
}
CHOICES = {
    "variable": "The most variable ones, and transcription factors",
    "expressed": "The most expressed ones, and transcription factors",
    "own": "Only my list",
}
ACTIVITIES = {"ulm": "t value", "aucell": "area under the recovery curve"}  # with their units
MOST_GENES = 5_000  # similarities between all pairs are kept in memory: 100 MB each at this number


@dataclass(frozen=True)
class GeneModulesOptions(ModelOptions):
    """Options of modules and networks."""

    group_by: str | None = option(
        None,
        kind="column",
        title="Groups of cells",
        help="column with types, clusters or conditions; Leiden clusters when left out",
    )
    genes: tuple[str, ...] | None = option(
        None, kind="genes", title="My genes", help="genes that take part whatever their variation"
    )
    choice: str = option(
        "variable",
        choices=CHOICES,
        title="Genes that take part",
        help="the most variable ones with transcription factors, the most expressed ones, or your list alone",
    )
    n_genes: int = option(
        800, low=20, high=100_000, unit="genes", title="Number of genes", help="how many of them, beside your own"
    )
    view: str = option(
        "combination",
        choices=VIEWS,
        title="What links genes",
        help="the model's context embeddings, co-expression over metacells, or both with the weights that they earned "
        "on held-out cells; co-expression alone needs no pass of the model and takes seconds",
    )
    most_cells: int = option(
        1_000,
        low=40,
        high=1_000_000,
        unit="cells",
        title="Cells that the model reads",
        help="a sample with every group's share; the error that it leaves is measured and reported",
    )
    resolution: float | None = option(
        None, low=0.05, high=50.0, help="of the Leiden method: higher gives more modules; the most stable when left out"
    )
    trees: bool = option(
        True, title="Boosted trees", help="predict each gene from the transcription factors, as a third view of links"
    )
    activity: str = option(
        "ulm",
        choices={name: f"{name} ({unit})" for name, unit in ACTIVITIES.items()},
        title="Activity of factors",
        help="ulm: the t value of a cell's expression against the signed targets; aucell: how far its targets stand "
        "among the 5 % most expressed genes of a cell, 0 to 1",
    )
    seed: int = option(0, low=0, high=2**31 - 1, help="of samples, metacells and the picture", in_form=False)

    def check(self) -> None:
        """See `TaskOptions.check`."""
        if self.choice == "own" and not self.genes:
            raise OptionError(
                "Only your own genes were asked for, and none was given.", "A list of genes is needed.", "Give genes."
            )
        if self.n_genes > MOST_GENES or (self.genes and len(self.genes) > MOST_GENES):
            n = max(self.n_genes, len(self.genes or ()))
            raise OptionError(
                f"{n:,} genes were asked for: their pairs alone would take {3 * 4 * n**2 / 1e9:,.1f} GB.",
                f"At most {MOST_GENES:,} genes can be linked at once.",
                "Choose the most variable ones, or a list of your own.",
            )
