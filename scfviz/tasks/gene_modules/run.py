"""The task `gene_modules`. Tables and arrays of its result:

genes, links, network, enrichment      see `GeneModules`
modules        one row per module: `module`, `name`, `is_named`, `n_genes`, `n_factors`, `hubs`, `stability`, and of the
               best set `best_set`, `pvals_adj`, `random`
resolutions    see `Modules.curve`
views          what each view is worth, see `Links.describe`
groups         mean score of each module in each group of cells: `module`, `group`, `n_cells`, `score`, `z`
regulators     mean activity of each transcription factor in each group: `factor`, `group`, `activity`, `n_targets`
array `module_scores` float32 (n_kept, n_modules), `regulator_activity` float32 (n_kept, n_factors), and
`group_similarity` float16 (n_groups, n_genes, n_genes) for the groups of the table `compared`.
Columns of `cells`: `gene_module_group`, and `gene_module_1` to `gene_module_12`, the scores of the largest modules.
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.data.memory import Need
from scfviz.tasks.gene_modules.compute import GeneModules, analyse, prepare, read_contexts
from scfviz.tasks.gene_modules.genes import read_groups
from scfviz.tasks.gene_modules.modules import hubs
from scfviz.tasks.gene_modules.network import regulon_matrix
from scfviz.tasks.gene_modules.options import GeneModulesOptions
from scfviz.tasks.gene_modules.scores import module_weights, score_cells
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

CONTEXTS = "Reading gene contexts with the model"
MOST_SCORED = 12  # modules whose scores become columns of cells
FEWEST_TARGETS = 5


def memory(options: dict[str, Any]) -> Need:
    """Similarities of all pairs of genes in some copies, contexts, and the expression of 20,000 cells."""
    from scfviz.model.checkpoint import checkpoint_info

    info = checkpoint_info(options["checkpoint"])
    n_genes = options.get("n_genes", 800) + 200 + len(options.get("genes") or ())
    width = 0 if options.get("view") == "coexpression" else info.config.decoder_width
    pairs = 4 * n_genes**2 * 16
    return Need(
        1.4e9 + 8 * info.n_parameters + pairs + 8 * n_genes * (n_genes + width) * 4 + 20_000 * 8 * 2_500,
        4 * 300 + 200,
        "Similarities of genes and contexts",
    )


def run(cells: OpenedCells, options: GeneModulesOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    groups, notes = None, ()
    if options.group_by is not None:
        groups, notes = read_groups(cells.aligned.obs, options.group_by)
    with steps.step(0.02, "Choosing genes and groups"):
        prepared = prepare(
            cells.aligned,
            groups=groups,
            genes=options.genes,
            choice=options.choice,
            n_genes=options.n_genes,
            seed=options.seed,
        )
    contexts = None
    first = 0.1
    if options.view != "coexpression":
        first = 0.55
        with steps.step(0.1, CONTEXTS):
            contexts = read_contexts(
                cells.aligned,
                cells.model,
                prepared,
                most_cells=options.most_cells,
                seed=options.seed,
                precision=options.precision,
                device=options.device,
                out=steps.work / "contexts",
                progress=steps.progress(0.1, first),
                should_stop=steps.should_stop,
                cluster=steps.cluster,
            )

    @contextmanager
    def step(share: float, stage: str) -> "Iterator[None]":
        with steps.step(first + (0.9 - first) * share, stage):
            yield

    found = analyse(
        prepared,
        contexts,
        view=options.view,
        resolution=options.resolution,
        trees=options.trees,
        seed=options.seed,
        step=step,
    )
    with steps.step(0.9, "Scoring every cell"):
        return _collect(cells, options, found, groups, notes, contexts, steps)


def _collect(
    cells: OpenedCells,
    options: GeneModulesOptions,
    found: GeneModules,
    groups: np.ndarray | None,
    notes: tuple[str, ...],
    contexts: Any,
    steps: Steps,
) -> Result:
    import pandas as pd

    prepared, names = found.prepared, found.prepared.genes.names
    regulons, factors = _regulons(found)
    weights = module_weights(
        found.modules.module,
        prepared.genes.positions,
        prepared.pool,
        prepared.pool_names,
        prepared.pool_mean,
        options.seed,
    )
    scores, activity = score_cells(
        cells.aligned,
        weights,
        prepared.genes.positions,
        regulons,
        method=options.activity,
        seed=options.seed,
        progress=steps.progress(0.9, 0.97),
    )
    labels = groups if groups is not None else _spread_clusters(cells, prepared)
    table = pd.DataFrame({"gene_module_group": pd.Categorical(labels)}, index=cells.aligned.obs.index)
    for number in range(min(scores.shape[1], MOST_SCORED)):
        table[f"gene_module_{number + 1}"] = scores[:, number].astype(np.float64)
    tables = {
        "genes": found.genes,
        "links": found.links,
        "modules": describe_modules(found, names),
        "network": found.network,
        "resolutions": found.modules.curve,
        "views": pd.DataFrame(found.similarity.describe()),
        "groups": _by_group(scores, labels, "module", list(range(1, scores.shape[1] + 1))),
        "compared": pd.DataFrame({"group": found.group_names, "n_cells": found.group_sizes}),
    }
    if found.meaning is not None:
        tables["enrichment"] = found.meaning.table
    if len(factors):
        of_groups = _by_group(activity, labels, "factor", factors)
        counts = dict(zip(factors, (regulons != 0).sum(axis=0).tolist(), strict=True))
        tables["regulators"] = of_groups.assign(n_targets=of_groups["factor"].map(counts))
    arrays = {
        "module_scores": scores,
        "regulator_activity": activity,
        "group_similarity": found.group_similarity,
    }
    about = {} if contexts is None else contexts.provenance | {"n_context_cells": int(contexts.n_cells.sum())}
    told = (*notes, *found.notes, *_notes(found, contexts))
    report: dict[str, Any] = {"provenance": about}
    if contexts is None:  # it was loaded, and read nothing
        report["checkpoint"] = None
    return Result(cells.kept, table, arrays, tables, told, _scores(found, contexts), report)


def describe_modules(found: GeneModules, names: np.ndarray) -> "pd.DataFrame":
    """One row per module, see the module's text."""
    import pandas as pd

    rows = []
    for number in range(1, found.modules.n_modules + 1):
        mine = found.modules.module == number
        best = hubs(names, found.modules, number)
        sets = found.meaning.table[found.meaning.table["module"] == number]
        name = found.meaning.names.get(number, "")
        rows.append(
            {
                "module": number,
                "name": name or f"{best[0]}, {best[1]}",
                "is_named": bool(name),
                "n_genes": int(mine.sum()),
                "n_factors": int((mine & found.prepared.genes.is_factor).sum()),
                "hubs": ", ".join(best),
                "stability": float(found.modules.stability[mine].mean()),
                "best_set": str(sets["name"].iloc[0]) if len(sets) else "",
                "pvals_adj": float(sets["pvals_adj"].iloc[0]) if len(sets) else 1.0,
                "random": float(sets["random"].iloc[0]) if len(sets) else 1.0,
            }
        )
    columns = ["module", "name", "is_named", "n_genes", "n_factors", "hubs", "stability", "best_set"]
    return pd.DataFrame(rows, columns=[*columns, "pvals_adj", "random"])


