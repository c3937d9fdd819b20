"""How many threads compute, and how they wait for each other.

The libraries below (OpenMP in torch and scikit-learn, numba in UMAP) ask the environment when they are loaded, so
`prepare_threads` has to run before them. Threads that wait by spinning hold the cores that the others need: on a busy
machine, or in a container with a quota, most of the time is then spent waiting.
"""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from scfviz.errors import OptionError

COUNTS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
CHOSEN_HERE = "SCFVIZ_THREADS"  # what was chosen here and not by the user, also by the process that started this one
_TOPOLOGY = Path("/sys/devices/system/cpu")


def prepare_threads(threads: int | None = None, *, keep_free: int = 0) -> int:
    """Set number and waiting of threads in the environment; what the user has set there stays.

    Parameters
    ----------
    threads
        A number that was asked for, and counts more than the environment; `None` takes the cores that this process
        may use.
    keep_free
        Cores to leave to others where more than four may be used.

    Returns
    -------
    int
        Threads that compute.

    Raises
    ------
    OptionError
        `threads` is below 1.
    """
    os.environ.update(thread_environment(os.environ, threads, keep_free=keep_free))
    n_threads = chosen_threads(os.environ)
    if threads is not None:
        use_threads(n_threads)
    return n_threads


def thread_environment(given: Mapping[str, str], threads: int | None = None, *, keep_free: int = 0) -> dict[str, str]:
    """The variables that `prepare_threads` sets, beside those that are given."""
    if threads is not None and threads < 1:
        raise OptionError(f"The number of threads is {threads}.", "It must be 1 or more.", "Leave it out to use all.")
    found = {name: value for name, value in WAITING.items() if name not in given}
    if threads is not None:
        return found | dict.fromkeys(COUNTS, str(threads)) | {CHOSEN_HERE: ""}
    if is_users_choice(given):
        n_threads = chosen_threads(given)
    else:
        cores = available_cores()
        n_threads = cores - keep_free if cores > 4 else cores
        found |= {COUNTS[0]: str(n_threads), CHOSEN_HERE: str(n_threads)}
    inherited = given.get(CHOSEN_HERE) or None
    missing = {name: str(n_threads) for name in COUNTS[1:] if given.get(name) in (None, inherited)}
    return found | missing


def is_users_choice(environment: Mapping[str, str]) -> bool:
    """Whether the number of threads was set by the user: by `--threads`, or in the environment."""
    return bool(environment.get(COUNTS[0])) and environment.get(CHOSEN_HERE) != environment[COUNTS[0]]


def chosen_threads(environment: Mapping[str, str]) -> int:
    """The number that the environment says; the cores that may be used where it says none."""
    first = environment.get(COUNTS[0], "").split(",")[0].strip()  # OpenMP takes one number for each nested level
    return int(first) if first.isdigit() and int(first) > 0 else available_cores()


def use_threads(n_threads: int) -> None:
    """Change the number in what is loaded already, for the calling thread: the one that computes must call."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(n_threads)
    if numba := sys.modules.get("numba"):
        numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))


def available_cores() -> int:
    """Cores that this process may use: those of its affinity, at most the quota of its container, rounded up."""
    cores, quota = affinity_cores(), quota_cores()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def affinity_cores() -> int:
    """Physical cores among the processors that this process may run on; two of one core share its arithmetic."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    processors = os.sched_getaffinity(0)
    cores = set()
    for number in processors:
        place = _TOPOLOGY / f"cpu{number}" / "topology"
        parts = tuple(_read(place / name) for name in ("physical_package_id", "core_id"))
        cores.add(str(number) if None in parts else parts)
    return len(cores)


def quota_cores(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the control groups of this process allow, the strictest of all levels; `None`: any.

    Source: Linux kernel, Documentation/admin-guide/cgroup-v2.rst (`cpu.max`) and scheduler/sched-bwc.rst
    (`cpu.cfs_quota_us`).
    """
    limits = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts, read = ("sys/fs/cgroup", "sys/fs/cgroup/unified"), _quota_v2
        elif "cpu" in controllers.split(","):
            mounts, read = (f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"), _quota_v1
        else:
            continue
        # a container sees its own group at the mount, and may be told the path that the host knows
        inside = Path(*(part for part in Path(path).parts if part not in ("/", "..")))
        for mount in mounts:
            for level in (inside, *inside.parents):
                limits.append(read(root / mount / level))
    return min((limit for limit in limits if limit is not None), default=None)


def _quota_v2(group: Path) -> float | None:
    quota, _, period = (_read(group / "cpu.max") or "max").partition(" ")
    return _share(quota, period)


def _quota_v1(group: Path) -> float | None:
    return _share(_read(group / "cpu.cfs_quota_us") or "-1", _read(group / "cpu.cfs_period_us") or "")


def _share(quota: str, period: str) -> float | None:
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
