"""The commands `perturb check|fit|predict|insilico|response`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.shared import Progress, add_file, add_json, add_threads, show_report
from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    from scfviz.data.open import OpenDataset
    from scfviz.data.perturbations import PerturbationDesign


def add_perturb(commands: Any) -> None:
    """Add the command `perturb` with its parts."""
    parser = commands.add_parser("perturb", help="check a perturbation screen, learn from it, predict")
    parts = parser.add_subparsers(required=True, metavar="PART")
    check = parts.add_parser("check", help="say what a screen holds and whether the perturbations worked")
    _add_screen(check)
    check.set_defaults(run=_check)
    fit = parts.add_parser("fit", help="learn a predictor from a screen; parameters only, no cells")
    _add_screen(fit)
    fit.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the predictor")
    fit.add_argument("--checkpoint", metavar="DIR", help="model whose gene embeddings are one view; the shipped one")
    fit.add_argument("--most-genes", type=int, default=5_000, metavar="N", help="genes read out (default 5000)")
    fit.add_argument("--seed", type=int, default=0, metavar="N", help="of what is held out (default 0)")
    add_threads(fit)
    fit.set_defaults(run=_fit)
    predict = parts.add_parser("predict", help="predict changes of genes that are perturbed")
    predict.add_argument("predictor", metavar="DIR", help="folder of a predictor, or the name of one that ships")
    predict.add_argument("genes", nargs="+", metavar="GENE", help="KLF1, or BAK1+KLF1 for two genes at once")
    predict.add_argument("--out", type=Path, required=True, metavar="TABLE.csv", help="a new file")
    predict.add_argument(
        "--method", default="combination", metavar="NAME", help="combination (default), or one view alone as a baseline"
    )
    predict.add_argument("--checkpoint", metavar="DIR", help="the model that the predictor was fitted with")
    add_json(predict)
    predict.set_defaults(run=_predict)
    _add_in_silico(parts)
    _add_response(parts)


def _add_in_silico(parts: Any) -> None:
    parser = parts.add_parser("insilico", help="change one gene's counts and see what the model makes of it")
    add_file(parser)
    parser.add_argument("--gene", required=True, metavar="GENE", help="the gene whose counts are changed")
    parser.add_argument("--mode", choices=["knockout", "overexpress"], default="knockout", help="default: knockout")
    parser.add_argument("--column", metavar="COLUMN", help="only cells of one group: the column of obs")
    parser.add_argument("--group", metavar="VALUE", help="and its value")
    parser.add_argument(
        "--most-cells", type=int, default=1_000, metavar="N", help="of more cells a sample (default 1000)"
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="the model; the one that ships when left out")
    parser.add_argument("--out", type=Path, required=True, metavar="TABLE.csv", help="a new file: one row a gene")
    add_threads(parser)
    parser.set_defaults(run=_in_silico)


def _add_response(parts: Any) -> None:
    parser = parts.add_parser("response", help="what a treatment does to a cell type, predicted from the other types")
    add_file(parser)
    parser.add_argument("--types", required=True, metavar="COLUMN", help="column of obs with the cell types")
    parser.add_argument("--column", metavar="COLUMN", help="column of obs with the treatments; found when left out")
    parser.add_argument("--control", metavar="VALUE", help="its value that is the control; the usual names are known")
    parser.add_argument("--treatment", metavar="VALUE", help="the one that is asked for; of several the largest")
    parser.add_argument("--library", metavar="COLUMN", help="column with the counts of each cell over all genes")
    parser.add_argument("--most-genes", type=int, default=5_000, metavar="N", help="genes read out (default 5000)")
    parser.add_argument("--checkpoint", metavar="DIR", help="the model; the one that ships when left out")
    parser.add_argument("--out", type=Path, required=True, metavar="TABLE.csv", help="a new file")
    add_threads(parser)
    parser.set_defaults(run=_response)


def _response(args: argparse.Namespace) -> int:
    import pandas as pd

    from scfviz.tasks.response.reporting import verdict
    from scfviz.tasks.response.run import model_of
    from scfviz.tasks.response.table import type_table
    from scfviz.tasks.run import run_task

    if args.out.exists():
        raise OptionError(f"'{args.out}' exists already.", "A new file is needed.", "Give another name.")
    names = "gene_column counts types column control treatment library most_genes checkpoint".split()
    result = run_task("response", dataset=str(args.file), **{name: getattr(args, name) for name in names})
    model = model_of(result)
    if model is None:
        raise DatasetError(result.notes[-1], "", "Use finer types, or another column.")
    types = model.responses.types
    tables = [type_table(model, row).assign(type=name) for row, name in enumerate(types)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_csv(args.out, index=False)
    text = [f"{args.out}: {len(types)} cell types; population means, not cells.", *result.notes, verdict(model)]
    report = {"out": str(args.out), "scores": dict(result.scores), "types": result.tables["types"].to_dict("records")}
    show_report(args, text, report | {"notes": list(result.notes)})
    return 0


def _in_silico(args: argparse.Namespace) -> int:
    from scfviz.tasks.run import run_task

    if args.out.exists():
        raise OptionError(f"'{args.out}' exists already.", "A new file is needed.", "Give another name.")
    names = ("gene_column", "counts", "gene", "mode", "column", "group", "most_cells", "checkpoint")
    result = run_task("in_silico", dataset=str(args.file), **{name: getattr(args, name) for name in names})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    result.tables["genes"].to_csv(args.out, index=False)
    text = [f"{args.out}: {len(result.tables['genes']):,} genes.", *result.notes]
    show_report(args, text, {"out": str(args.out), "scores": dict(result.scores), "notes": list(result.notes)})
    return 0


def _add_screen(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    parser.add_argument("--column", metavar="COLUMN", help="column of obs with the perturbations; found when left out")
    parser.add_argument("--control", metavar="VALUE", help="its value that is the control; the usual names are known")
    parser.add_argument(
        "--guides", type=Path, metavar="TABLE", help="counts of each guide in each cell, instead of a column"
    )
    parser.add_argument(
        "--conditions", choices=["auto", "genes", "other"], default="auto", help="what the conditions are"
    )
    parser.add_argument("--library", metavar="COLUMN", help="column with the counts of each cell over all genes")


def _open(args: argparse.Namespace) -> "tuple[OpenDataset, PerturbationDesign]":
    from scfviz.data.open import open_dataset
    from scfviz.data.perturbations import read_design

    watch = Progress("").watch
    opened = open_dataset(args.file, column=args.gene_column, counts=args.counts, watch=watch)
    is_genetic = {"auto": None, "genes": True, "other": False}[args.conditions]
    obs, column = opened.counts.obs, args.column
    if args.guides is not None:
        if column is not None:
            raise OptionError(
                "--guides and --column were given.", "Conditions come from one of them.", "Leave one out."
            )
        from scfviz.data.guides import add_guides

        obs, column, _ = add_guides(obs, args.guides)
    design = read_design(obs, column=column, control=args.control, is_genetic=is_genetic, uns=opened.adata.uns)
    return opened, design


def _check(args: argparse.Namespace) -> int:
    from scfviz.tasks.perturbation.effects import library_sizes, measure_effects
    from scfviz.tasks.perturbation.quality import describe_batches, describe_conditions, describe_targets, score_cells

    opened, design = _open(args)
    counts = opened.counts
    sizes = library_sizes(counts, args.library)
    effects = measure_effects(counts, design, sizes=sizes)
    table = describe_conditions(counts, design, effects, score_cells(counts, design, effects, sizes), sizes)
    notes = [*design.notes, *describe_targets(counts, design), *describe_batches(counts.obs, design)]
    shown = table[["condition", "n_cells", "target_change", "escaped", "n_changed", "depth_ratio"]]
    text = [f"{args.file}: {counts.n_obs:,} cells. {design.describe()}", *notes, shown.round(3).to_string(index=False)]
    report = {
        "n_obs": counts.n_obs,
        "column": design.column,
        "is_genetic": design.is_genetic,
        "controls": list(design.controls),
        "n_conditions": len(design.conditions) - 1,
        "notes": notes,
        "conditions": table.astype(object).where(table.notna(), None).to_dict("records"),
    }
    show_report(args, text, report)
    return 0


def _fit(args: argparse.Namespace) -> int:
    from scfviz.tasks.perturbation.card import verdict, write_card
    from scfviz.tasks.perturbation.compute import fit_perturbations
    from scfviz.tasks.perturbation.fit import KIND_TITLES
    from scfviz.tasks.perturbation.predictor import save_predictor

    if args.out.exists():
        raise OptionError(f"'{args.out}' exists already.", "A new folder is needed.", "Give another name.")
    opened, design = _open(args)
    model = fit_perturbations(
        opened.counts,
        design,
        checkpoint=args.checkpoint,
        library=args.library,
        most_genes=args.most_genes,
        seed=args.seed,
        progress=Progress("folds"),
    )
    save_predictor(model, args.out, card=write_card(model, args.out.name, source=args.file.name))
    text = [
        f"{args.out}: learned from {len(model.effects.conditions):,} conditions, {len(model.effects.genes):,} genes."
    ]
    text += [*design.notes, *(f"{KIND_TITLES[kind].capitalize()}: {verdict(model, kind)}" for kind in model.scores)]
    report = {"out": str(args.out), "scores": dict(model.scores), "weights": dict(model.weights)}
    show_report(args, text, report | {"notes": list(design.notes)})
    return 0


def _predict(args: argparse.Namespace) -> int:
    import pandas as pd

    from scfviz.tasks.perturbation.answers import predict_answers
    from scfviz.tasks.perturbation.fit import KIND_TITLES, PerturbationModel, predict_perturbation
    from scfviz.tasks.perturbation.methods import COMBINATION, GRAPH
    from scfviz.tasks.perturbation.predictor import find_predictor, read_predictor
    from scfviz.tasks.perturbation.spaces import spaces_of

    if args.out.exists():
        raise OptionError(f"'{args.out}' exists already.", "A new file is needed.", "Give another name.")
    model = read_predictor(find_predictor(args.predictor))
    is_effects = isinstance(model, PerturbationModel)
    fitted = model.checkpoint if is_effects else model.changed.checkpoint
    spaces = spaces_of(args.checkpoint, fitted=fitted)
    tables, kinds = [], {}
    if is_effects:
        known = {gene for one in model.effects.targets for gene in one}
        found = predict_perturbation(model, args.genes, spaces, method=args.method)
        for i, name in enumerate(found.conditions):
            parts = {"change": found.change[i], "low": found.low[i], "high": found.high[i]}
            views = {f"view_{view}": said[i] for view, said in found.views.items()}
            if GRAPH in found.views:
                views["graph_sd"] = found.graph_spread[i]
            tables.append(pd.DataFrame({"condition": name, "gene": found.genes, **parts, **views}))
            kinds[name] = KIND_TITLES[found.kinds[i]]
    else:
        known, genes = set(model.changed.table.perturbations), _single_genes(args.genes)
        changed, side_of = (
            predict_answers(one, genes, spaces, method=args.method) for one in (model.changed, model.direction)
        )
        for i, gene in enumerate(genes):
            parts = {"p_changed": changed.estimate[i], "low": changed.low[i], "high": changed.high[i]}
            tables.append(
                pd.DataFrame({"condition": gene, "gene": changed.genes, **parts, "p_up": side_of.estimate[i]})
            )
            kinds[gene] = "measured in training" if gene in known else "unseen"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_csv(args.out, index=False)
    notes = [
        f"{gene} is known neither to the Gene Ontology nor to the model: nothing of its prediction is about this gene. "
        "Look at how it is written."
        for gene in sorted({gene for name in kinds for gene in name.split("+")} - known)
        if not any(gene in space.place for space in spaces.values())
    ]
    asked = "1 condition" if len(tables) == 1 else f"{len(tables)} conditions"
    text = [f"{args.out}: {asked}, {len(tables[0]):,} genes; population means, not cells."]
    if args.method != COMBINATION:
        notes.append(
            f"The view '{args.method}' alone, as a baseline: no interval was learned for it, low and high are empty."
        )
    text += [*(f"{name}: {kind}" for name, kind in kinds.items()), *notes]
    report = {
        "out": str(args.out),
        "method": args.method,
        "conditions": kinds,
        "n_genes": len(tables[0]),
        "notes": notes,
    }
    show_report(args, text, report)
    return 0


def _single_genes(texts: list[str]) -> list[str]:
    from scfviz.data.perturbations import parse_condition

    parsed = [parse_condition(text) for text in texts]
    if several := [text for text, one in zip(texts, parsed, strict=True) if len(one) > 1]:
        raise DatasetError(
            f"'{several[0]}' combines genes.", "This screen measured single knock-downs.", "Ask for one gene at a time."
        )
    return [one[0] for one in parsed]
