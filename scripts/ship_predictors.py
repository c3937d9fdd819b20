"""Fit the predictors of perturbations that ship, and bring their checksums up to date.

    python scripts/ship_predictors.py DATA [--only NAME ...] [--cards]    # the folder with panels/ and perturbqa/

Everything lands in assets/predictors: means, weights and factors; no cells and no labels.
"""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from ship_checkpoint import ASSETS, write_checksums

from scfviz.data.open import open_dataset
from scfviz.tasks.perturbation.answers import CHANGED, DIRECTION, TITLES, Answers, fit_answers
from scfviz.tasks.perturbation.card import say_gain, say_weights, write_card
from scfviz.tasks.perturbation.compute import fit_perturbations
from scfviz.tasks.perturbation.fit import PerturbationModel
from scfviz.tasks.perturbation.labels import LabelTable
from scfviz.tasks.perturbation.predictor import PREDICTORS, LineAnswers, read_predictor, save_predictor
from scfviz.tasks.perturbation.spaces import GeneSpace, spaces_of

NORMAN = "activation_k562"
LINES = {"k562": "K562", "rpe1": "RPE1", "jurkat": "Jurkat"}
STUDIES = {
    "k562": "Replogle et al. 2022, doi:10.1016/j.cell.2022.05.013",
    "rpe1": "Replogle et al. 2022, doi:10.1016/j.cell.2022.05.013",
    "jurkat": "Nadig et al. 2024, doi:10.1101/2024.07.03.601903",
}
NORMAN_SOURCE = (
    "3,375 K562 cells of 18 genes activated alone and 15 in pairs (CRISPRa; Norman et al. 2019, "
    "doi:10.1126/science.aax4438), 250 genes with counts, as published with a BSD-3-Clause package"
)
LICENCE = (
    "labels of PerturbQA, CC BY 4.0 (Wu et al. 2025, doi:10.48550/arXiv.2502.21290), of which factors are kept and not "
    "the labels; parameters: Apache-2.0"
)


def main() -> int:
    """Fit, write, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cards", action="store_true", help="only write the cards again, from what ships")
    parser.add_argument("--only", nargs="*", default=[NORMAN, *(f"knockdown_{line}" for line in LINES)])
    args = parser.parse_args()
    for name in args.only:
        if args.cards:
            model = read_predictor(PREDICTORS.assets / name)
            card = norman_card(model) if name == NORMAN else line_card(model, name)
            (PREDICTORS.assets / name / "README.md").write_text(card, encoding="utf-8")
            write_checksums(ASSETS / "predictors" / name)
            continue
        shutil.rmtree(PREDICTORS.assets / name, ignore_errors=True)
        if name == NORMAN:
            ship_norman(args.data)
        else:
            ship_line(name.removeprefix("knockdown_"), args.data / "perturbqa", spaces_of())
        write_checksums(ASSETS / "predictors" / name)
    return 0


def ship_norman(data: Path) -> None:
    """Effects of activation in K562."""
    counts = open_dataset(data / "panels" / "perturb_norman19_mini.h5ad").counts
    model = fit_perturbations(counts, library="ncounts")
    about = {"title": "Activation in K562 (CRISPRa)", "line": "K562", "action": "activation", "source": NORMAN_SOURCE}
    model = replace(model, about=dict(model.about) | about)
    save_predictor(model, PREDICTORS.assets / NORMAN, card=norman_card(model))


def norman_card(model: PerturbationModel) -> str:
    """The README.md of the activations."""
    more = (
        "This is a demonstration: 250 genes, 33 conditions, about 100 cells each. Only pairs of which both genes were "
        "measured alone are predicted about as well as a repeat of the experiment would; unseen single genes are not."
    )
    licence = "data: public deposit, BSD-3-Clause package; parameters: Apache-2.0"
    return write_card(model, NORMAN, source=NORMAN_SOURCE, licence=licence, more=more)


def ship_line(line: str, folder: Path, spaces: dict[str, GeneSpace]) -> None:
    """Answers for knock-downs of a line, learned from all of its labels; scores are those of the benchmark."""
    measured = json.loads((ASSETS.parent / "benchmarks" / "results" / "perturbation.json").read_text())["perturbqa"]
    tables = {question: pd.read_csv(folder / f"{line}-{short}.csv.gz") for question, short in SHORT.items()}
    genes = sorted({gene for table in tables.values() for gene in table["gene"].astype(str)})
    found: dict[str, Answers] = {}
    for question, table in tables.items():
        labels = LabelTable.of_pairs(table["pert"], table["gene"], table["label"], all_genes=genes)
        answers = fit_answers(labels, spaces)
        auroc = {view: row["auroc"] for view, row in measured[f"{line} {question}"]["views"].items()}
        found[question] = replace(answers, scores=dict(answers.scores) | {"auroc": auroc})
    title = LINES[line]
    about = {
        "title": f"Knock-down in {title} (CRISPRi)",
        "line": title,
        "action": "knock-down",
        "source": STUDIES[line],
    }
    model = LineAnswers(found[CHANGED], found[DIRECTION], about)
    save_predictor(model, PREDICTORS.assets / f"knockdown_{line}", card=line_card(model, f"knockdown_{line}"))


SHORT = {CHANGED: "de", DIRECTION: "dir"}


def line_card(model: LineAnswers, name: str) -> str:
    """The README.md of answers for a line."""
    lines = [
        f"# {name}",
        "",
        f"Knock-downs in {model.about['line']}: is a gene changed, and which way? Learned from "
        f"{model.changed.table.n_labels:,} and {model.direction.table.n_labels:,} labels of "
        f"{len(model.changed.table.perturbations):,} knock-downs ({model.about['source']}). No cells.",
        "",
        f"Licence: {LICENCE}.",
        "",
        "| question | AUROC over knock-downs, mean over genes | nearest by GO alone | weights |",
        "|---|---|---|---|",
    ]
    for title, one in (("changed?", model.changed), ("up?", model.direction)):
        auroc = one.scores["auroc"]
        lines.append(
            f"| {title} | {auroc['combination']:.3f} | {auroc['go']:.3f} | {say_weights(one.weights, TITLES)} |"
        )
    lines += [
        "",
        "The scores are those of the official test knock-downs, with weights learned on the others "
        "(`benchmarks/perturbation.py`); what ships has learned from all.",
        "",
        f"Changed? {say_gain(model.changed.scores['gain_of_model'], 'knock-downs')}",
        "",
        f"Up? {say_gain(model.direction.scores['gain_of_model'], 'knock-downs')}",
        "",
        "Probabilities are those of the benchmark's pairs, of which about one in eight is changed: they rank genes, "
        "they are no rates of the whole transcriptome. Another line may answer otherwise.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())
