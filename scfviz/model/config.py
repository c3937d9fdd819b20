"""Sizes of a model. Nothing here needs torch."""

import dataclasses
import math
from dataclasses import dataclass

from scfviz.errors import CheckpointError


@dataclass(frozen=True)
class ModelConfig:
    """Every size of one scFoundation model.

    A sequence holds `n_genes` genes in a fixed order, then T (target depth), then S (source depth); one more
    identity is kept for padding, so the identity table has `n_genes + 3` rows. Feed-forward layers are four times
    as wide as the stream they work on.

    `cell_readout` is no part of the published model: it adds to each prediction the product of the gene's identity with
    a vector that is made from the cell embedding, so that a small model learns what a cell is in far fewer steps.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7, and the released configuration.
    """

    n_genes: int = 19264
    n_bins: int = 100
    bin_alpha: float = 1.0
    encoder_width: int = 768
    encoder_layers: int = 12
    encoder_heads: int = 12
    decoder_width: int = 512
    decoder_layers: int = 6
    decoder_heads: int = 8
    decoder_head_width: int = 64
    dropout: float = 0.1
    cell_readout: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is bool:
                if not isinstance(value, bool):
                    raise CheckpointError(
                        f"The configuration says {field.name} = {value!r}.", "It must be true or false.", "Correct it."
                    )
                continue
            whole = field.type is int
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value < 0:
                raise CheckpointError(
                    f"The configuration says {field.name} = {value!r}.",
                    f"It must be a {'whole ' if whole else ''}number, zero or more.",
                    "Use the config.json that came with the weights.",
                )
            if whole and value == 0:
                raise CheckpointError(
                    f"The configuration says {field.name} = 0.", "It must be at least 1.", "Correct config.json."
                )
        if self.encoder_width % self.encoder_heads:
            raise CheckpointError(
                f"The encoder is {self.encoder_width} wide and has {self.encoder_heads} heads.",
                "The width must be a multiple of the number of heads.",
                "Correct encoder_width or encoder_heads.",
            )

    @property
    def target_id(self) -> int:
        """Identity of the T token."""
        return self.n_genes

    @property
    def source_id(self) -> int:
        """Identity of the S token."""
        return self.n_genes + 1

    @property
    def n_features(self) -> int:
        """Random features of the decoder's kernel: d ln d for heads of width d."""
        return max(1, int(self.decoder_head_width * math.log(self.decoder_head_width)))

    @property
    def cell_embedding_width(self) -> int:
        """Width of a cell embedding with pooling `all`: S, T, maximum and mean."""
        return 4 * self.encoder_width

    def as_dict(self) -> dict:
        """The configuration as plain values, as `config.json` holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        """Read a configuration; unknown and missing names are refused by name.

        Raises
        ------
        CheckpointError
            A field is unknown, missing, or not a number of the right kind.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            unknown, missing = sorted(set(values) - known), sorted(known - set(values))
            raise CheckpointError(
                f"The model configuration has unknown fields {unknown} and lacks {missing}.",
                "It must hold exactly the sizes that this version of scfviz knows.",
                "Use the config.json that came with the weights, or convert the checkpoint again.",
            )
        return cls(**values)


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        n_bins=10,
        encoder_width=32,
        encoder_layers=2,
        encoder_heads=4,
        decoder_width=16,
        decoder_layers=2,
        decoder_heads=2,
        decoder_head_width=8,
        cell_readout=True,
    ),
    "3M": ModelConfig(
        encoder_width=128,
        encoder_layers=4,
        encoder_heads=4,
        decoder_width=64,
        decoder_layers=2,
        decoder_heads=2,
        decoder_head_width=32,
        cell_readout=True,
    ),
    "10M": ModelConfig(
        encoder_width=256,
        encoder_layers=6,
        encoder_heads=8,
        decoder_width=128,
        decoder_layers=2,
        decoder_heads=4,
        decoder_head_width=32,
        cell_readout=True,
    ),
    "100M": ModelConfig(),
}
