"""The training lines nearest to a sample, with what was measured on them, where whoever fitted the predictor kept them.

A predictor that ships holds no line: measurements of lines may not be passed on. `scfviz drugs fit --keep-lines` keeps
those of one's own tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.drug_response.predictor import DrugPredictor, KnownLines, share_below
from scfviz.tasks.drug_response.samples import Samples
from scfviz.tasks.drug_response.scale import scale_samples

if TYPE_CHECKING:
    import pandas as pd

N_NEAREST = 10
NO_LINES = (
    "The nearest training lines cannot be shown: this predictor holds no line, because the measurements that it was "
    "learned from may not be passed on. A predictor fitted on your own copy of such tables by `scfviz drugs fit "
    "--keep-lines` holds them."
)


@dataclass(frozen=True)
class NearestLines:
    """The lines nearest to each sample, the most similar first.

    Attributes
    ----------
    samples
        Names.
    rows
        int (n_samples, n): places among the known lines.
    similarity
        float64 (n_samples, n), -1 to 1: cosine of the scores of expression; near 0 for unrelated lines.
    """

    samples: tuple[str, ...]
    rows: np.ndarray
    similarity: np.ndarray


def find_nearest_lines(
    predictor: DrugPredictor,
    samples: Samples,
    scale: str,
    *,
    rows: Sequence[int] | None = None,
    n_nearest: int = N_NEAREST,
) -> NearestLines:
    """The lines whose expression is most like that of each sample.

    Parameters
    ----------
    scale
        How samples are compared with the training lines, see `scale_samples`.
    rows
        Places of the samples that are asked about; all when left out.

    Raises
    ------
    OptionError
        The predictor holds no lines.
    """
    lines = known_lines(predictor)
    scaled = scale_samples(samples, predictor.genes, predictor.factors, predictor.calibration, scale)
    asked = np.arange(samples.n_samples) if rows is None else np.asarray(rows)
    near = _unit(predictor.factors.scores(scaled.values[asked])) @ _unit(lines.scores.astype(np.float64)).T
    first = np.argsort(-near, axis=1, kind="stable")[:, :n_nearest]
    names = tuple(samples.names[i] for i in asked)
    return NearestLines(names, first, np.take_along_axis(near, first, axis=1))


def nearest_lines_table(predictor: DrugPredictor, nearest: NearestLines) -> "pd.DataFrame":
    """One row a sample, line and drug that was measured on it: `sample`, `line`, `similarity`, `drug`, `ln_ic50`,
    `percentile` (of this line among all lines of the drug).

    Raises
    ------
    OptionError
        The predictor holds no lines.
    """
    import pandas as pd

    lines, drugs = known_lines(predictor), np.array(predictor.names, dtype=object)
    percentile = np.stack([share_below(of, lines.ln_ic50[:, j]) for j, of in enumerate(predictor.measured)], axis=1)
    parts = []
    for sample, rows, near in zip(nearest.samples, nearest.rows, nearest.similarity, strict=True):
        place, drug = np.nonzero(np.isfinite(lines.ln_ic50[rows]))
        line = rows[place]
        parts.append(
            pd.DataFrame(
                {
                    "sample": sample,
                    "line": [lines.names[i] for i in line],
                    "similarity": near[place],
                    "drug": drugs[drug],
                    "ln_ic50": lines.ln_ic50[line, drug],
                    "percentile": 100 * percentile[line, drug],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def known_lines(predictor: DrugPredictor) -> KnownLines:
    """The lines of a predictor.

    Raises
    ------
    OptionError
        It holds none.
    """
    if predictor.lines is None:
        raise OptionError(
            "This predictor holds no lines.",
            "Measurements of lines are kept by `scfviz drugs fit --keep-lines` alone.",
            "Fit one on your own tables, and name its folder by --predictor.",
        )
    return predictor.lines


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
