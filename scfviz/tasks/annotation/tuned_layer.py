"""What fine-tuning changes of a model, as one array: the encoder's last layer and the norm behind it."""

import copy
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scfviz.model.scfoundation import ScFoundation


def pack(model: "ScFoundation") -> np.ndarray:
    """float32 (n,): what fine-tuning changes of a model."""
    from torch.nn.utils import parameters_to_vector

    return parameters_to_vector([*model.encoder[-1].parameters(), *model.encoder_norm.parameters()]).detach().numpy()


def unpack(model: "ScFoundation", changed: np.ndarray) -> "ScFoundation":
    """A copy of a model with what `pack` returned; the cell space was fitted on other weights and stays behind."""
    import torch
    from torch.nn.utils import vector_to_parameters

    tuned = copy.deepcopy(model)
    tuned.cell_space = None
    vector = torch.from_numpy(np.array(changed))
    vector_to_parameters(vector, [*tuned.encoder[-1].parameters(), *tuned.encoder_norm.parameters()])
    return tuned
