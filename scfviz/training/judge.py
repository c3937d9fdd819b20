"""Whether an adapted model is worth keeping: what it gained on held-out cells, and what it forgot elsewhere."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scfviz.data.align import align_genes
from scfviz.data.catalog import DEMOS, demo_path
from scfviz.data.corpus_reader import Corpus
from scfviz.data.read import read_dataset
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.batches import HELD_OUT_BATCH, TrainingBatch, assemble_batch, held_out_cells
from scfviz.training.masking import cell_generator, mask_cell
from scfviz.training.objective import Objective
from scfviz.training.options import BatchOptions, MaskingOptions
from scfviz.training.run import ShouldStop

GENERAL = DEMOS[0]  # immune cells with all genes measured; they come with a package, so they are always there
LARGEST_FORGETTING = 0.05
FEWEST_CELLS = 20
_DRAWS = 2_000


@dataclass(frozen=True)
class Change:
    """Error of masked recovery on the same masked entries, before and after.

    Attributes
    ----------
    before, after
        Mean over cells of a cell's mean squared error, in squared ln(1 + counts per 10,000).
    relative, low, high
        Change as a share of `before`, negative where the model became better, with its 95 % interval over cells.
    """

    n_cells: int
    before: float
    after: float
    relative: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What an adapted model is worth.

    Attributes
    ----------
    keep
        It is certainly better on held-out cells of the same data, and forgot at most `LARGEST_FORGETTING` elsewhere.
    reason
        Why, in a sentence.
    own, general
        Held-out cells of the data that it was adapted to, and cells of another dataset.
    """

    keep: bool
    reason: str
    own: Change
    general: Change

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(
    before: ScFoundation,
    after: ScFoundation,
    corpus: Corpus,
    cache_dir: Path | str,
    *,
    masking: MaskingOptions | None = None,
    n_cells: int = 64,
    seed: int = 0,
    should_stop: ShouldStop | None = None,
) -> Verdict:
    """Compare a model before and after it was adapted.

    Parameters
    ----------
    corpus
        What it was adapted on. Of its held-out cells the second half is scored: `adapt` chose the weights on the first.
    cache_dir
        Receives the demo dataset on which forgetting is measured.
    masking
        The objective that the model was trained with; the published one when left out.
    n_cells
        Held-out and general cells that are scored, at most.
    seed
        That of the training, which orders the held-out cells; masks them, too.
    """
    masking = masking or MaskingOptions()
    split = "held-out cells"
    own = held_out_cells(corpus, split, n_cells, masking, BatchOptions(), seed, skipped=corpus.n_cells(split) // 2)
    general = general_cells(corpus.genes, cache_dir, masking, n_cells, seed)
    errors = [[cell_errors(model, cells, should_stop) for model in (before, after)] for cells in (own, general)]
    return decide(*(compare(*pair) for pair in errors))


def decide(own: Change, general: Change) -> Verdict:
    """Keep only what certainly helps and forgets little."""
    gained = f"On {own.n_cells:,} held-out cells the error of masked recovery changed by {_say(own)}"
    forgot = f"on {general.n_cells:,} cells of another dataset (immune cells) by {_say(general)}"
    if own.n_cells < FEWEST_CELLS:
        why = f"Only {own.n_cells:,} cells are held out, {FEWEST_CELLS} are needed to tell: add cells."
        return Verdict(False, why, own, general)
    if own.high >= 0:
        return Verdict(False, f"{gained}: no certain gain, the model as it was is as good.", own, general)
    if general.relative > LARGEST_FORGETTING:
        why = f"{gained}, but {forgot}: more than {LARGEST_FORGETTING:.0%} was forgotten."
        return Verdict(False, why, own, general)
    return Verdict(True, f"{gained}; {forgot}.", own, general)


def compare(before: np.ndarray, after: np.ndarray) -> Change:
    """Errors per cell, (n,) each, of the same cells."""
    n = len(before)
    if not n:
        return Change(0, *[float("nan")] * 5)
    drawn = np.random.default_rng(0).integers(0, n, (_DRAWS, n))
    ratios = after[drawn].mean(axis=1) / before[drawn].mean(axis=1) - 1
    low, high = np.quantile(ratios, (0.025, 0.975))
    means = float(before.mean()), float(after.mean())
    return Change(n, *means, means[1] / means[0] - 1, float(low), float(high))


def cell_errors(
    model: ScFoundation, batches: Sequence[TrainingBatch], should_stop: ShouldStop | None = None
) -> np.ndarray:
    """Mean squared error over the masked entries of each cell, float64 (n_cells,); shorter after `should_stop`."""
    objective, found = Objective(model).eval(), [np.empty(0)]
    with torch.no_grad():
        for batch in batches:
            if should_stop is not None and should_stop():
                break
            cells = (batch.loss_rows // batch.ids_BR.shape[1]).numpy()
            sums, counts = (
                np.bincount(cells, weights, minlength=len(batch.positions))
                for weights in (objective.errors(batch).double().numpy(), None)
            )
            found.append(sums / np.maximum(counts, 1))
    return np.concatenate(found)


def general_cells(
    genes: Sequence[str], cache_dir: Path | str, masking: MaskingOptions, n_cells: int, seed: int
) -> list[TrainingBatch]:
    """Masked cells of `GENERAL`, always the same."""
    aligned = align_genes(read_dataset(demo_path(GENERAL.name, cache_dir)), genes=tuple(genes))
    options = BatchOptions(decoder_rows=0, max_genes=0)
    rows = np.sort(np.random.default_rng(seed).permutation(aligned.n_obs)[:n_cells])
    batches, pending = [], []
    for start, block in aligned.blocks():
        for row in rows[(rows >= start) & (rows < start + block.shape[0])] - start:
            span = slice(block.indptr[row], block.indptr[row + 1])
            rng = cell_generator(seed, 0, int(start + row))
            cell = mask_cell(
                block.indices[span].astype(np.int32),
                block.data[span],
                len(genes),
                masking,
                rng,
                is_measured=aligned.is_measured,
            )
            pending.append((cell, rng, int(start + row)))
    for start in range(0, len(pending), HELD_OUT_BATCH):
        cells, rngs, positions = zip(*pending[start : start + HELD_OUT_BATCH], strict=True)
        batches.append(assemble_batch(cells, len(genes), options, rngs, positions))
    return batches


def _say(change: Change) -> str:
    return f"{change.relative:+.1%} (95 % interval {change.low:+.1%} to {change.high:+.1%})"
