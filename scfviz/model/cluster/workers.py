"""The workers of a Dask cluster: reached through their scheduler, examined before they are given work.

Dask places tasks, repeats those of a worker that died, and hands new workers their share. What is done here is to say
which workers may take part, and to find the scheduler again when it was restarted.
"""

import logging
import pkgutil
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import scfviz
from scfviz.errors import JobError, OptionError, ScfvizError, Stopped
from scfviz.model.cluster.worker import WindowJob, examine, resolve_device

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_CONNECT = 10.0
SECONDS_WITHOUT_SCHEDULER = 60.0
SECONDS_WITHOUT_WORKERS = 600.0
_LOCAL, _ADDRESS = re.compile(r"local:([1-9]\d*)"), re.compile(r"[a-z]+://.+")

log = logging.getLogger("scfviz.cluster")
ShouldStop = Callable[[], bool]


class SchedulerLost(Exception):
    """The scheduler does not answer any more."""


@dataclass
class _Worker:
    """What is known of a worker: what it was asked last, and why it is refused, if it is."""

    question: Any
    version: str = ""
    hardware: str = ""
    gpu: str = ""
    refusal: str = ""


def refuse_no_cluster(cluster: str) -> None:
    """Refuse what is no cluster, or one that does not answer, before anything long begins.

    Raises
    ------
    OptionError, JobError
        See `Workers`.
    """
    if not _LOCAL.fullmatch(cluster):
        with Workers(cluster):
            return
    _import_dask()


