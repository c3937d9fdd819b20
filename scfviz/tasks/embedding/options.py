"""What an embedding is asked with."""

from dataclasses import dataclass

from scfviz.errors import OptionError
from scfviz.tasks.spec import ModelOptions, option


@dataclass(frozen=True)
class EmbeddingOptions(ModelOptions):
    """Options of a cell embedding."""

    target_depth: float | None = option(
        None, low=1.0, unit="counts per cell", help="target read depth of the embedding"
    )
    depth_fold: float | None = option(
        None, low=1.0, high=100.0, help="the same as a multiple of each cell's own depth", title="Times its own depth"
    )
    pooling: str = option("all", choices=("all", "max"), help="how the tokens of a cell become one vector")
    label_columns: tuple[str, ...] | None = option(
        None, kind="columns", help="columns of obs to score against; all that look like labels when left out"
    )

    def check(self) -> None:
        """See `TaskOptions.check`."""
        if self.target_depth is not None and self.depth_fold is not None:
            raise OptionError(
                "Both a target depth and a depth fold were given.", "Only one can hold.", "Leave one out."
            )
