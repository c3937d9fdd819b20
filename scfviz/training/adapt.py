"""`scfviz adapt`: go on with pretraining on one's own unlabelled cells, with all weights or with low-rank adapters.

The adapters are sixty lines here instead of a dependency: all they need is one wrapped linear layer, and they leave an
ordinary checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from scfviz.data.corpus import build_corpus
from scfviz.errors import OptionError
from scfviz.model.checkpoint import checkpoint_info, default_checkpoint
from scfviz.model.scfoundation import ScFoundation
from scfviz.training.pretrain import PretrainOptions, pretrain
from scfviz.training.run import Progress, ShouldStop

CORPUS = "corpus"
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


def adapt(
    files: Sequence[Path | str],
    out: Path | str,
    options: PretrainOptions,
    *,
    checkpoint: Path | str | None = None,
    rank: int | None = None,
    resume: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Path:
    """Continue pretraining on one's own cells.

    Parameters
    ----------
    files
        Dataset files; no labels are needed.
    out
        Receives the corpus, the state, the log and the new checkpoint folder.
    options
        As for `pretrain`; `start_from` is set here.
    checkpoint
        Where to start: a checkpoint folder, imported official weights included. The one that ships when left out.
    rank
        Train low-rank adapters of this rank and merge them at the end; all weights when `None`.
    progress, should_stop
        See `pretrain`.

    Returns
    -------
    Path
        The checkpoint folder. Its licence is that of the weights it started from.

    Raises
    ------
    OptionError, DatasetError, CheckpointError, JobError
        See `build_corpus` and `pretrain`.
    """
    folder = Path(checkpoint) if checkpoint is not None else default_checkpoint()
    info = checkpoint_info(folder)
    corpus = Path(out) / CORPUS
    build_corpus(files, corpus, report=report)
    return pretrain(
        corpus,
        out,
        info.config,
        replace(options, start_from=folder),
        resume=resume,
        report=report,
        progress=progress,
        should_stop=should_stop,
        prepare=None if rank is None else lambda model: add_adapters(model, rank),
        finish=None if rank is None else merge_adapters,
    )