class Workers:
    """A connection to a cluster; a context.

    Parameters
    ----------
    cluster
        `tcp://host:8786`, the address of a scheduler, or `local:4`: four processes on this computer.

    Attributes
    ----------
    hardware
        What the workers that take part compute on, each once.

    Raises
    ------
    OptionError
        It is neither, or Dask is not installed.
    JobError
        There is no scheduler.
    """

    def __init__(self, cluster: str):
        if not _LOCAL.fullmatch(cluster) and not _ADDRESS.fullmatch(cluster):
            raise OptionError(
                f"The cluster is '{cluster}'.",
                "It is the address of a Dask scheduler, as tcp://host:8786, or local:N, N processes on this computer.",
                "Correct it, or leave it out to compute here.",
            )
        self.cluster, self.hardware = cluster, []
        self._dask = _import_dask()
        self._client = self._processes = None
        self._known: dict[str, _Worker] = {}
        self._alone_since: float | None = None

    def __enter__(self) -> "Workers":
        try:
            if found := _LOCAL.fullmatch(self.cluster):
                self._processes = _start_processes(self._dask, int(found[1]))
            self._connect()
        except OSError as error:
            raise self._no_scheduler("") from error
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._client, self._processes):
            if opened is not None:
                _close(opened)

    def _connect(self) -> None:
        where = self._processes if self._processes is not None else self.cluster
        self._client = self._dask.Client(where, timeout=SECONDS_TO_CONNECT, set_as_default=False)
        if self._processes is not None:
            with suppress(TimeoutError):  # then it is said that there is none yet
                self._client.wait_for_workers(1, timeout=SECONDS_WITHOUT_SCHEDULER)

    def _no_scheduler(self, more: str) -> JobError:
        return JobError(
            f"The scheduler at {self.cluster} does not answer{more}.",
            "It hands the work to the workers.",
            "Start it (`dask scheduler`), or correct its address; then go on with what is done.",
        )

    def resolve(self, device: str, precision: str, should_stop: ShouldStop) -> tuple[str, str]:
        """Kind of device and precision that `auto` means on the workers: what the first of them says."""
        if self._processes is not None:
            return resolve_device(device, precision)
        return tuple(self.ask_one(None, should_stop, resolve_device, device, precision))

    def ask_one(self, job: WindowJob | None, should_stop: ShouldStop, function: Callable, *given: Any) -> Any:
        """What a function returns on any one of the workers that may take part; another is asked where that one goes.

        Raises
        ------
        JobError
            It failed there; see also `able`.
        ScfvizError, SchedulerLost, Stopped
            It said so there; as of `able`.
        """
        question, asked = None, {}
        while True:
            able = self._look(job, should_stop)
            status = "none" if question is None else question.status
            if status == "finished":
                return question.result(timeout=SECONDS_TO_CONNECT)
            if status == "error":
                raise explain(question.exception(timeout=SECONDS_TO_CONNECT), "")
            if able and (status != "pending" or not asked.keys() & able.keys()):
                question, asked = self.submit(function, *given, workers=list(able), priority=10), able
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def able(self, job: WindowJob, should_stop: ShouldStop) -> dict[str, int]:
        """Threads of each worker that may take part by now, by address.

        Raises
        ------
        JobError
            No worker can, or there is none for a long time.
        SchedulerLost
            See `reconnect`.
        Stopped
            `should_stop` said so.
        """
        return self._look(job, should_stop)

    def submit(self, function: Callable, *given: Any, workers: list[str], priority: int = 0) -> Any:
        """Hand a task to one of several workers."""
        try:
            return self._client.submit(function, *given, workers=workers, pure=False, priority=priority)
        except OSError as error:
            raise SchedulerLost from error

    def reconnect(self, should_stop: ShouldStop) -> None:
        """Wait until the scheduler is there again.

        Raises
        ------
        JobError
            It does not come back.
        """
        log.warning("The scheduler at %s does not answer: waiting for it.", self.cluster)
        _close(self._client)
        self._known.clear()
        until = time.monotonic() + SECONDS_WITHOUT_SCHEDULER
        while True:
            if should_stop():
                raise Stopped
            try:
                return self._connect()
            except OSError as error:
                if time.monotonic() > until:
                    raise self._no_scheduler(" any more") from error
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def _look(self, job: WindowJob | None, should_stop: ShouldStop) -> dict[str, int]:
        """Workers that have this version and, where a job is given, were examined for it."""
        if should_stop():
            raise Stopped
        try:
            present = self._client.nthreads()
            self._known = {address: worker for address, worker in self._known.items() if address in present}
            for address in present.keys() - self._known.keys():
                # a function that every Python has: another version may know none of ours
                self._known[address] = _Worker(self._ask(address, pkgutil.resolve_name, "scfviz:__version__"))
            for address, worker in list(self._known.items()):
                self._hear(address, worker, job)
        except (OSError, self._dask.CancelledError) as error:
            raise SchedulerLost from error
        self._refuse_none(present)
        able = {address: worker for address, worker in self._known.items() if _is_able(worker, job)}
        return {address: present[address] for address in able}

    def _ask(self, address: str, function: Callable, *given: Any) -> Any:
        return self._client.submit(function, *given, workers=[address], pure=False, priority=10)

    def _hear(self, address: str, worker: _Worker, job: WindowJob | None) -> None:
        """Take note of what a worker answered, and ask it further."""
        if worker.question is not None and worker.question.status == "pending" or worker.refusal:
            return
        if worker.question is None:
            if job is not None and not worker.hardware:
                worker.question = self._ask(address, examine, job)
            return
        question, worker.question = worker.question, None
        if question.status == "error":
            error = question.exception(timeout=SECONDS_TO_CONNECT)
            said = f"it cannot run scfviz {scfviz.__version__} ({type(error).__name__}: {error})."
            worker.refusal = str(error) if isinstance(error, ScfvizError) else said
        elif question.status != "finished":
            del self._known[address]
        elif not worker.version:
            worker.version = question.result(timeout=SECONDS_TO_CONNECT)
            if worker.version != scfviz.__version__:
                worker.refusal = f"it has scfviz {worker.version}, this is scfviz {scfviz.__version__}."
        else:
            worker.hardware, worker.gpu = question.result(timeout=SECONDS_TO_CONNECT)
            self._note_shared(address, worker)
            if worker.hardware not in self.hardware:
                self.hardware.append(worker.hardware)
                if len(self.hardware) > 1:
                    log.warning(
                        "Workers compute on %s: their results are equal up to rounding.", " and ".join(self.hardware)
                    )
        if worker.refusal:
            log.warning("The worker %s is left out: %s", address, worker.refusal)

    def _note_shared(self, address: str, worker: _Worker) -> None:
        """Say that two workers take turns on one GPU, as those of `dask worker --nworkers 4` do."""
        for other, known in self._known.items():
            if worker.gpu and known.gpu == worker.gpu and other != address:
                log.warning(
                    "The workers %s and %s compute on the same GPU: start one for each, with `dask cuda worker` or "
                    "CUDA_VISIBLE_DEVICES.",
                    *(other, address),
                )
                return

    def _refuse_none(self, present: dict[str, int]) -> None:
        refused = {address: worker.refusal for address, worker in self._known.items() if worker.refusal}
        if refused and len(refused) == len(self._known):
            address, why = next(iter(refused.items()))
            others = f" (the same or another reason holds for {len(refused) - 1:,} more)" if len(refused) > 1 else ""
            raise JobError(f"No worker of {self.cluster} can compute this. {address}: {why}{others}")
        if present:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
            log.warning("No worker is connected to %s: waiting for one.", self.cluster)
        elif time.monotonic() - self._alone_since > SECONDS_WITHOUT_WORKERS:
            raise JobError(
                f"No worker was connected to {self.cluster} for {SECONDS_WITHOUT_WORKERS / 60:.0f} minutes.",
                "Without workers nothing is computed.",
                f"Start some (`dask worker {self.cluster}`), then go on with what is done.",
            )


