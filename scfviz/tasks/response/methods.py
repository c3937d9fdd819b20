"""Views of a cell type's response that was not measured: each predicts it from the responses of other types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NO_CHANGE, MEAN, BASAL = "no_change", "mean", "basal"
VIEWS = (NO_CHANGE, MEAN, BASAL, "nearest_basal", "nearest_model", "ridge_basal", "ridge_model")
MODEL_VIEWS = ("nearest_model", "ridge_model")
TITLES = {
    NO_CHANGE: "Nothing changes",
    MEAN: "Mean shift of the other cell types",
    BASAL: "Each gene by its own level in control cells",
    "nearest_basal": "Nearest cell types by expression",
    "nearest_model": "Nearest cell types by the model's embedding",
    "ridge_basal": "Regression on expression",
    "ridge_model": "Regression on the model's embedding",
}
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_REACHES = (0.35, 0.5, 0.7, 1.0, 1.4)  # of the median distance between types


@dataclass(frozen=True)
class ResponseViews:
    """All views, learned from cell types whose response was measured.

    Parameters
    ----------
    basal, change
        float64 (n_types, n_genes): mean of the control cells, and its change under the treatment.
    trust
        float64 (n_types,): how much each type counts.
    embedding
        float64 (n_types, D): mean embedding of the control cells by the model; none where no model is at hand.
    """

    basal: np.ndarray
    change: np.ndarray
    trust: np.ndarray
    embedding: np.ndarray | None = None

    @cached_property
    def _mean(self) -> np.ndarray:
        return self.trust @ self.change / self.trust.sum()

    @property
    def names(self) -> tuple[str, ...]:
        """Views that can be asked."""
        return VIEWS if self.embedding is not None else tuple(view for view in VIEWS if view not in MODEL_VIEWS)

    def predict(self, basal: np.ndarray, embedding: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Change of other types by each view: float64 (n_asked, n_genes).

        Parameters
        ----------
        basal, embedding
            Of the types that are asked for.
        """
        found = {NO_CHANGE: np.zeros_like(basal), MEAN: np.repeat(self._mean[None], len(basal), axis=0)}
        found[BASAL] = self._by_level(basal)
        for space, known, asked in self._spaces(basal, embedding):
            found[f"nearest_{space}"] = self._nearest(known, asked)
            found[f"ridge_{space}"] = self._ridge(known, asked)
        return {name: found[name] for name in self.names}

    def _spaces(self, basal: np.ndarray, embedding: np.ndarray | None) -> list[tuple[str, np.ndarray, np.ndarray]]:
        middle = self.basal.mean(axis=0)
        found = [("basal", self.basal - middle, basal - middle)]
        if self.embedding is not None and embedding is not None:
            centre = self.embedding.mean(axis=0)
            found.append(("model", self.embedding - centre, embedding - centre))
        return found

    def _by_level(self, asked: np.ndarray) -> np.ndarray:
        """Of each gene a line through its change against its level; slopes are drawn towards zero."""
        return self._mean + (asked - self._level) * self._slope(self._penalty)

    @cached_property
    def _level(self) -> np.ndarray:
        return self.trust @ self.basal / self.trust.sum()

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.basal - self._level, self.change - self._mean
        return self.trust @ (x * y), self.trust @ x**2

    def _slope(self, penalty: float) -> np.ndarray:
        together, spread = self._moments
        return together / (spread + penalty * max(float(spread.mean()), 1e-12))

    @cached_property
    def _penalty(self) -> float:
        def ask(part: "ResponseViews", row: int, penalty: float) -> np.ndarray:
            return part._mean + (self.basal[row] - part._level) * part._slope(penalty)

        return self._choose(ask, _PENALTIES)

    def _choose(self, ask: "Callable[[ResponseViews, int, float], np.ndarray]", values: Sequence[float]) -> float:
        """The value with the least error when each type is left out in turn."""
        errors = np.zeros(len(values))
        for row in range(len(self.trust)):
            rest = np.delete(np.arange(len(self.trust)), row)
            part = ResponseViews(self.basal[rest], self.change[rest], self.trust[rest])
            for i, value in enumerate(values):
                errors[i] += self.trust[row] * float(((ask(part, row, value) - self.change[row]) ** 2).sum())
        return values[int(np.argmin(errors))]

    def _nearest(self, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Weighted mean of the responses, weights falling off with the distance in units of that between types."""
        apart = np.sqrt(((known[:, None] - known[None]) ** 2).sum(axis=2))
        typical = max(float(np.median(apart[np.triu_indices(len(apart), 1)])), 1e-12) if len(apart) > 1 else 1.0

        def weights(distance: np.ndarray, reach: float) -> np.ndarray:
            nearest = distance.min(axis=-1, keepdims=True)  # the farthest type still has a nearest one
            return np.exp(-0.5 * (distance**2 - nearest**2) / (reach * typical) ** 2)

        def error(reach: float) -> float:
            own = apart + np.diag(np.full(len(apart), np.inf))
            near = weights(own, reach) * self.trust
            said = near @ self.change / near.sum(axis=1, keepdims=True)
            return float(self.trust @ ((said - self.change) ** 2).sum(axis=1))

        reach = min(_REACHES, key=error)
        near = weights(np.sqrt(((asked[:, None] - known[None]) ** 2).sum(axis=2)), reach) * self.trust
        return near @ self.change / near.sum(axis=1, keepdims=True)

    def _ridge(self, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Linear regression of what differs from the mean shift, with the penalty that is best left one out."""
        own, near, rest = known @ known.T, asked @ known.T, self.change - self._mean
        scale = max(float(np.trace(own)) / len(own), 1e-12)
        best, least = np.zeros_like(rest), float(self.trust @ (rest**2).sum(axis=1))  # to say nothing is possible, too
        for penalty in _PENALTIES:
            inverse = np.linalg.inv(own + penalty * scale * np.diag(1 / np.maximum(self.trust, 1e-3)))
            coefficients = inverse @ rest
            left_out = coefficients / np.diag(inverse)[:, None]
            if (error := float(self.trust @ (left_out**2).sum(axis=1))) < least:
                best, least = coefficients, error
        return self._mean + near @ best
