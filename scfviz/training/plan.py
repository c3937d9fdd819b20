"""`scfviz corpus plan`: what a training run would cost, before it is started."""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.data.corpus_reader import Corpus
from scfviz.errors import DatasetError, OptionError
from scfviz.model.config import ModelConfig

GPU_COUNTS = (1, 2, 4, 8, 16, 32, 64)
SAMPLED_CELLS = 512


@dataclass(frozen=True)
class TrainingPlan:
    """Cost of a run.

    Attributes
    ----------
    n_cells
        Cells seen, repeats included.
    tokens_per_cell, flops_per_cell
        Means over a sample of the corpus; forward and backward pass together.
    weights_gb
        Weights, gradients, optimiser and running average in fp32; the least that one process needs.
    activations_gb_per_cell
        What a mean cell keeps for the backward pass in bf16, without recomputing layers.
    days
        Days by number of devices, without losses between them.
    rate_source
        Where the rate comes from: measured here, or given by the user.
    """

    n_cells: int
    n_parameters: int
    tokens_per_cell: float
    flops_per_cell: float
    weights_gb: float
    activations_gb_per_cell: float
    flops_per_second: float
    rate_source: str
    days: dict[int, float]

    @property
    def tokens(self) -> float:
        """Encoder tokens of the run."""
        return self.n_cells * self.tokens_per_cell

    @property
    def flops(self) -> float:
        """Floating-point operations of the run."""
        return self.n_cells * self.flops_per_cell


def plan_training(
    corpus_folder: Path | str,
    config: ModelConfig,
    *,
    n_cells: int | None = None,
    epochs: float = 1.0,
    max_genes: int = 0,
    decoder_rows: int = 0,
    device_tflops: float | None = None,
    device: str = "cpu",
) -> TrainingPlan:
    """Add up a run from a sample of the corpus and a rate.

    Parameters
    ----------
    n_cells
        Cells of the corpus that is planned, when it is larger than the one at hand, which then stands for it.
    max_genes, decoder_rows
        See `BatchOptions`; 0: all.
    device_tflops
        Sustained training rate of one device in TFLOP/s, as `benchmarks/pretrain.py` measures it. Without it a few
        steps are timed here and now, on `device`.

    Raises
    ------
    OptionError
        A number makes no sense.
    DatasetError
        The folder is no corpus, or holds no cell for training.
    """
    for name, value in (("number of cells", n_cells), ("number of epochs", epochs), ("rate", device_tflops)):
        if value is not None and not value > 0:
            raise OptionError(f"The {name} is {value}.", "It must be above zero.", "")
    from scfviz.model.scfoundation import count_parameters
    from scfviz.training.batches import TrainingParts
    from scfviz.training.objective import forward_flops
    from scfviz.training.options import BatchOptions, MaskingOptions

    corpus = Corpus(corpus_folder)
    if not corpus.n_cells("train"):
        raise DatasetError("The corpus has no cell for training.", "At least one is needed.", "Add datasets to it.")
    config = replace(config, n_genes=len(corpus.genes))
    n_sampled = min(SAMPLED_CELLS, corpus.n_cells("train"))
    batches = BatchOptions(batch_size=n_sampled, max_genes=max_genes, decoder_rows=decoder_rows or 64)
    lengths = np.array(TrainingParts(corpus, MaskingOptions(), batches, seed=0)[0].tokens.lengths)
    n_rows = min(decoder_rows or config.n_genes + 2, config.n_genes + 2)
    per_cell = 3 * forward_flops(config, lengths.tolist(), n_rows) / n_sampled
    if device_tflops is None:
        rate, source = _measure_rate(corpus, config, max_genes, decoder_rows, device), f"measured now on this {device}"
    else:
        rate, source = device_tflops * 1e12, f"given: {device_tflops:g} TFLOP/s per device"
    n_parameters = count_parameters(config)
    cells = int((n_cells or corpus.n_cells("train")) * epochs)
    seconds = cells * per_cell / rate
    return TrainingPlan(
        n_cells=cells,
        n_parameters=n_parameters,
        tokens_per_cell=float(lengths.mean()),
        flops_per_cell=per_cell,
        weights_gb=n_parameters * 4 * 5 / 1e9,
        activations_gb_per_cell=_activation_bytes(config, float(lengths.mean()), n_rows) / 1e9,
        flops_per_second=rate,
        rate_source=source,
        days={n: seconds / n / 86_400 for n in GPU_COUNTS},
    )


