"""Squared errors of a model on the masked entries of a batch, and what a step costs in arithmetic."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from scfviz.model.config import ModelConfig
from scfviz.model.scfoundation import ScFoundation, pool_cells
from scfviz.training.batches import TrainingBatch


class Objective(nn.Module):
    """A model together with its pretraining loss, so that wrappers for many GPUs see one forward pass.

    Parameters
    ----------
    model
        The model that learns.
    recompute_layers
        Keep no activations inside layers and compute them again on the way back: about a third more arithmetic for a
        fraction of the memory.
    """

    def __init__(self, model: ScFoundation, *, recompute_layers: bool = False):
        super().__init__()
        self.model = model
        self.recompute_layers = recompute_layers

    def forward(self, batch: TrainingBatch) -> torch.Tensor:
        """Sums of squared errors.

        Returns
        -------
        Tensor
            float32 of shape (2,): over masked expressed and over masked zero entries.
        """
        errors = self.errors(batch)
        expressed = torch.where(batch.is_expressed, errors, 0.0).sum()
        return torch.stack([expressed, errors.sum() - expressed])

    def errors(self, batch: TrainingBatch) -> torch.Tensor:
        """Squared error of each masked entry, float32 (M,)."""
        model = self.model
        hidden_ND = self.encode(batch)
        predicted = model.to_expression(self.features(batch, hidden_ND)).squeeze(-1)
        if model.cell_readout is not None:
            vectors_BD = model.cell_readout(pool_cells(hidden_ND, batch.tokens))
            cells_M = batch.loss_rows // batch.ids_BR.shape[1]
            identity_MD = model.gene_embedding(batch.ids_BR.flatten()[batch.loss_rows])
            predicted = predicted + (vectors_BD[cells_M] * identity_MD).sum(-1)
        return (predicted.float() - batch.targets).square()

    def encode(self, batch: TrainingBatch) -> torch.Tensor:
        """The encoder's output, (N, encoder width)."""
        model, tokens = self.model, batch.tokens
        hidden_ND = model.value_embedding(tokens.values_N) + model.gene_embedding(tokens.ids_N)
        for layer in model.encoder:
            hidden_ND = self._run(layer, hidden_ND, tokens.lengths)
        return model.encoder_norm(hidden_ND)

    def features(self, batch: TrainingBatch, hidden_ND: torch.Tensor) -> torch.Tensor:
        """What the last layer sees of the entries that the loss asks for, (M, decoder width)."""
        model = self.model
        # to_decoder is linear: content and gene identity go through it apart, before they are spread over the rows.
        zero = model.value_embedding(torch.zeros(1, device=hidden_ND.device))
        masked = model.value_embedding.masked[None]
        content = torch.cat([hidden_ND, zero.to(hidden_ND.dtype), masked.to(hidden_ND.dtype)])
        identity = F.linear(model.gene_embedding.weight, model.to_decoder.weight)
        x_BRE = F.embedding(batch.sources_BR, model.to_decoder(content)) + F.embedding(batch.ids_BR, identity)
        for layer in model.decoder:
            x_BRE = self._run(layer, x_BRE, False, batch.weights_BR)
        asked_ME = F.embedding(batch.loss_rows, x_BRE.flatten(0, 1))
        return model.norm(model.decoder_norm(asked_ME))

    def _run(self, layer: nn.Module, *inputs: object) -> torch.Tensor:
        if self.recompute_layers and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)


def forward_flops(config: ModelConfig, lengths: Sequence[int], n_rows: int) -> float:
    """Floating-point operations of the matrix products of one forward pass.

    Parameters
    ----------
    lengths
        Encoder tokens of each cell.
    n_rows
        Decoder rows per cell.
    """
    width, inner = config.encoder_width, config.decoder_heads * config.decoder_head_width
    tokens, pairs = float(sum(lengths)), float(sum(length * length for length in lengths))
    encoder = config.encoder_layers * (24 * width**2 * tokens + 4 * width * pairs)
    per_row = 2 * (4 * config.decoder_width * inner + 8 * config.decoder_width**2) + 8 * inner * config.n_features
    decoder = config.decoder_layers * per_row * n_rows * len(lengths)
    readout = 40 * width**2 * len(lengths) if config.cell_readout else 0
    return encoder + decoder + readout + 2 * width * config.decoder_width * tokens
