"""Learn from a screen what perturbations change: the public function, from counts to a predictor."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scfviz.errors import DatasetError
from scfviz.tasks.perturbation.effects import MOST_GENES, control_profiles, library_sizes, measure_effects
from scfviz.tasks.perturbation.fit import PerturbationModel, learn
from scfviz.tasks.perturbation.graph import coexpression_space
from scfviz.tasks.perturbation.spaces import COEXPRESSION, spaces_of

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.data.perturbations import PerturbationDesign

NOT_GENES = (
    "Conditions that are not genes (a drug, a cytokine, a time) are measured and compared here; what one does to a "
    "cell type in which it was not measured is predicted as a response of cell types (`scfviz perturb response`)."
)


def fit_perturbations(
    counts: "AlignedCounts",
    design: "PerturbationDesign | None" = None,
    *,
    checkpoint: str | Path | None = None,
    library: str | None = None,
    most_genes: int = MOST_GENES,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PerturbationModel:
    """Learn what genetic perturbations change, and what each view of an unseen one is worth.

    Parameters
    ----------
    counts
        Cells of a screen over all genes of the file (`open_dataset(path).counts`). Not changed.
    design
        Their conditions, from `read_design`; found in `counts.obs` when left out.
    checkpoint
        Folder of the model whose gene embeddings are one view; the one that ships when left out.
    library
        Column with the counts of each cell over all genes, where the file holds only some of them.
    most_genes
        So many genes are read out.

    Raises
    ------
    DatasetError
        There are no perturbations, no control, too few conditions, or they are no genes.
    """
    from scfviz.data.perturbations import read_design

    design = read_design(counts.obs) if design is None else design
    if not design.is_genetic:
        raise DatasetError(f"The conditions of '{design.column}' are not genes.", NOT_GENES, "Look at their changes.")
    sizes = library_sizes(counts, library)
    effects = measure_effects(counts, design, sizes=sizes, most_genes=most_genes)
    profiles = control_profiles(counts, design, effects.genes, sizes)
    spaces = spaces_of(checkpoint) | {COEXPRESSION: coexpression_space(effects.genes, profiles)}
    about = {"column": design.column, "controls": list(design.controls), "notes": list(design.notes)}
    return learn(effects, spaces, about=about, seed=seed, progress=progress)
