"""The methods that annotate: each learns types from labelled cells and gives every cell the log of its probabilities.

All but the neighbours are parameters alone, and can be kept in a folder.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from scfviz.tasks.annotation.features import CellFeatures
from scfviz.tasks.annotation.head import LOWEST, Head, log_softmax
from scfviz.tasks.annotation.options import FINE_TUNED

VIEWS = ("genes_logistic", "genes_knn", "model_probe", "model_prototype", "model_knn")  # of the combination
PORTABLE = tuple(name for name in VIEWS if not name.endswith("_knn"))
ALONE = ("model_head",)  # can be asked for, and take no part in the combination
N_NEIGHBORS = 15


class Method(Protocol):
    """What every method can do."""

    def log_probabilities(self, cells: CellFeatures) -> np.ndarray:
        """float64 (n, K), natural logarithms; rows sum to one."""
        ...


@dataclass(frozen=True)
class Linear:
    """Softmax of a linear function of one kind of features.

    Attributes
    ----------
    of
        "genes" or "model".
    coef, intercept
        float32 (K, F) and (K,).
    """

    of: str
    coef: np.ndarray
    intercept: np.ndarray

    @classmethod
    def fit(cls, of: str, cells: CellFeatures, truth: np.ndarray, n_classes: int, strength: float) -> "Linear":
        """Logistic regression with an L2 penalty of 1 / `strength`."""
        from sklearn.linear_model import LogisticRegression

        values = cells.genes if of == "genes" else cells.model
        known = np.unique(truth)
        coef, intercept = np.zeros((n_classes, values.shape[1])), np.full(n_classes, LOWEST)
        if len(known) == 1:
            intercept[known] = 0.0
            return cls(of, coef.astype(np.float32), intercept.astype(np.float32))
        found = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(values, truth)
        if len(known) == 2:  # one row stands for both
            coef[known], intercept[known] = np.vstack([-found.coef_, found.coef_]) / 2, 0.0
            intercept[known] = np.array([-0.5, 0.5]) * found.intercept_[0]
        else:
            coef[known], intercept[known] = found.coef_, found.intercept_
        return cls(of, coef.astype(np.float32), intercept.astype(np.float32))

    def log_probabilities(self, cells: CellFeatures) -> np.ndarray:
        """See `Method`."""
        values = cells.genes if self.of == "genes" else cells.model
        logits = np.asarray(values @ self.coef.T, dtype=np.float64) + self.intercept
        if self.of == "genes":
            logits += self.coef @ cells.filled
        return log_softmax(logits)


@dataclass(frozen=True)
class Prototype:
    """The mean of each type, and distances in which directions that vary within types count less.

    Attributes
    ----------
    of
        "model" or "joint".
    means
        float32 (K, F), after whitening; infinity for types that were not there.
    whitening
        float32 (F, F).
    overall
        float32 (F + 1, F): whitening of all cells together, and below it their mean, whitened.
    """

    of: str
    means: np.ndarray
    whitening: np.ndarray
    overall: np.ndarray

    @classmethod
    def fit(cls, of: str, cells: CellFeatures, truth: np.ndarray, n_classes: int) -> "Prototype":
        """Learn means and the covariance within types, shrunk towards a sphere where there are few cells."""
        values = np.asarray(getattr(cells, of), dtype=np.float64)
        n_cells = np.bincount(truth, minlength=n_classes)
        member = sparse.csr_matrix((1.0 / n_cells[truth], (truth, np.arange(len(truth)))), (n_classes, len(truth)))
        means = member @ values
        whitening = _whiten(values - means[truth], max(len(truth) - (n_cells > 0).sum(), 1))
        overall = _whiten(values - values.mean(axis=0), len(truth))
        placed = np.where(n_cells[:, None] > 0, means @ whitening, np.inf)
        both = np.vstack([overall, values.mean(axis=0) @ overall])
        return cls(of, placed.astype(np.float32), whitening.astype(np.float32), both.astype(np.float32))

    def distances(self, cells: CellFeatures) -> np.ndarray:
        """Squared distances to each type's mean, float64 (n, K)."""
        placed = np.asarray(getattr(cells, self.of) @ self.whitening, dtype=np.float64)
        there = np.isfinite(self.means[:, 0])
        found = np.full((len(placed), len(self.means)), np.inf)
        for k in np.flatnonzero(there):
            found[:, k] = ((placed - self.means[k]) ** 2).sum(axis=1)
        return found

    def strangeness(self, cells: CellFeatures) -> np.ndarray:
        """How much farther a cell is from each type than from all cells together, float64 (n, K).

        What moves all cells of a dataset alike moves both distances, and cancels in part.

        Source: Ren et al. 2021, arXiv:2106.09022 (relative Mahalanobis distance).
        """
        values = getattr(cells, self.of) @ self.overall[:-1] - self.overall[-1]
        apart = np.asarray(values, dtype=np.float64)
        return np.minimum(self.distances(cells), 1e12) - (apart**2).sum(axis=1)[:, None]

    def log_probabilities(self, cells: CellFeatures) -> np.ndarray:
        """See `Method`."""
        return log_softmax(-0.5 * np.minimum(self.distances(cells), 1e12))


