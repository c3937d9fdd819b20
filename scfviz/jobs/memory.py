"""How much memory a computation will take, said before it starts, and a refusal where that cannot fit.

A kind of job whose memory grows with the cells has a function `memory(options) -> Need`; its numbers are measured, see
`benchmarks/jobs.py --memory`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from scfviz.data import memory
from scfviz.data.memory import Need
from scfviz.errors import JobError

__all__ = ["Estimate", "Need", "estimate", "refuse_what_cannot_fit", "shared_memory"]

_WAIT: ContextVar[Callable[[float], float] | None] = ContextVar("wait", default=None)


@dataclass(frozen=True)
class Estimate:
    """What a computation on `n_obs` cells needs, and what is free, in bytes."""

    need: Need
    n_obs: int
    available: int

    @property
    def needed(self) -> float:
        """Bytes at the peak."""
        return self.need.of(self.n_obs)

    @property
    def fits(self) -> bool:
        """Whether it can run now."""
        return self.needed <= self.available

    @property
    def text(self) -> str:
        """The estimate in words."""
        return f"About {self.needed / 1e9:.1f} GB of memory needed, {self.available / 1e9:.1f} GB free."


def estimate(need: Need | None, n_obs: int) -> Estimate | None:
    """What a computation will need; `None` for a kind whose memory does not grow with the cells.

    Parameters
    ----------
    need
        Of `scfviz.jobs.kinds.need_of`.
    """
    return None if need is None else Estimate(need, n_obs, memory.free_memory())


@contextmanager
def shared_memory(wait: Callable[[float], float]) -> Iterator[None]:
    """Other computations run beside what is done in this block.

    Parameters
    ----------
    wait
        Called with the bytes that are needed, before they are; returns, when they can be had, how many of the free ones
        are promised to others.
    """
    token = _WAIT.set(wait)
    try:
        yield
    finally:
        _WAIT.reset(token)


def refuse_what_cannot_fit(need: Need | None, n_obs: int) -> None:
    """Called by a computation once it knows its cells, before hours are spent; it waits for what runs beside it.

    Raises
    ------
    JobError
        It needs more memory than is free; the advice names a number of cells that fits.
    """
    if need is None:
        return
    wait = _WAIT.get()
    promised = 0 if wait is None else int(wait(need.of(n_obs)))
    found = Estimate(need, n_obs, max(memory.free_memory() - promised, 0))
    if found.fits:
        return
    fitting = need.fitting(0.9 * found.available)
    advice = f"Take at most {fitting:,} cells, or use" if fitting else "Close other programs, or use"
    raise JobError(
        f"About {found.needed / 1e9:.1f} GB of memory would be needed for {n_obs:,} cells; "
        f"{found.available / 1e9:.1f} GB are free.",
        f"{need.what} are held in memory.",
        f"{advice} a computer with more memory.",
    )
