"""Fine-tuning: the encoder's last layer learns the types, with eight parts of the labelled cells in ten.

One part in ten decides when to stop and how certain the probabilities are, one is tested. All layers before the last
stay as they are, so that what they say of a cell is computed once.

Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7, cell type annotation (8:1:1; last layer and a head).
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import DatasetError, Stopped
from scfviz.tasks.annotation.classifier import Classifier
from scfviz.tasks.annotation.compute import assemble
from scfviz.tasks.annotation.features import FeatureSpace
from scfviz.tasks.annotation.fit import BASELINE, N_FOLDS, HeldOut, Learned, calibrate, score
from scfviz.tasks.annotation.head import class_weights
from scfviz.tasks.annotation.methods import Prototype, find_temperature, fit_method
from scfviz.tasks.annotation.options import FINE_TUNED
from scfviz.tasks.annotation.reference import LabelledCells
from scfviz.tasks.annotation.tuned_layer import pack

if TYPE_CHECKING:
    import torch

    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.scfoundation import ScFoundation
    from scfviz.model.tokens import TokenBatch

TRAIN, VALIDATION, TEST = 0, 1, 2
EPOCHS, PATIENCE = 8, 2
CELLS_PER_STEP, LAYER_RATE, HEAD_RATE = 16, 3e-4, 1e-3
MOST_STATES = 800_000_000  # bytes of training, and of validation cells, as the layers before the last leave them


@dataclass(frozen=True)
class Tuned:
    """A tuned model.

    Attributes
    ----------
    model
        A copy; the one that was given is unchanged.
    losses
        Weighted cross-entropy of the validation cells after each epoch.
    seconds
        That it took.
    """

    model: "ScFoundation"
    losses: tuple[float, ...]
    seconds: float


def split_cells(truth: np.ndarray) -> np.ndarray:
    """int (n,): 8:1:1 within each type, in the order of the cells; of few cells the second is tested."""
    parts = np.full(len(truth), TRAIN)
    for k in np.unique(truth):
        mine = np.flatnonzero(truth == k)
        parts[mine[1::10]] = TEST
        parts[mine[3::10]] = VALIDATION
    return parts


def tune_last_layer(
    model: "ScFoundation",
    counts: "AlignedCounts",
    truth: np.ndarray,
    n_classes: int,
    parts: np.ndarray,
    *,
    report: Callable[[float, str], None] = lambda share, stage: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Teach the encoder's last layer, and the norm behind it, to tell types apart.

    Parameters
    ----------
    counts
        Labelled cells, in the model's gene order.
    truth
        int (n,), their types.
    parts
        int (n,), see `split_cells`; the tested cells are not looked at.
    report
        Called with the share done and a text that says how long it will take.

    Raises
    ------
    DatasetError
        No cell is left to learn from, or to decide when to stop.
    Stopped
        `should_stop` said so.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    from scfviz.model.scfoundation import pool_cells

    if not (parts == TRAIN).any() or not (parts == VALIDATION).any():
        raise DatasetError(
            f"{len(truth):,} labelled cells, of which none is left to decide when to stop.",
            "At least 4 cells of a type are needed for fine-tuning.",
            "Choose another method, or label more cells.",
        )
    start = time.monotonic()
    report(0.0, "Fine-tuning: reading the cells")
    train, held = (
        list(_states(model, counts, np.flatnonzero(parts == part), report, should_stop)) for part in (TRAIN, VALIDATION)
    )
    tuned = copy.deepcopy(model)
    layer, norm = tuned.encoder[-1].train(), tuned.encoder_norm
    width = model.config.cell_embedding_width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, model.config.encoder_width), nn.ReLU(),
                             nn.Linear(model.config.encoder_width, n_classes))  # fmt: skip
    learned = [*layer.parameters(), *norm.parameters()]
    steps = torch.optim.AdamW([{"params": learned, "lr": LAYER_RATE}, {"params": head.parameters(), "lr": HEAD_RATE}])
    weights = class_weights(truth[parts == TRAIN], n_classes)

    def loss_of(batch: "tuple[np.ndarray, TokenBatch, torch.Tensor]") -> "torch.Tensor":
        rows, tokens, state = batch
        found = head(pool_cells(norm(layer(state.float(), tokens.lengths)), tokens))
        return F.cross_entropy(found, torch.from_numpy(truth[rows].astype(np.int64)), weights)

    best, losses, order = None, [], np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # of dropout
        for epoch in range(EPOCHS):
            for number, place in enumerate(order.permutation(len(train))):
                if should_stop():
                    raise Stopped
                steps.zero_grad()
                loss_of(train[place]).backward()
                steps.step()
                share = (epoch + (number + 1) / len(train)) / EPOCHS
                left = (time.monotonic() - start) * (1 - share) / share
                report(0.3 + 0.7 * share, f"Fine-tuning, at most {max(left / 60, 1):.0f} minutes more")
            layer.eval()
            with torch.no_grad():
                losses.append(float(np.mean([float(loss_of(batch)) for batch in held])))
            layer.train()
            if losses[-1] == min(losses):
                best = copy.deepcopy([part.state_dict() for part in (layer, norm)])
            if epoch - int(np.argmin(losses)) >= PATIENCE:
                break
    layer.load_state_dict(best[0])
    norm.load_state_dict(best[1])
    return Tuned(tuned.eval(), tuple(losses), time.monotonic() - start)


def _states(
    model: "ScFoundation",
    counts: "AlignedCounts",
    rows: np.ndarray,
    report: Callable[[float, str], None],
    should_stop: Callable[[], bool],
) -> Iterator[Any]:
    """Cells, their tokens, and bfloat16 (N, width) what all layers but the last say; a step's cells at a time.

    Cells beyond the memory's limit take no part: the order of rows does not depend on the file's.
    """
    import torch

    from scfviz.model.source import CellSource
    from scfviz.model.tokens import prepare_cells, tokenise

    source, room = CellSource(counts, model.genes), MOST_STATES
    parts = [rows[start : start + CELLS_PER_STEP] for start in range(0, len(rows), CELLS_PER_STEP)]
    for number, part in enumerate(parts):
        if should_stop():
            raise Stopped
        order = np.argsort(part)
        cells = prepare_cells(source.read(part[order]), target_depth=None, depth_fold=None)
        tokens = tokenise(cells, model.config)
        with torch.no_grad():
            state = model.value_embedding(tokens.values_N) + model.gene_embedding(tokens.ids_N)
            for layer in model.encoder[:-1]:
                state = layer(state, tokens.lengths)
        room -= 2 * state.numel()
        if room < 0:
            return
        yield part[order], tokens, state.to(torch.bfloat16)
        report(0.3 * (number + 1) / len(parts), "Fine-tuning: what the layers before the last say")


def fit_finetuned(
    counts: "AlignedCounts",
    tuned: "ScFoundation",
    labelled: LabelledCells,
    *,
    checkpoint: "CheckpointInfo",
    takes_part: np.ndarray,
    embedding: np.ndarray,
    coverage: float = 0.9,
    same_batch: bool = False,
) -> Classifier:
    """A classifier on the embedding of a tuned model; its scores and sets are of the tested tenth.

    Parameters
    ----------
    counts, labelled, takes_part, coverage, same_batch
        See `compute.fit_classifier`.
    embedding
        (len(labelled.rows), D) of these cells by the tuned model.
    """
    part, truth, n_classes = counts.subset(labelled.rows), labelled.truth, len(labelled.labels)
    parts = split_cells(truth)
    train, held, tested = (np.flatnonzero(parts == number) for number in (TRAIN, VALIDATION, TEST))
    space = FeatureSpace.fit(part, embedding, counts.is_measured & takes_part)
    cells = space.transform(part, embedding)
    seen, there = cells.take(train), cells.take(tested)
    methods = {name: fit_method(name, seen, truth[train], n_classes) for name in (FINE_TUNED, BASELINE)}
    found = HeldOut(
        {name: method.log_probabilities(there) for name, method in methods.items()},
        Prototype.fit("joint", seen, truth[train], n_classes).strangeness(there),
        np.arange(len(tested)) % N_FOLDS,
    )
    temperatures = {
        name: find_temperature(method.log_probabilities(cells.take(held)), truth[held])
        for name, method in methods.items()
    }
    learned = Learned({FINE_TUNED: methods[FINE_TUNED]}, temperatures | {"combination": 1.0}, {FINE_TUNED: 1.0})
    units = np.arange(len(tested))
    scores = score(learned, found, truth[tested], units, coverage, labelled.labels, same_batch)
    note = (
        f"The encoder's last layer was fine-tuned on {len(train):,} labelled cells; scores and sets are of "
        f"{len(tested):,} others, of the same donors or batches."
    )
    about = {"method": FINE_TUNED, "unit": None, "by_distance": same_batch, "notes": [*labelled.notes, note]}
    classifier = assemble(
        cells,
        space,
        labelled,
        part.obs.index.astype(str),
        checkpoint=checkpoint,
        learned=learned,
        calibration=calibrate(learned, found, truth[tested]),
        scores=scores,
        about=about,
    )
    return replace(classifier, tuned=pack(tuned))
