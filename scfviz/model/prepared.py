"""A model laid out for inference on one device in one precision.

The modules of `scfoundation.py` are what is trained; here are the same numbers with weights packed once for the
hardware, activations fused into the products, and no gradient. The decoder's part is in `prepared_decoder.py`.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from scfviz.errors import OptionError
from scfviz.model.attention import attend_packed
from scfviz.model.embeddings import ValueEmbedding
from scfviz.model.packed_linear import PackedLinear, round_up
from scfviz.model.prepared_decoder import KeySample, PreparedDecoder
from scfviz.model.scfoundation import ScFoundation, pool_cell
from scfviz.model.tokens import TokenBatch

Precision = Literal["fp32", "bf16"]

_QUERIES_PER_CHUNK = 128
_SCORES_PER_CHUNK = 2_000_000  # they stay in the cache


def choose_device(device: str) -> torch.device:
    """The device for a name (`cuda:1` is the second GPU); `auto` takes an accelerator where there is one.

    Raises
    ------
    OptionError
        The name is unknown, or there is no such device here.
    """
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    if device == "auto":
        return torch.device(found[0])
    if device.startswith("cuda:") and torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device not in found:
        raise OptionError(
            f"The device '{device}' cannot be used here.",
            f"There is: {', '.join(found)}.",
            "Use 'auto' to let scfviz choose.",
        )
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> Precision:
    """The precision for a name; `auto` takes bf16 where the hardware multiplies it faster than fp32.

    Raises
    ------
    OptionError
        The name is unknown.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise OptionError(f"Unknown precision '{precision}'.", "One of: auto, fp32, bf16.", "")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"
    return "fp32"


class PreparedModel:
    """Encoder and decoder for inference.

    Parameters
    ----------
    model
        Its weights are copied, never changed.
    device, precision
        Where and how the products are computed. Norms, sums and exponentials are always fp32 inside; in bf16 the
        encoder's stream is bf16, the decoder's fp32.
    """

    def __init__(self, model: ScFoundation, device: torch.device, precision: Precision):
        self.config, self.device, self.precision = model.config, device, precision
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._model = model
        self._layers = [_PreparedEncoderLayer(layer, device, self.dtype) for layer in model.encoder]
        self._value_embedding = _PreparedValueEmbedding(model.value_embedding, device)
        self._identity_RD = model.gene_embedding.weight.detach().to(device)
        self._encoder_norm = _copy(model.encoder_norm, device)
        self._to_expression = _copy(model.to_expression, device)
        self._cell_readout = None if model.cell_readout is None else _copy(model.cell_readout, device)

    def encode(self, tokens: TokenBatch) -> torch.Tensor:
        """Encode a packed batch on the model's device; float32 of shape (N, encoder width)."""
        n_tokens = len(tokens.ids_N)
        idle = round_up(n_tokens, self.device) - n_tokens
        values_N, ids_N = F.pad(tokens.values_N, (0, idle)), F.pad(tokens.ids_N, (0, idle))
        x_ND = (self._value_embedding(values_N) + self._identity_RD[ids_N]).to(self.dtype)
        for layer in self._layers:
            x_ND = layer(x_ND, tokens.lengths)
        return self._encoder_norm(x_ND[:n_tokens].float())

    def decode(
        self,
        hidden_LD: torch.Tensor,
        ids_L: torch.Tensor,
        wanted_K: torch.Tensor | None = None,
        sample: KeySample | None = None,
    ) -> torch.Tensor:
        """Gene context embeddings of one cell; float32 of shape (n_genes, decoder width), or of the wanted genes."""
        return self._decoder(hidden_LD, ids_L, wanted_K, sample)

    def to_expression(self, values_GE: torch.Tensor, hidden_LD: torch.Tensor) -> torch.Tensor:
        """Predicted ln(1 + counts per 10,000) of one cell from what `decode` and `encode` gave; float32 (n_genes,)."""
        predicted_G = self._to_expression(values_GE).squeeze(-1)
        if self._cell_readout is None:
            return predicted_G
        vector_D = self._cell_readout(pool_cell(hidden_LD)[None])[0]
        return predicted_G + self._identity_RD[: self.config.n_genes] @ vector_D

    @functools.cached_property
    def _decoder(self) -> PreparedDecoder:
        return PreparedDecoder(self._model, self.device, self.dtype)


