"""The decoder for inference: one cell at a time, all genes, a block of rows at a time.

Queries and keys in the kernel's feature space (19,266 x 266 x 8 numbers each, at the published size) never exist as a
whole. Genes that a cell does not express enter as the same rows in every cell, so that the first layer's queries, keys,
values and sums over them are computed once per model and corrected by the cell's expressed genes. Who asks for a few
genes can let the later layers attend to a sample of the genes that a cell does not express, each standing for many, as
in training.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from scfviz.model.attention import KERNEL_EPSILON
from scfviz.model.packed_linear import PackedLinear, round_up
from scfviz.model.scfoundation import ScFoundation

_ROWS_PER_BLOCK = 1024  # on a CPU: the widest activations of a block stay in the cache
# Sums are corrected only while the rounding that a subtraction leaves behind is not blown up by more than e^3.
_MOST_RESCALING = 3.0


class KeySample:
    """A sample of genes in place of all those that a cell neither expresses nor is asked for.

    Attributes
    ----------
    is_wanted_R, is_drawn_R
        bool (n_genes + 2,): rows that are asked for; rows of the sample.
    """

    def __init__(self, n_genes: int, wanted_K: torch.Tensor, n_drawn: int, seed: int = 0):
        drawn = torch.randperm(n_genes, generator=torch.Generator().manual_seed(seed))[:n_drawn]
        self.is_wanted_R, self.is_drawn_R = (
            torch.zeros(n_genes + 2, dtype=torch.bool, device=wanted_K.device) for _ in range(2)
        )
        self.is_wanted_R[wanted_K] = True
        self.is_drawn_R[drawn.to(wanted_K.device)] = True

    def rows(self, ids_L: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows that take part in a cell, ascending, and how many rows each stands for (n_rows, 1).

        The last row is there as often as a round number of rows needs, and stands for none but once.
        """
        is_exact = self.is_wanted_R.clone()
        is_exact[ids_L] = True
        is_sample = self.is_drawn_R & ~is_exact
        rows = (is_exact | is_sample).nonzero().squeeze(1)
        each = (~is_exact).sum() / is_sample.sum().clamp(min=1)
        weights = torch.where(is_sample[rows], each, 1.0)
        idle = round_up(len(rows), rows.device) - len(rows)
        return torch.cat([rows, rows[-1:].expand(idle)]), F.pad(weights, (0, idle))[:, None]


@dataclass
class KeySums:
    """Sums over keys: what linear attention needs to know of them.

    Attributes
    ----------
    context_Hmv
        float32 (heads, features, head width + 1): sum of exp(exponent - top) times [value, 1], without epsilon.
    values_H1v
        float32 (heads, 1, head width + 1): sum of [value, 1].
    top
        The stabiliser: the largest projection over all heads and keys.
    """

    context_Hmv: torch.Tensor
    values_H1v: torch.Tensor
    top: torch.Tensor

    def add(self, other: "KeySums") -> "KeySums":
        """Sums over both sets of keys."""
        top = torch.maximum(self.top, other.top)
        context = self.context_Hmv * torch.exp(self.top - top) + other.context_Hmv * torch.exp(other.top - top)
        return KeySums(context, self.values_H1v + other.values_H1v, top)

    def finished(self) -> torch.Tensor:
        """(heads, features, head width + 1) with the kernel's epsilon."""
        return self.context_Hmv + KERNEL_EPSILON * self.values_H1v


