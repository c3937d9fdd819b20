"""The task `enhancement`: expression at a greater read depth, and what it is worth on these very cells.

Arrays: `enhanced` (n_kept, n_genes) float32, ln(1 + counts per 10,000) expected at the target depth, for the genes of
the table `genes` in its order, all of them measured; `low` and `high` likewise where intervals were asked for;
`counts` the same genes as they were measured, sparse; `unmeasured` (n_kept, k) what the model alone says of chosen
genes that the file does not measure, in the order of the table `unmeasured`.
Columns of `cells`: source_depth, target_depth. Tables: `genes`, `methods`, `read_depth_curve`, see
`scfviz.tasks.enhancement.scores`.
Scores: those of the verdict.

An interrupted run goes on with the cells that are left.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scfviz.data.memory import Need
from scfviz.data.normalise import log_normalise
from scfviz.errors import GeneError, OptionError, Stopped
from scfviz.tasks.enhancement.options import (
    COMBINATION,
    DEFAULT_FOLD,
    LOW_RANK,
    NEIGHBORS,
    EnhancementOptions,
)
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.steps import Steps

if TYPE_CHECKING:
    from scfviz.tasks.enhancement.compute import Enhancer, Expect
    from scfviz.tasks.enhancement.scores import Verdict

N_GENES = 2_000  # most variable ones, when none are chosen
READS = 60_000  # counts of a median cell that are hardly molecules any more
_VALUES_AT_ONCE = 2_000_000  # cells x genes that are computed together
_MOST_CELLS_AT_ONCE = 256


def memory(options: dict[str, Any]) -> Need:
    """All counts as a sparse matrix, their logarithm and principal components, neighbours; results go to disk.

    Measured with 2,714 values a cell: 7.4 GB for 50,000 cells (`benchmarks/enhance_speed.py`).
    """
    return Need(2.0e9, 120_000, "Counts, their logarithm, components and neighbours of all cells")


@dataclass(frozen=True)
class Question:
    """Counts and depths of the cells, and the genes that are asked for.

    Attributes
    ----------
    enhancer
        The counts; its totals are the cells' own depths.
    target
        float64 (n_obs,), counts per cell, never below the cell's own.
    genes, unmeasured
        int64: positions of the chosen genes that the file measures, and of those that it does not.
    notes
        What was decided, in sentences.
    """

    enhancer: "Enhancer"
    target: np.ndarray
    genes: np.ndarray
    unmeasured: np.ndarray
    notes: tuple[str, ...]


def run(cells: OpenedCells, options: EnhancementOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    import pandas as pd

    from scfviz.model.depths import depth_notes
    from scfviz.tasks.enhancement.scores import judge

    with steps.step(0.02, "Reading the counts"):
        question = _ask(cells, options)
    enhancer, names = question.enhancer, cells.aligned.genes
    expect = _expect(cells, options)
    with steps.step(0.08, "Judging the methods on held-back counts of these cells"):
        verdict = judge(
            enhancer.counts, enhancer.is_measured, question.target / enhancer.totals, expect, names,
            method=options.method, seed=options.seed, progress=steps.progress(0.08, 0.5), should_stop=steps.should_stop,
        )  # fmt: skip
    with steps.step(0.5, "Predicting the expression at the target depth"):
        arrays, weights = _write(question, options, verdict, expect, steps)
    notes = [*question.notes, *verdict.notes]
    if np.median(enhancer.totals) > READS:
        notes.append(
            f"The median cell has {np.median(enhancer.totals):,.0f} counts. Where these are reads and not molecules, "
            "reads of one molecule fall on both sides of the comparison, and the counts look better than they are."
        )
    if expect is not None:
        notes += depth_notes(cells.checkpoint.training, enhancer.totals, question.target)
    genes = verdict.genes.set_index("gene").reindex(names[question.genes].astype(str)).reset_index(names="gene")
    genes["light"] = genes["light"].fillna("can't tell")
    tables = {"genes": genes, "methods": verdict.methods, "read_depth_curve": verdict.curve}
    layer = cells.layer_genes(question.genes)
    tables |= {name: layer for name in ("enhanced", "low", "high") if name in arrays}
    if len(question.unmeasured):
        tables["unmeasured"] = pd.DataFrame({"gene": names[question.unmeasured].astype(str)})
    arrays["counts"] = sparse.csr_matrix(enhancer.counts[:, question.genes], dtype=np.float32)
    depths = {"source_depth": enhancer.totals, "target_depth": question.target}
    table = pd.DataFrame(depths, index=cells.aligned.obs.index)
    return Result(
        cells.kept, table, arrays, tables, tuple(notes), verdict.scores,
        {"provenance": {"unit": "ln(1 + counts per 10,000)", "method": options.method} | weights},
    )  # fmt: skip


def _ask(cells: OpenedCells, options: EnhancementOptions) -> Question:
    from scfviz.model.source import CellSource
    from scfviz.model.tokens import refuse_empty_cells
    from scfviz.tasks.enhancement.compute import Enhancer, read_counts
    from scfviz.tasks.enhancement.prediction import refuse_few_cells

    aligned = cells.aligned
    refuse_few_cells(aligned.n_obs)
    CellSource(aligned, aligned.genes)  # refuses cells of other species
    counts = read_counts(aligned)
    enhancer = Enhancer(counts, np.asarray(aligned.is_measured), seed=options.seed)
    refuse_empty_cells(enhancer.totals, aligned.obs.index.to_numpy(dtype=str))
    target, notes = target_depths(enhancer.totals, options)
    genes, unmeasured = _choose_genes(enhancer, aligned.genes, options)
    return Question(enhancer, target, genes, unmeasured, notes)


def target_depths(depth: np.ndarray, options: EnhancementOptions) -> tuple[np.ndarray, tuple[str, ...]]:
    """Target depth of each cell, never below its own, and what is said of it.

    Raises
    ------
    OptionError
        Every cell is deeper than the target depth.
    """
    if options.target_depth is None:
        return depth * (options.depth_fold or DEFAULT_FOLD), ()
    is_deeper = depth > options.target_depth
    if is_deeper.all():
        raise OptionError(
            f"The target depth is {options.target_depth:,.0f} counts; every cell is deeper, the shallowest has "
            f"{depth.min():,.0f}.",
            "Counts can be added, not removed.",
            f"Choose a target depth above {np.median(depth):,.0f} counts, the median of these cells.",
        )
    notes = ()
    if is_deeper.any():
        notes = (
            f"{int(is_deeper.sum()):,} of {len(depth):,} cells have more than {options.target_depth:,.0f} counts: they "
            f"stay as they are.",
        )
    return np.maximum(depth, options.target_depth), notes


def _choose_genes(
    enhancer: "Enhancer", names: np.ndarray, options: EnhancementOptions
) -> tuple[np.ndarray, np.ndarray]:
    from scfviz.analysis.baselines import choose_variable_genes

    measured = np.flatnonzero(enhancer.is_measured)
    if options.all_genes:
        return measured, measured[:0]
    if options.genes is None:
        varying = choose_variable_genes(log_normalise(enhancer.counts, enhancer.totals)[:, measured], N_GENES)
        return measured[varying], measured[:0]
    position = {str(name): number for number, name in enumerate(names)}
    if unknown := [gene for gene in options.genes if gene not in position]:
        raise GeneError(
            f"{len(unknown):,} of the {len(options.genes):,} chosen genes are unknown: {', '.join(unknown[:6])}.",
            "Current human symbols of the model's genes are needed.",
            "Correct the names.",
        )
    chosen = np.array([position[gene] for gene in options.genes], dtype=np.int64)
    is_measured = enhancer.is_measured[chosen]
    if not is_measured.all() and options.method != COMBINATION:
        missing = [str(names[gene]) for gene in chosen[~is_measured]]
        raise GeneError(
            f"The file does not measure {', '.join(missing[:6])}.",
            f"The method '{options.method}' knows only genes that are measured.",
            f"Leave them out, or choose the method '{COMBINATION}': the model alone then says what it expects of them.",
        )
    if not is_measured.any():
        raise GeneError(
            "The file measures none of the chosen genes.", "At least one is needed.", "Choose genes of the file."
        )
    return chosen[is_measured], chosen[~is_measured]


def _expect(cells: OpenedCells, options: EnhancementOptions) -> "Expect | None":
    from scfviz.tasks.enhancement.compute import expect_expression

    return expect_expression(cells.model, options.device) if options.method == COMBINATION else None


def _write(
    question: Question, options: EnhancementOptions, verdict: "Verdict", expect: "Expect | None", steps: Steps
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fill the arrays a few cells at a time, on disk; those that an earlier run finished are not computed again."""
    from scfviz.tasks.enhancement.prediction import Prediction

    enhancer, target, genes, unmeasured = question.enhancer, question.target, question.genes, question.unmeasured
    recorder = _Recorder(expect, unmeasured)
    made = Prediction(
        enhancer, target, genes, options.method, verdict.mixture, None if expect is None else recorder,
        intervals=options.intervals, always_ask=len(unmeasured) > 0,
    )  # fmt: skip
    widths = {"enhanced": len(genes)}
    widths |= dict.fromkeys(("low", "high"), len(genes)) if options.intervals else {}
    widths |= {"unmeasured": len(unmeasured)} if len(unmeasured) else {}
    store = _Store(steps.work, len(target), widths)
    progress = steps.progress(0.5, 0.96)
    at_once = max(1, min(_MOST_CELLS_AT_ONCE, _VALUES_AT_ONCE // max(len(genes), 1)))
    smoothed = steps.work / "smoothed.npy"
    if made.weights is not None and store.done < len(target):
        made.gather(np.lib.format.open_memmap(smoothed, "w+", np.float32, (len(target), len(genes))))
    while store.done < len(target):
        if steps.should_stop():
            raise Stopped
        rows = np.arange(store.done, min(store.done + at_once, len(target)))
        parts = made.of(rows)
        if len(unmeasured):
            parts["unmeasured"] = recorder.values
        store.add(rows, parts)
        progress(store.done, len(target))
    smoothed.unlink(missing_ok=True)
    weights, mixture = made.weights, made.mixture
    about: dict[str, Any] = {} if weights is None else {"weights": asdict(weights), "mixture": asdict(mixture)}
    about |= {"n_neighbors": mixture.n_neighbors} if options.method == NEIGHBORS else {}
    about |= {"rank": mixture.rank} if options.method == LOW_RANK else {}
    return store.arrays(), about


class _Recorder:
    """A model's answers, with what it says of some genes kept on the way."""

    def __init__(self, expect: "Expect | None", genes: np.ndarray):
        self._expect, self._genes = expect, genes
        self.values = np.empty((0, len(genes)), np.float32)

    def __call__(self, cells: Any, hidden: None) -> np.ndarray:
        found = self._expect(cells, hidden)
        self.values = found[:, self._genes]
        return found


class _Store:
    """Arrays on disk, filled in order; a later run finds how many cells are done."""

    def __init__(self, folder: Path, n_obs: int, widths: dict[str, int]):
        self._folder, self._widths, self._done = folder, widths, folder / "cells_done.json"
        shapes = {name: [n_obs, width] for name, width in widths.items()}
        known = json.loads(self._done.read_text()) if self._done.exists() else {}
        is_known = known.get("shapes") == shapes and all(self._path(name).exists() for name in widths)
        self.done, self._shapes = (known["done"] if is_known else 0), shapes
        self._open = {
            name: np.lib.format.open_memmap(
                self._path(name), "r+" if is_known else "w+", np.float32, None if is_known else (n_obs, width)
            )
            for name, width in widths.items()
        }

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def add(self, rows: np.ndarray, parts: dict[str, np.ndarray]) -> None:
        """Write the values of the next cells; they count as done once they are on disk."""
        for name, values in parts.items():
            self._open[name][rows] = values
            self._open[name].flush()
        self.done = int(rows[-1]) + 1
        temporary = self._done.with_suffix(".tmp")
        temporary.write_text(json.dumps({"done": self.done, "shapes": self._shapes}))
        os.replace(temporary, self._done)

    def arrays(self) -> dict[str, np.ndarray]:
        """What was written, read from disk."""
        self._open.clear()
        return {name: np.load(self._path(name), mmap_mode="r", allow_pickle=False) for name in self._widths}
