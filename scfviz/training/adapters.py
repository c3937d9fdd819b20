"""Low-rank adapters: a few trained numbers beside frozen weights, as one file of a few MB, merged into a checkpoint.

A hundred lines here instead of a dependency: they need one wrapped linear layer, and leave an ordinary checkpoint.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scfviz.errors import CheckpointError, OptionError
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint, save_checkpoint
from scfviz.model.scfoundation import ScFoundation

ADAPTER = "adapter.safetensors"
FORMAT = 1
_ABOUT = "scfviz"  # among a file's metadata
_ADAPTED = ("qkv", "out", "expand", "contract", "q", "k", "v")


class LowRankLinear(nn.Module):
    """A frozen linear layer plus a learned product of two thin matrices, which starts at zero.

    Source: Hu et al. 2021, arXiv:2106.09685.
    """

    def __init__(self, base: nn.Linear, rank: int):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        return self.base(x) + nn.functional.linear(nn.functional.linear(x, self.down), self.up)

    def merged(self) -> nn.Linear:
        """One linear layer that computes the same."""
        with torch.no_grad():
            self.base.weight += self.up @ self.down
        return self.base


def add_adapters(model: ScFoundation, rank: int) -> ScFoundation:
    """Freeze a model and put low-rank adapters beside the linear layers of encoder and decoder, in place.

    Raises
    ------
    OptionError
        The rank is below 1 or above the width of the decoder.
    """
    largest = min(model.config.encoder_width, model.config.decoder_width)
    if not 1 <= rank <= largest:
        raise OptionError(
            f"The rank of the adapters is {rank}.", f"It must be from 1 to {largest} for this model.", "Often 4 to 16."
        )
    model.requires_grad_(False)
    for layer in [*model.encoder, *model.decoder]:
        for name in _ADAPTED:
            if isinstance(found := getattr(layer, name, None), nn.Linear):
                setattr(layer, name, LowRankLinear(found, rank))
    return model


def merge_adapters(model: ScFoundation) -> ScFoundation:
    """Fold the adapters into the weights, in place: an ordinary model is left."""
    for layer in [*model.encoder, *model.decoder]:
        for name in _ADAPTED:
            if isinstance(found := getattr(layer, name, None), LowRankLinear):
                setattr(layer, name, found.merged())
    return model.requires_grad_(True)


def save_adapter(model: ScFoundation, path: Path | str, about: Mapping[str, Any]) -> Path:
    """Write the adapters of a model as one safetensors file of numbers, whole or not at all.

    Parameters
    ----------
    about
        `name`, `base` and `base_hash` (the checkpoint that it belongs to), `licence`, `rank`.
    """
    from safetensors.torch import save_file

    path = Path(path)
    learned = {name: p.detach().float().cpu().contiguous() for name, p in model.named_parameters() if _is_learned(name)}
    staging = path.with_name(f".{path.name}.writing")
    save_file(learned, staging, metadata={_ABOUT: json.dumps({"format": FORMAT, **about})})
    os.replace(staging, path)
    return path


def describe_adapter(path: Path | str) -> dict[str, Any]:
    """What an adapter's file says about itself, see `save_adapter`.

    Raises
    ------
    CheckpointError
        It is no adapter, or of another version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
        if about["format"] != FORMAT or int(about["rank"]) < 1:
            raise ValueError
        return about
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"'{Path(path).name}' is no adapter of this version of scfviz.",
            f"An {ADAPTER} that `scfviz adapt --low-rank RANK` wrote is needed.",
            "Choose that file.",
        ) from error


def apply_adapter(path: Path | str, out: Path | str, *, checkpoint: Path | str | None = None) -> Path:
    """Merge an adapter with the checkpoint that it belongs to into a checkpoint folder `out`.

    Raises
    ------
    CheckpointError
        It is no adapter, damaged, or belongs to another checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    about, folder = describe_adapter(path), Path(checkpoint) if checkpoint is not None else default_checkpoint()
    info = checkpoint_info(folder)
    if about["base_hash"] != info.hash:
        raise CheckpointError(
            f"The adapter '{about['name']}' belongs to the checkpoint '{about['base']}' ({about['base_hash']}), "
            f"the one in use is '{info.name}' ({info.hash}).",
            "An adapter changes the weights that it was learned on, and no others.",
            f"Use the checkpoint '{about['base']}'.",
        )
    model = add_adapters(load_checkpoint(folder, with_cell_space=False), int(about["rank"]))
    wanted = dict(model.named_parameters())
    try:
        learned = load_file(path)
        if set(learned) != {name for name in wanted if _is_learned(name)}:
            raise ValueError("other layers")
        with torch.no_grad():
            for name, values in learned.items():
                if values.shape != wanted[name].shape or not torch.isfinite(values).all():
                    raise ValueError(name)
                wanted[name].copy_(values)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"The adapter '{Path(path).name}' does not fit its checkpoint or is damaged ({error}).",
            "It must hold finite numbers for the layers of that checkpoint.",
            "Copy the file again.",
        ) from error
    readme = f"# {about['name']}\n\n*{info.name}* with a low-rank adapter of rank {about['rank']} merged in.\n"
    start = {"name": info.name, "hash": info.hash}
    training = {"adapter": about, "start_from": start, "depths": info.training.get("depths")}
    return save_checkpoint(
        merge_adapters(model), out, name=about["name"], licence=info.licence, readme=readme, training=training
    )


def _is_learned(name: str) -> bool:
    return name.endswith((".up", ".down"))
