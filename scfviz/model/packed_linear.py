"""Linear layers whose weights are laid out once for the processor."""

import functools
from typing import Literal

import torch
from torch.nn import functional as F

Activation = Literal["none", "relu", "gelu"]
_ROWS = 64


def round_up(n_rows: int, device: torch.device, step: int = _ROWS) -> int:
    """Rows to compute instead of `n_rows`: on a CPU each new shape of a product costs a millisecond and a megabyte."""
    return -(-n_rows // step) * step if device.type == "cpu" else n_rows


class PackedLinear:
    """x W^T + b with a fused activation or sum.

    On a CPU this calls oneDNN on weights in its own blocked order, because the default fp32 product is tuned for one
    maker's processors only and repacks the weights at each call; where oneDNN is missing, and on accelerators, it is
    the plain product with the same result.

    Parameters
    ----------
    weight
        (outputs, inputs).
    bias
        (outputs,), or `None`.
    device, dtype
        Of the product's input and output.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, device: torch.device, dtype: torch.dtype):
        self._weight = weight.detach().to(device, dtype).contiguous()
        self._bias = None if bias is None else bias.detach().to(device, dtype)
        self._is_packed = device.type == "cpu" and can_pack(dtype)
        if self._is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, 1024)

    def __call__(self, x: torch.Tensor, activation: Activation = "none") -> torch.Tensor:
        """Map (N, inputs) to (N, outputs)."""
        if self._is_packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, activation, [], "none")
        y = F.linear(x, self._weight, self._bias)
        return y if activation == "none" else F.relu(y) if activation == "relu" else F.gelu(y)

    def add_to(self, stream: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The sum of a (N, outputs) stream and the map of x."""
        if self._is_packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, stream, self._weight, self._bias, "add")
        return stream + F.linear(x, self._weight, self._bias)


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed products work here, tried on a small one: they are no public part of torch."""
    generator = torch.Generator().manual_seed(0)
    x, weight, stream = (torch.randn(shape, generator=generator).to(dtype) for shape in ((8, 32), (16, 32), (8, 16)))
    bias = stream[0].contiguous()
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 8)
        products = [
            torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "none")
            for activation in ("none", "relu", "gelu")
        ]
        products.append(torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "none"))
        products.append(torch.ops.mkldnn._linear_pointwise.binary(x, stream, packed, bias, "add"))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    y = F.linear(x.double(), weight.double(), bias.double())
    expected = [y, F.relu(y), F.gelu(y), F.linear(x.double(), weight.double()), y + stream.double()]
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    return all(torch.allclose(a.double(), b, rtol=0, atol=tolerance) for a, b in zip(products, expected, strict=True))
