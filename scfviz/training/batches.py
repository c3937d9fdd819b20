"""Training batches: which cells, in which order, and which rows the decoder works on.

Everything is a function of (seed, step): no state is carried from one batch to the next, so the number of workers,
of ranks and of interruptions cannot change what the model sees.
"""

import functools
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from scfviz.data.corpus_reader import Corpus, Split, shuffled
from scfviz.model.tokens import TokenBatch
from scfviz.training.masking import MaskedCell, cell_generator, mask_cell
from scfviz.training.options import BatchOptions, MaskingOptions

HELD_OUT_BATCH = 4  # a cell with the decoder on all 19,266 rows is work enough


@dataclass(frozen=True)
class TrainingBatch:
    """One part of a step.

    Attributes
    ----------
    tokens
        What the encoder sees, N packed tokens of B cells.
    ids_BR
        Gene number (or identity of T or S) of each decoder row.
    sources_BR
        Where each row's content comes from: a token's number, N for the embedding of zero, N + 1 for the mask vector.
    weights_BR
        How many rows of the full decoder each row stands for; `None` when all rows are there.
    loss_rows
        (M,) rows that the loss asks for, as cell * R + row.
    targets, is_expressed
        (M,) what is asked for; whether the entry was expressed in the input.
    positions
        Positions of the cells in the corpus, for reports.
    """

    tokens: TokenBatch
    ids_BR: torch.Tensor
    sources_BR: torch.Tensor
    weights_BR: torch.Tensor | None
    loss_rows: torch.Tensor
    targets: torch.Tensor
    is_expressed: torch.Tensor
    positions: tuple[int, ...]

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """The same batch on another device."""
        moved = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor | TokenBatch)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class _Rows:
    """Decoder rows of one cell; sources are token numbers within the cell, -1 for zero and -2 for masked."""

    ids: np.ndarray
    sources: np.ndarray
    weights: np.ndarray
    loss: np.ndarray  # row of each asked entry
    asked: np.ndarray  # which of the cell's masked entries are asked for


def assemble_batch(
    cells: Sequence[MaskedCell],
    n_genes: int,
    options: BatchOptions,
    rngs: Sequence[np.random.Generator],
    positions: Sequence[int],
) -> TrainingBatch:
    """Pack masked cells for the model.

    Parameters
    ----------
    rngs
        One generator per cell, for the subsets that `options` ask for.

    Returns
    -------
    TrainingBatch
        On the CPU.
    """
    n_rows = min(options.decoder_rows or n_genes + 2, n_genes + 2)
    values, ids, lengths, rows, asked = [], [], [], [], []
    for cell, rng in zip(cells, rngs, strict=True):
        kept = np.arange(len(cell.genes))
        most = options.long_genes if options.long_cells and rng.random() < options.long_cells else options.max_genes
        if most and len(kept) > most:
            kept = np.sort(rng.choice(len(kept), most, replace=False))
        genes = cell.genes[kept]
        values += [cell.values[kept], np.float32([cell.target_token, cell.source_token])]
        ids += [genes, np.int32([n_genes, n_genes + 1])]
        lengths.append(len(genes) + 2)
        part = (_all_rows if n_rows == n_genes + 2 else _sampled_rows)(cell, genes, n_genes, n_rows, rng)
        rows.append(part)
        asked.append(part.asked)
    starts = np.cumsum([0, *lengths])
    n_tokens = int(starts[-1])
    sources = np.stack([part.sources for part in rows]).astype(np.int64)
    sources = np.where(sources >= 0, sources + starts[:-1, None], np.where(sources == -1, n_tokens, n_tokens + 1))
    tokens = TokenBatch(
        torch.from_numpy(np.concatenate(values)),
        torch.from_numpy(np.concatenate(ids).astype(np.int64)),
        tuple(int(n) for n in lengths),
    )
    return TrainingBatch(
        tokens=tokens,
        ids_BR=torch.from_numpy(np.stack([part.ids for part in rows]).astype(np.int64)),
        sources_BR=torch.from_numpy(sources),
        weights_BR=None
        if n_rows == n_genes + 2
        else torch.from_numpy(np.stack([part.weights for part in rows]).astype(np.float32)),
        loss_rows=torch.from_numpy(np.concatenate([part.loss + i * n_rows for i, part in enumerate(rows)])),
        targets=torch.from_numpy(np.concatenate([c.targets[a] for c, a in zip(cells, asked, strict=True)])),
        is_expressed=torch.from_numpy(np.concatenate([c.is_expressed[a] for c, a in zip(cells, asked, strict=True)])),
        positions=tuple(int(p) for p in positions),
    )


