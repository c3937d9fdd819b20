"""What to perturb next: which gene would say most about all others, given what was measured.

Effects of genes are taken for draws from a Gaussian process: genes that lie near each other, by the Gene Ontology and
by the model's gene embeddings with the weights that these earned in this screen, have similar effects. The share of
the effects that such nearness explains is what it explained on held-out perturbations; the rest each gene has for
itself, and no other perturbation says anything about it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import DatasetError
from scfviz.tasks.perturbation.fit import SINGLE, PerturbationModel
from scfviz.tasks.perturbation.methods import MEAN
from scfviz.tasks.perturbation.spaces import GO, MODEL, GeneSpace

if TYPE_CHECKING:
    import pandas as pd

MOST_CANDIDATES, N_NEXT, LEAST_LEVEL = 1_500, 30, 0.05
_LEAST_EXPLAINED, _MOST_EXPLAINED = 0.02, 0.9


def explained_share(model: PerturbationModel) -> float | None:
    """Share of the differences between single perturbations that the combination foretold when they were held out.

    None where that was not measured.
    """
    views = model.scores.get(SINGLE, {}).get("views", {})
    said, mean = (views.get(name, {}).get("error_ratio") for name in ("combination", MEAN))
    if said is None or mean is None or mean <= 0:
        return None
    return 1 - said / mean


def space_weights(model: PerturbationModel) -> dict[str, float]:
    """What the Gene Ontology and the model's embeddings earned with unseen single genes; halves where neither did."""
    weights = model.weights[SINGLE]
    found = {name: sum(w for view, w in weights.items() if view.endswith(f"_{name}")) for name in (GO, MODEL)}
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {GO: 1.0, MODEL: 0.0}


def rank_next(
    model: PerturbationModel,
    spaces: Mapping[str, GeneSpace],
    *,
    n: int = N_NEXT,
    most_candidates: int = MOST_CANDIDATES,
    least_level: float = LEAST_LEVEL,
) -> "pd.DataFrame":
    """Genes in the order in which they should be perturbed next, each given those before it.

    Candidates are genes that the cells of the screen express and that have a place in the Gene Ontology; of many those
    that are expressed most.

    Parameters
    ----------
    model
        From a genetic screen.
    spaces
        "go" and "model", see `spaces`.
    least_level
        Of a candidate in the control, in ln(1 + counts per 10,000): what is not expressed cannot be switched off. Zero
        for screens that switch genes on.

    Returns
    -------
    DataFrame
        `gene`; `information`, the share of what is open about all candidates that it would settle; `others`, how much
        it says of other genes, in genes that would be known by it; `nearest`, the measured gene that is nearest;
        `likeness` to it; `control`, its level.

    Raises
    ------
    DatasetError
        No gene is left to choose from.

    Source: sequential design by the reduction of total variance (A-optimality), e.g. Krause et al. 2008, JMLR 9,
    235-284.
    """
    import pandas as pd

    effects = model.effects
    known = [one[0] for one in effects.targets if len(one) == 1]
    level = dict(zip(effects.genes, effects.control, strict=True))
    done = set(known)
    open_genes = [
        gene for gene in effects.genes if gene not in done and gene in spaces[GO].place and level[gene] >= least_level
    ]
    candidates = sorted(open_genes, key=lambda gene: -level[gene])[:most_candidates]
    if not candidates:
        raise DatasetError(
            "No gene is left that the control expresses, that has a Gene Ontology process and was not perturbed.",
            "Genes that were read out are candidates.",
            "Use a file with more genes.",
        )
    share = explained_share(model)
    rho = float(np.clip(_LEAST_EXPLAINED if share is None else share, _LEAST_EXPLAINED, _MOST_EXPLAINED))
    names, weights = [*candidates, *known], space_weights(model)
    near = sum(weight * _cosines(spaces[name], names) for name, weight in weights.items() if weight > 0)
    m = len(candidates)
    order, gain, others = choose_next(near, np.arange(m), np.arange(m, len(names)), rho=rho, noise=_noise(model), n=n)
    table = pd.DataFrame({"gene": [candidates[i] for i in order], "information": gain, "others": others})
    place = [names.index(gene) for gene in table["gene"]]
    likeness = near[place][:, m:] if known else np.zeros((len(place), 0))
    table["nearest"] = [known[i] for i in likeness.argmax(axis=1)] if known else ""
    table["likeness"] = likeness.max(axis=1) if known else 0.0
    table["control"] = [level[gene] for gene in table["gene"]]
    return table


def choose_next(
    near: np.ndarray, candidates: np.ndarray, known: np.ndarray, *, rho: float, noise: float, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The next ones among candidates, each given those before it.

    Parameters
    ----------
    near
        (n_all, n_all), nearness, one on the diagonal.
    candidates, known
        Rows of it.
    rho
        Share of the effects that nearness explains.
    noise
        Sampling variance of a measured effect in units of the variance between perturbations.

    Returns
    -------
    tuple
        Rows of `candidates`, int64 (n,); the share of the total variance of all candidates that each takes away; and
        what it takes away of others, in variances of one gene.
    """
    cov = rho * near + (1 - rho) * np.eye(len(near))
    own, across = cov[np.ix_(known, known)], cov[np.ix_(candidates, known)]
    cov = cov[np.ix_(candidates, candidates)]
    if len(known):
        cov = cov - across @ np.linalg.solve(own + noise * np.eye(len(known)), across.T)
    start, taken = float(np.trace(cov)), np.zeros(len(candidates), dtype=bool)
    order, gains, others = [], [], []
    for _ in range(min(n, len(candidates))):
        variance = np.maximum(np.diag(cov), 1e-12)
        gain = np.where(taken, -1, (cov**2).sum(axis=1) / (variance + noise))
        best = int(np.argmax(gain))
        alone = variance[best] ** 2 / (variance[best] + noise)
        order.append(best)
        gains.append(float(gain[best]) / start)
        others.append(float(gain[best] - alone))
        cov = cov - np.outer(cov[best], cov[best]) / (variance[best] + noise)
        taken[best] = True
    return np.array(order, dtype=np.int64), np.array(gains), np.array(others)


def _cosines(space: GeneSpace, names: list[str]) -> np.ndarray:
    """float64 (n, n), one on the diagonal, also of genes without a place."""
    rows = space.rows(names)
    found = rows @ rows.T
    dense = np.asarray(found.todense() if hasattr(found, "todense") else found, dtype=np.float64)
    np.fill_diagonal(dense, 1.0)
    return dense


def _noise(model: PerturbationModel) -> float:
    """Sampling variance of a measured effect, in units of the variance between perturbations."""
    effects = model.effects
    rows = [i for i, one in enumerate(effects.targets) if len(one) == 1]
    if len(rows) < 2:
        return 1.0
    sampling = float(effects.variance[rows].sum(axis=1).mean())
    between = float(effects.change[rows].var(axis=0, ddof=1).sum()) - sampling
    return float(np.clip(sampling / max(between, 1e-9), 0.01, 10.0))
