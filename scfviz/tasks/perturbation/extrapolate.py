"""Knock-downs in cells without a screen: what the lines that were measured say, one beside the other.

An extrapolation. Lines count alike: how alike own cells are to a line was not found to say how well it answers. What
other lines are worth for a line is measured by `benchmarks/perturbation_transfer.py`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.perturbation.answers import AnsweredGenes, Answerer, predict_answers
from scfviz.tasks.perturbation.effects import symbols_of
from scfviz.tasks.perturbation.predictor import LineAnswers
from scfviz.tasks.perturbation.spaces import GeneSpace

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts

MOST_CELLS = 5_000
LIKELY = 0.3  # probability from which a line calls a gene changed, for counting lines


def levels_of(counts: "AlignedCounts", rows: np.ndarray | None = None, *, seed: int = 0) -> "pd.DataFrame":
    """How strongly each measured gene is expressed in cells.

    Parameters
    ----------
    counts
        Over all genes of the file.
    rows
        Cells that are asked about, all when left out; of many a sample.

    Returns
    -------
    DataFrame
        By symbol: `level`, mean ln(1 + counts per 10,000), and `detected`, the share of cells with counts.
    """
    import pandas as pd

    from scfviz.data.normalise import log_normalise

    rows = np.arange(counts.n_obs) if rows is None else np.asarray(rows)
    if len(rows) > MOST_CELLS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_CELLS, replace=False))
    part = counts.subset(rows)
    total, there = np.zeros(counts.n_genes), np.zeros(counts.n_genes)
    sizes = part.total_counts
    for start, block in part.blocks():
        total += np.asarray(log_normalise(block, sizes[start : start + block.shape[0]]).sum(axis=0)).ravel()
        there += np.asarray((block > 0).sum(axis=0)).ravel()
    table = pd.DataFrame({"gene": symbols_of(counts.genes), "level": total / len(rows), "detected": there / len(rows)})
    return table[counts.is_measured].drop_duplicates("gene").set_index("gene")


def ask_lines(
    lines: Mapping[str, LineAnswers],
    gene: str,
    spaces: Mapping[str, GeneSpace],
    answerers: Mapping[str, Mapping[str, Answerer]] | None = None,
) -> dict[str, tuple[AnsweredGenes, AnsweredGenes]]:
    """What each line says of a knock-down: changed, and the direction.

    Parameters
    ----------
    lines
        By name.
    answerers
        By name and question, where they are at hand.
    """
    ready = answerers or {}
    found = {}
    for name, line in lines.items():
        views = ready.get(name, {})
        found[name] = (
            predict_answers(line.changed, [gene], spaces, views.get("changed")),
            predict_answers(line.direction, [gene], spaces, views.get("direction")),
        )
    return found


def join_lines(
    said: Mapping[str, tuple[AnsweredGenes, AnsweredGenes]], gene: str, levels: "pd.DataFrame | None" = None
) -> "pd.DataFrame":
    """One row a gene, the likeliest change first: mean over lines, each line, and the level in own cells.

    Parameters
    ----------
    gene
        Knocked down: it is left out.
    levels
        Of own cells, see `levels_of`: genes that they do not have are left out.

    Returns
    -------
    DataFrame
        `gene`, `p_changed` (mean over the lines that read the gene out), `p_up` (weighted by each line's `p_changed`),
        `n_lines`, `n_agree` (lines that call it changed in the direction of the mean), `p_changed LINE`, `p_up LINE`
        and, of own cells, `level` and `detected`.
    """
    import pandas as pd

    tables = []
    for name, (changed, side) in said.items():
        columns = {f"p_changed {name}": changed.estimate[0], f"p_up {name}": side.estimate[0]}
        tables.append(pd.DataFrame(columns, index=pd.Index(changed.genes, name="gene")))
    table = pd.concat(tables, axis=1)
    changed = table[[f"p_changed {name}" for name in said]].to_numpy()
    up = table[[f"p_up {name}" for name in said]].to_numpy()
    known = np.isfinite(changed)
    there = np.where(known, changed, 0)
    mean_up = np.where(known, up, 0) * there
    table["p_changed"] = there.sum(axis=1) / known.sum(axis=1)
    table["p_up"] = mean_up.sum(axis=1) / np.maximum(there.sum(axis=1), 1e-9)
    is_up = table["p_up"].to_numpy()[:, None] > 0.5
    table["n_lines"] = known.sum(axis=1)
    table["n_agree"] = (known & (changed > LIKELY) & ((up > 0.5) == is_up)).sum(axis=1)
    first = ["p_changed", "p_up", "n_lines", "n_agree"]
    table = table[[*first, *(name for name in table if name not in first)]]
    if levels is not None:
        table = table.join(levels, how="inner")
    table = table[table.index != gene].sort_values("p_changed", ascending=False, kind="stable")
    return table.reset_index()


def measured_in(lines: Mapping[str, LineAnswers], gene: str) -> tuple[str, ...]:
    """Lines in which this knock-down was measured."""
    return tuple(name for name, line in lines.items() if gene in set(line.changed.table.perturbations))


def lines_that_answer(found: Mapping[str, object]) -> dict[str, LineAnswers]:
    """Of predictors by name those of knock-downs, by their line."""
    return {str(one.about["line"]): one for one in found.values() if isinstance(one, LineAnswers)}
