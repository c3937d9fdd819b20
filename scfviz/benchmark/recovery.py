"""Can a model fill in what is hidden, or what a shallow measurement missed? Scored beside simple methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.analysis.baselines import N_NEIGHBORS, Cells, OtherCells, VariableGenePca, find_neighbors
from scfviz.benchmark.comparison import Comparison, resample_means
from scfviz.errors import DatasetError
from scfviz.tasks.enhancement.compute import Enhancer, expect_expression

if TYPE_CHECKING:
    from scfviz.model.scfoundation import ScFoundation
    from scfviz.model.tokens import PreparedCells

MASKED, DEPTH = "masked recovery", "read-depth recovery"
WITH_DATASET = ", with the dataset"  # the model sees what the baselines see
ALONE = "the dataset without a model"
INPUT = "thinned input"
N_WIDE = 50  # neighbours of a second, wider mean
METRICS = ("MAE", "MRE of expressed genes", "Pearson of a cell")
FRACTIONS = (0.01, 0.05, 0.10, 0.20)
DEEP_ENOUGH = 1_000  # counts of a cell that is worth thinning
FEWEST_EXPRESSED = 10  # genes of a cell of which some are masked
FEWEST_CELLS = 20  # of a dataset, so that neighbours mean something

# (cells, the hidden genes of each, or None where nothing is hidden) -> ln(1 + counts per 10,000) of all genes
Predict = Callable[["PreparedCells", Sequence[np.ndarray] | None], np.ndarray]


def predictor(model: "ScFoundation", device: str = "auto") -> Predict:
    """The full forward pass of a model, in fp32, one cell at a time.

    Hidden genes carry the mask vector, as in pretraining. Predictions below zero become zero: no expression can be.

    Returns
    -------
    Callable
        Takes prepared cells and the hidden genes of each (or `None`); gives float32 (n_cells, n_genes).
    """
    import torch

    from scfviz.model.prepared import choose_device
    from scfviz.model.tokens import PreparedCells, tokenise

    target = choose_device(device)
    model = model.to(target)
    expect = expect_expression(model, device)

    def predict(cells: PreparedCells, hidden: Sequence[np.ndarray] | None) -> np.ndarray:
        if hidden is None:
            return expect(cells, None)
        found = np.empty(cells.values.shape, dtype=np.float32)
        for row in range(len(found)):
            one = slice(row, row + 1)
            cell = PreparedCells(cells.values[one], cells.target_token[one], cells.source_token[one])
            with torch.inference_mode():
                tokens = tokenise(cell, model.config).to(target)
                genes = torch.from_numpy(np.asarray(hidden[row], dtype=np.int64)).to(target)
                predicted = model(tokens, (torch.zeros_like(genes), genes))[0]  # the prepared decoder knows no mask
                found[row] = predicted.clamp_min(0).cpu().numpy()
        return found

    return predict


def score_masked(cells: Cells, models: Mapping[str, Predict], *, n_scored: int, seed: int = 0) -> list[Comparison]:
    """Hide 30 % of a cell's expressed entries and ask for them.

    Hidden entries leave the input altogether. As in pretraining, 3 % of the zeros are hidden too, so that being asked
    for says no more than it did there. The baselines see all other cells complete, and choose neighbours by what is
    left of each cell. The model sees one cell at first. Then it joins them: its guess and the means over all cells, 15
    and 50 neighbours are summed with the weights (not below zero) that fit the other scored cells best; the same sum
    without the model says what it adds.

    Parameters
    ----------
    cells
        All of them serve the baselines.
    models
        Predictors by name of the checkpoint.
    n_scored
        Cells that are asked for, a random sample.

    Returns
    -------
    list
        Mean squared error on hidden expressed entries, and on all hidden entries, of the model alone and with the
        dataset.

    Raises
    ------
    DatasetError
        Fewer than 20 cells have 10 expressed genes.

    Source: masking after Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    from scfviz.training.masking import MaskingOptions, cell_generator, mask_cell

    options = MaskingOptions(down_sampling=0.0, mask_token=1.0, random_value=0.0)
    odds = options.masked_expressed / options.masked_zeros
    cells = _with_enough(cells, np.diff(cells.counts.indptr) >= FEWEST_EXPRESSED, f"{FEWEST_EXPRESSED} expressed genes")
    scored = _choose(cells.n_obs, n_scored, seed)
    masked = []
    for i in range(cells.n_obs):
        row = cells.counts[i]
        masked.append(
            mask_cell(
                row.indices, row.data, row.shape[1], options, cell_generator(seed, 0, i), is_measured=cells.is_measured
            )
        )
    visible = _stack([(cell.genes, cell.values) for cell in masked], cells.counts.shape[1])
    neighbors, _ = find_neighbors(VariableGenePca(seed=seed).fit(visible).transform(visible), N_WIDE)
    near = neighbors[:, :N_NEIGHBORS]
    everyone = OtherCells(cells.values, odds)
    by_type = OtherCells(cells.values, odds, _codes(cells.labels)) if _n_labels(cells.labels) > 1 else None

    baselines: dict[str, list[np.ndarray]] = {}
    alone: dict[str, list[np.ndarray]] = {name: [] for name in models}
    views: list[np.ndarray] = []
    for i in scored:
        cell = masked[i]
        asked = cell.loss_genes
        of_all, of_near = everyone.mean(i, asked), everyone.mean_of(near[i], asked)
        guesses = _pair("gene mean", of_all)
        if by_type is not None:
            guesses |= _pair("cell-type mean", by_type.mean(i, asked))
        guesses |= _pair(f"mean of {near.shape[1]} neighbours", of_near)
        for name, guess in guesses.items():
            baselines.setdefault(name, []).append(guess)
        views.append(np.stack([of_all[1], of_near[1], everyone.mean_of(neighbors[i], asked)[1]], axis=1))
        prepared = _prepared(visible[i], [cell.target_token], [cell.source_token])
        for name, predict in models.items():
            alone[name].append(predict(prepared, [asked])[0, asked])
    targets = [masked[i].targets for i in scored]
    joined = {
        name: _sum_views([np.column_stack(x) for x in zip(views, alone[name], strict=True)], targets) for name in alone
    }
    classes = {"MSE, masked expressed entries": [masked[i].is_expressed for i in scored]}
    classes["MSE, all masked entries"] = [np.ones(len(part), dtype=bool) for part in targets]
    comparisons = []
    for suffix, guesses in (("", alone), (WITH_DATASET, joined | {ALONE: _sum_views(views, targets)})):
        for metric, chosen in classes.items():
            sums = {
                name: np.array([((g - t)[c] ** 2).sum() for g, t, c in zip(parts, targets, chosen, strict=True)])
                for name, parts in (baselines | guesses).items()
            }
            weights = np.array([part.sum() for part in chosen])
            comparisons.append(_compare(cells, MASKED + suffix, metric, models, sums, weights, seed))
    return comparisons


