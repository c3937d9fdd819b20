"""Batches side by side on a CPU: the products of one are too short to be shared out among threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Tag, Result = TypeVar("Tag"), TypeVar("Result")
_MOST_LANES = 4


def compute_in_order(
    tasks: Iterable[tuple[Tag, Callable[[], Result]]], device: torch.device
) -> Iterator[tuple[Tag, Result]]:
    """Results of functions, in their order; on a CPU a few are computed at a time, each with its share of the threads.

    Parameters
    ----------
    tasks
        What comes back beside the result, and the function. One is taken when there is room to compute it, with the
        number of threads that the calling thread has at that moment.
    device
        Where they compute; an accelerator takes one after the other.
    """
    with ThreadPoolExecutor(_MOST_LANES) as pool:
        ahead: deque = deque()
        n_threads = torch.get_num_threads()
        try:
            for tag, task in tasks:
                n_threads = torch.get_num_threads()
                n_lanes = min(n_threads, _MOST_LANES) if device.type == "cpu" else 1
                if n_lanes > 1:
                    ahead.append((tag, pool.submit(_compute, task, n_threads // n_lanes)))
                while len(ahead) >= n_lanes:
                    first, result = ahead.popleft()
                    yield first, result.result()
                if n_lanes == 1:
                    yield tag, task()
            for tag, result in ahead:
                yield tag, result.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(n_threads)  # what a lane sets, threads begin with that come later


def _compute(task: Callable[[], Result], n_threads: int) -> Result:
    torch.set_num_threads(n_threads)
    return task()