def explain(error: BaseException, where: str) -> ScfvizError:
    """What a worker stopped with, as an error of ours; `where` says which cells it computed."""
    if isinstance(error, ScfvizError):
        found = f"A worker stopped{where}: {error.found}" if where else error.found
        return type(error)(found, error.needed, error.advice)
    if type(error).__name__ == "KilledWorker":
        return JobError(
            f"Several workers ended while they computed{where}.",
            "Mostly memory does not suffice for a worker.",
            "Give each more memory, or fewer threads; then go on with what is done.",
        )
    return JobError(
        f"A worker stopped{where} ({type(error).__name__}: {error}).", "", "Its log says more; then try again."
    )


def _is_able(worker: _Worker, job: WindowJob | None) -> bool:
    return not worker.refusal and bool(worker.version if job is None else worker.hardware)


def _import_dask() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise OptionError(
            "A cluster was asked for, and Dask is not installed.",
            "Only who computes on a cluster needs it.",
            "Install it with `pip install 'scfviz[cluster]'`, here and on each worker.",
        ) from error
    for name in ("distributed", "distributed.client"):  # what matters of it is said by our own sentences
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


def _start_processes(dask: Any, n: int) -> Any:
    """A scheduler in this process, and beside it workers that share its threads.

    Each is a program of its own: Dask's usual processes run the caller's script once more.
    """
    import os

    if sys.platform == "win32":
        raise OptionError(
            f"The cluster is 'local:{n}', on Windows.",
            "Dask does not start such processes there.",
            "Leave it out, or start `dask scheduler` and `dask worker` and give the address.",
        )
    from distributed.deploy.subprocess import SubprocessWorker

    from scfviz.threads import COUNTS, chosen_threads

    threads = str(max(1, chosen_threads(os.environ) // n))
    only_here = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    options = only_here | {"nthreads": 1, "memory_limit": 0, "death_timeout": SECONDS_WITHOUT_SCHEDULER}
    options |= {"env": dict.fromkeys(COUNTS, threads), "silence_logs": logging.CRITICAL}
    worker = {"cls": SubprocessWorker, "options": {"worker_kwargs": options}}
    return dask.SpecCluster(
        workers=dict.fromkeys(range(n), worker),
        scheduler={"cls": dask.Scheduler, "options": {"port": 0} | only_here},
        silence_logs=logging.CRITICAL,
    )


def _close(opened: Any) -> None:
    try:
        opened.close(timeout=SECONDS_TO_CONNECT)
    except Exception as error:  # whatever it was, the connection is given up
        log.debug("closing: %s", error)