def _all_rows(cell: MaskedCell, genes: np.ndarray, n_genes: int, n_rows: int, rng: np.random.Generator) -> _Rows:
    sources = np.full(n_rows, -1, dtype=np.int64)
    sources[cell.genes] = -2  # visible genes that the encoder did not get are hidden, without a question
    sources[cell.loss_genes[cell.is_hidden]] = -2
    sources[genes] = np.arange(len(genes))
    sources[n_genes:] = len(genes) + np.arange(2)
    asked = np.flatnonzero(cell.is_hidden | (sources[cell.loss_genes] != -2))
    return _Rows(np.arange(n_rows), sources, np.empty(0), cell.loss_genes[asked].astype(np.int64), asked)


def _sampled_rows(cell: MaskedCell, genes: np.ndarray, n_genes: int, n_rows: int, rng: np.random.Generator) -> _Rows:
    everything = _all_rows(cell, genes, n_genes, n_genes + 2, rng)
    is_asked = np.zeros(n_genes + 2, dtype=bool)
    is_asked[everything.loss] = True
    visible = np.flatnonzero((everything.sources[:n_genes] >= 0) & ~is_asked[:n_genes])
    unseen = np.flatnonzero((everything.sources[:n_genes] == -1) & ~is_asked[:n_genes])

    asked = everything.asked
    if len(asked) > n_rows // 2:
        asked = np.sort(rng.choice(asked, n_rows // 2, replace=False))
    n_visible, n_unseen = len(visible), len(unseen)
    if n_visible > n_rows // 4:
        visible = rng.choice(visible, n_rows // 4, replace=False)
    space = n_rows - 2 - len(asked) - len(visible)
    if n_unseen > space:
        unseen = rng.choice(unseen, space, replace=False)
    # Genes that the cap of the encoder took away stand nowhere: the visible ones stand for them too.
    n_taken = int((everything.sources[:n_genes] == -2).sum()) - int(cell.is_hidden.sum())
    ids = np.concatenate([cell.loss_genes[asked], [n_genes, n_genes + 1], visible, unseen]).astype(np.int64)
    weights = np.concatenate(
        [
            np.full(len(asked), len(everything.asked) / max(len(asked), 1)),
            np.ones(2),
            np.full(len(visible), (n_visible + n_taken) / max(len(visible), 1)),
            np.full(len(unseen), n_unseen / max(len(unseen), 1)),
        ]
    )
    empty = n_rows - len(ids)
    sources = np.concatenate([everything.sources[ids], np.full(empty, -1)])
    return _Rows(
        np.concatenate([ids, np.zeros(empty, dtype=np.int64)]),
        sources,
        np.concatenate([weights, np.zeros(empty)]),
        np.arange(len(asked)),
        asked,
    )


class TrainingParts(Dataset):
    """The parts of all steps of one rank: item `step * accumulate + part`."""

    def __init__(
        self, corpus: Corpus, masking: MaskingOptions, options: BatchOptions, seed: int, rank: int = 0, n_ranks: int = 1
    ):
        self.corpus, self.masking, self.options = corpus, masking, options
        self.seed, self.rank, self.n_ranks = seed, rank, n_ranks
        self.per_part = options.batch_size // (n_ranks * options.accumulate)

    def __getitem__(self, item: int) -> TrainingBatch:
        step, part = divmod(item, self.options.accumulate)
        first = step * self.options.batch_size + (self.rank * self.options.accumulate + part) * self.per_part
        return self.batch_of(np.arange(first, first + self.per_part))

    def batch_of(self, drawn: np.ndarray) -> TrainingBatch:
        """The batch of the cells that are drawn first, second, ... over all epochs."""
        n_genes = len(self.corpus.genes)
        epochs, positions = self._draw(drawn)
        cells, rngs = [], []
        for epoch, position in zip(epochs.tolist(), positions.tolist(), strict=True):
            found = self.corpus.cell(position)
            rng = cell_generator(self.seed, epoch, position)
            cells.append(
                mask_cell(
                    found.genes,
                    found.counts,
                    n_genes,
                    self.masking,
                    rng,
                    is_measured=self.corpus.is_measured(found.source),
                )
            )
            rngs.append(rng)
        return assemble_batch(cells, n_genes, self.options, rngs, positions)

    def _draw(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How often each drawn cell was drawn before, and its position in the corpus."""
        n_cells = self.corpus.n_cells("train")
        epochs, places = np.divmod(drawn, n_cells)
        mixed = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            mixed[here] = shuffled(places[here], n_cells, hash_seed(self.seed, int(epoch)))
        if self.options.balance == 1:
            return epochs, mixed
        # An epoch of as many draws, in which every dataset has its share; each goes through its own cells in turn.
        starts, sizes = self._datasets
        shares = sizes.astype(np.float64) ** self.options.balance
        ends = np.rint(np.cumsum(shares) * (n_cells / shares.sum())).astype(np.int64)
        draws = np.diff(ends, prepend=0)
        dataset = np.searchsorted(ends, mixed, side="right")
        turn = epochs * draws[dataset] + mixed - (ends - draws)[dataset]
        rounds, place = np.divmod(turn, sizes[dataset])
        positions = np.empty_like(place)
        for key in {*zip(dataset.tolist(), rounds.tolist(), strict=True)}:
            here = (dataset == key[0]) & (rounds == key[1])
            order = hash_seed(hash_seed(self.seed, key[0]), key[1])
            positions[here] = starts[key[0]] + shuffled(place[here], int(sizes[key[0]]), order)
        return rounds, positions

    @functools.cached_property
    def _datasets(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the training cells of each dataset begin, and how many they are; they lie side by side."""
        sizes = [sum(x["n_train"] for x in s["shards"]) for s in self.corpus.sources if not s["is_held_out"]]
        sizes = np.array([n for n in sizes if n], dtype=np.int64)
        return np.cumsum(sizes) - sizes, sizes


def hash_seed(seed: int, epoch: int) -> int:
    """One number from two, for the order of an epoch."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0])


def iterate_steps(parts: TrainingParts, start: int, stop: int, n_workers: int) -> Iterator[list[TrainingBatch]]:
    """The parts of step `start`, of the next one, ... up to `stop`, prepared ahead by workers."""
    n_parts = parts.options.accumulate
    loader = DataLoader(
        parts,
        batch_size=None,
        sampler=range(start * n_parts, stop * n_parts),
        num_workers=n_workers,
        prefetch_factor=4 if n_workers else None,
        worker_init_fn=_leave_interrupts_to_the_trainer,
    )
    step: list[TrainingBatch] = []
    for batch in loader:
        step.append(batch)
        if len(step) == n_parts:
            yield step
            step = []


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the trainer saves its state and needs its workers for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def held_out_cells(
    corpus: Corpus,
    split: Split,
    n_cells: int,
    masking: MaskingOptions,
    options: BatchOptions,
    seed: int,
    *,
    skipped: int = 0,
) -> list[TrainingBatch]:
    """Validation batches: the same cells, thinned and masked in the same way, at every call.

    Parameters
    ----------
    seed
        Orders, thins and masks the cells.
    skipped
        Cells of that order that come first and are left out.

    Returns
    -------
    list
        Batches of a few cells, with all visible genes and the decoder on all genes.
    """
    total, n_genes = corpus.n_cells(split), len(corpus.genes)
    places = np.arange(min(skipped, total), min(skipped + n_cells, total))
    chosen = shuffled(places, total, hash_seed(seed, 0)) if total else np.empty(0, np.int64)
    whole = replace(options, decoder_rows=0, max_genes=0, long_cells=0.0)
    batches = []
    for start in range(0, len(chosen), HELD_OUT_BATCH):
        positions = chosen[start : start + HELD_OUT_BATCH]
        rngs = [cell_generator(seed, 0, int(position)) for position in positions]
        found = [corpus.cell(int(position), split) for position in positions]
        cells = [
            mask_cell(f.genes, f.counts, n_genes, masking, rng, is_measured=corpus.is_measured(f.source))
            for f, rng in zip(found, rngs, strict=True)
        ]
        batches.append(assemble_batch(cells, n_genes, whole, rngs, positions))
    return batches
