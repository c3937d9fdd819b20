"""The task `annotation`: types of cells from a labelled file, a fitted classifier or labelled cells of the same file.

Columns of `cells`: annotated_type, annotated_confidence, annotated_set, annotated_certain, annotated_runner_up,
annotated_credibility, annotated_cluster. Tables: `clusters` (see `clusters.describe_clusters`), `labels` (the file's
own), and `scores` (probability of every type) where it was asked for. Scores: what was measured on held-out cells of
the reference, see `fit.score`.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.data.memory import Need
from scfviz.errors import OptionError
from scfviz.tasks.annotation.options import FINE_TUNED, AnnotationOptions
from scfviz.tasks.result import Result
from scfviz.tasks.run import OpenedCells, embed_part, embed_rows
from scfviz.tasks.steps import Steps

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.tasks.annotation.classifier import Classifier
    from scfviz.tasks.annotation.compute import CellAnnotation
    from scfviz.tasks.annotation.reference import LabelledCells

GIVEN = "labelled by you"
ONE_BATCH = (
    "The reference is of one batch, so that it does not say how far a cell of another batch may lie from it: a type "
    "that it lacks is noticed by low confidence alone, and can be missed."
)


def memory(options: dict[str, Any]) -> Need:
    """Up to 20,000 reference cells with their features, and the joint places, probabilities and graph of each cell."""
    from scfviz.model.checkpoint import checkpoint_info

    info = checkpoint_info(options["checkpoint"])
    width = info.config.cell_embedding_width
    per_cell = 4 * width + 4 * 60 + 5 * 100 + 12 * 30 + 400
    tuning = 2.5e9 if options.get("method") == FINE_TUNED else 0.0  # what the layers say, and gradients of a step
    return Need(
        1.6e9 + tuning + 8 * info.n_parameters + 20_000 * 3 * 8 * width,
        per_cell,
        "The reference, embeddings and clusters",
    )


def run(cells: OpenedCells, options: AnnotationOptions, steps: Steps) -> Result:
    """Compute; see the module's text for what the result holds."""
    from scfviz.tasks.annotation.clusters import describe_clusters, find_clusters
    from scfviz.tasks.annotation.compute import annotate_cells

    classifier, embedding, given = _classifier(cells, options, steps)
    if embedding is None and classifier.needs_model:
        with steps.step(0.5, "Embedding the cells"):
            if len(classifier.tuned):  # no kept embedding is of this model
                tuned = replace(cells, model=classifier.own_model(cells.model))
                embedding = embed_part(cells.aligned, tuned, options, steps, "tuned_embedding", (0.5, 0.85)).values
            else:
                embedding = _embed(cells, options, steps, (0.5, 0.85))
    with steps.step(0.85, "Annotating the cells"):
        found = annotate_cells(
            cells.aligned,
            cells.model,
            classifier,
            checkpoint=cells.checkpoint,
            coverage=options.coverage,
            embedding=embedding,
            report=lambda share, stage: steps.step(0.85 + 0.05 * share, stage) and None,
        )
    with steps.step(0.9, "Finding clusters and what they are"):
        clusters = find_clusters(found)
        described = describe_clusters(cells.aligned, found, clusters, classifier)
    notes = [*classifier.about.get("notes", ()), *_notes(found, given)]
    if not classifier.about["by_distance"]:
        notes.append(ONE_BATCH)
    n_there, n_variable = classifier.space.count_measured(cells.aligned)
    if n_there < n_variable / 2:
        notes.append(
            f"The dataset measures {n_there:,} of the {n_variable:,} genes that tell the types apart: expect less "
            "than the scores say."
        )
    tables = {"clusters": described, "labels": _file_labels(cells.aligned.obs)}
    if options.all_scores:
        tables["scores"] = _all_scores(cells, found)
    about = ("name", "method", "unit", "n_cells", "source")
    reference = {name: classifier.about.get(name) for name in about} | {"is_fitted": not classifier.cells}
    return Result(
        kept=cells.kept,
        cells=_columns(cells, found, clusters, given),
        tables=tables,
        notes=tuple(notes),
        scores=dict(classifier.scores),
        report={
            "provenance": {
                "reference": reference,
                "labels": list(classifier.labels),
                "ontology": dict(classifier.ontology),
                "coverage": options.coverage,
                "by_distance": bool(classifier.about["by_distance"]),
            }
        },
    )


