"""The task `perturbation`: a screen is recognised, checked, measured, and a predictor fitted to it.

Columns of `cells`: perturbation_condition, perturbation_responded. Arrays (conditions x genes): change, variance,
held_out; and control, `spread_KIND` (genes); those of `graph.GraphFactors`. Tables: `conditions` (see
`quality.describe_conditions`), `genes`, `scores` (one row a kind of question and view). Scores: what was measured on
held-out conditions, see `fit.learn`.
"""

from typing import Any

import numpy as np

from scfviz.data.memory import Need
from scfviz.errors import DatasetError
from scfviz.tasks.perturbation.compute import NOT_GENES
from scfviz.tasks.perturbation.effects import (
    ScreenEffects,
    control_profiles,
    library_sizes,
    measure_effects,
    sum_conditions,
)
from scfviz.tasks.perturbation.fit import KINDS, PerturbationModel, learn
from scfviz.tasks.perturbation.graph import GraphFactors, coexpression_space
from scfviz.tasks.perturbation.options import PerturbationOptions
from scfviz.tasks.perturbation.quality import describe_batches, describe_conditions, describe_targets, score_cells
from scfviz.tasks.perturbation.spaces import COEXPRESSION, spaces_of
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.steps import Steps

CONDITION, RESPONDED = "perturbation_condition", "perturbation_responded"
LEARNING = "Learning from held-out perturbations"


def memory(options: dict[str, Any]) -> Need:
    """Sums of the conditions and what views said of held-out ones; a few numbers for each cell."""
    return Need(
        1.2e9 + 60.0 * 8 * int(options.get("most_genes", 5_000)) * 400, 400.0, "Means, held-out predictions and cells"
    )


def run(cells: OpenedCells, options: PerturbationOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    from scfviz.data.guides import add_guides
    from scfviz.data.perturbations import read_design

    counts = cells.aligned
    with steps.step(0.03, "Recognising the perturbations"):
        is_genetic = {"auto": None, "genes": True, "other": False}[options.conditions]
        obs, column, said = counts.obs, options.column, []
        if options.guides is not None:
            obs, column, assigned = add_guides(obs, options.guides)
            said = [assigned.describe()]
        design = read_design(obs, column=column, control=options.control, is_genetic=is_genetic, uns=cells.uns)
        sizes = library_sizes(counts, options.library)
    with steps.step(0.05, "Averaging the conditions"):
        sums = steps.keep(
            "sums",
            lambda: sum_conditions(
                counts,
                design.codes,
                len(design.conditions),
                sizes,
                progress=steps.progress(0.05, 0.45),
                should_stop=steps.should_stop,
            ),
        )
        effects = measure_effects(counts, design, sums=sums, most_genes=options.most_genes)
    with steps.step(0.45, "Looking for cells that escaped"):
        responded = steps.keep("responded", lambda: score_cells(counts, design, effects, sizes))
        quality = describe_conditions(counts, design, effects, responded, sizes)
    notes = [*said, design.describe(), *design.notes]
    notes += [*describe_targets(counts, design), *describe_batches(counts.obs, design)]
    model = None
    with steps.step(0.6, LEARNING):
        if design.is_genetic:
            about = {"column": design.column, "controls": list(design.controls), "action": "as in the screen"}
            profiles = steps.keep("profiles", lambda: control_profiles(counts, design, effects.genes, sizes))
            together = {COEXPRESSION: coexpression_space(effects.genes, profiles)}
            try:
                model = learn(
                    effects,
                    spaces_of(options.checkpoint) | together,
                    about=about,
                    seed=options.seed,
                    progress=steps.progress(0.6, 0.95),
                )
            except DatasetError as error:
                notes.append(f"Nothing is predicted: {error}")
        else:
            notes.append(NOT_GENES)
    return _collect(cells, design, effects, responded, quality, model, notes)


def predictor_of(result: Result) -> PerturbationModel | None:
    """The predictor in a result of this task; None where none could be fitted."""
    fitted = result.report.get("predictor")
    if fitted is None:
        return None
    conditions, genes = result.tables["conditions"], result.tables["genes"]
    targets = tuple(tuple(one.split("+")) for one in fitted["conditions"])
    row_of = {name: i for i, name in enumerate(conditions["condition"])}
    rows = [row_of[name] for name in fitted["conditions"]]
    change, variance = (np.asarray(result.arrays[name], dtype=np.float64)[rows] for name in ("change", "variance"))
    effects = ScreenEffects(
        tuple(genes["gene"].astype(str)),
        tuple(fitted["conditions"]),
        targets,
        conditions["n_cells"].to_numpy()[rows],
        int(fitted["n_controls"]),
        genes["control"].to_numpy(dtype=np.float64),
        change,
        variance,
    )
    spread = {kind: genes[f"spread_{kind}"].to_numpy(dtype=np.float64) for kind in KINDS}
    held_out = np.asarray(result.arrays["held_out"])
    return PerturbationModel(
        effects,
        fitted["weights"],
        spread,
        held_out,
        result.scores,
        fitted["checkpoint"],
        fitted["about"],
        GraphFactors.of_arrays(result.arrays),
    )


def _collect(
    cells: OpenedCells,
    design: Any,
    effects: ScreenEffects,
    responded: np.ndarray,
    quality: Any,
    model: PerturbationModel | None,
    notes: list[str],
) -> Result:
    import pandas as pd

    names = np.array([*design.conditions, "none"], dtype=object)[design.codes]
    categories = [*design.conditions, *(["none"] if (design.codes < 0).any() else [])]
    table = pd.DataFrame(
        {CONDITION: pd.Categorical(names, categories=categories), RESPONDED: responded}, index=cells.aligned.obs.index
    )
    genes = pd.DataFrame({"gene": effects.genes, "control": effects.control})
    arrays = {"change": effects.change.astype(np.float32), "variance": effects.variance.astype(np.float32)}
    tables, report, scores = {"conditions": quality, "genes": genes}, {}, {}
    if model is not None:
        for kind in KINDS:
            genes[f"spread_{kind}"] = model.spread[kind]
        arrays["held_out"] = model.held_out
        arrays |= model.factors.arrays() if model.factors is not None else {}
        scores = dict(model.scores)
        tables["scores"] = scores_table(model)
        report["predictor"] = {
            "conditions": list(model.effects.conditions),
            "n_controls": model.effects.n_controls,
            "weights": {kind: dict(weights) for kind, weights in model.weights.items()},
            "checkpoint": dict(model.checkpoint),
            "about": dict(model.about),
        }
    report["provenance"] = {
        "column": design.column,
        "controls": list(design.controls),
        "is_genetic": design.is_genetic,
        "n_conditions": len(design.conditions) - 1,
    }
    return Result(cells.kept, table, arrays, tables, tuple(notes), scores, report)


def scores_table(model: PerturbationModel) -> Any:  # a DataFrame
    """One row a kind of question and view: weight and what was measured."""
    import pandas as pd

    rows = []
    for kind in KINDS:
        for view, found in model.scores.get(kind, {}).get("views", {}).items():
            weight = model.weights[kind].get(view, 0.0) if view not in ("combination", "replicate") else np.nan
            rows.append({"question": kind, "view": view, "weight": weight, "n": model.scores[kind]["n"], **found})
    return pd.DataFrame(rows)
