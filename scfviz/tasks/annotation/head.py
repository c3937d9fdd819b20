"""A small head: one hidden layer on the model's components, learned with class weights."""

from dataclasses import dataclass

import numpy as np

from scfviz.tasks.annotation.features import CellFeatures

LOWEST = -30.0  # log of a probability that counts as none
HIDDEN, STEPS, LEARNING_RATE, WEIGHT_DECAY = 64, 150, 5e-3, 1e-2


@dataclass(frozen=True)
class Head:
    """Softmax over one hidden layer of rectified linear units.

    Attributes
    ----------
    first, first_bias
        float32 (M, H) and (H,).
    second, second_bias
        float32 (H, K) and (K,).
    """

    first: np.ndarray
    first_bias: np.ndarray
    second: np.ndarray
    second_bias: np.ndarray

    @classmethod
    def fit(cls, cells: CellFeatures, truth: np.ndarray, n_classes: int) -> "Head":
        """A fixed number of steps on all cells at once; rare types weigh as much as common ones."""
        import torch
        from torch import nn
        from torch.nn import functional as F

        values = torch.from_numpy(np.ascontiguousarray(cells.model))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first, second = nn.Linear(values.shape[1], HIDDEN), nn.Linear(HIDDEN, n_classes)
        wanted, weights = torch.from_numpy(np.asarray(truth, np.int64)), class_weights(truth, n_classes)
        steps = torch.optim.AdamW([*first.parameters(), *second.parameters()], LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for _ in range(STEPS):
            steps.zero_grad()
            F.cross_entropy(second(F.relu(first(values))), wanted, weights).backward()
            steps.step()
        found = (first.weight.T, first.bias, second.weight.T, second.bias)
        return cls(*(np.ascontiguousarray(part.detach().numpy()) for part in found))

    def log_probabilities(self, cells: CellFeatures) -> np.ndarray:
        """See `methods.Method`."""
        hidden = np.maximum(cells.model @ self.first + self.first_bias, 0.0)
        return log_softmax(np.asarray(hidden @ self.second + self.second_bias, dtype=np.float64))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, none below exp(-30)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    shifted = np.maximum(shifted, LOWEST)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def class_weights(truth: np.ndarray, n_classes: int):  # noqa: ANN201 (a Tensor: torch is loaded where it is needed)
    """float32 (K,): so that each type that is there weighs the same."""
    import torch

    n_cells = np.bincount(truth, minlength=n_classes)
    there = n_cells > 0
    weights = np.where(there, len(truth) / (there.sum() * np.maximum(n_cells, 1)), 0.0)
    return torch.from_numpy(weights.astype(np.float32))
