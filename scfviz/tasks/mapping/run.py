"""The task `mapping`: cells onto a reference whose picture stays fixed; or batches of one dataset, see `_integrate`.

Arrays: `umap_mapping` (n_kept, 2) float32, places on the reference's picture; `mapping` (n_kept, D) float32, the joint
space; `reference_map` (n_reference, 2) float32 and `reference_codes` int32, picture and labels of the reference.
Columns of `cells`: mapped_label, mapped_nearest, mapped_runner_up, mapped_probability, mapped_distance,
mapped_p_value, mapped_likeness, mapped_mixing, mapped_cluster. Tables: `clusters`, `flow`, `spaces`,
`reference_labels`, `power`. Scores: what the model adds, novelty, the control, fidelity of the picture.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.analysis.metrics import sounds_like_units
from scfviz.data.memory import Need
from scfviz.errors import DatasetError, GeneError, OptionError
from scfviz.tasks.mapping import scores
from scfviz.tasks.mapping.compute import (
    CellMapping,
    FittedReference,
    Pair,
    draw_picture,
    fit_reference,
    map_points,
    pair_cells,
    spread_mapping,
)
from scfviz.tasks.mapping.labels import NO_COUNTERPART, ReferenceLabels, read_labels, sample_labels
from scfviz.tasks.mapping.novelty import find_novel
from scfviz.tasks.mapping.options import MappingOptions
from scfviz.tasks.mapping.power import measure_power, missing_type_size, run_control
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells, embed_part
from scfviz.tasks.steps import Steps

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts
    from scfviz.data.open import OpenDataset

READING, EMBEDDING_REFERENCE = "Reading and checking the reference", "Embedding the reference with the model"
POWER = "Leaving every label out of the reference"
EMBEDDING_QUERY, MAPPING = "Embedding the cells with the model", "Mapping the cells"
OWN_MAP = "X_umap"  # of a reference: its picture where it has one


@dataclass(frozen=True)
class _Reference:
    """A reference as it was opened: its cells that are used, their labels and places."""

    counts: "AlignedCounts"
    labels: ReferenceLabels
    picture: np.ndarray | None
    notes: tuple[str, ...]


def memory(options: dict[str, Any]) -> Need:
    """The reference's genes and neighbours, and of each cell embedding, spaces and probabilities."""
    from scfviz.model.checkpoint import checkpoint_info

    info = checkpoint_info(options["checkpoint"])
    width = 4 * info.config.cell_embedding_width
    reference = options.get("most_reference_cells", 20_000) * (8 * 3_000 + width + 8 * 2 * 70)
    return Need(
        1.2e9 + 8 * info.n_parameters + reference, width + 4 * 5 * 70 + 3_000, "Reference, embedding and spaces"
    )


