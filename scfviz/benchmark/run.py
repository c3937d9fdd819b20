"""What a checkpoint is good for: its scores on real cells, each beside the best simple method.

Four questions, on cells the checkpoint should never have seen: can it fill in hidden expression, can it make a shallow
cell deep, does its embedding tell cell types apart within a dataset, and does it from one dataset to another? Every
method gets the same cells; who is ahead is decided by the 95 % interval of the difference over resampled cells.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.analysis.baselines import Cells
from scfviz.benchmark.comparison import Comparison
from scfviz.benchmark.data import (
    BUDGETS,
    MAX_REFERENCE_CELLS,
    PAIRS,
    SEEN_PAIRS,
    Budget,
    Pair,
    Side,
    choose_embedded,
    count_masked,
    find_datasets,
    load_cells,
    only_shared_labels,
    refuse_other_genes,
)
from scfviz.benchmark.recovery import Predict, predictor, score_depth, score_masked
from scfviz.benchmark.representation import ACROSS, ACROSS_SEEN, score_across, score_clusters, score_probes
from scfviz.errors import DatasetError, OptionError, ScfvizError

if TYPE_CHECKING:
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.scfoundation import ScFoundation

Report = Callable[[float, str], None]  # share done, what is being done


@dataclass(frozen=True)
class BenchmarkResult:
    """All comparisons of one run.

    Attributes
    ----------
    checkpoints
        Name by which each checkpoint is called, and what it says about itself; the first one is the one in question.
    comparisons
        In the order in which they were made.
    skipped
        What was not computed, with the reason.
    settings
        Budget, seed, versions, and seconds (of the clock, and of all processor cores together).
    """

    checkpoints: "dict[str, CheckpointInfo]"
    comparisons: tuple[Comparison, ...]
    skipped: tuple[dict[str, str], ...]
    settings: dict[str, Any]


def run_benchmark(
    checkpoint: Path | str,
    data: Path | str,
    *,
    compare: Path | str | None = None,
    references: Path | str | None = None,
    budget: str = "standard",
    device: str = "auto",
    seed: int = 0,
    report: Report | None = None,
) -> BenchmarkResult:
    """Score a checkpoint, or two side by side, on all datasets of a folder.

    Parameters
    ----------
    checkpoint, compare
        Checkpoint folders.
    data
        Folder of datasets that the checkpoint has not been trained on. Cell types are taken from the column `cell_type`
        (or a usual name like it).
    references
        Folder of datasets it *was* trained on: used only to learn cell types from, in a table of its own.
    budget
        A key of `BUDGETS`.
    report
        Told how far things are.

    Raises
    ------
    CheckpointError
        A checkpoint folder is not whole.
    OptionError
        A folder is missing or empty, the budget is unknown, or the two checkpoints know different genes.
    DatasetError
        Not one score could be computed; the message says why for the first dataset.
    """
    if budget not in BUDGETS:
        raise OptionError(f"There is no budget '{budget}'.", f"One of: {', '.join(BUDGETS)}.", "")
    paths = find_datasets(Path(data))
    reference_paths = find_datasets(Path(references)) if references is not None else {}
    run = _Run(_load([checkpoint] if compare is None else [checkpoint, compare]), BUDGETS[budget], device, seed, report)
    for place, (name, path) in enumerate(paths.items()):
        run.dataset(name, path, place / (len(paths) + 1))
    for pairs, score in ((PAIRS, ACROSS), (SEEN_PAIRS, ACROSS_SEEN)):
        run.pairs(pairs, score, {} if score == ACROSS else reference_paths)
    if not run.comparisons:
        reason = run.skipped[0]["reason"] if run.skipped else ""
        raise DatasetError(
            f"No score could be computed on '{data}'. {reason}", "", "Give a folder with other datasets."
        )
    return BenchmarkResult(run.infos, tuple(run.comparisons), tuple(run.skipped), run.settings())


def _load(folders: Sequence[Path | str]) -> "dict[str, tuple[CheckpointInfo, ScFoundation]]":
    """Checkpoints by name; two of the same name are told apart by their fingerprint."""
    from scfviz.model.checkpoint import checkpoint_info, load_checkpoint

    infos = [checkpoint_info(folder) for folder in folders]
    if len(infos) == 2 and infos[0].hash == infos[1].hash:
        raise OptionError("Both checkpoints hold the same weights.", "Two different ones can be compared.", "")
    repeated = len({info.name for info in infos}) < len(infos)
    loaded = {
        (f"{info.name} ({info.hash})" if repeated else info.name): (info, load_checkpoint(info.folder))
        for info in infos
    }
    refuse_other_genes({name: model for name, (_, model) in loaded.items()})
    return loaded


class _Run:
    """Scores dataset by dataset; keeps embeddings of labelled cells for the pairs."""

    def __init__(
        self,
        checkpoints: "dict[str, tuple[CheckpointInfo, ScFoundation]]",
        budget: Budget,
        device: str,
        seed: int,
        report: Report | None,
    ):
        self.infos = {name: info for name, (info, _) in checkpoints.items()}
        self.models = {name: model for name, (_, model) in checkpoints.items()}
        self.genes = next(iter(self.models.values())).genes
        self.budget, self.device, self.seed, self.report = budget, device, seed, report or (lambda share, text: None)
        self.predict: dict[str, Predict] = {n: predictor(m, device) for n, m in self.models.items()}
        self.arrange = {name: model.arrange for name, model in self.models.items()}
        self.comparisons: list[Comparison] = []
        self.skipped: list[dict[str, str]] = []
        self.seconds: dict[str, float] = {}
        self._cells: dict[str, Cells] = {}
        self._embedded: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        self._start, self._cpu_start = time.monotonic(), time.process_time()

    def dataset(self, name: str, path: Path, share: float) -> None:
        """All scores of one dataset."""
        budget, seed = self.budget, self.seed
        self.report(share, f"{name}: reading")
        cells = self._try(name, "everything", lambda: load_cells(path, self.genes, budget.max_cells, seed=seed))
        n_masked = None if cells is None else self._try(name, "everything", lambda: count_masked(cells, budget))
        if n_masked is None:
            return
        self.report(share, f"{name}: masked recovery")
        with self._time("masked recovery"):
            self._add(name, "masked recovery", lambda: score_masked(cells, self.predict, n_scored=n_masked, seed=seed))
        self.report(share, f"{name}: read-depth recovery")
        with self._time("read-depth recovery"):
            self._add(
                name,
                "read-depth recovery",
                lambda: score_depth(
                    cells, self.predict, n_scored=budget.n_thinned, fractions=budget.fractions, seed=seed
                ),
            )
        if len({label for label in cells.labels if label is not None}) < 2:
            return
        self.report(share, f"{name}: cell representation")
        with self._time("cell representation"):
            part = self._try(name, "cell representation", lambda: self.embedded(name, cells))
            if part is not None:
                how = {"arrange": self.arrange, "seed": seed}
                self._add(name, "cell types by cross-validation", lambda: score_probes(cells, *part, **how))
                self._add(name, "clusters", lambda: score_clusters(cells, *part, **how))

    def pairs(self, pairs: Sequence[Pair], score: str, references: dict[str, Path]) -> None:
        """Scores from one dataset to another, for the pairs whose datasets are at hand."""
        for pair in pairs:
            for name in (pair.one.dataset, pair.other.dataset):
                if name in references and name not in self._embedded:
                    self.report(0.95, f"{name}: embedding the reference")
                    with self._time(score):
                        self._try(name, score, lambda name=name: self._embed_reference(name, references[name]))
            if not {pair.one.dataset, pair.other.dataset} <= set(self._embedded):
                continue
            self.report(0.97, f"{pair.one.name} and {pair.other.name}")
            ways = [(pair.one, pair.other), (pair.other, pair.one)][: 2 if pair.both_ways else 1]
            for train, test in ways:
                with self._time(score):
                    self._add(
                        f"{train.name} → {test.name}",
                        score,
                        lambda a=train, b=test, p=pair: self._across(a, b, p, score),
                    )

    def embedded(self, name: str, cells: Cells) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Rows of the labelled cells that the budget allows, and their embeddings, computed once."""
        from scfviz.model.infer import embed_cells

        if name not in self._embedded:
            rows = choose_embedded(cells, self.budget, seed=self.seed)
            counts = cells.counts[rows]
            embeddings = {
                model_name: embed_cells(counts, model, precision="fp32", device=self.device).values
                for model_name, model in self.models.items()
            }
            self._cells[name], self._embedded[name] = cells, (rows, embeddings)
        return self._embedded[name]

    def settings(self) -> dict[str, Any]:
        """What the numbers depend on, and what they cost."""
        import torch

        return {
            "budget": self.budget.name,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self._start, 1),
            "cpu_seconds": round(time.process_time() - self._cpu_start, 1),
            "cpu_seconds_by_score": {name: round(value, 1) for name, value in self.seconds.items()},
            "device": self.device,
            "precision": "fp32",
            "torch": torch.__version__,
        }

    def _embed_reference(self, name: str, path: Path) -> None:
        cells = load_cells(path, self.genes, MAX_REFERENCE_CELLS, seed=self.seed)
        self.embedded(name, only_shared_labels(cells))

    def _across(self, train: Side, test: Side, pair: Pair, score: str) -> list[Comparison]:
        sides = []
        for side in (train, test):
            cells, (rows, embeddings) = self._cells[side.dataset], self._embedded[side.dataset]
            part, chosen = side.cells(cells.take(rows))
            sides.append((part, {name: values[chosen] for name, values in embeddings.items()}))
        (a, of_a), (b, of_b) = sides
        everyone, _ = train.cells(self._cells[train.dataset])
        how = {"arrange": self.arrange, "unlabelled": everyone, "score": score, "note": pair.note, "seed": self.seed}
        return score_across(a, b, of_a, of_b, **how)

    def _add(self, dataset: str, score: str, compute: Callable[[], list[Comparison]]) -> None:
        self.comparisons += self._try(dataset, score, compute) or []

    def _try(self, dataset: str, score: str, compute: Callable[[], Any]) -> Any:
        """A dataset that does not fit a score is named with the reason; the others go on."""
        try:
            return compute()
        except ScfvizError as error:
            self.skipped.append({"dataset": dataset, "score": score, "reason": error.found})
            return None

    def _time(self, score: str) -> "_Timer":
        return _Timer(self.seconds, score)


class _Timer:
    """Adds the processor seconds of a block to a table: other programs do not change them."""

    def __init__(self, table: dict[str, float], name: str):
        self.table, self.name, self.start = table, name, 0.0

    def __enter__(self) -> None:
        self.start = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.table[self.name] = self.table.get(self.name, 0.0) + time.process_time() - self.start
