"""Which cells a benchmark takes: samples of fixed seeds, known labels, pairs of datasets with the same cell types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.baselines import Cells
from scfviz.data.formats import DATASET_SUFFIXES, is_hidden
from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    import pandas as pd

FEWEST_FOR_FOLDS, FEWEST_MASKED = 30, 8
MAX_REFERENCE_CELLS = 20_000  # held in memory; how many of them are embedded is the budget's
UNLABELLED = {"", "na", "nan", "none", "unknown", "unlabelled", "unlabeled", "unassigned"}


@dataclass(frozen=True)
class Budget:
    """How much is computed. Numbers of cells follow from the data alone, so that every checkpoint gets the same cells.

    Attributes
    ----------
    max_cells
        Cells of a dataset that are used at all, a random sample; neighbours are found among them.
    max_genes
        A dataset whose typical cell (median) expresses more genes is left out.
    n_masked, n_thinned
        Cells that the model recovers, per dataset (and per fraction kept); of masked ones fewer, but at least
        `FEWEST_MASKED`, where they cost more than a quarter of `operations`.
    fractions
        Shares of the counts that are kept in read-depth recovery.
    operations
        A dataset is embedded as far as this many operations of the 3M preset go: long cells cost hundreds of times as
        much as short ones.
    fewest_embedded
        What is embedded all the same, for up to four times `operations`, so that folds hold cells of each type. A
        dataset of which not even `FEWEST_FOR_FOLDS` cells can be had for that is left out.
    """

    name: str
    max_cells: int
    max_genes: float
    n_masked: int
    n_thinned: int
    fractions: tuple[float, ...]
    operations: float
    fewest_embedded: int


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("quick", 300, 2_500, 8, 6, (0.05, 0.20), 0.2e12, 60),
        Budget("standard", 800, np.inf, 24, 16, (0.01, 0.05, 0.10, 0.20), 0.9e12, 80),
        Budget("full", 5_000, np.inf, 200, 100, (0.01, 0.05, 0.10, 0.20), 1e18, 100),
    )
}


@dataclass(frozen=True)
class Side:
    """One side of a comparison across datasets.

    Attributes
    ----------
    dataset
        Name of the file without suffix.
    words
        Common word for a label of this dataset; labels without one are left out. Empty: labels as they are.
    column, value
        Only cells with this value in this column of `obs`.
    """

    dataset: str
    words: Mapping[str, str]
    column: str | None = None
    value: str = ""

    @property
    def name(self) -> str:
        """The dataset, with the part of it that counts."""
        return f"{self.dataset} ({self.value})" if self.column else self.dataset

    def cells(self, cells: Cells) -> tuple[Cells, np.ndarray]:
        """The cells of this side with labels in common words, and their rows among the given ones."""
        rows = np.arange(cells.n_obs)
        if self.column is not None:
            rows = np.flatnonzero(cells.obs[self.column].astype(str).to_numpy() == self.value)
        labels = cells.labels[rows]
        if self.words:
            labels = np.array([self.words.get(label) for label in labels], dtype=object)
        return replace(cells.take(rows), name=self.name, labels=labels), rows


@dataclass(frozen=True)
class Pair:
    """A dataset to learn cell types from and another to predict them in; `both_ways` also the other way round."""

    one: Side
    other: Side
    note: str
    both_ways: bool = True


_PBMC3K = Side(
    "pbmc3k",
    {
        "B": "B cell",
        "CD14+ Mono": "CD14 monocyte",
        "NK": "NK cell",
        "CD8 T": "CD8 T cell",
        "Naive CD4 T": "CD4 T cell",
        "Memory CD4 T": "CD4 T cell",
    },
)
_ZHENG = Side(
    "zheng_facs_pbmc",
    {
        "CD19+ B": "B cell",
        "CD14+ Monocyte": "CD14 monocyte",
        "CD56+ NK": "NK cell",
        "CD8+ Cytotoxic T": "CD8 T cell",
        "CD8+/CD45RA+ Naive Cytotoxic": "CD8 T cell",
        "CD4+ T Helper2": "CD4 T cell",
        "CD4+/CD45RO+ Memory": "CD4 T cell",
        "CD4+/CD25 T Reg": "CD4 T cell",
        "CD4+/CD45RA+/CD25- Naive T": "CD4 T cell",
    },
)
_BROAD = {
    "B cell": "B cell",
    "CD14 monocyte": "monocyte",
    "NK cell": "NK cell",
    "CD8 T cell": "T cell",
    "CD4 T cell": "T cell",
}


def _broad(side: Side) -> Side:
    return replace(side, words={label: _BROAD[word] for label, word in side.words.items()})


_GEACT_BLOOD = Side(
    "geact_blood_sorted", {"B cell": "B cell", "monocyte": "monocyte", "NK cell": "NK cell", "T cell": "T cell"}
)
_MUDAN = Side(
    "mudan_sorted_reference",
    {
        "bcells": "B cell",
        "monocytes": "CD14 monocyte",
        "nk": "NK cell",
        "cytotoxict": "CD8 T cell",
        "naivecytotoxic": "CD8 T cell",
        "memoryt": "CD4 T cell",
        "regulatoryt": "CD4 T cell",
        "thelper": "CD4 T cell",
        "naivet": "CD4 T cell",
    },
)

#: Datasets of cells that no shipped checkpoint has seen.
PAIRS = (
    Pair(_PBMC3K, _ZHENG, "five blood types; FCGR3A+ monocytes, dendritic, platelets and CD34+ left out"),
    Pair(
        Side("scmix_singlecell", {}, "platform", "CEL-seq2"),
        Side("scmix_singlecell", {}, "platform", "Drop-seq"),
        "the same cell lines on two platforms",
    ),
)
#: References that a shipped checkpoint has seen in pretraining, without their labels; tested on cells that it hasn't.
SEEN_PAIRS = (
    Pair(_MUDAN, _PBMC3K, "five blood types", both_ways=False),
    Pair(_GEACT_BLOOD, _broad(_PBMC3K), "four blood types; MALBAC-DT to 10x", both_ways=False),
    Pair(_GEACT_BLOOD, _broad(_ZHENG), "four blood types; MALBAC-DT to 10x", both_ways=False),
    Pair(
        Side("geact_fetal_organs", {w: w for w in ("T", "Erythrocyte", "Mast", "SM", "Fibro", "Epi", "Endo")}),
        Side("geact_fetal_bronchus_marrow", {}),
        "types of the same name in other fetal organs",
        both_ways=False,
    ),
)


def _sides(pairs: Sequence[Pair]) -> list[Side]:
    return [side for pair in pairs for side in (pair.one, pair.other)]


def only_shared_labels(cells: Cells) -> Cells:
    """The same cells of a reference, without the labels that no pair asks for."""
    wanted = {label for side in _sides(SEEN_PAIRS) if side.dataset == cells.name for label in side.words}
    return replace(cells, labels=np.array([w if w in wanted else None for w in cells.labels], dtype=object))


def find_datasets(folder: Path) -> dict[str, Path]:
    """Dataset files of a folder by name without suffix.

    Raises
    ------
    OptionError
        There is no such folder, or nothing to read in it.
    """
    if not folder.is_dir():
        raise OptionError(
            f"There is no folder '{folder}'.", "--data names a folder with datasets.", "Correct the path."
        )
    found = {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith(DATASET_SUFFIXES) and not is_hidden(path.name)
    }
    if not found:
        raise OptionError(
            f"The folder '{folder}' holds no dataset.",
            f"Files must end in {', '.join(DATASET_SUFFIXES)}.",
            "Give another folder.",
        )
    return found


def load_cells(path: Path, genes: Sequence[str], max_cells: int, *, seed: int = 0) -> Cells:
    """A random sample of a dataset, with known cell types where there are any.

    Cells that a column `also_in_NAME` says to be in another dataset too, perhaps one of the pretraining, are left out.

    Parameters
    ----------
    genes
        The model's genes in order.

    Raises
    ------
    DatasetError, GeneError
        The file holds no usable counts or no known genes, or fewer than three cells with counts.
    """
    from scfviz.data.align import align_genes
    from scfviz.data.read import read_dataset

    aligned = align_genes(read_dataset(path), genes=genes)
    usable = np.flatnonzero((aligned.total_counts > 0) & ~is_elsewhere(aligned.obs))
    if len(usable) < 3:
        raise DatasetError(f"'{path.name}' has {len(usable)} cells with counts.", "At least three are needed.", "")
    sample = aligned.subset(np.sort(np.random.default_rng(seed).permutation(usable)[:max_cells]))
    return Cells(
        path.stem,
        sample.rows(0, sample.n_obs),
        aligned.is_measured,
        sample.obs,
        known_labels(sample.obs),
        aligned.n_obs,
    )


def is_elsewhere(obs: "pd.DataFrame") -> np.ndarray:
    """bool (n_obs,): cells of which any column `also_in_NAME` says that they are in another dataset too."""
    told = [obs[name].astype(str).str.casefold() == "true" for name in obs.columns if str(name).startswith("also_in_")]
    return np.any(told, axis=0) if told else np.zeros(len(obs), dtype=bool)


def known_labels(obs: "pd.DataFrame") -> np.ndarray:
    """Cell types, object (n_obs,), `None` where unknown; from the first column that is called like one."""
    from scfviz.analysis.metrics import CELL_TYPE_COLUMNS

    column = next((name for name in CELL_TYPE_COLUMNS if name in obs.columns), None)
    if column is None:
        return np.full(len(obs), None, dtype=object)
    words = obs[column].astype(object).where(obs[column].notna(), "").map(str)
    return np.array([None if word.strip().casefold() in UNLABELLED else word for word in words], dtype=object)


def encoder_costs(cells: Cells) -> np.ndarray:
    """Operations that the encoder of the 3M preset takes for each cell, float64 (n_obs,)."""
    from scfviz.model.batching import cell_flops
    from scfviz.model.config import PRESETS

    return cell_flops(PRESETS["3M"], np.diff(cells.counts.indptr) + 2, decode=False)


def count_masked(cells: Cells, budget: Budget) -> int:
    """How many cells the model recovers in masked recovery.

    Raises
    ------
    DatasetError
        The typical cell expresses more genes than the budget allows for.
    """
    typical = float(np.median(np.diff(cells.counts.indptr)))
    if typical > budget.max_genes:
        raise DatasetError(
            f"'{cells.name}' has long cells ({typical:,.0f} expressed genes), which '{budget.name}' leaves out.",
            "",
            "Run the benchmark without --quick.",
        )
    affordable = int(budget.operations / 4 / encoder_costs(cells).mean())
    return min(budget.n_masked, max(affordable, FEWEST_MASKED))


def choose_embedded(cells: Cells, budget: Budget, *, seed: int = 0) -> np.ndarray:
    """Rows of the labelled cells that are embedded, as many as the budget allows.

    Where a pair compares two parts of the dataset, the parts take turns, so that neither is left with a few cells.

    Raises
    ------
    DatasetError
        Fewer than 30 cells can be had for four times the operations.
    """
    labelled = np.flatnonzero([label is not None for label in cells.labels])
    order = np.random.default_rng(seed).permutation(labelled)
    column = next((side.column for side in _sides(PAIRS) if side.dataset == cells.name and side.column), None)
    if column in cells.obs.columns:
        turns = cells.obs[column].iloc[order].reset_index(drop=True)
        order = order[np.argsort(turns.groupby(turns, observed=True).cumcount().to_numpy(), kind="stable")]
    costs = np.cumsum(encoder_costs(cells)[order])
    once, four_times = (int(np.searchsorted(costs, k * budget.operations, side="right")) for k in (1, 4))
    n_kept = max(once, min(budget.fewest_embedded, four_times))
    if n_kept < min(FEWEST_FOR_FOLDS, len(order)):
        raise DatasetError(
            f"'{cells.name}' has long cells: the budget '{budget.name}' allows only {n_kept} of them.",
            f"At least {FEWEST_FOR_FOLDS} are needed.",
            "Run the benchmark without --quick.",
        )
    return np.sort(order[:n_kept])


def refuse_other_genes(models: Mapping[str, object]) -> None:
    """Two checkpoints can only be compared on the same genes.

    Raises
    ------
    OptionError
        Their gene lists differ.
    """
    if len({model.genes for model in models.values()}) > 1:
        raise OptionError(
            "The two checkpoints know different genes.",
            "They can only be compared on the same ones.",
            "Run the benchmark on each of them alone.",
        )
