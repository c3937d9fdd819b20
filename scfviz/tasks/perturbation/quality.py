"""Whether a screen worked, before anything is predicted: targets, cells that escaped, depth, batches."""

import re
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.tasks.perturbation.effects import ScreenEffects, normalised_blocks, symbols_of

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts
    from scfviz.data.perturbations import PerturbationDesign

_BATCHES = re.compile(r"batch|replicate|donor|sample|lane|gem|channel|library|run", re.IGNORECASE)
_MOST_BATCHES, _FEW_CONTROLS, _CONFOUNDED = 100, 5, 0.5
_N_GENES, _CLEAR, _FEWEST = 50, 4.0, 20  # genes of a direction, their least z, cells of a condition
_MOST_CONTROLS = 500


def describe_conditions(
    counts: "AlignedCounts",
    design: "PerturbationDesign",
    effects: ScreenEffects,
    perturbed: np.ndarray,
    sizes: np.ndarray,
) -> "pd.DataFrame":
    """One row a condition: cells, the target's own change with its interval, escaped share, depth, strength.

    Parameters
    ----------
    perturbed
        float64 (n_obs,), see `score_cells`.
    sizes
        float64 (n_obs,): counts of each cell.
    """
    import pandas as pd

    place = {gene: i for i, gene in enumerate(effects.genes)}
    depth = np.median(sizes[design.codes == 0])
    rows = []
    for i, (name, targets) in enumerate(zip(effects.conditions, effects.targets, strict=True)):
        cells = design.codes == i + 1
        own = [place[gene] for gene in targets if gene in place]
        change = effects.change[i, own]
        half = 1.96 * np.sqrt(effects.variance[i, own])
        known = perturbed[cells][np.isfinite(perturbed[cells])]
        z = effects.change[i] / np.sqrt(np.maximum(effects.variance[i], 1e-12))
        rows.append(
            {
                "condition": name,
                "genes": len(targets),
                "n_cells": int(cells.sum()),
                "target_change": float(change[0]) if own else np.nan,
                "target_low": float((change - half)[0]) if own else np.nan,
                "target_high": float((change + half)[0]) if own else np.nan,
                "target_measured": len(own) == len(targets) > 0,
                "escaped": float(1 - known.mean()) if len(known) else np.nan,
                "n_changed": int((np.abs(z) > _CLEAR).sum()),
                "depth_ratio": float(np.median(sizes[cells]) / depth) if depth > 0 else np.nan,
            }
        )
    return pd.DataFrame(rows)


def score_cells(
    counts: "AlignedCounts", design: "PerturbationDesign", effects: ScreenEffects, sizes: np.ndarray
) -> np.ndarray:
    """Probability of each cell that it responded to its perturbation; 1 less it: that it escaped.

    Each half of a condition's cells is laid on the direction of change of the other half; the places are a mixture of
    those of control cells and of cells that responded.

    Returns
    -------
    np.ndarray
        float64 (n_obs,), NaN for control cells, small conditions, and those without a clear change.

    Source: the idea of mixscape, Papalexi et al. 2021, doi:10.1038/s41588-021-00778-2.
    """
    n = len(effects.conditions)
    directions, is_clear = _directions(counts, effects)
    half = np.zeros(design.codes.size, dtype=np.int64)
    for code in range(n + 1):
        rows = np.flatnonzero(design.codes == code)
        half[rows] = np.arange(len(rows)) % 2
    controls = np.flatnonzero(design.codes == 0)[:_MOST_CONTROLS]
    of_controls, own = np.zeros((2, len(controls), n)), np.full(len(half), np.nan)
    for start, block in normalised_blocks(counts, sizes):
        stop = start + block.shape[0]
        codes = design.codes[start:stop]
        for h in (0, 1):
            placed = sp.csr_matrix(block @ directions[h])
            rows = np.flatnonzero((codes > 0) & (half[start:stop] != h))
            own[start + rows] = np.asarray(placed[rows, codes[rows] - 1]).ravel()
            among = np.flatnonzero((controls >= start) & (controls < stop))
            of_controls[h, among] = placed[controls[among] - start].toarray()
    found = np.full(len(half), np.nan)
    for i in np.flatnonzero(is_clear):
        rows = np.flatnonzero(design.codes == i + 1)
        if len(rows) < _FEWEST:
            continue
        for h in (0, 1):
            mine = rows[half[rows] != h]
            found[mine] = _respond(own[mine], of_controls[h, :, i])
    return found