def fit_scaling_law(logs: Sequence[Path | str]) -> dict[str, Any]:
    """Fit validation = a * FLOPs^-b to the logs of your own runs, as the published study does for its three sizes.

    Only points that no other run reached with less arithmetic count.

    Returns
    -------
    dict
        `a`, `b`, `n_points`, and the range of FLOPs that the fit rests on; beyond it the law is an extrapolation.

    Raises
    ------
    DatasetError
        Fewer than three useful points.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7 (a power law in compute; coefficients are not published).
    """
    points = []
    for log in logs:
        with Path(log).open(newline="", encoding="utf-8") as stream:
            points += [
                (float(row["flops"]), float(row["validation"])) for row in csv.DictReader(stream) if row["validation"]
            ]
    points.sort()
    front, best = [], float("inf")
    for flops, loss in points:
        if loss < best:
            front.append((flops, loss))
            best = loss
    if len(front) < 3:
        raise DatasetError(
            f"The logs hold {len(front)} useful validations.",
            "A scaling law needs three that improve with compute.",
            "Train longer, or give the logs of several sizes.",
        )
    x, y = np.log(np.array(front)).T
    slope, offset = np.polyfit(x, y, 1)
    return {
        "a": float(np.exp(offset)),
        "b": float(-slope),
        "n_points": len(front),
        "flops_from": front[0][0],
        "flops_to": front[-1][0],
    }


def _activation_bytes(config: ModelConfig, tokens: float, n_rows: int) -> float:
    """Inputs that the layers keep for their backward pass, two bytes each; kernel features four."""
    inner = config.decoder_heads * config.decoder_head_width
    encoder = config.encoder_layers * tokens * 17 * config.encoder_width * 2
    decoder = (
        config.decoder_layers
        * n_rows
        * ((12 * config.decoder_width + 4 * inner) * 2 + 3 * config.decoder_heads * config.n_features * 4)
    )
    return encoder + decoder


def _measure_rate(corpus: Corpus, config: ModelConfig, max_genes: int, decoder_rows: int, device: str) -> float:
    """FLOP per second of two training steps after one to warm up."""
    import torch

    from scfviz.model.scfoundation import ScFoundation
    from scfviz.training.batches import TrainingParts
    from scfviz.training.objective import Objective, forward_flops
    from scfviz.training.options import BatchOptions, MaskingOptions, TrainingOptions
    from scfviz.training.trainer import Ranks, Trainer

    batches = BatchOptions(batch_size=2, max_genes=max_genes or 1024, decoder_rows=decoder_rows or 2048)
    parts = TrainingParts(corpus, MaskingOptions(), batches, seed=0)
    trainer = Trainer(
        Objective(ScFoundation(config, corpus.genes)),
        TrainingOptions(steps=3, precision="bf16"),
        Ranks(device=torch.device(device)),
    )
    flops = seconds = 0.0
    for step in range(3):
        batch = parts[step]
        began = time.perf_counter()
        trainer.train_step([batch], corpus_row)
        if step:
            seconds += time.perf_counter() - began
            flops += 3 * forward_flops(config, batch.tokens.lengths, batch.ids_BR.shape[1])
    return flops / seconds


def corpus_row(_batch: object) -> str:
    """Provenance of a measuring step, which nobody needs."""
    return "cells of a timing run"