def _classifier(
    cells: OpenedCells, options: AnnotationOptions, steps: Steps
) -> "tuple[Classifier, np.ndarray | None, LabelledCells | None]":
    """The classifier; the embedding of all cells and the labelled ones, where these are cells of the same file."""
    from scfviz.data.source import dataset_id
    from scfviz.tasks.annotation.classifier import CLASSIFIERS, DEFAULT, read_classifier
    from scfviz.tasks.annotation.compute import reads_model, resolve_method
    from scfviz.tasks.annotation.reference import choose_cells, open_reference, refuse_other_species

    is_file = options.reference is not None and not CLASSIFIERS.is_one(options.reference)
    is_same = is_file and dataset_id(options.reference) == dataset_id(options.dataset)
    if options.labels_file is not None or is_same or (options.reference is None and options.label is not None):
        return _from_own_labels(cells, options, steps)
    if not is_file:
        folder = options.reference or CLASSIFIERS.shipped().get(DEFAULT)
        if folder is None:
            raise OptionError("No reference was given.", "A labelled file or a classifier is needed.", "Choose one.")
        classifier = read_classifier(folder)
        classifier.refuse_other_model(cells.checkpoint.name, cells.checkpoint.hash)
        _refuse_other_method(classifier, options)
        return classifier, None, None
    with steps.step(0.03, "Reading and checking the reference"):
        reference = open_reference(options.reference, cells.model.genes)
        refuse_other_species(reference, cells.aligned)
        labelled = choose_cells(reference.obs, options.label, options.unit)
    if options.method == FINE_TUNED:
        about = {"name": Path(options.reference).name, "source": dataset_id(options.reference)}
        return _fine_tune(cells, reference, labelled, options, steps, about)
    embedding = None
    if reads_model(resolve_method(options.method, by_distance=labelled.units is not None)):
        with steps.step(0.05, "Embedding the reference"):
            part = reference.subset(labelled.rows)
            embedding = embed_rows(
                part,
                labelled.rows,
                options.reference,
                None,
                cells,
                replace(options, counts=None),
                steps,
                "reference",
                (0.05, 0.35),
            )
    source = {"name": Path(options.reference).name, "source": dataset_id(options.reference)}
    return _fit(cells, reference, labelled, embedding, options, steps, source), None, None


def _embed(cells: OpenedCells, options: AnnotationOptions, steps: Steps, shares: tuple[float, float]) -> np.ndarray:
    """The embedding of the cells to annotate."""
    return embed_rows(
        cells.aligned, cells.kept, options.dataset, options.gene_column, cells, options, steps, "embedding", shares
    )


def _from_own_labels(
    cells: OpenedCells, options: AnnotationOptions, steps: Steps
) -> "tuple[Classifier, np.ndarray | None, LabelledCells]":
    from scfviz.tasks.annotation.compute import reads_model, resolve_method
    from scfviz.tasks.annotation.reference import find_label_column, from_labels, read_labels

    obs, say = cells.aligned.obs, "Your labels"
    if options.labels_file is not None:
        from scfviz.analysis.labels.labels import read_annotation

        own = read_annotation(options.labels_file)
        if own.n_obs != cells.n_in_file:
            raise OptionError(
                f"The labels '{own.name}' are of {own.n_obs:,} cells, the dataset has {cells.n_in_file:,}.",
                "Labels of these cells are needed.",
            )
        texts = np.array([None, *own.labels], dtype=object)[own.codes[cells.kept] + 1]
        labelled, column = from_labels(obs, texts, own.name, options.unit, say=say), own.name
    else:
        column = find_label_column(obs, options.label)
        texts = read_labels(obs, column)
        labelled = from_labels(obs, texts, column, options.unit, say="This dataset")
    if all(text is not None for text in texts):
        raise OptionError(
            f"The reference is the dataset itself, and all its cells have a label in '{column}'.",
            "Some cells must have no label, or another file must be the reference: nothing is left to annotate.",
            "Choose another reference.",
        )
    if options.method == FINE_TUNED:
        return _fine_tune(cells, cells.aligned, labelled, options, steps, {"name": column})
    embedding = of_labelled = None
    if reads_model(resolve_method(options.method, by_distance=True)):
        with steps.step(0.05, "Embedding the cells"):
            embedding = _embed(cells, options, steps, (0.05, 0.5))
        of_labelled = np.asarray(embedding[np.sort(labelled.rows)])[np.argsort(np.argsort(labelled.rows))]
    classifier = _fit(cells, cells.aligned, labelled, of_labelled, options, steps, {"name": column})
    return classifier, embedding, labelled


def _fit(
    cells: OpenedCells,
    reference: "AlignedCounts",
    labelled: "LabelledCells",
    embedding: np.ndarray | None,
    options: AnnotationOptions,
    steps: Steps,
    about: dict[str, Any],
) -> "Classifier":
    from scfviz.tasks.annotation.compute import fit_classifier

    with steps.step(0.35, "Learning from the reference"):
        classifier = fit_classifier(
            reference,
            cells.model,
            labelled,
            checkpoint=cells.checkpoint,
            takes_part=cells.aligned.is_measured,
            method=options.method,
            coverage=options.coverage,
            embedding=embedding,
            same_batch=reference is cells.aligned,
            report=lambda share, stage: steps.step(0.35 + 0.15 * share, stage) and None,
        )
    return replace(classifier, about=dict(classifier.about) | about)