def run(cells: OpenedCells, options: MappingOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    obs = cells.aligned.obs
    _check_query(obs, options)
    if options.batch is not None:
        return _integrate(cells, options, steps)
    with steps.step(0.03, READING):
        reference = _open_reference(cells, options)
        pair = pair_cells(cells.aligned, reference.counts, reference.labels)
    total = pair.reference.n_obs + pair.query.n_obs
    middle = 0.05 + 0.6 * pair.reference.n_obs / total
    with steps.step(0.05, EMBEDDING_REFERENCE):
        of_reference = embed_part(pair.reference, cells, options, steps, "reference_embedding", (0.05, middle))
    with steps.step(middle, EMBEDDING_QUERY):
        of_query = embed_part(pair.query, cells, options, steps, "embedding", (middle, 0.65))
    with steps.step(0.65, "Learning the spaces on the reference"):
        fitted = fit_reference(
            pair, of_reference.values, space=options.space, n_neighbors=options.n_neighbors, seed=options.seed
        )
    with steps.step(0.7, "Drawing the reference's picture"):
        picture = reference.picture
        if picture is None:
            picture = steps.keep("picture", lambda: draw_picture(reference.counts, seed=options.seed))
    with steps.step(0.75, MAPPING):
        points = fitted.spaces.project(pair.query, of_query.values)
        part = map_points(
            fitted,
            points,
            picture[pair.reference_rows],
            false_rate=options.false_rate,
            correction=options.correction,
            progress=steps.progress(0.75, 0.8),
        )
        clusters = _clusters(obs, options, pair, fitted, part)
        part = find_novel(pair, fitted, part, clusters[pair.query_rows], false_rate=options.false_rate)
    with steps.step(0.8, "Scoring the mapping"):
        result = _collect(cells, options, pair, fitted, part, clusters)
    with steps.step(0.84, POWER):
        power = measure_power(
            pair,
            of_reference.values,
            fitted,
            n_neighbors=options.n_neighbors,
            false_rate=options.false_rate,
            seed=options.seed,
            progress=steps.progress(0.84, 0.95),
        )
    with steps.step(0.95, "Mapping cells of no tissue"):
        control = run_control(
            pair,
            fitted,
            cells.model,
            false_rate=options.false_rate,
            correction=options.correction,
            precision=options.precision,
            device=options.device,
            seed=options.seed,
        )
    notes = [*reference.notes, *pair.notes, *result.notes]
    if (n_judged := len(fitted.held_out.codes)) + 1 <= 1 / options.false_rate:
        notes.append(
            f"With {n_judged:,} cells in the reference no cell can be called without counterpart at a false rate of "
            f"{options.false_rate:g}."
        )
    arrays = dict(result.arrays) | {
        "reference_map": picture[pair.reference_rows],
        "reference_codes": pair.labels.codes.astype(np.int32),
    }
    result = replace(
        result, tables=dict(result.tables) | {"power": power}, scores=dict(result.scores) | _novelty(power, control)
    )
    about = {"provenance": of_query.provenance | _describe_reference(options, reference, pair, fitted, part)}
    return replace(result, kept=cells.kept, arrays=arrays, notes=tuple(notes), report=about)


def _integrate(cells: OpenedCells, options: MappingOptions, steps: Steps) -> Result:
    """Batches of one dataset: arrays `integrated` and `umap_integrated`, columns mapped_mixing and mapped_cluster."""
    import pandas as pd

    from scfviz.tasks.embedding.compute import build_map
    from scfviz.tasks.mapping.integrate import integrate_batches, read_batches, score_integration

    obs = cells.aligned.obs
    read_batches(obs, options.batch)  # before anything long
    with steps.step(0.05, EMBEDDING_QUERY):
        embedded = embed_part(cells.aligned, cells, options, steps, "embedding", (0.05, 0.7))
    with steps.step(0.7, "Bringing the batches together"):
        found = integrate_batches(
            cells.aligned,
            cells.model,
            options.batch,
            embedding=embedded.values,
            correction=options.correction,
            seed=options.seed,
        )
    with steps.step(0.85, "Drawing the map and finding clusters"):
        drawn = build_map(found.after["both"], seed=options.seed)
    clusters = drawn.clusters if options.clusters is None else obs[options.clusters].astype(str).to_numpy()
    types, notes = _types_of_batches(obs, options, clusters)
    table = pd.DataFrame(
        {
            "mapped_mixing": found.mixing,
            "mapped_cluster": pd.Categorical(clusters, categories=scores.order_names(clusters)),
        },
        index=obs.index,
    )
    counts = pd.Series(found.batches).value_counts()
    batches = pd.DataFrame({"batch": counts.index, "n_cells": counts.to_numpy()})
    batches["pairs_behind_shift"] = [found.n_pairs.get(str(name)) for name in batches["batch"]]
    arrays = {"integrated": found.after["both"], "umap_integrated": drawn.umap}
    tables = {"spaces": score_integration(found, types), "batches": batches}
    about = {"provenance": embedded.provenance | {"batch": options.batch, "pairs_behind_shift": found.n_pairs}}
    numbers = {"median_mixing": float(np.nanmedian(found.mixing))}
    return Result(cells.kept, table, arrays, tables, (*notes, *drawn.notes), numbers, about)


def _types_of_batches(
    obs: "pd.DataFrame", options: MappingOptions, clusters: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Types within which batches should mix: those of a column, else the clusters."""
    others = obs.drop(columns=[options.batch])
    try:
        labels = read_labels(others, options.column)
    except (DatasetError, OptionError):
        if options.column is not None:
            raise
        return clusters, ("No column holds types: mixing is scored within clusters of the integrated cells.",)
    note = f"Mixing is scored within the types of the column '{labels.column}'."
    return np.array(labels.names, dtype=object)[labels.codes], (note,)


def _check_query(obs: "pd.DataFrame", options: MappingOptions) -> None:
    if options.clusters is None:
        return
    if options.clusters not in obs.columns:
        raise OptionError(
            f"The dataset has no column '{options.clusters}'.",
            f"Its columns are {', '.join(map(str, obs.columns[:20])) or 'none'}.",
            "Choose clusters among them, or leave the option out.",
        )
    if (n_kinds := obs[options.clusters].astype(str).nunique()) > 200:
        raise OptionError(
            f"The column '{options.clusters}' has {n_kinds:,} different values.",
            "At most 200 clusters can be followed.",
            "Choose another column, or leave the option out.",
        )


def _open_reference(cells: OpenedCells, options: MappingOptions) -> _Reference:
    from scfviz.data.open import open_dataset
    from scfviz.data.source import dataset_id

    if dataset_id(options.reference) == dataset_id(options.dataset):
        raise OptionError(
            "The reference holds the same data as the query.", "Two datasets are needed.", "Choose another reference."
        )
    try:
        opened = open_dataset(options.reference)
        aligned = opened.align(cells.model.genes)
    except (DatasetError, GeneError) as error:
        kind = GeneError if isinstance(error, GeneError) else DatasetError
        raise kind(f"The reference: {error.found}", error.needed, error.advice) from error
    labels = read_labels(aligned.obs, options.column)
    notes, picture = [], _own_picture(opened, aligned.n_obs)
    if options.column is None:
        notes.append(f"Labels are those of the reference's column '{labels.column}'.")
    elif sounds_like_units(labels.column):
        notes.append(
            f"The column '{labels.column}' sounds like donors or batches: its labels say whose cells are most alike, "
            "not which type a cell is."
        )
    if len(labels.known) < len(labels.names):
        n_missing = int((labels.codes == len(labels.names) - 1).sum())
        notes.append(f"{n_missing:,} cells of the reference have no label; they answer 'missing'.")
    if aligned.n_obs > options.most_reference_cells:
        rows = sample_labels(labels.codes, options.most_reference_cells, options.seed)
        notes.append(f"Of the reference's {aligned.n_obs:,} cells {len(rows):,} are used, every label with its share.")
        aligned, labels = aligned.subset(rows), labels.take(rows)
        picture = None if picture is None else picture[rows]
    return _Reference(aligned, labels, picture, tuple(notes))


def _own_picture(opened: "OpenDataset", n_obs: int) -> np.ndarray | None:
    """The reference's own map, where it has one for most of its cells."""
    if OWN_MAP not in opened.adata.obsm:
        return None
    picture = np.asarray(opened.adata.obsm[OWN_MAP])
    if picture.shape != (n_obs, 2) or picture.dtype.kind not in "fiu":
        return None
    picture = picture.astype(np.float32)
    return picture if np.isfinite(picture).all(axis=1).mean() > 0.9 else None


def _clusters(
    obs: "pd.DataFrame", options: MappingOptions, pair: Pair, fitted: FittedReference, part: CellMapping
) -> np.ndarray:
    """Cluster of each cell of the query, str (n_obs,); "none" without counts on the common genes."""
    if options.clusters is not None:
        return obs[options.clusters].astype(str).to_numpy().astype(object)
    clusters = np.full(len(obs), "none", dtype=object)
    clusters[pair.query_rows] = scores.cluster_query(part.points[fitted.main], seed=options.seed)
    return clusters


def _collect(
    cells: OpenedCells,
    options: MappingOptions,
    pair: Pair,
    fitted: FittedReference,
    part: CellMapping,
    clusters: np.ndarray,
) -> Result:
    import pandas as pd

    n_obs, rows, obs = cells.aligned.n_obs, pair.query_rows, cells.aligned.obs
    found = spread_mapping(part, rows, n_obs)
    mixing = np.full(n_obs, np.nan)
    mixing[rows] = scores.mixing_with_reference(fitted, part)
    truth = _own_labels(obs, pair.labels)
    spaces = scores.score_spaces(fitted, part, None if truth is None else truth[rows])
    names = list(pair.labels.names)
    labelled = sorted(set(map(str, found.label)) - set(names))
    table = pd.DataFrame(
        {
            "mapped_label": pd.Categorical(found.label, categories=[*names, *labelled]),
            "mapped_nearest": pd.Categorical(found.nearest, categories=names),
            "mapped_runner_up": pd.Categorical(found.runner_up, categories=names),
            "mapped_probability": found.probability,
            "mapped_distance": found.distance,
            "mapped_p_value": found.p_value,
            "mapped_likeness": found.likeness,
            "mapped_mixing": mixing,
            "mapped_cluster": pd.Categorical(clusters, categories=scores.order_names(clusters)),
        },
        index=obs.index,
    )
    counts = np.bincount(pair.labels.codes, minlength=len(names))
    tables = {
        "clusters": scores.summarise_clusters(clusters, found, options.false_rate),
        "flow": scores.flow_of(clusters, found),
        "spaces": spaces,
        "reference_labels": pd.DataFrame({"label": names, "n_cells": counts}),
    }
    arrays = {"umap_mapping": found.umap, "mapping": found.points["both"]}
    return Result(cells.kept, table, arrays, tables, scores=_scores(pair, fitted, part, found, truth))


def _scores(
    pair: Pair, fitted: FittedReference, part: CellMapping, found: CellMapping, truth: np.ndarray | None
) -> dict[str, float]:
    numbers = {
        "common_genes": pair.n_genes,
        "no_counterpart_share": float((found.label == NO_COUNTERPART).mean()),
        "median_distance": float(np.nanmedian(found.distance)),
        "platform_distance": found.platform_distance,
        "unlike_share": float(found.is_unlike.mean()),
        "model_gain": fitted.gain.share,
        "model_gain_low": fitted.gain.low,
        "model_gain_high": fitted.gain.high,
        "combination_log_loss": fitted.weights.combined_loss,
        "picture_fidelity": scores.picture_fidelity(part, fitted.main),
        "transfer_f1": None if truth is None else scores.transfer_f1(truth, found.nearest, fitted.labels.names),
    }
    return {name: value for name, value in numbers.items() if value is not None and np.isfinite(value)}


def _novelty(power: "pd.DataFrame", control: float) -> dict[str, float]:
    size, n_noticed = missing_type_size(power)
    found = {"control_no_counterpart": control, "n_labels_left_out": len(power), "n_labels_noticed": n_noticed}
    if len(power):
        found |= {"novelty_auroc": float(power["auroc"].mean()), "novelty_auroc_pca": float(power["auroc_pca"].mean())}
    return found if size is None else found | {"noticed_from": size}


def _own_labels(obs: "pd.DataFrame", labels: ReferenceLabels) -> np.ndarray | None:
    """The query's own labels in the same column, where some are among the reference's."""
    if labels.column not in obs.columns:
        return None
    column = obs[labels.column]
    if not column.astype(str).isin(labels.names).any():
        return None
    return np.array([None if gone else str(value) for value, gone in zip(column, column.isna(), strict=True)], object)


def _describe_reference(
    options: MappingOptions, reference: _Reference, pair: Pair, fitted: FittedReference, part: CellMapping
) -> dict[str, Any]:
    from scfviz.data.source import dataset_id

    return {
        "reference": Path(options.reference).name,
        "reference_id": dataset_id(options.reference),
        "reference_column": pair.labels.column,
        "reference_cells": pair.reference.n_obs,
        "reference_picture": "drawn from its variable genes" if reference.picture is None else OWN_MAP,
        "common_genes": pair.n_genes,
        "space_weights": {name: float(weight) for name, weight in fitted.used.items()},
        "learned_weights": fitted.weights.weights,
        "pairs_behind_shift": dict(part.n_pairs),
        "labels": list(pair.labels.names),
    }
