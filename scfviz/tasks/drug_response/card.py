"""What is said of a predictor of drug response and of its predictions: sentences, and its card."""

from typing import Any

from scfviz.tasks.drug_response.predictor import DrugPredictor, DrugResponses

CAVEATS = (
    "Research use only, never for treatment: cell lines in a dish have no immune system, no stroma and no doses that a "
    "patient would bear.",
)
WEAK = 0.3


def say_domain(found: DrugResponses) -> str:
    """Whether samples look like the tumour lines that were learned from."""
    n, n_far = len(found.samples), int(found.is_far.sum())
    if n_far == 0:
        return (
            "By expression all samples lie within the range of the tumour lines that were learned from. That does not "
            "make them tumours: whether a normal tissue is meant, only you know."
        )
    which = "All samples lie" if n_far == n else f"{n_far:,} of {n:,} samples {'lies' if n_far == 1 else 'lie'}"
    return (
        f"{which} out of domain: less like the tumour lines that were learned from than 99 % of those are. Normal "
        "tissue and blood are no tumours; for them a prediction says nothing that was tested."
    )


def say_worth(predictor: DrugPredictor) -> str:
    """What predictions for lines that were never seen were worth, in a sentence."""
    scores = predictor.scores
    return (
        f"On {predictor.about['n_lines']:,} lines, each held out once, predictions agree with measurements at "
        f"r {scores['normalised_r']:.2f} after the mean of each drug is taken off: {scores['general_r']:.2f} for a "
        f"line's general sensitivity, {scores['specific_r']:.2f} for what is specific to line and drug. For the median "
        f"drug r over lines is {scores['per_drug_r']:.2f}."
    )


def say_drug(predictor: DrugPredictor, drug: int) -> str:
    """What predictions of one drug were worth."""
    r, n = predictor.scores["drugs"][drug], int(predictor.n_lines[drug])
    weak = " Too little to rank samples by." if r < WEAK else ""
    return f"On unseen lines r {r:.2f} over {n:,} lines.{weak}"


def write_card(predictor: DrugPredictor, name: str, *, source: str, licence: str = "", more: str = "") -> str:
    """The README.md of a predictor, in Markdown."""
    scores, unseen = predictor.scores, predictor.unseen
    best = sorted(zip(scores["drugs"], predictor.names, strict=True), reverse=True)
    lines = [
        f"# {name}",
        "",
        f"Predicts ln(IC50 in uM) of {len(predictor.drugs):,} drugs from the expression of {len(predictor.genes):,} "
        f"genes, learned from {predictor.about['n_lines']:,} cancer cell lines. It holds loadings of genes, weights, "
        f"and quantiles of each drug{_holds(predictor)}",
        "",
        f"Learned from: {source}.",
        "",
        *([f"Licence: {licence}", ""] if licence else []),
        "| on lines that were held out (five folds) | r |",
        "|---|---|",
        f"| all pairs, the mean of the drug taken off | {scores['normalised_r']:.3f} |",
        f"| general sensitivity of a line | {scores['general_r']:.3f} |",
        f"| specific to line and drug | {scores['specific_r']:.3f} |",
        f"| median drug, over lines | {scores['per_drug_r']:.3f} |",
        f"| all pairs (the mean of the drug alone: {scores['pooled_r_drug_mean']:.3f}) | {scores['pooled_r']:.3f} |",
        "",
        f"Best: {', '.join(f'{drug} {r:.2f}' for r, drug in best[:8])}. "
        f"Below {WEAK}: {sum(r < WEAK for r in scores['drugs']):,} drugs.",
        "",
        *([_unseen_line(unseen.scores), ""] if unseen is not None else []),
        "Input: any unit that keeps the order of genes within a sample (counts, TPM, FPKM, logarithms). Genes are "
        "ranked within the sample and given the values of a typical line, because the training values are z-scores "
        "within each line.",
        *_platforms(predictor),
        "",
        *([more, ""] if more else []),
        *CAVEATS,
        "",
    ]
    return "\n".join(lines)


def _holds(predictor: DrugPredictor) -> str:
    if predictor.lines is None:
        return "; no row of a line."
    return (
        f", and of {len(predictor.lines.names):,} lines the names, scores of expression and measured responses: pass "
        "the folder on only where those data may be passed on."
    )


def _platforms(predictor: DrugPredictor) -> list[str]:
    both = predictor.calibration
    if both is None:
        return []
    return [
        "",
        f"RNA-seq is read by {len(both.columns):,} genes of which {both.n_lines:,} lines were measured both ways; for "
        f"lines that were held out of all of it, errors are {both.wider['rnaseq'] - 1:.0%} larger than from their "
        f"arrays. Tables whose genes are centred over their samples: {both.wider['table'] - 1:.0%} larger.",
    ]


def _unseen_line(scores: Any) -> str:
    return (
        f"A drug that was not measured: beyond the general sensitivity median r {scores['partial_r']:.3f} over lines "
        f"(95 % interval over {scores['n_drugs']} drugs {scores['partial_low']:.3f} to {scores['partial_high']:.3f})."
    )
