"""Which cells are computed together, and what happens when memory does not suffice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from scfviz.data import memory
from scfviz.model.config import ModelConfig

_MAX_WINDOW_CELLS = 65_536
_LEAST_TOKENS = 256
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "could not create a memory object")


@dataclass(frozen=True)
class BatchPlan:
    """How cells are cut into batches; the same plan over the same cells always gives the same batches.

    Cells are read in windows, which bound memory. Within a window they are sorted by length, so that a batch holds
    cells of similar length and the largest batch of a window comes first.

    Attributes
    ----------
    tokens_per_batch
        Most tokens of a batch; a longer cell is a batch of its own.
    entries_per_window
        Most counts above zero that are held at once; a larger cell is a window of its own.
    """

    tokens_per_batch: int
    entries_per_window: int = 8_000_000

    def windows(self, n_expressed: np.ndarray, groups: Sequence[np.ndarray] | None = None) -> Iterator[np.ndarray]:
        """Ascending cell numbers of each window, group by group."""
        for members in groups if groups is not None else [np.arange(len(n_expressed))]:
            yield from _cut(members, n_expressed[members], self.entries_per_window, _MAX_WINDOW_CELLS)

    def batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Positions within a window, longest cells first, for the token counts of its cells."""
        order = np.argsort(-lengths, kind="stable")
        return list(_cut(order, lengths[order], self.tokens_per_batch, len(lengths)))


def _cut(items: np.ndarray, sizes: np.ndarray, limit: int, most: int) -> Iterator[np.ndarray]:
    ends = np.cumsum(sizes)
    start = 0
    while start < len(items):
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + limit, side="right"))
        stop = min(max(stop, start + 1), start + most)
        yield items[start:stop]
        start = stop


def cell_flops(config: ModelConfig, lengths: np.ndarray, decode: bool) -> np.ndarray:
    """Operations of the matrix products of one forward pass.

    Parameters
    ----------
    lengths
        Tokens of each cell.
    decode
        Whether the decoder runs too.

    Returns
    -------
    ndarray
        float64, one number per cell.
    """
    n, width = np.asarray(lengths, dtype=np.float64), config.encoder_width
    flops = config.encoder_layers * (24 * n * width**2 + 4 * n**2 * width)
    if decode:
        inner = config.decoder_heads * config.decoder_head_width
        per_row = 8 * config.decoder_width * inner + 16 * config.decoder_width**2 + 8 * inner * config.n_features
        rows = config.n_genes + 2
        flops = flops + rows * (config.decoder_layers * per_row + 2 * width * config.decoder_width)
    return flops


def choose_tokens_per_batch(config: ModelConfig, device: torch.device, n_bytes: int, decode: bool) -> int:
    """Tokens that fit into half of the free memory, within what keeps the hardware busy.

    Parameters
    ----------
    n_bytes
        Bytes of one number of the activations.
    decode
        Whether the decoder runs too. It takes one cell after the other, so that larger batches would only make a
        request to stop wait longer.
    """
    # stream, queries, keys, values, feed-forward of four widths, and a copy of each in flight
    per_token = 24 * config.encoder_width * n_bytes
    return int(np.clip(free_memory(device) // 2 // per_token, _LEAST_TOKENS, most_tokens_per_batch(device, decode)))


def most_tokens_per_batch(device: torch.device, decode: bool) -> int:
    """Tokens that keep the hardware busy, where memory suffices; see `choose_tokens_per_batch`."""
    if device.type == "cpu":
        return _LEAST_TOKENS if decode else 4096
    return 65_536


def free_memory(device: torch.device) -> int:
    """Bytes that a computation on this device can still take, within the limit of a container."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return memory.free_memory()


def release_memory(device: torch.device) -> None:
    """Give cached blocks back, so that smaller batches can use them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice (on a CPU it is a plain RuntimeError)."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _OUT_OF_MEMORY)
