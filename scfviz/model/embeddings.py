"""Value embedding: a number becomes a soft mixture of learned bin vectors."""

import torch
from torch import nn
from torch.nn import functional as F


class ValueEmbedding(nn.Module):
    """Continuous auto-discretisation of expression values.

    scalar -> Linear 1->bins -> LeakyReLU(0.1) -> Linear bins->bins, plus alpha times its own input -> softmax ->
    weighted sum of the bin vectors. Zero goes the same way; masked entries take a vector of their own, found by a
    boolean mask and never by a special number, which a real value could equal.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """

    def __init__(self, n_bins: int, width: int, alpha: float):
        super().__init__()
        self.alpha = alpha
        self.to_bins = nn.Linear(1, n_bins)
        self.mix = nn.Linear(n_bins, n_bins)
        # given its numbers: a layer that draws them itself loads torch's compiler, a second of each start
        self.bins = nn.Embedding.from_pretrained(torch.randn(n_bins, width), freeze=False)
        self.masked = nn.Parameter(torch.randn(width))
        self.padded = nn.Parameter(torch.randn(width))  # only for weights in the official layout; no token is padded

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Embed values of any shape; the result has one more axis, the width."""
        bins = F.leaky_relu(self.to_bins(values.unsqueeze(-1)), 0.1)
        weights = torch.softmax((self.mix(bins) + self.alpha * bins).float(), dim=-1)
        return weights.to(bins.dtype) @ self.bins.weight.to(bins.dtype)