class PreparedDecoder:
    """The decoder of a model on one device; see the module's text.

    Parameters
    ----------
    model
        Its weights are copied, never changed.
    device, dtype
        Where and how the products are computed; the stream, norms and exponentials are fp32.
    """

    def __init__(self, model: ScFoundation, device: torch.device, dtype: torch.dtype):
        self._n_genes, self._n_rows, self._dtype = model.config.n_genes, model.config.n_genes + 2, dtype
        self._block = _ROWS_PER_BLOCK if device.type == "cpu" else self._n_rows
        self._identity_RD = model.gene_embedding.weight.detach()[: self._n_rows].to(device)
        self._to_decoder = PackedLinear(model.to_decoder.weight, model.to_decoder.bias, device, torch.float32)
        self._layers = [_PreparedDecoderLayer(layer, device, dtype) for layer in model.decoder]
        self._decoder_norm, self._norm = (
            copy.deepcopy(norm).to(device).requires_grad_(False) for norm in (model.decoder_norm, model.norm)
        )
        with torch.inference_mode():
            zero = copy.deepcopy(model.value_embedding).to(device)(torch.zeros(1, device=device))
            self._unseen_RE = self._to_decoder(zero + self._identity_RD)
            self._prepare_first_layer()

    def __call__(
        self,
        hidden_LD: torch.Tensor,
        ids_L: torch.Tensor,
        wanted_K: torch.Tensor | None = None,
        sample: KeySample | None = None,
    ) -> torch.Tensor:
        """Decode one cell.

        Parameters
        ----------
        hidden_LD
            float32, the encoder's rows.
        ids_L
            Their genes, T and S last.
        wanted_K
            Rows that are asked for, all when left out: the last layer computes no others.
        sample
            Keys of the layers after the first; all of them when left out.

        Returns
        -------
        Tensor
            float32 of shape (n_genes, decoder width), or (n_wanted, decoder width).
        """
        weights_R1 = None
        if sample is None:
            x_RE, q_RI = self._unseen_RE.clone(), self._unseen_q_RI.clone()
            seen_L, asked_K = ids_L, wanted_K
        else:
            rows, weights_R1 = sample.rows(ids_L)
            x_RE, q_RI = self._unseen_RE[rows], self._unseen_q_RI[rows]
            seen_L, asked_K = (torch.searchsorted(rows, ids) for ids in (ids_L, wanted_K))
        seen_LE, q_LI, sums = self._start(hidden_LD, ids_L)
        x_RE[seen_L], q_RI[seen_L] = seen_LE, q_LI
        blocks = [slice(start, start + self._block) for start in range(0, len(x_RE), self._block)]
        for number, layer in enumerate(self._layers):
            context = sums.finished()
            following = self._layers[number + 1] if number + 1 < len(self._layers) else None
            if following is None and wanted_K is not None:
                x_KE, q_KI = x_RE[asked_K], q_RI[asked_K]
                layer.update(x_KE, q_KI, context)
                return self._norm(self._decoder_norm(x_KE))
            sums = None
            for block in blocks:
                layer.update(x_RE[block], q_RI[block], context)
                if following is not None:
                    q_RI[block], keys, values = following.project(x_RE[block])
                    part, _tops = following.sum_keys(keys, values, None if weights_R1 is None else weights_R1[block])
                    sums = part if sums is None else sums.add(part)
        out = [self._norm(self._decoder_norm(x_RE[block])) for block in blocks]
        return torch.cat(out)[: self._n_genes]

    def _prepare_first_layer(self) -> None:
        layer = self._layers[0]
        parts = [layer.project(block) for block in self._unseen_RE.split(self._block)]
        self._unseen_q_RI, self._unseen_k_RI, self._unseen_v_RI = (torch.cat(part) for part in zip(*parts, strict=True))
        self._unseen_top_R = torch.empty(self._n_rows, device=self._unseen_RE.device)
        self._unseen_sums = None
        # T and S are in every cell: their rows are never unseen
        for block in torch.arange(self._n_genes, device=self._unseen_RE.device).split(self._block):
            part, self._unseen_top_R[block] = layer.sum_keys(self._unseen_k_RI[block], self._unseen_v_RI[block])
            self._unseen_sums = part if self._unseen_sums is None else self._unseen_sums.add(part)

    def _start(self, hidden_LD: torch.Tensor, ids_L: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, KeySums]:
        """The cell's own rows, their queries in the first layer, and that layer's sums over all keys."""
        layer, length = self._layers[0], len(ids_L)
        idle = round_up(length, ids_L.device) - length
        counted_L1 = F.pad(torch.ones(length, 1, device=ids_L.device), (0, 0, 0, idle))
        hidden_LD, rows_L = (torch.cat([x, x[-1:].expand(idle, *x.shape[1:])]) for x in (hidden_LD, ids_L))
        seen_LE = self._to_decoder(hidden_LD + self._identity_RD[rows_L])
        q_LI, seen_k, seen_v = layer.project(seen_LE)
        sums, _tops = layer.sum_keys(seen_k, seen_v, counted_L1)
        own = seen_LE[:length], q_LI[:length]
        is_unseen = torch.ones(self._n_genes, dtype=torch.bool, device=ids_L.device)
        is_unseen[ids_L[:-2]] = False
        if not is_unseen.any():
            return *own, sums
        top = self._unseen_top_R[: self._n_genes][is_unseen].amax()
        if self._unseen_sums.top - torch.maximum(top, sums.top) > _MOST_RESCALING:
            for rows in is_unseen.nonzero().squeeze(1).split(self._block):
                sums = sums.add(layer.sum_keys(self._unseen_k_RI[rows], self._unseen_v_RI[rows])[0])
            return *own, sums
        genes, is_gene_L1 = rows_L.clamp(max=self._n_genes - 1), counted_L1 * (rows_L < self._n_genes)[:, None]
        replaced, _tops = layer.sum_keys(self._unseen_k_RI[genes], self._unseen_v_RI[genes], is_gene_L1)
        unseen = self._unseen_sums
        context = unseen.context_Hmv - replaced.context_Hmv * torch.exp(replaced.top - unseen.top)
        context = context * torch.exp(unseen.top - top)
        return *own, sums.add(KeySums(context, unseen.values_H1v - replaced.values_H1v, top))


