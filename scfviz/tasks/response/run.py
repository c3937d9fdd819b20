"""The task `response`: what a treatment changes in each cell type, measured, and predicted from the other types.

Columns of `cells`: response_group. Arrays (types x genes): basal, change, variance, predicted (of a measured type what
was said without having seen its treated cells), and `view_NAME`; embedding (types x D). Tables: `types`, `genes`,
`scores` (one row a type and view). Scores: see `learn.learn_responses`.
"""

from typing import Any

import numpy as np

from scfviz.data.memory import Need
from scfviz.errors import DatasetError
from scfviz.tasks.perturbation.effects import library_sizes, sum_conditions
from scfviz.tasks.response.learn import MIN_TYPES, ResponseModel, learn_responses, predict_response
from scfviz.tasks.response.measure import Responses, measure_responses, response_codes
from scfviz.tasks.response.methods import VIEWS
from scfviz.tasks.response.options import ResponseOptions
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells
from scfviz.tasks.steps import Steps

GROUP = "response_group"
MOST_EMBEDDED = 100  # control cells of a type


def memory(options: dict[str, Any]) -> Need:
    """Sums of types, what each view says of them, and the embedded control cells."""
    from scfviz.model.checkpoint import checkpoint_info

    info = checkpoint_info(options["checkpoint"])
    return Need(
        1.2e9 + 8 * info.n_parameters + 30.0 * 8 * int(options.get("most_genes", 5_000)) * 60,
        400.0,
        "Means of the types, predictions and cells",
    )


