"""Other ways from bulk lines to cells, for `benchmarks/drug_cells.py`; each gives cells x drugs, high is resistant."""

from collections.abc import Sequence

import numpy as np
from drug_cells_data import Cells, Lines

from scfviz.tasks.drug_sensitivity.fit import ridge_weights, standardise_cell, standardise_responses
from scfviz.tasks.drug_sensitivity.simulate import draw_cells, rates_of

N_NEAREST, N_SIGNATURE, N_COMPONENTS = 60, 100, 100
_EPOCHS, _WIDTH, _LATENT, _RATE, _BATCH = 30, 256, 64, 1e-3, 128


def scaled(lines: Lines, cells: np.ndarray, offset: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Lines and cells, centred (cells by `offset`, or like lines) and scaled by the lines' spread of each gene."""
    mean, scale = lines.values.mean(axis=0), lines.values.std(axis=0) + 0.1
    return (lines.values - mean) / scale, (cells - (mean if offset is None else offset)) / scale


def targets(lines: Lines) -> np.ndarray:
    """Standardised responses, 0 where not measured."""
    return np.nan_to_num(standardise_responses(lines.ln_ic50)[0])


def ridge(lines: Lines, cells: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """Ridge regression."""
    train, test = scaled(lines, cells, offset)
    return test @ ridge_weights(train, targets(lines))


def nearest(lines: Lines, cells: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """Mean response of the most similar lines, weighed by correlation."""
    train, test = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in scaled(lines, cells, offset))
    alike = test @ train.T
    near = np.argsort(-alike, axis=1)[:, :N_NEAREST]
    weights = np.zeros_like(alike)
    np.put_along_axis(weights, near, np.maximum(np.take_along_axis(alike, near, axis=1), 1e-6), axis=1)
    return (weights / weights.sum(axis=1, keepdims=True)) @ targets(lines)


def signature(lines: Lines, cells: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """Mean of the genes most correlated with resistance minus the mean of those most correlated with sensitivity."""
    train, test = scaled(lines, cells, offset)
    train = (train - train.mean(axis=0)) / train.std(axis=0)
    truth = targets(lines)
    correlation = train.T @ truth / len(train) / truth.std(axis=0)
    order = np.argsort(correlation, axis=0)
    weights = np.zeros_like(correlation)
    np.put_along_axis(weights, order[:N_SIGNATURE], -1 / N_SIGNATURE, axis=0)
    np.put_along_axis(weights, order[-N_SIGNATURE:], 1 / N_SIGNATURE, axis=0)
    return test @ weights


def drug_targets(lines: Lines, cells: np.ndarray, genes_of: Sequence[Sequence[str]]) -> np.ndarray:
    """Mean expression of the drug's targets, its sign turned: high is sensitive; constant without targets."""
    place = {gene: i for i, gene in enumerate(lines.genes)}
    found = np.zeros((len(cells), len(lines.drugs)))
    for j, genes in enumerate(genes_of):
        here = [place[gene] for gene in genes if gene in place]
        if here:
            found[:, j] = -(cells[:, here] / (lines.values[:, here].std(axis=0) + 0.1)).mean(axis=1)
    return found


def depth_matched(lines: Lines, cells: Cells, shares: np.ndarray, depths: Sequence[float], seed: int = 0) -> np.ndarray:
    """Ridge regression on pseudo-cells of the lines, two a line, drawn at the depth nearest to that of the cell."""
    rates, truth = rates_of(lines.values, shares), np.repeat(targets(lines), 2, axis=0)
    rows = np.repeat(np.arange(len(lines.names)), 2)
    nearest_depth = np.abs(np.log(np.maximum(cells.depth, 1))[:, None] - np.log(depths)).argmin(axis=1)
    values, found = cells.values, np.zeros((len(cells.lines), len(lines.drugs)))
    for d in np.unique(nearest_depth):
        pseudo = standardise_cell(draw_cells(rates, rows, depths[d], seed + int(d)))
        mean, scale = pseudo.mean(axis=0), pseudo.std(axis=0) + 0.1
        weights = ridge_weights((pseudo - mean) / scale, truth)
        at = nearest_depth == d
        found[at] = ((values[at] - values.mean(axis=0)) / scale) @ weights
    return found


def coral(lines: Lines, cells: np.ndarray, shrink: float = 0.1) -> np.ndarray:
    """Ridge regression after giving the lines the covariance of the cells, in the cells' and lines' components.

    Source: Sun, Feng and Saenko 2016, doi:10.1609/aaai.v30i1.10306.
    """
    train, test = scaled(lines, cells, cells.mean(axis=0))
    _, _, axes = np.linalg.svd(np.concatenate([train, test]), full_matrices=False)
    axes = axes[:N_COMPONENTS].T
    source, target = train @ axes, test @ axes

    def root(values: np.ndarray, power: float) -> np.ndarray:
        covariance = np.cov(values.T)
        size, vectors = np.linalg.eigh(
            covariance + shrink * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        )
        return (vectors * size**power) @ vectors.T

    aligned = source @ root(source, -0.5) @ root(target, 0.5)
    return target @ ridge_weights(aligned, targets(lines), penalty=1.0)


def adversarial(train: np.ndarray, truth: np.ndarray, cells: np.ndarray, seed: int) -> np.ndarray:
    """Feature extractor, predictor of all drugs and discriminator of lines and cells, trained against each other.

    Parameters
    ----------
    train, cells
        (n, n_features), each centred on itself.
    truth
        (n_lines, n_drugs), NaN where not measured.

    Source: after SCAD, Zheng et al. 2023, doi:10.1002/advs.202204113.
    """
    import torch
    from torch import nn

    torch.manual_seed(seed)
    scale = train.std(axis=0) + 0.1
    source, target = (torch.tensor(part / scale, dtype=torch.float32) for part in (train, cells))
    known, wanted = torch.tensor(np.isfinite(truth)), torch.tensor(np.nan_to_num(truth), dtype=torch.float32)
    extract = nn.Sequential(
        nn.Dropout(0.3), nn.Linear(source.shape[1], _WIDTH), nn.ReLU(), nn.Dropout(0.3), nn.Linear(_WIDTH, _LATENT)
    )
    predict, tell = (
        nn.Linear(_LATENT, wanted.shape[1]),
        nn.Sequential(nn.Linear(_LATENT, 32), nn.ReLU(), nn.Linear(32, 1)),
    )
    learner = torch.optim.AdamW([*extract.parameters(), *predict.parameters()], lr=_RATE, weight_decay=1e-2)
    critic = torch.optim.AdamW(tell.parameters(), lr=_RATE)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(source)).split(_BATCH):
            other = torch.randint(len(target), (len(rows),))
            codes = extract(torch.cat([source[rows], target[other]]))
            domain = torch.cat([torch.zeros(len(rows), 1), torch.ones(len(rows), 1)])
            critic.zero_grad()
            loss_of(tell(codes.detach()), domain).backward()
            critic.step()
            learner.zero_grad()
            error = (predict(codes[: len(rows)]) - wanted[rows])[known[rows]].square().mean()
            (error + 0.1 * loss_of(tell(codes), 1 - domain)).backward()
            learner.step()
    extract.eval()
    with torch.no_grad():
        return predict(extract(target)).numpy()