class _PreparedDecoderLayer:
    def __init__(self, layer: nn.Module, device: torch.device, dtype: torch.dtype):
        self.n_heads, self.dtype = layer.n_heads, dtype
        weight = torch.cat([layer.q.weight, layer.k.weight, layer.v.weight])
        bias = torch.cat([layer.q.bias, layer.k.bias, layer.v.bias])
        self.qkv = PackedLinear(weight, bias, device, dtype)
        self.out, self.expand, self.contract = (
            PackedLinear(part.weight, part.bias, device, dtype) for part in (layer.out, layer.expand, layer.contract)
        )
        self.attention_norm, self.feed_forward_norm = (
            copy.deepcopy(norm).to(device).requires_grad_(False)
            for norm in (layer.attention_norm, layer.feed_forward_norm)
        )
        # Exponents need fp32: an error of theirs becomes a factor. The scale d^-1/4 of q and k is in the projection.
        self.scale = layer.projection.shape[1] ** -0.25
        self.projection = PackedLinear(layer.projection * self.scale, None, device, torch.float32)

    def project(self, x_CE: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values of a block, each (C, heads * head width)."""
        return self.qkv(self.attention_norm(x_CE).to(self.dtype)).chunk(3, dim=-1)

    def update(self, x_CE: torch.Tensor, q_CI: torch.Tensor, context_Hmv: torch.Tensor) -> None:
        """Add attention and feed-forward to a block of the stream, in place."""
        projected, half_square = self._exponents(self._heads(q_CI))
        features = projected.sub_(half_square + projected.amax(-1, keepdim=True)).exp_().to(self.dtype)
        # the epsilon of each feature, apart from the product: (f + e) C = f C + e * (sum of C over features)
        weighted = torch.bmm(features, context_Hmv.to(self.dtype)).float()
        weighted += KERNEL_EPSILON * context_Hmv.sum(1, keepdim=True)
        attended = weighted[..., :-1] / weighted[..., -1:]
        x_CE += self.out(attended.transpose(0, 1).flatten(1).to(self.dtype))
        x_CE += self.contract(self.expand(self.feed_forward_norm(x_CE).to(self.dtype), "gelu"))

    def sum_keys(
        self, k_CI: torch.Tensor, v_CI: torch.Tensor, weights_C1: torch.Tensor | None = None
    ) -> tuple[KeySums, torch.Tensor]:
        """Sums over a block of keys, each as often as its weight says, and the largest projection of each of them."""
        projected, half_square = self._exponents(self._heads(k_CI))
        tops_C = projected.amax((0, 2))
        top = tops_C.amax()
        features = projected.sub_(half_square + top).exp_().to(self.dtype)
        values = F.pad(self._heads(v_CI), (0, 1), value=1.0)
        if weights_C1 is not None:
            values = (values * weights_C1).to(self.dtype)
        context = torch.bmm(features.transpose(1, 2), values).float()
        return KeySums(context, values.float().sum(1, keepdim=True), top), tops_C

    def _heads(self, x_CI: torch.Tensor) -> torch.Tensor:
        return x_CI.unflatten(-1, (self.n_heads, -1)).transpose(0, 1).contiguous()

    def _exponents(self, x_HCd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Projections (heads, C, features) and half of the squared norms (heads, C, 1), fp32."""
        x_HCd = x_HCd.float()
        projected = self.projection(x_HCd.flatten(0, 1)).unflatten(0, x_HCd.shape[:2])
        return projected, (x_HCd * self.scale).square_().sum(-1, keepdim=True).div_(2)
