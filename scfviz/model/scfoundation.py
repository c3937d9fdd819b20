"""scFoundation: an encoder over the expressed genes of a cell, a decoder over all genes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scfviz.model.attention import DecoderLayer, EncoderLayer
from scfviz.model.cell_space import CellSpace
from scfviz.model.config import ModelConfig
from scfviz.model.embeddings import ValueEmbedding
from scfviz.model.tokens import TokenBatch

Pooling = Literal["all", "max"]


class ScFoundation(nn.Module):
    """The asymmetric encoder-decoder of Hao et al. 2024.

    Parameters
    ----------
    config
        Every size.
    genes
        `config.n_genes` gene symbols; their order is the model's.

    Attributes
    ----------
    folder
        Of the checkpoint that it was loaded from.
    cell_space
        Fitted on the embeddings of these very weights; None where there is none.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """

    def __init__(self, config: ModelConfig, genes: Sequence[str]):
        super().__init__()
        if len(genes) != config.n_genes:
            raise ValueError(f"{len(genes)} gene names for a model of {config.n_genes} genes")
        self.config = config
        self.genes = tuple(genes)
        self.folder: Path | None = None
        self.cell_space: CellSpace | None = None
        self.value_embedding = ValueEmbedding(config.n_bins, config.encoder_width, config.bin_alpha)
        drawn = torch.randn(config.n_genes + 3, config.encoder_width)  # see `ValueEmbedding`
        self.gene_embedding = nn.Embedding.from_pretrained(drawn, freeze=False)
        self.encoder = nn.ModuleList(
            EncoderLayer(config.encoder_width, config.encoder_heads, config.dropout)
            for _ in range(config.encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(config.encoder_width)
        self.to_decoder = nn.Linear(config.encoder_width, config.decoder_width)
        self.decoder = nn.ModuleList(
            DecoderLayer(config.decoder_width, config.decoder_heads, config.decoder_head_width, config.n_features)
            for _ in range(config.decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(config.decoder_width)
        self.norm = nn.LayerNorm(config.decoder_width)
        self.to_expression = nn.Linear(config.decoder_width, 1)
        self.cell_readout = CellReadout(config.encoder_width) if config.cell_readout else None

    def arrange(self, embedding: np.ndarray) -> np.ndarray:
        """Where maps place cells, from their embeddings with pooling `all` at their own depth: float32 (n_obs, K).

        The embedding as it is where the model has no cell space, or where its width says that it is another pooling.
        """
        if self.cell_space is None or embedding.shape[1] != len(self.cell_space.mean):
            return embedding
        return self.cell_space.transform(embedding)

    def encode(self, tokens: TokenBatch) -> torch.Tensor:
        """Encode the expressed genes and the two depth tokens of each cell.

        Returns
        -------
        Tensor
            hidden_ND, (N, encoder width), one row per token of the packed batch.
        """
        hidden_ND = self.value_embedding(tokens.values_N) + self.gene_embedding(tokens.ids_N)
        for layer in self.encoder:
            hidden_ND = layer(hidden_ND, tokens.lengths)
        return self.encoder_norm(hidden_ND)

    def decoder_input(
        self, hidden_ND: torch.Tensor, tokens: TokenBatch, masked: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Lay the encoder's rows among the genes that it did not see.

        An unseen gene enters with the embedding of zero, or with the mask vector; the gene identity is added to every
        row, also to the encoder's, which carry it already.

        Parameters
        ----------
        masked
            Cell numbers and gene numbers (two int64 vectors) of the masked entries, in training.

        Returns
        -------
        Tensor
            (B, n_genes + 2, decoder width).
        """
        n_cells, n_rows = len(tokens.lengths), self.config.n_genes + 2
        identity = self.gene_embedding.weight
        zero = self.value_embedding(torch.zeros(1, device=hidden_ND.device))
        rows_GE = self.to_decoder(zero + identity[:n_rows])
        x_BGE = rows_GE.unsqueeze(0).repeat(n_cells, 1, 1)
        cells_N = torch.repeat_interleave(
            torch.arange(n_cells, device=hidden_ND.device),
            torch.tensor(tokens.lengths, device=hidden_ND.device),
            output_size=len(hidden_ND),
        )
        seen = self.to_decoder(hidden_ND + self.gene_embedding(tokens.ids_N)).to(x_BGE.dtype)
        x_BGE = x_BGE.index_put((cells_N, tokens.ids_N), seen)
        if masked is not None:
            cells_M, genes_M = masked
            unseen = self.to_decoder(self.value_embedding.masked + self.gene_embedding(genes_M)).to(x_BGE.dtype)
            x_BGE = x_BGE.index_put((cells_M, genes_M), unseen)
        return x_BGE

    def decode(
        self,
        hidden_ND: torch.Tensor,
        tokens: TokenBatch,
        masked: tuple[torch.Tensor, torch.Tensor] | None = None,
        *,
        official_batch: bool = False,
    ) -> torch.Tensor:
        """Decode all genes.

        Parameters
        ----------
        masked
            See `decoder_input`.
        official_batch
            See `kernel_attention`.

        Returns
        -------
        Tensor
            Gene context embeddings, (B, n_genes, decoder width).
        """
        x_BGE = self.decoder_input(hidden_ND, tokens, masked)
        for layer in self.decoder:
            x_BGE = layer(x_BGE, official_batch)
        return self.norm(self.decoder_norm(x_BGE[:, : self.config.n_genes]))

    def forward(self, tokens: TokenBatch, masked: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        """Predict expression of all genes.

        Returns
        -------
        Tensor
            (B, n_genes), ln(1 + counts per 10,000) at the target depth.
        """
        hidden_ND = self.encode(tokens)
        predicted_BG = self.to_expression(self.decode(hidden_ND, tokens, masked)).squeeze(-1)
        if self.cell_readout is not None:
            vectors_BD = self.cell_readout(pool_cells(hidden_ND, tokens))
            predicted_BG = predicted_BG + vectors_BD @ self.gene_embedding.weight[: self.config.n_genes].T
        return predicted_BG


class CellReadout(nn.Module):
    """From a cell embedding to the vector whose product with a gene's identity is part of the gene's prediction."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.expand = nn.Linear(4 * width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        nn.init.zeros_(self.contract.weight)  # a new model begins without it
        nn.init.zeros_(self.contract.bias)

    def forward(self, embedding_BC: torch.Tensor) -> torch.Tensor:
        """Map embeddings with pooling `all`, (B, 4 * width), to (B, width)."""
        return self.contract(F.relu(self.expand(self.norm(embedding_BC))))


def pool_cells(hidden_ND: torch.Tensor, tokens: TokenBatch, pooling: Pooling = "all") -> torch.Tensor:
    """One vector per cell from the encoder's output.

    Parameters
    ----------
    pooling
        `all`: S token, T token, maximum and mean over the gene tokens, side by side. `max`: maximum over all tokens.

    Returns
    -------
    Tensor
        float32, (B, 4 * encoder width) for `all`, (B, encoder width) for `max`.
    """
    return torch.stack([pool_cell(hidden_LD, pooling) for hidden_LD in hidden_ND.split(tokens.lengths)])


def pool_cell(hidden_LD: torch.Tensor, pooling: Pooling = "all") -> torch.Tensor:
    """The vector of one cell; see `pool_cells`."""
    hidden_LD = hidden_LD.float()
    if pooling == "max":
        return hidden_LD.amax(0)
    genes = hidden_LD[:-2]
    return torch.cat([hidden_LD[-1], hidden_LD[-2], genes.amax(0), genes.mean(0)])


def count_parameters(config: ModelConfig) -> int:
    """Number of trainable numbers, from the sizes alone."""
    with torch.device("meta"):
        model = ScFoundation(config, np.arange(config.n_genes).astype(str))
    return sum(p.numel() for p in model.parameters())