@dataclass(frozen=True)
class Neighbours:
    """Votes of the nearest labelled cells. Holds those cells, so that it is never kept in a folder.

    Attributes
    ----------
    of
        "components" or "model".
    values
        float32 (n, F), the labelled cells.
    truth
        int (n,).
    """

    of: str
    values: np.ndarray
    truth: np.ndarray
    n_classes: int

    def log_probabilities(self, cells: CellFeatures) -> np.ndarray:
        """See `Method`; a vote of one is shared among all types, so that none is impossible."""
        near = self.nearest(cells)
        votes = np.zeros((len(near), self.n_classes))
        np.add.at(votes, (np.arange(len(near))[:, None], self.truth[near]), 1.0)
        return np.log((votes + 1 / self.n_classes) / (near.shape[1] + 1))

    def nearest(self, cells: CellFeatures, k: int = N_NEIGHBORS) -> np.ndarray:
        """int (n, at most k): numbers of the nearest labelled cells."""
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=min(k, len(self.values)), algorithm="brute").fit(self.values)
        return search.kneighbors(getattr(cells, self.of), return_distance=False)


def fit_method(name: str, cells: CellFeatures, truth: np.ndarray, n_classes: int) -> Method:
    """One of `VIEWS` or `ALONE`, learned from labelled cells; types without a cell stay possible for none."""
    if name in ("model_head", FINE_TUNED):
        return Head.fit(cells, truth, n_classes)
    if name == "genes_logistic":
        return Linear.fit("genes", cells, truth, n_classes, 1.0)
    if name == "model_probe":
        return Linear.fit("model", cells, truth, n_classes, 0.1)
    if name == "model_prototype":
        return Prototype.fit("model", cells, truth, n_classes)
    of = "components" if name == "genes_knn" else "model"
    return Neighbours(of, getattr(cells, of), truth, n_classes)


def tempered(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities, made less or more certain by a temperature above or below one."""
    return np.exp(log_softmax(log_probabilities / temperature))


def find_temperature(log_probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that makes held-out probabilities most honest: the least mean log loss.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    own = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(log_probabilities / np.exp(log_temperature))[own, truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 3.5), method="bounded").x))


def _whiten(centred: np.ndarray, degrees: int) -> np.ndarray:
    """What turns the covariance of rows into a sphere; the fewer rows, the more it is taken for one already."""
    width = centred.shape[1]
    covariance = centred.T @ centred / degrees
    level = max(float(np.trace(covariance)) / width, 1e-9)
    share = width / (width + degrees)
    values, vectors = np.linalg.eigh((1 - share) * covariance + share * level * np.eye(width))
    return vectors / np.sqrt(np.maximum(values, 1e-9 * level))
