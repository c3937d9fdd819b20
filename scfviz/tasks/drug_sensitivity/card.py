"""The card of the predictor (its README.md), and what it is worth in sentences."""

from collections.abc import Mapping
from typing import Any

from scfviz.tasks.drug_sensitivity.predictor import CellPredictor
from scfviz.tasks.drug_sensitivity.trust import BADGES, badge_of

CAVEAT = (
    "For research only: never for treatment. What is predicted is how a cell line with this expression would grow "
    "with the drug in a dish for three days; a patient's tumour is not a dish."
)


def write_card(predictor: CellPredictor, measured: Mapping[str, Any]) -> str:
    """The README.md of a predictor, in Markdown.

    Parameters
    ----------
    measured
        The part `breast` of `benchmarks/results/drug_cells.json`; empty where nothing is recorded.
    """
    about = predictor.about
    badges = [badge_of(one) for one in about.get("drugs", {}).values()]
    lines = [
        f"# {about.get('name', 'Drug sensitivity of cells')}",
        "",
        f"Reads from the expression of a single cell how likely a cell line with it is sensitive to each of "
        f"{len(predictor.drugs)} drugs. Ridge regression on {len(predictor.genes):,} genes of {about.get('n_lines')} "
        f"cell lines ({predictor.projection.shape[1]} components of its weights), probabilities from pseudo-cells of "
        "lines that were held out.",
        "",
        f"Learned from: {about.get('data')}. What a cell shows on average comes from cells of seven public datasets of "
        "other tissues and tumours.",
        "",
        f"Licence: {about.get('licence')}.",
        "",
        CAVEAT,
        "",
    ]
    if measured:
        shipped, bar = measured["views"]["shipped"], measured["views"]["ridge"]
        lines += [
            f"Measured by a predictor that had not seen them on {measured['n_lines']} breast lines, 30 cells each: "
            f"median Spearman over lines {shipped['median']} ({shipped['low']} to {shipped['high']}), "
            f"{shipped['share_above']:.0%} of {measured['n_drugs']} drugs above 0.2; ridge regression without the "
            f"reference cell and without averaging over similar cells {bar['median']} ({bar['low']} to "
            f"{bar['high']}). This file learned from these lines, too.",
            "",
            *(f"- {name} ({BADGES[name]}): {badges.count(name)} drugs" for name in BADGES),
            "",
        ]
    lines += [
        "Limits: healthy cells are out of domain; with 27 lines the Spearman of a single drug is uncertain by about "
        "0.3; effects of the immune system, the tissue and metabolism are unknown to it; genes switched on by the "
        "treatment itself can look like sensitivity or resistance.",
        "",
    ]
    return "\n".join(lines)
