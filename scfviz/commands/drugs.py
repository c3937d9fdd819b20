"""The commands `drugs predict|list|fit` of bulk samples; `drugs cells` is in `drug_cells`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.commands.drug_cells import add_cells
from scfviz.commands.shared import Progress, add_json, add_threads, show_report
from scfviz.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

_TOP = 5


def add_drugs(commands: Any) -> None:
    """Add the command `drugs` with its parts."""
    parser = commands.add_parser("drugs", help="which drugs act on tumour samples, lines and cells")
    parts = parser.add_subparsers(required=True, metavar="PART")
    predict = parts.add_parser("predict", help="predict ln(IC50) for each sample of an expression table")
    predict.add_argument("table", type=Path, metavar="TABLE", help="samples x genes: h5ad, csv, tsv; either way round")
    predict.add_argument("--out", type=Path, required=True, metavar="PREDICTIONS.csv", help="a new file")
    predict.add_argument("--drugs", nargs="+", metavar="NAME", help="only these; see `scfviz drugs list`")
    predict.add_argument("--smiles", nargs="+", metavar="SMILES", help="drugs that were not measured, by structure")
    predict.add_argument("--gene-column", metavar="COLUMN", help="column of var with the genes; found when left out")
    predict.add_argument(
        "--by", metavar="COLUMN", help="TABLE holds counts of single cells: add them up by this column of obs"
    )
    predict.add_argument(
        "--measured", type=Path, metavar="TABLE.csv", help="columns sample, drug, ln_ic50: what you measured yourself"
    )
    predict.add_argument(
        "--scale",
        choices=["lines", "rnaseq", "table"],
        help="how samples are compared with the training lines: as arrays like theirs, as RNA-seq by lines measured "
        "both ways, or with each other; found when left out",
    )
    predict.add_argument(
        "--lines",
        type=Path,
        metavar="LINES.csv",
        help="a new file for the training lines nearest to each sample, with what was measured on them; needs a "
        "predictor that was fitted with --keep-lines",
    )
    _add_predictor(predict)
    add_json(predict)
    predict.set_defaults(run=_predict)
    add_cells(parts)
    listed = parts.add_parser("list", help="drugs that a predictor knows, with targets and what it is worth")
    _add_predictor(listed)
    add_json(listed)
    listed.set_defaults(run=_list)
    fit = parts.add_parser("fit", help="learn a predictor from lines; parameters only, unless --keep-lines")
    fit.add_argument(
        "--responses", type=Path, required=True, metavar="TABLE.csv", help="CELL_LINE_NAME, DRUG_NAME, LN_IC50"
    )
    fit.add_argument(
        "--expression", type=Path, required=True, metavar="TABLE", help="lines x genes, or a folder of part*.npz"
    )
    fit.add_argument("--smiles", type=Path, metavar="TABLE.csv", help="columns drug_name, smiles")
    fit.add_argument("--targets", type=Path, metavar="TABLE.csv", help="columns Name, Targets, Target pathway")
    fit.add_argument("--paired", type=Path, metavar="TABLE", help="RNA-seq of some of the same lines, lines x genes")
    fit.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the predictor")
    fit.add_argument(
        "--keep-lines",
        action="store_true",
        help="keep the lines and what was measured on them in the folder, so that the lines nearest to a sample are "
        "shown with their values; whoever gets the folder gets your measurements",
    )
    fit.add_argument("--seed", type=int, default=0, metavar="N", help="of what is held out (default 0)")
    add_json(fit)
    add_threads(fit)
    fit.set_defaults(run=_fit)


def _add_predictor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--predictor", metavar="DIR", help="folder of a predictor; the one that ships when left out")


def _predict(args: argparse.Namespace) -> int:
    from scfviz.tasks.drug_response.card import CAVEATS, say_domain, say_worth
    from scfviz.tasks.drug_response.chemistry import read_structure
    from scfviz.tasks.drug_response.compute import find_drugs, predict_ic50, responses_table, take_drugs
    from scfviz.tasks.drug_response.lines import find_nearest_lines, known_lines, nearest_lines_table
    from scfviz.tasks.drug_response.samples import KIND_TITLES, open_samples
    from scfviz.tasks.drug_response.scale import SCALE_TITLES
    from scfviz.tasks.drug_response.store import read_drug_predictor

    _refuse_existing(args.out)
    predictor = read_drug_predictor(args.predictor)
    if args.lines is not None:
        _refuse_existing(args.lines)
        known_lines(predictor)  # before a long table is opened
    chosen = None if args.drugs is None else find_drugs(predictor, args.drugs)
    for smiles in args.smiles or ():
        read_structure(smiles)  # before a long table is opened
    samples = open_samples(args.table, column=args.gene_column, by=args.by)
    measured = None if args.measured is None else _read_measured(args.measured)
    found = predict_ic50(samples, predictor=predictor, measured=measured, scale=args.scale)
    shown = found if chosen is None else take_drugs(found, chosen)
    table, about_new = responses_table(shown, predictor), []
    known = table if not args.smiles or chosen is not None else table.iloc[:0]
    if args.smiles:
        table, about_new = _with_new(known, found, predictor, args.smiles)
    table.to_csv(args.out, index=False, float_format="%.6g")
    if args.lines is not None:
        nearest = find_nearest_lines(predictor, samples, found.scale)
        nearest_lines_table(predictor, nearest).to_csv(args.lines, index=False, float_format="%.6g")
        about_new.append(f"{args.lines}: the {nearest.rows.shape[1]} training lines nearest to each sample.")
    first = [
        f"{name}: {', '.join(known.loc[known['sample'] == name, 'drug'].head(_TOP))}" for name in found.samples[:_TOP]
    ]
    notes = [*about_new, *found.notes, say_domain(found), say_worth(predictor), *CAVEATS]
    text = [
        f"{args.out}: samples: {len(found.samples):,}, drugs: {table['drug'].nunique():,}; values are "
        f"{KIND_TITLES[samples.kind]}, scale of the comparison: {SCALE_TITLES[found.scale]}.",
        *([f"Lowest percentile among the training lines: {'; '.join(first)}."] if len(known) else []),
        *notes,
    ]
    about = {
        "out": str(args.out),
        "samples": list(found.samples),
        "n_genes": found.n_genes,
        "kind": samples.kind,
        "scale": found.scale,
    }
    show_report(args, text, about | {"n_drugs": int(table["drug"].nunique()), "notes": notes})
    return 0


def _with_new(known: "pd.DataFrame", found: Any, predictor: Any, smiles: list[str]) -> "tuple[pd.DataFrame, list[str]]":
    """The table with drugs that were not measured below, and what must be known of each."""
    import pandas as pd

    from scfviz.tasks.drug_response.compute import new_drug_table, predict_new_drug

    new = [predict_new_drug(found, predictor, one) for one in smiles]
    tables = [new_drug_table(found, one) for one in new]
    notes = [f"{one.structure.smiles}: {note}" for one in new for note in one.notes]
    return pd.concat([known, *tables] if len(known) else tables, ignore_index=True), notes


def _read_measured(path: Path) -> dict[tuple[str, str], float]:
    from scfviz.tasks.drug_response.tables import read_measured

    return read_measured(path)


def _list(args: argparse.Namespace) -> int:
    import pandas as pd

    from scfviz.tasks.drug_response.store import read_drug_predictor

    predictor = read_drug_predictor(args.predictor)
    rows = [
        {"drug": drug.name, "pathway": drug.pathway, "targets": drug.targets, "n_lines": int(n), "r": round(r, 3)}
        for drug, n, r in zip(predictor.drugs, predictor.n_lines, predictor.scores["drugs"], strict=True)
    ]
    table = pd.DataFrame(rows).sort_values(["pathway", "drug"])
    text = [table.to_string(index=False), "r: correlation over lines that were held out."]
    show_report(args, text, {"drugs": rows})
    return 0


def _fit(args: argparse.Namespace) -> int:
    from scfviz.tasks.drug_response.card import say_worth, write_card
    from scfviz.tasks.drug_response.fit import MIN_MEASURED, fit_drug_response
    from scfviz.tasks.drug_response.store import save_drug_predictor
    from scfviz.tasks.drug_response.tables import read_drugs, read_expression, read_responses

    _refuse_existing(args.out)
    responses, expression = read_responses(args.responses), read_expression(args.expression)
    smiles = () if args.smiles is None else (args.smiles,)
    drugs = read_drugs(responses.drugs, smiles=smiles, targets=args.targets)
    source = f"{args.responses.name} and {args.expression.name}"
    about = {"title": args.out.name, "source": source}
    predictor = fit_drug_response(
        expression,
        responses,
        drugs,
        paired=None if args.paired is None else read_expression(args.paired),
        seed=args.seed,
        keep_lines=args.keep_lines,
        about=about,
        progress=Progress("folds"),
    )
    save_drug_predictor(predictor, args.out, card=write_card(predictor, args.out.name, source=source))
    left_out = [name for name in responses.drugs if name not in predictor.names]
    text = [f"{args.out}: {len(predictor.drugs):,} drugs, {len(predictor.genes):,} genes.", say_worth(predictor)]
    if left_out:
        some = ", ".join(left_out[:_TOP]) + f" and {len(left_out) - _TOP:,} others" * (len(left_out) > _TOP)
        text.append(f"Left out, measured on fewer than {MIN_MEASURED} of these lines: {some}.")
    show_report(args, text, {"out": str(args.out), "scores": dict(predictor.scores), "left_out": left_out})
    return 0


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise OptionError(f"'{path}' exists already.", "Results never replace a file.", "Give another name.")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"There is no folder '{path.absolute().parent}'.", "", "Make it, or give another place.")