def describe_batches(obs: "pd.DataFrame", design: "PerturbationDesign") -> tuple[str, ...]:
    """Sentences on batches that go together with conditions, where changes cannot be told from the batch."""
    notes = []
    for name in map(str, obs.columns):
        if not _BATCHES.search(name) or name == design.column:
            continue
        batches = obs[name].astype(str).to_numpy()
        names, place = np.unique(batches, return_inverse=True)
        if not 2 <= len(names) <= _MOST_BATCHES:
            continue
        has_control = np.bincount(place[design.codes == 0], minlength=len(names)) >= _FEW_CONTROLS
        alone = [
            condition
            for code, condition in enumerate(design.conditions)
            if code and (~has_control[place[design.codes == code]]).mean() > _CONFOUNDED
        ]
        if alone:
            notes.append(
                f"{len(alone):,} conditions ({', '.join(alone[:3])}) lie mostly in values of '{name}' without control "
                "cells: their changes cannot be told from the batch's."
            )
    return tuple(notes)


def describe_targets(counts: "AlignedCounts", design: "PerturbationDesign") -> tuple[str, ...]:
    """Which perturbed genes the file does not hold, so that their own change says nothing, in a sentence."""
    targets = {gene for one in design.targets for gene in one}
    absent = sorted(targets - set(symbols_of(counts.genes)))
    if not absent:
        return ()
    return (
        f"{len(absent):,} of {len(targets):,} perturbed genes are not among the genes of the file "
        f"({', '.join(absent[:3])}): whether their perturbation worked shows only in other genes. Open the file with "
        "all measured genes, if there is one.",
    )


def _directions(counts: "AlignedCounts", effects: ScreenEffects) -> tuple[list[sp.csc_matrix], np.ndarray]:
    """For each half, (n_genes of the file, n_conditions): a cell's product is 0 for a control and 1 for a response."""
    symbols = symbols_of(counts.genes)
    first = {symbol: i for i, symbol in reversed(list(enumerate(symbols)))}
    columns = np.array([first[gene] for gene in effects.genes])
    n, spread, found = len(effects.conditions), np.sqrt(np.maximum(2 * effects.variance, 1e-12)), []
    z = np.abs(effects.halves / spread)
    is_clear = (z.min(axis=0) > _CLEAR / 2).sum(axis=1) >= 2
    for half in (0, 1):
        best = np.argsort(-z[half], axis=1, kind="stable")[:, : min(_N_GENES, z.shape[2])]
        change = np.take_along_axis(effects.halves[half], best, axis=1)
        weight = change / np.take_along_axis(2 * effects.variance + 1e-9, best, axis=1)
        weight /= np.maximum((weight * change).sum(axis=1, keepdims=True), 1e-9)
        parts = (weight.ravel(), (columns[best].ravel(), np.repeat(np.arange(n), best.shape[1])))
        found.append(sp.csc_matrix(parts, shape=(counts.n_genes, n)))
    return found, is_clear


def _respond(values: np.ndarray, controls: np.ndarray, n_rounds: int = 100) -> np.ndarray:
    """Probability of each value to be of a second normal beside that of the controls, by expectation-maximisation."""
    middle, spread = controls.mean(), max(controls.std(), 1e-6)
    values = (values - middle) / spread
    mean, width, share = max(float(np.quantile(values, 0.75)), 0.5), 1.0, 0.5
    chance = np.zeros(len(values))
    for _ in range(n_rounds):
        there = share * np.exp(-0.5 * ((values - mean) / width) ** 2) / width
        here = (1 - share) * np.exp(-0.5 * values**2)
        chance = there / np.maximum(there + here, 1e-300)
        total = max(chance.sum(), 1e-9)
        new = float((chance * values).sum() / total)
        width = float(np.clip(np.sqrt((chance * (values - new) ** 2).sum() / total), 0.5, 3.0))
        share = float(np.clip(chance.mean(), 0.01, 0.99))
        if abs(new - mean) < 1e-4:
            break
        mean = max(new, 0.3)
    return chance