def run(cells: OpenedCells, options: ResponseOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    from scfviz.data.perturbations import read_design

    counts = cells.aligned if cells.all_genes is None else cells.all_genes
    with steps.step(0.03, "Recognising treatment and cell types"):
        design = read_design(
            counts.obs, column=options.column, control=options.control, is_genetic=False, uns=cells.uns
        )
        sizes = library_sizes(counts, options.library)
        codes, names = response_codes(counts, design, str(options.types), options.treatment)
    with steps.step(0.05, "Averaging the types"):
        sums = steps.keep(
            "sums",
            lambda: sum_conditions(
                counts,
                codes,
                2 * len(names),
                sizes,
                progress=steps.progress(0.05, 0.3),
                should_stop=steps.should_stop,
            ),
        )
        responses = measure_responses(
            counts,
            design,
            str(options.types),
            treatment=options.treatment,
            sums=sums,
            most_genes=options.most_genes,
        )
    embedding = np.zeros((len(responses.types), 0), dtype=np.float32)
    with steps.step(0.3, "Embedding control cells of each type"):
        if responses.is_measured.sum() >= MIN_TYPES:  # else nothing will be learned
            numbers = np.array([names.index(one) for one in responses.types])
            embedding = steps.keep("embedding", lambda: _embed(cells, codes, numbers, options, steps))
    notes, model = [design.describe(), *design.notes, *_say(responses)], None
    with steps.step(0.9, "Learning from types that are left out"):
        about = {"treatment": responses.treatment, "types": options.types, "column": design.column}
        try:
            model = learn_responses(responses, embedding, about=about, seed=options.seed)
        except DatasetError as error:
            notes.append(f"Nothing is predicted: {error}")
    return _collect(cells, codes, names, responses, embedding, model, notes)


def _embed(
    cells: OpenedCells, codes: np.ndarray, numbers: np.ndarray, options: ResponseOptions, steps: Steps
) -> np.ndarray:
    """Mean embedding of some control cells of each type: float32 (n_types, D)."""
    from scfviz.model.infer import embed_cells

    rng, chosen = np.random.default_rng(options.seed), []
    for number in numbers:
        rows = np.flatnonzero(codes == 2 * number)
        chosen.append(np.sort(rng.permutation(rows)[:MOST_EMBEDDED]))
    rows = np.concatenate(chosen)
    order = np.argsort(rows, kind="stable")
    part = cells.aligned.subset(rows[order])
    block = part.rows(0, part.n_obs)
    found = embed_cells(
        block,
        cells.model,
        precision=options.precision,
        device=options.device,
        progress=steps.progress(0.3, 0.9),
        should_stop=steps.should_stop,
    ).values
    of_type = np.repeat(np.arange(len(chosen)), [len(one) for one in chosen])[order]
    return np.array([found[of_type == i].mean(axis=0) for i in range(len(chosen))], dtype=np.float32)


def model_of(result: Result) -> ResponseModel | None:
    """What a result of this task learned; None where nothing could be."""
    fitted = result.report.get("response")
    if not fitted or fitted.get("weights") is None:
        return None
    types, genes = result.tables["types"], result.tables["genes"]
    arrays = {name: np.asarray(result.arrays[name], dtype=np.float64) for name in ("basal", "change", "variance")}
    empty = np.full((2, *arrays["change"].shape), np.nan)
    responses = Responses(
        tuple(genes["gene"].astype(str)),
        tuple(types["type"].astype(str)),
        str(fitted["about"]["treatment"]),
        types["n_controls"].to_numpy(),
        types["n_treated"].to_numpy(),
        arrays["basal"],
        arrays["change"],
        arrays["variance"],
        empty,
    )
    is_measured = responses.is_measured[:, None]
    views = {
        name: np.where(is_measured, np.asarray(result.arrays[f"view_{name}"], dtype=np.float64), np.nan)
        for name in VIEWS
        if f"view_{name}" in result.arrays
    }
    held_out = np.where(is_measured, np.asarray(result.arrays["predicted"], dtype=np.float64), np.nan)
    return ResponseModel(
        responses,
        np.asarray(result.arrays["embedding"]),
        fitted["weights"],
        genes["spread"].to_numpy(dtype=np.float64),
        held_out,
        views,
        result.scores,
        tuple(result.tables["scores"].to_dict("records")),
        fitted["about"],
    )


def _say(responses: Responses) -> list[str]:
    open_types = [one for one, known in zip(responses.types, responses.is_measured, strict=True) if not known]
    if not open_types:
        return []
    return [
        f"{len(open_types):,} types have too few treated cells ({', '.join(open_types[:5])}): their response is "
        "predicted from the others."
    ]


def _collect(
    cells: OpenedCells,
    codes: np.ndarray,
    names: tuple[str, ...],
    responses: Responses,
    embedding: np.ndarray,
    model: ResponseModel | None,
    notes: list[str],
) -> Result:
    import pandas as pd

    labels = [label for name in names for label in (f"{name}, control", f"{name}, {responses.treatment}")]
    group = pd.Categorical(np.array([*labels, "none"], dtype=object)[codes], categories=[*labels, "none"])
    table = pd.DataFrame({GROUP: group.remove_unused_categories()}, index=cells.aligned.obs.index)
    z = np.abs(responses.change) / np.sqrt(np.maximum(responses.variance, 1e-12))
    types = pd.DataFrame(
        {
            "type": responses.types,
            "n_controls": responses.n_controls,
            "n_treated": responses.n_treated,
            "n_changed": np.nansum(z > 4, axis=1),
        }
    )
    genes = pd.DataFrame({"gene": responses.genes})
    arrays = {name: getattr(responses, name).astype(np.float32) for name in ("basal", "change", "variance")} | {
        "embedding": np.asarray(embedding, dtype=np.float32)
    }
    tables, scores = {"types": types, "genes": genes}, {}
    about: dict[str, Any] = {"treatment": responses.treatment}
    report: dict[str, Any] = {"provenance": about, "response": {"weights": None, "about": about}}
    if model is not None:
        said = predict_response(model)
        is_measured = responses.is_measured[:, None]
        arrays["predicted"] = np.where(is_measured, model.held_out, said.change).astype(np.float32)
        for name, values in said.views.items():
            arrays[f"view_{name}"] = np.where(is_measured, model.views_held_out[name], values).astype(np.float32)
        genes["spread"] = model.spread
        tables["scores"] = pd.DataFrame(list(model.types))
        scores = dict(model.scores)
        report["response"] = {"weights": dict(model.weights), "about": dict(model.about)}
    return Result(cells.kept, table, arrays, tables, tuple(notes), scores, report)
