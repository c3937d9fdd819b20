"""The commands `annotate FILE OUT.h5ad` and `annotate fit REFERENCE --label COLUMN --out FOLDER`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.shared import Progress, show_report
from scfviz.commands.tasks import add_command, run_command
from scfviz.errors import OptionError
from scfviz.tasks.annotation.options import FINE_TUNED
from scfviz.tasks.registry import get_task

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.model.checkpoint import CheckpointInfo
    from scfviz.model.scfoundation import ScFoundation
    from scfviz.tasks.annotation.classifier import Classifier
    from scfviz.tasks.annotation.reference import LabelledCells

FIT = "fit"


def add_annotate(commands: Any) -> None:
    """Add the command `annotate`."""
    task = get_task("annotation")
    parser = add_command(commands, task)
    parser.description += (
        " --reference takes a labelled file, the folder of a fitted classifier, or the name of one that ships."
        " `annotate fit REFERENCE --label COLUMN --out FOLDER` fits a classifier and keeps it: parameters only."
    )
    parser.add_argument("--out", dest="folder", type=Path, metavar="FOLDER", help="with fit: a new folder")
    parser.set_defaults(run=_annotate)


def _annotate(args: argparse.Namespace) -> int:
    from scfviz.tasks.annotation.classifier import find_classifier

    if str(args.file) == FIT and args.folder is not None:
        return _fit(args)
    if args.folder is not None:
        raise OptionError("--out is given without fit.", "It names the folder of a fitted classifier.", "Leave it out.")
    if args.reference is not None and (folder := find_classifier(args.reference)) is not None:
        args.reference = str(folder)
    return run_command(args, get_task("annotation"))


def _fit(args: argparse.Namespace) -> int:
    from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint
    from scfviz.model.infer import embed_cells
    from scfviz.tasks.annotation.compute import fit_classifier, reads_model, refuse_methods_but, resolve_method
    from scfviz.tasks.annotation.reference import choose_cells, open_reference

    if args.cluster is not None:
        raise OptionError("--cluster is given with fit.", "A classifier is fitted on one machine.", "Leave it out.")
    if args.folder.exists():
        raise OptionError(f"'{args.folder}' exists already.", "A new folder is needed.", "Give another name.")
    if args.method != FINE_TUNED:
        refuse_methods_but(args.method)
    folder = args.checkpoint or default_checkpoint()
    info, model = checkpoint_info(folder), load_checkpoint(folder)
    reference = open_reference(args.out, model.genes)
    labelled = choose_cells(reference.obs, args.label, args.unit)
    show, embedding = Progress("%"), None
    if args.method == FINE_TUNED:
        return _keep(args, _fine_tune(args, info, model, reference, labelled, show), labelled)
    if reads_model(resolve_method(args.method, by_distance=labelled.units is not None)):
        part = reference.subset(labelled.rows)
        embedding = embed_cells(
            part, model, precision=args.precision, device=args.device, progress=Progress("cells")
        ).values
    classifier = fit_classifier(
        reference,
        model,
        labelled,
        checkpoint=info,
        method=args.method,
        portable=True,
        coverage=args.coverage,
        embedding=embedding,
        report=show.share,
    )
    return _keep(args, classifier, labelled)


def _fine_tune(
    args: argparse.Namespace,
    info: "CheckpointInfo",
    model: "ScFoundation",
    reference: "AlignedCounts",
    labelled: "LabelledCells",
    show: Progress,
) -> "Classifier":
    """A classifier on a copy of the model whose last layer learned the types."""
    from scfviz.model.infer import embed_cells
    from scfviz.tasks.annotation.tune import fit_finetuned, split_cells, tune_last_layer

    part, n_types = reference.subset(labelled.rows), len(labelled.labels)
    tuned = tune_last_layer(model, part, labelled.truth, n_types, split_cells(labelled.truth), report=show.share).model
    embedding = embed_cells(
        part, tuned, precision=args.precision, device=args.device, progress=Progress("cells")
    ).values
    return fit_finetuned(
        reference,
        tuned,
        labelled,
        checkpoint=info,
        takes_part=reference.is_measured,
        embedding=embedding,
        coverage=args.coverage,
    )


def _keep(args: argparse.Namespace, classifier: "Classifier", labelled: "LabelledCells") -> int:
    """Write the folder with its card, and say what was measured."""
    from scfviz.tasks.annotation.card import write_card
    from scfviz.tasks.annotation.classifier import save_classifier

    card = write_card(classifier, args.folder.name, source=args.out.name, column=args.label)
    save_classifier(classifier, args.folder, name=args.folder.name, card=card)
    scores, unit = classifier.scores, classifier.about.get("unit")
    best = scores["methods"]["combination"]
    text = [
        f"{args.folder}: {len(classifier.labels)} types from {len(labelled.rows):,} cells.",
        f"On held-out {'parts of ' + unit if unit else 'cells'}: macro-F1 {best['macro_f1']:.3f}, "
        f"sets hold the right type for {scores['coverage']['marginal']:.1%} of the cells "
        f"({scores['coverage']['nominal']:.0%} asked for).",
        *labelled.notes,
    ]
    report = {
        "out": str(args.folder),
        "labels": list(classifier.labels),
        "scores": scores,
        "notes": list(labelled.notes),
    }
    show_report(args, text, report)
    return 0