def score_depth(
    cells: Cells,
    models: Mapping[str, Predict],
    *,
    n_scored: int,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> list[Comparison]:
    """Thin counts and ask for the expression at the original depth.

    Compared with ln(1 + counts per 10,000) of the original counts, over measured genes. Smoothing and the mean see all
    thinned cells. The model sees one thinned cell at first; then it is one view of several in `Enhancer`, whose
    prediction without a model says what it adds.

    Parameters
    ----------
    cells, models, n_scored
        See `score_masked`; only cells with more than 1,000 counts take part.
    fractions
        Shares of the counts that are kept, each count on its own (binomial).

    Returns
    -------
    list
        For each fraction, of the model alone and with the dataset: MAE over all genes, mean relative error over the
        originally expressed ones, mean Pearson correlation of a cell.

    Raises
    ------
    DatasetError
        Fewer than 20 cells have more than 1,000 counts.

    Source: protocol after Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    from scfviz.data.normalise import log_normalise

    deep = _with_enough(cells, cells.totals > DEEP_ENOUGH, f"more than {DEEP_ENOUGH:,} counts")
    comparisons = []
    for fraction in fractions:
        thinned = thin(deep.counts, fraction, np.random.default_rng((seed, round(fraction * 1e6))))
        totals = np.asarray(thinned.sum(axis=1, dtype=np.float64)).ravel()
        left = np.flatnonzero(totals > 0)  # a cell that lost every count has no depth to start from
        now, thinned, totals = deep.take(left), thinned[left], totals[left]
        inputs, scored = log_normalise(thinned, totals), _choose(now.n_obs, n_scored, seed)
        prepared = _prepared(inputs[scored], np.log10(now.totals[scored]), np.log10(totals[scored]))
        truth, enhancer = now.values[scored].toarray(), Enhancer(thinned, now.is_measured, seed=seed)
        baselines = {
            INPUT: inputs[scored].toarray(),
            "neighbour smoothing": (enhancer.around.walk(scored) @ inputs).toarray(),
            "mean of thinned cells": np.broadcast_to(np.asarray(inputs.mean(axis=0)), (len(scored), inputs.shape[1])),
        }
        alone = {name: predict(prepared, None) for name, predict in models.items()}
        joined, notes = {}, {}
        for name, predict in {ALONE: None, **models}.items():
            # `alone` has answered this very question
            known = None if predict is None else lambda _cells, _hidden, answer=alone[name]: answer
            enhanced = enhancer.enhance(scored, now.totals, enhancer.learn(now.totals, predict), known)
            joined[name] = enhanced.median
            inside = (enhanced.low <= truth + 1e-6) & (truth <= enhanced.high + 1e-6)
            notes[name] = f"90 % interval holds {100 * inside[:, now.is_measured].mean():.0f} % of the entries"
        for suffix, guesses in (("", alone), (WITH_DATASET, joined)):
            errors = {
                name: recovery_errors(guess[:, now.is_measured], truth[:, now.is_measured])
                for name, guess in (baselines | guesses).items()
            }
            for metric in METRICS:
                sums = {name: part[metric] for name, part in errors.items()}
                comparisons.append(
                    _compare(
                        now,
                        DEPTH + suffix,
                        f"{metric}, thinned to {100 * fraction:g} %",
                        models,
                        sums,
                        np.ones(len(scored)),
                        seed,
                        higher_is_better=metric == METRICS[2],
                        note="; ".join(notes[name] for name in models) if suffix else "",
                    )
                )
    return comparisons


def recovery_errors(guess: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Errors of each cell, float64 (n_cells,) by the names in `METRICS`.

    Parameters
    ----------
    guess, truth
        (n_cells, n_genes), ln(1 + counts per 10,000); each cell of the truth has an entry above zero.
    """
    guess, truth = guess.astype(np.float64), truth.astype(np.float64)
    off, expressed = np.abs(guess - truth), truth > 0
    relative = np.divide(off, truth, out=np.zeros_like(off), where=expressed).sum(axis=1) / expressed.sum(axis=1)
    one, other = guess - guess.mean(axis=1, keepdims=True), truth - truth.mean(axis=1, keepdims=True)
    scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    # a guess that is the same for every gene says nothing about differences: correlation 0
    pearson = np.divide((one * other).sum(axis=1), scale, out=np.zeros(len(scale)), where=scale > 0)
    return dict(zip(METRICS, (off.mean(axis=1), relative, pearson), strict=True))


def thin(counts: sparse.csr_matrix, fraction: float, rng: np.random.Generator) -> sparse.csr_matrix:
    """Keep each count with a probability; counts that are no whole numbers are rounded first."""
    data = rng.binomial(np.rint(counts.data).astype(np.int64), fraction).astype(np.float32)
    thinned = sparse.csr_matrix((data, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
    thinned.eliminate_zeros()
    return thinned


def _compare(
    cells: Cells,
    score: str,
    metric: str,
    models: Mapping[str, Predict],
    sums: Mapping[str, np.ndarray],
    weights: np.ndarray,
    seed: int,
    *,
    higher_is_better: bool = False,
    note: str = "",
) -> Comparison:
    values, resampled = resample_means(sums, weights, seed=seed)
    note = f"baselines saw {cells.n_obs:,} cells" + (f"; {note}" if note else "")
    return Comparison(
        score,
        cells.name,
        metric,
        values,
        resampled,
        tuple(models),
        len(weights),
        cells.n_available,
        higher_is_better,
        note,
        ALONE if ALONE in sums else None,
    )


def _sum_views(views: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each cell's weighted sum of views, with the weights, none negative, that fit all other cells best."""
    from scipy.optimize import nnls

    guesses = []
    for i, own in enumerate(views):
        others = [j for j in range(len(views)) if j != i] or [i]
        weights, _ = nnls(np.concatenate([views[j] for j in others]), np.concatenate([targets[j] for j in others]))
        guesses.append(own @ weights)
    return guesses


def _with_enough(cells: Cells, fit: np.ndarray, what: str) -> Cells:
    if fit.sum() < FEWEST_CELLS:
        raise DatasetError(
            f"{int(fit.sum())} cells of '{cells.name}' have {what}.",
            f"At least {FEWEST_CELLS} are needed, so that the baselines mean something.",
            "Use a larger or deeper dataset.",
        )
    return cells.take(np.flatnonzero(fit))


def _choose(n_obs: int, n_scored: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n_obs)[:n_scored])


def _prepared(values: sparse.csr_matrix, target: Sequence[float], source: Sequence[float]) -> "PreparedCells":
    from scfviz.model.tokens import PreparedCells

    return PreparedCells(values, np.asarray(target, dtype=np.float32), np.asarray(source, dtype=np.float32))


def _stack(rows: Sequence[tuple[np.ndarray, np.ndarray]], n_genes: int) -> sparse.csr_matrix:
    indptr = np.cumsum([0, *(len(genes) for genes, _ in rows)])
    indices, data = (np.concatenate(part) for part in zip(*rows, strict=True))
    return sparse.csr_matrix((data, indices, indptr), shape=(len(rows), n_genes))


def _pair(name: str, means: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: means[0], f"{name}, at the odds of masking": means[1]}


def _n_labels(labels: np.ndarray) -> int:
    return len({label for label in labels if label is not None})


def _codes(labels: np.ndarray) -> np.ndarray:
    """One number per label; cells without a label are a group of their own."""
    return np.unique(["" if label is None else f"={label}" for label in labels], return_inverse=True)[1]
