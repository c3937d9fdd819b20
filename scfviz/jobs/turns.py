"""Whose turn it is: visitors take turns, and the computations of each come in the order in which they were asked for.

Next is the visitor who has waited longest since they last had a turn, or since they came. So a new one waits for at
most one computation of each other, however many those have asked for, and nobody is passed over for ever.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Waiting:
    """A job that waits: since when (seconds since 1970), its folder, and who asked for it."""

    since: float
    folder: Path
    owner: str


def in_turn(waiting: Sequence[Waiting], served: Mapping[str, float]) -> list[Path]:
    """Folders of waiting jobs in the order in which they will be started, if nobody else comes.

    Parameters
    ----------
    served
        When a job of each owner was last started, in seconds since 1970.
    """
    lines: dict[str, deque[Waiting]] = defaultdict(deque)
    for job in sorted(waiting):
        lines[job.owner].append(job)
    turns = [(max(served.get(owner, 0.0), line[0].since), owner) for owner, line in lines.items()]
    heapq.heapify(turns)
    later = max((since for job in waiting for since in (job.since, served.get(job.owner, 0.0))), default=0.0)
    order = []
    while turns:
        _, owner = heapq.heappop(turns)
        order.append(lines[owner].popleft().folder)
        later += 1.0  # they had their turn after everything that is known now
        if lines[owner]:
            heapq.heappush(turns, (later, owner))
    return order