def _regulons(found: GeneModules) -> tuple[np.ndarray | None, list[str]]:
    """Signed weights of targets, (n_genes, n_factors), and the factors that have at least 5; None without any."""
    names = found.prepared.genes.names
    factors = np.flatnonzero(found.prepared.genes.is_factor)
    if not len(factors):
        return None, []
    weights = regulon_matrix(found.network, names, factors)
    enough = (weights != 0).sum(axis=0) >= FEWEST_TARGETS
    return (weights[:, enough], names[factors[enough]].tolist()) if enough.any() else (None, [])


def _spread_clusters(cells: OpenedCells, prepared: Any) -> np.ndarray:
    """Clusters that were found on a part of the cells; the others are apart."""
    labels = np.full(cells.aligned.n_obs, "not clustered", dtype=object)
    labels[prepared.rows] = prepared.cells.groups
    return labels.astype(str)


def _by_group(values: np.ndarray, labels: np.ndarray, kind: str, names: list) -> "pd.DataFrame":
    """Mean of each column of `values` in each group, and that in standard deviations over groups."""
    import pandas as pd

    groups, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(codes, weights=column, minlength=len(groups)) for column in values.T.astype(float)])
    means = means / sizes
    spread = means.std(axis=1, keepdims=True)
    z = np.divide(means - means.mean(axis=1, keepdims=True), spread, out=np.zeros_like(means), where=spread > 1e-12)
    value = "score" if kind == "module" else "activity"
    return pd.DataFrame(
        {
            kind: np.repeat(names, len(groups)),
            "group": np.tile(groups, len(names)),
            "n_cells": np.tile(sizes, len(names)),
            value: means.ravel(),
            "z": z.ravel(),
        }
    )


def _notes(found: GeneModules, contexts: Any) -> list[str]:
    notes = []
    if contexts is not None:
        r = found.similarity.reliability["model"]
        whole = 2 * r / (1 + r) if r > -1 else 0.0
        notes.append(
            f"The model read {int(contexts.n_cells.sum()):,} cells. Links from one half of them correlate with those "
            f"from the other at {r:.2f}; of all of them that makes about {whole:.2f}. More cells make that higher."
        )
        if "keys_error" in contexts.provenance:
            notes.append(
                f"For speed the model's decoder saw a sample of {contexts.provenance['keys_drawn']:,} genes in place "
                "of all that a cell does not express. On a few cells that changed the contexts by "
                f"{contexts.provenance['keys_error']:.1%} of how they differ between cells."
            )
    if not found.modules.n_modules:
        notes.append("No five genes are linked closely enough to be a module.")
    if len(found.network) == 0:
        notes.append("There is no network: none of the genes is a transcription factor.")
    return notes


def _scores(found: GeneModules, contexts: Any) -> dict[str, float]:
    links, curve = found.similarity, found.modules.curve
    scores = {
        "n_genes": len(found.genes),
        "n_modules": found.modules.n_modules,
        "n_factors": int(found.prepared.genes.is_factor.sum()),
        "module_stability": float(curve.loc[curve["is_chosen"], "stability"].iloc[0]),
    }
    scores |= {f"reliability_{name}": value for name, value in links.reliability.items()}
    if links.gain is not None:
        scores |= {"model_gain": links.gain.share, "model_gain_low": links.gain.low, "model_gain_high": links.gain.high}
        scores |= {f"weight_{name}": value for name, value in links.weights.weights.items()}
    return {name: float(value) for name, value in scores.items() if np.isfinite(value)}