def _fine_tune(
    cells: OpenedCells,
    reference: "AlignedCounts",
    labelled: "LabelledCells",
    options: AnnotationOptions,
    steps: Steps,
    about: dict[str, Any],
) -> "tuple[Classifier, np.ndarray, LabelledCells | None]":
    """The classifier of a tuned model, and the embedding of all cells by that model."""
    from scfviz.tasks.annotation.tune import fit_finetuned, split_cells, tune_last_layer
    from scfviz.tasks.annotation.tuned_layer import pack, unpack

    part, is_same = reference.subset(labelled.rows), reference is cells.aligned
    with steps.step(0.05, "Fine-tuning"):
        changed = steps.keep(
            "tuned",
            lambda: pack(
                tune_last_layer(
                    cells.model,
                    part,
                    labelled.truth,
                    len(labelled.labels),
                    split_cells(labelled.truth),
                    report=lambda share, stage: steps.step(0.05 + 0.35 * share, stage) and None,
                    should_stop=steps.should_stop,
                ).model
            ),
        )
    tuned = replace(cells, model=unpack(cells.model, changed))
    with steps.step(0.4, "Embedding the labelled cells with the tuned model"):
        of_labelled = embed_part(part, tuned, options, steps, "tuned_reference", (0.4, 0.55)).values
    with steps.step(0.55, "Learning from the reference"):
        classifier = fit_finetuned(
            reference,
            tuned.model,
            labelled,
            checkpoint=cells.checkpoint,
            takes_part=cells.aligned.is_measured,
            embedding=of_labelled,
            coverage=options.coverage,
            same_batch=is_same,
        )
    classifier = replace(classifier, about=dict(classifier.about) | about)
    with steps.step(0.6, "Embedding the cells with the tuned model"):
        embedding = embed_part(cells.aligned, tuned, options, steps, "tuned_embedding", (0.6, 0.85)).values
    return classifier, embedding, labelled if is_same else None


def _refuse_other_method(classifier: "Classifier", options: AnnotationOptions) -> None:
    fitted = classifier.about.get("method", "combination")
    if options.method not in ("auto", fitted):
        raise OptionError(
            f"The classifier '{classifier.about.get('name')}' was fitted with the method '{fitted}', asked for is "
            f"'{options.method}'.",
            "A fitted classifier keeps its method.",
            "Leave the method out, or give a labelled file as the reference.",
        )


def _columns(
    cells: OpenedCells, found: "CellAnnotation", clusters: np.ndarray, given: "LabelledCells | None"
) -> "Any":  # a DataFrame
    import pandas as pd

    labels, confidence = found.labels.copy(), found.confidence.astype(np.float64)
    sets, certain, runner_up = found.set_texts, found.certain, found.runner_up.copy()
    if given is not None:  # what somebody said of a cell stays
        names = np.array(given.labels, dtype=object)[given.truth]
        labels[given.rows], sets[given.rows], certain[given.rows], runner_up[given.rows] = names, names, names, GIVEN
        confidence[given.rows] = 1.0
    table = pd.DataFrame(
        {
            "annotated_type": pd.Categorical(labels),
            "annotated_confidence": confidence,
            "annotated_set": pd.Categorical(sets),
            "annotated_certain": pd.Categorical(certain),
            "annotated_runner_up": pd.Categorical(runner_up),
            "annotated_credibility": found.credibility.astype(np.float64),
            "annotated_cluster": pd.Categorical(clusters, categories=sorted(set(clusters), key=int)),
        }
    )
    table.index = cells.aligned.obs.index
    return table


def _all_scores(cells: OpenedCells, found: "CellAnnotation") -> "Any":  # a DataFrame
    import pandas as pd

    table = pd.DataFrame(found.probabilities, columns=list(found.classes))
    table.insert(0, "cell", cells.aligned.obs.index.astype(str))
    return table


def _file_labels(obs: "Any") -> "Any":  # DataFrames
    """Columns of the file that look like labels, to compare with."""
    from scfviz.analysis.metrics import choose_labels

    return obs[choose_labels(obs)[0]]


def _notes(found: "CellAnnotation", given: "LabelledCells | None") -> list[str]:
    n_unknown, n_obs = int((~found.sets.any(axis=1)).sum()), len(found.sets)
    notes = []
    if n_unknown:
        notes.append(f"{n_unknown:,} of {n_obs:,} cells are unlike every type of the reference and are called unknown.")
    if n_unknown > n_obs / 2:
        notes.append(
            "More than half of the cells are unlike the reference: it may be of another tissue or technique, and the "
            "other labels deserve doubt too."
        )
    if given is not None:
        notes.append(f"{len(given.rows):,} cells keep the label that they had; their confidence is 1.")
    return notes