class _PreparedValueEmbedding:
    """See `ValueEmbedding`; no row's last bit depends on the rows beside it, as in the default product it may."""

    def __init__(self, module: ValueEmbedding, device: torch.device):
        self.alpha = module.alpha
        self.slope_B = module.to_bins.weight.detach()[:, 0].to(device, torch.float32)
        self.start_B = module.to_bins.bias.detach().to(device, torch.float32)
        self.mix = PackedLinear(module.mix.weight, module.mix.bias, device, torch.float32)
        self.bins = PackedLinear(module.bins.weight.T, None, device, torch.float32)

    def __call__(self, values_N: torch.Tensor) -> torch.Tensor:
        bins_NB = F.leaky_relu(values_N[:, None] * self.slope_B + self.start_B, 0.1)
        return self.bins(torch.softmax(self.mix(bins_NB) + self.alpha * bins_NB, dim=-1))


class _PreparedEncoderLayer:
    def __init__(self, layer: nn.Module, device: torch.device, dtype: torch.dtype):
        self.n_heads = layer.n_heads
        self.qkv, self.out, self.expand, self.contract = (
            PackedLinear(part.weight, part.bias, device, dtype)
            for part in (layer.qkv, layer.out, layer.expand, layer.contract)
        )
        self.attention_norm = _copy(layer.attention_norm, device, dtype)
        self.feed_forward_norm = _copy(layer.feed_forward_norm, device, dtype)

    def __call__(self, x_ND: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        n_tokens = sum(lengths)
        qkv = self.qkv(x_ND)[:n_tokens].unflatten(-1, (3, self.n_heads, -1))
        attended = F.pad(attend(qkv, lengths).flatten(1), (0, 0, 0, len(x_ND) - n_tokens))
        x_ND = self.attention_norm(self.out.add_to(x_ND, attended))
        return self.feed_forward_norm(self.contract.add_to(x_ND, self.expand(x_ND, "relu")))


def attend(qkv_N3Hd: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Softmax attention within each cell of a packed batch, by the fastest way on this device.

    Parameters
    ----------
    qkv_N3Hd
        (N, 3, heads, head width): queries, keys, values.
    lengths
        Tokens of each cell; sums to N.

    Returns
    -------
    Tensor
        (N, heads, head width). Memory grows with the number of tokens, not with its square.
    """
    if qkv_N3Hd.device.type == "cuda" and qkv_N3Hd.dtype == torch.bfloat16:
        from torch.nn.attention.varlen import varlen_attn  # flash attention over packed cells, in one launch

        ends = torch.tensor([0, *lengths], device=qkv_N3Hd.device).cumsum(0).to(torch.int32)
        q, k, v = (part.contiguous() for part in qkv_N3Hd.unbind(1))
        return varlen_attn(q, k, v, ends, ends, max(lengths), max(lengths))
    if qkv_N3Hd.device.type != "cpu" or qkv_N3Hd.dtype != torch.bfloat16:
        return attend_packed(*qkv_N3Hd.unbind(1), lengths)
    return torch.cat([_attend_chunked(part) for part in qkv_N3Hd.split(list(lengths))])


def _attend_chunked(qkv_L3Hd: torch.Tensor) -> torch.Tensor:
    """One cell on a CPU, a block of queries of a few heads at a time, with idle rows up to a common length."""
    length, _, n_heads, head_width = qkv_L3Hd.shape
    n_rows = round_up(length, qkv_L3Hd.device, 32)
    qkv = qkv_L3Hd.new_zeros(3, n_heads, n_rows, head_width)
    qkv[:, :, :length] = qkv_L3Hd.permute(1, 2, 0, 3)
    q, k, v = qkv.unbind(0)
    # What all keys share changes no softmax: without it, the rounding of scores touches their differences only.
    k_transposed = (k - k[:, :length].mean(1, keepdim=True)).transpose(1, 2)
    q = q * head_width**-0.5
    out = torch.empty(n_rows, n_heads, head_width, dtype=qkv_L3Hd.dtype)
    heads_per_chunk = max(_SCORES_PER_CHUNK // (_QUERIES_PER_CHUNK * n_rows), 1)
    for first in range(0, n_heads, heads_per_chunk):
        heads = slice(first, first + heads_per_chunk)
        for start in range(0, n_rows, _QUERIES_PER_CHUNK):
            rows = slice(start, start + _QUERIES_PER_CHUNK)
            scores = torch.bmm(q[heads, rows], k_transposed[heads])
            scores[..., length:] = -torch.inf
            out[rows, heads] = torch.bmm(torch.softmax(scores, -1), v[heads]).transpose(0, 1)
    return out[:length]


def _copy(module: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    import copy

    return copy.deepcopy(module).to(device, dtype).requires_grad_(False)
