"""What a mapping is asked with."""

from dataclasses import dataclass

from scfviz.errors import OptionError
from scfviz.tasks.spec import ModelOptions, option

SPACES = {
    "combination": "All, each as it earned on the reference",
    "both": "Both side by side",
    "model": "scFoundation's embedding",
    "pca": "Principal components",
}
CORRECTIONS = {
    "shift": "One shift of all cells",
    "clusters": "One per soft cluster (after Symphony)",
    "harmony": "Harmony",
    "none": "None",
}


@dataclass(frozen=True)
class MappingOptions(ModelOptions):
    """Options of a mapping onto a reference, or of an integration of batches."""

    reference: str | None = option(None, kind="dataset", help="the cells to map onto, with counts and labels")
    column: str | None = option(
        None,
        kind="column",
        title="Column to transfer",
        help="column of the reference whose labels the cells get; of batches: their types; found when left out",
    )
    batch: str | None = option(
        None,
        kind="column",
        help="instead of a reference: column of the cells with batches to bring together",
        in_form=False,
    )
    clusters: str | None = option(
        None,
        kind="column",
        title="Clusters of the query",
        help="column of the cells with their clusters; Leiden clusters when left out",
    )
    space: str = option(
        "combination",
        choices=SPACES,
        title="Space",
        help="where neighbours are looked for: the model's embedding, principal components, both side by side, or all "
        "three, each with the weight that it earned on the reference",
    )
    n_neighbors: int = option(15, low=3, high=200, unit="cells", title="Neighbours", help="of the reference, per cell")
    false_rate: float = option(
        0.05, low=0.001, high=0.5, help="share of cells like the reference that may be called without counterpart"
    )
    correction: str = option(
        "shift",
        choices=CORRECTIONS,
        title="Correction",
        help="subtract one shift of the whole query or batch, as a platform or a chemistry makes it; or one per soft "
        "cluster of the reference, after Symphony; or none; Harmony for batches only",
    )
    most_reference_cells: int = option(
        20_000,
        low=50,
        high=200_000,
        unit="cells",
        title="Most reference cells",
        help="of a larger reference so many are used, every label with its share",
        in_form=False,
    )
    seed: int = option(0, low=0, high=2**31 - 1, help="of maps, clusters and samples", in_form=False)

    def check(self) -> None:
        """See `TaskOptions.check`."""
        if self.reference is None and self.batch is None:
            raise OptionError(
                "No reference was given.",
                "Cells are mapped onto another labelled dataset, or batches of one dataset are integrated.",
                "Choose a reference: any dataset of the workspace or of the server's folder; or a batch column.",
            )
        if self.reference is not None and self.batch is not None:
            raise OptionError(
                "A reference and a batch column were given.",
                "Cells are mapped onto a reference, or batches of one dataset are integrated.",
                "Leave one out.",
            )
        if self.correction == "harmony":
            if self.batch is None:
                raise OptionError(
                    "Harmony was chosen for a mapping onto a reference.",
                    "It moves the reference's cells as well, and its picture would not stay.",
                    "Choose 'clusters', the projection after Symphony, or integrate a batch column.",
                )
            from scfviz.tasks.mapping.harmony import refuse_without_harmony  # with numpy: not for the table of tasks

            refuse_without_harmony()
        if self.correction == "none" and self.batch is not None:
            raise OptionError(
                "No correction was chosen for an integration.",
                "Batches are brought together by a correction; the scores before it stand beside anyway.",
                "Choose 'shift', 'clusters' or 'harmony'.",
            )
