"""Every number of a training run. Nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from scfviz.errors import OptionError


@dataclass(frozen=True)
class MaskingOptions:
    """Every number of the objective.

    Attributes
    ----------
    down_sampling
        Share of cells whose counts are thinned before the model sees them.
    beta_a, beta_b
        The kept share of counts is drawn from Beta(beta_a, beta_b), once per cell.
    down_sampling_from
        Cells with fewer counts than this are never thinned.
    masked_expressed, masked_zeros
        Shares of the expressed and of the zero entries of the model's input that the loss asks for.
    mask_token, random_value
        Of the masked entries: the share that is hidden, and the share that shows a random value of the same cell. The
        rest is left as it is.
    unmeasured_zeros
        Whether genes that the dataset does not report count as zeros to ask for. They are no evidence of absence.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7, and the released configuration.
    """

    down_sampling: float = 0.5
    beta_a: float = 2.0
    beta_b: float = 2.0
    down_sampling_from: float = 1000.0
    masked_expressed: float = 0.30
    masked_zeros: float = 0.03
    mask_token: float = 0.8
    random_value: float = 0.1
    unmeasured_zeros: bool = False

    def __post_init__(self) -> None:
        for name in ("down_sampling", "masked_expressed", "masked_zeros", "mask_token", "random_value"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(
                    f"The masking option {name} is {getattr(self, name)}.", "It is a share, from 0 to 1.", ""
                )
        if self.mask_token + self.random_value > 1:
            raise OptionError(
                f"mask_token and random_value sum to {self.mask_token + self.random_value:g}.",
                "They are shares of the same entries.",
                "For example 0.8 and 0.1; the rest is left as it is.",
            )


def masking_of(training: Mapping[str, Any]) -> MaskingOptions:
    """The objective that a checkpoint was trained with, from its record; the published one where none is recorded.

    With another one, a model is judged by what it never had to do: one that saw no random values trusts those it sees.
    """
    known = {field.name for field in fields(MaskingOptions)}
    stored = training.get("objective") or {}
    return MaskingOptions(**{name: value for name, value in stored.items() if name in known})


@dataclass(frozen=True)
class BatchOptions:
    """How batches are made.

    Attributes
    ----------
    batch_size
        Cells per step, over all ranks and accumulated parts.
    accumulate
        Parts that a rank's share of a step is cut into.
    max_genes
        Visible genes per cell that the encoder gets; a random subset of longer cells. 0: all.
    decoder_rows
        Rows that the decoder works on: the masked genes (half of the rows at most), a quarter for visible genes, T and
        S, and a random sample of the other genes, weighted in the attention so that its sums stay unbiased.
        0: all genes.
    long_cells
        Share of cells that are shown with up to `long_genes` visible genes instead: cheap steps for most cells, and
        still a model that has met whole ones. 0: none.
    balance
        How often a dataset is drawn: as its number of cells to this power. 1: every cell equally often; 0: every
        dataset equally often.
    """

    batch_size: int = 64
    accumulate: int = 1
    max_genes: int = 1024
    decoder_rows: int = 2048
    long_cells: float = 0.0
    long_genes: int = 4096
    balance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("long_cells", "balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"The option {name} is {getattr(self, name)}.", "It must be from 0 to 1.", "")


@dataclass(frozen=True)
class TrainingOptions:
    """How weights are changed, and when what is written.

    Attributes
    ----------
    steps
        Length of the run.
    learning_rate, warm_up, cool_down
        The rate rises linearly over `warm_up` steps, stays, and falls linearly to zero over the last `cool_down` steps.
    clip
        Largest norm of the gradient.
    average
        Decay of the running average of the weights; the average is what is validated and exported.
    precision
        `bf16` runs the matrix products in bfloat16, weights and optimiser stay fp32.
    recompute_layers
        See `Objective`.
    log_every, validate_every, save_every
        Steps; validations are rounded up to multiples of logged steps.
    patience
        Stop after this many validations without a better result; `None` never.
    keep_best
        Export the weights of the best validation instead of the last ones.
    """

    steps: int
    learning_rate: float = 1e-3
    warm_up: int = 200
    cool_down: int = 0
    weight_decay: float = 0.0
    beta_1: float = 0.9
    beta_2: float = 0.98
    clip: float = 1.0
    average: float = 0.995
    precision: Literal["fp32", "bf16"] = "fp32"
    recompute_layers: bool = False
    seed: int = 0
    log_every: int = 10
    validate_every: int = 200
    save_every: int = 50
    patience: int | None = None
    keep_best: bool = False

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rate = min(1.0, (step + 1) / max(self.warm_up, 1))
        if self.cool_down:
            rate *= min(1.0, max(0.0, (self.steps - step) / self.cool_down))
        return self.learning_rate * rate
