"""The two attentions: exact over the packed tokens of each cell, and linear over all genes."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

KERNEL_EPSILON = 1e-4
SHORT_CELL = 1024  # tokens; above it the scores of one layer weigh more than 10 MB a cell


def attend_packed(
    q_NHd: torch.Tensor, k_NHd: torch.Tensor, v_NHd: torch.Tensor, lengths: Sequence[int], dropout: float = 0.0
) -> torch.Tensor:
    """Softmax attention within each cell of a packed batch.

    Parameters
    ----------
    q_NHd, k_NHd, v_NHd
        (N, heads, head width), cells one behind the other.
    lengths
        Tokens of each cell; sums to N.

    Returns
    -------
    Tensor
        (N, heads, head width). A cell's rows depend on that cell alone: no mask exists, and memory grows with the
        number of tokens, not with its square.
    """
    # Split at once: slices would each fill and add a gradient of the whole batch on the way back.
    cells = zip(*(x.split(tuple(lengths)) for x in (q_NHd, k_NHd, v_NHd)), strict=True)
    parts = []
    for cell in cells:
        q, k, v = (x.transpose(0, 1) for x in cell)
        if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not dropout and q.shape[1] <= SHORT_CELL:
            attended = _attend_short(q, k, v)
        else:
            attended = F.scaled_dot_product_attention(q[None], k[None], v[None], dropout_p=dropout).squeeze(0)
        parts.append(attended.transpose(0, 1))
    return torch.cat(parts)


def _attend_short(q_HLd: torch.Tensor, k_HLd: torch.Tensor, v_HLd: torch.Tensor) -> torch.Tensor:
    """One cell with all scores in memory: on a CPU, forth and back in half the time of the fused kernel."""
    # What all keys share changes no softmax, and the rounding of scores would drown the rest in it.
    k_HLd = k_HLd - k_HLd.mean(1, keepdim=True)
    scores_HLL = (q_HLd * q_HLd.shape[-1] ** -0.5) @ k_HLd.transpose(1, 2)
    return scores_HLL.softmax(-1, dtype=q_HLd.dtype) @ v_HLd


class EncoderLayer(nn.Module):
    """Post-norm transformer layer with a ReLU feed-forward of four times the width, on packed tokens."""

    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward_norm = nn.LayerNorm(width)

    def forward(self, x_ND: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Map (N, width) to (N, width)."""
        p = self.dropout if self.training else 0.0
        q, k, v = self.qkv(x_ND).unflatten(-1, (3, self.n_heads, -1)).unbind(1)
        attended = self.out(attend_packed(q, k, v, lengths, p).flatten(1))
        x_ND = self.attention_norm(x_ND + F.dropout(attended, p, self.training))
        hidden = F.dropout(F.relu(self.expand(x_ND)), p, self.training)
        return self.feed_forward_norm(x_ND + F.dropout(self.contract(hidden), p, self.training))


def kernel_attention(
    q_BHGd: torch.Tensor,
    k_BHGd: torch.Tensor,
    v_BHGd: torch.Tensor,
    projection_md: torch.Tensor,
    *,
    official_batch: bool = False,
    key_weights_BG: torch.Tensor | None = None,
) -> torch.Tensor:
    """Linear attention with positive random features (FAVOR+).

    Features are m^-1/2 * (exp(x W - |x|^2 / 2 - stabiliser) + 1e-4). The stabiliser of a query is its own maximum; that
    of the keys is the maximum over all heads and genes of the same cell, so that a cell never depends on its batch
    mates.

    Parameters
    ----------
    q_BHGd, k_BHGd, v_BHGd
        (cells, heads, genes, head width).
    projection_md
        (features, head width), fixed.
    official_batch
        Take the keys' maximum over the whole batch, as the official program does: a value then depends on its batch
        mates. Only for reproducing its numbers.
    key_weights_BG
        How many keys each key stands for, when the genes are a sample: the sums over keys stay unbiased.

    Returns
    -------
    Tensor
        (cells, heads, genes, head width).

    Source: Choromanski et al. 2021, arXiv:2009.14794.
    """
    scale = q_BHGd.shape[-1] ** -0.25

    def exponents(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x * scale
        return x @ projection_md.T, x.square().sum(-1, keepdim=True) / 2

    dash, half_square = exponents(q_BHGd)
    q = torch.exp(dash - half_square - dash.detach().amax(-1, keepdim=True)) + KERNEL_EPSILON
    dash, half_square = exponents(k_BHGd)
    k = (
        torch.exp(dash - half_square - dash.detach().amax((0, 1, 2, 3) if official_batch else (1, 2, 3), keepdim=True))
        + KERNEL_EPSILON
    )
    if key_weights_BG is not None:
        k = k * key_weights_BG[:, None, :, None]
    # The factor m^-1/2 of q and k cancels between numerator and denominator.
    context = k.transpose(-1, -2) @ v_BHGd
    normaliser = q @ k.sum(-2).unsqueeze(-1)
    return (q @ context) / normaliser


class DecoderLayer(nn.Module):
    """Pre-norm Performer layer over all genes; exact GELU feed-forward of four times the width."""

    def __init__(self, width: int, n_heads: int, head_width: int, n_features: int):
        super().__init__()
        self.n_heads = n_heads
        inner = n_heads * head_width
        self.attention_norm = nn.LayerNorm(width)
        self.q, self.k, self.v = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.register_buffer("projection", orthogonal_features(n_features, head_width))

    def forward(
        self, x_BGE: torch.Tensor, official_batch: bool = False, key_weights_BG: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map (cells, genes, width) to the same shape; see `kernel_attention` for the options."""
        x = self.attention_norm(x_BGE)
        q, k, v = (layer(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        with torch.autocast(x.device.type, enabled=False):  # exponentials of bf16 sums lose what makes them a kernel
            attended = kernel_attention(
                q.float(),
                k.float(),
                v.float(),
                self.projection.float(),
                official_batch=official_batch,
                key_weights_BG=key_weights_BG,
            )
        x_BGE = x_BGE + self.out(attended.transpose(1, 2).flatten(2).to(x.dtype))
        return x_BGE + self.contract(F.gelu(self.expand(self.feed_forward_norm(x_BGE))))


def orthogonal_features(n_features: int, width: int) -> torch.Tensor:
    """Random directions for the kernel: blocks of orthogonal rows with the norms of Gaussian vectors.

    Returns
    -------
    Tensor
        float32 of shape (n_features, width), drawn from torch's global generator.
    """
    blocks = []
    for _ in range(-(-n_features // width)):
        q, _r = torch.linalg.qr(torch.randn(width, width))
        blocks.append(q.T)
    directions = torch.cat(blocks)[:n_features]
    return directions * torch.randn(n_features, width).norm(dim=1, keepdim=True)
