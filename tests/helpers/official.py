"""The recipe behind `tests/data/reference_outputs.npz`: small weights in the official layout, cells, bulk samples."""

import json
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parents[1] / "reference"
N_GENES = 19264
SEEDS = {"cell": 11, "gene": 12, "rde": 13}


def shapes() -> dict[str, list[int]]:
    return json.loads((DATA / "official_parameter_shapes.json").read_text())


def state_dict(seed: int) -> dict[str, torch.Tensor]:
    """Names in sorted order share one stream of normal draws."""
    rng = np.random.RandomState(seed)
    state = {}
    for name, shape in sorted(shapes().items()):
        z = rng.standard_normal(tuple(shape)).astype(np.float32)
        if name.endswith("calls_since_last_redraw"):
            z = np.zeros(tuple(shape), dtype=np.int64)
        elif name.endswith("bias"):
            z = 0.05 * z
        elif name.startswith("norm.") or ".norm" in name:
            z = 1.0 + 0.1 * z
        elif not (".emb" in name or name.startswith("pos_emb") or name.endswith("projection_matrix")):
            z = z / np.sqrt(np.float32(shape[-1]))
        state[name] = torch.from_numpy(np.asarray(z))
    return state


def official_file() -> dict:
    """What `torch.load` of a small official `models.ckpt` returns."""
    encoder = {"module_type": "transformer", "hidden_dim": 32, "depth": 2, "heads": 4, "dim_head": 8}
    decoder = {"module_type": "performer", "hidden_dim": 16, "depth": 2, "heads": 2, "dim_head": 8}
    sizes = {
        "encoder": encoder,
        "decoder": decoder,
        "bin_num": 10,
        "bin_alpha": 1.0,
        "n_class": 104,
        "pad_token_id": 103,
        "mask_token_id": 102,
    }
    config = {
        "model": "mae_autobin",
        "model_config": {"mae_autobin": sizes},
        "dataset_config": {"rnaseq": {"seq_len": N_GENES + 2}},
    }
    return {
        name: {"config": config, "state_dict": {f"module.model.{k}": v for k, v in state_dict(seed).items()}}
        for name, seed in SEEDS.items()
    }


def cells() -> np.ndarray:
    """(5, 19264) integer counts: 200, 350, 50, 1200 and 3 expressed genes."""
    rng = np.random.RandomState(7)
    counts = np.zeros((5, N_GENES), dtype=np.int64)
    for row, n in zip(counts, (200, 350, 50, 1200, 3), strict=True):
        genes = rng.permutation(N_GENES)[:n]
        row[genes] = 1 + rng.poisson(2.0, size=n)
    return counts


def bulk() -> np.ndarray:
    """(3, 19264) log-scale expression, 1500 expressed genes each."""
    rng = np.random.RandomState(8)
    values = np.zeros((3, N_GENES))
    for row in values:
        genes = rng.permutation(N_GENES)[:1500]
        row[genes] = np.abs(rng.standard_normal(1500)) * 3
    return values


def recorded() -> dict[str, np.ndarray]:
    with np.load(DATA / "reference_outputs.npz") as file:
        return dict(file)
