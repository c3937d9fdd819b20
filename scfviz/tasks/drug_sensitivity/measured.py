"""What `benchmarks/drug_cells.py` measured, in sentences and as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scfviz.places import RESULTS

FILE = RESULTS / "drug_cells.json"
TITLES = {
    "ridge": "Ridge regression of bulk lines on each cell",
    "shipped_single": "The same against what cells show on average",
    "shipped": "The same, averaged over similar cells (this page)",
    "clusters": "The same on sums of clusters",
    "depth_matched": "Ridge regression on pseudo-cells of the cell's depth",
    "nearest": "The 60 most similar lines",
    "signature": "Genes up and down in resistant lines",
    "targets": "Expression of the drug's targets",
    "coral": "Ridge regression after aligning covariances (CORAL)",
    "adversarial_genes": "Adversarial alignment on genes (in SCAD's place)",
    "embedding_ridge": "Ridge regression on this model's embedding",
    "embedding_adversarial": "Adversarial alignment on this model's embedding",
    "combination": "Combination, weights from pseudo-cells of other lines",
    "shipped_and_embedding": "This page's view and the embedding, equal parts",
}
STATES = ("states", "standardised", "panel")
ALONE = {"depth": "read depth", "s_phase": "S phase", "g2m_phase": "G2/M phase"}


def read_measured(path: Path = FILE) -> dict[str, Any] | None:
    """The recorded results; None where they are not at hand."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found["breast"]["views"]["shipped"] else None
    except (OSError, ValueError, KeyError):
        return None


def describe_measured(found: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences."""
    breast = found["breast"]
    views = breast["views"]
    shipped, bar = views["shipped"], views["ridge"]
    gain = shipped["gain"]
    said = [
        f"{breast['n_drugs']} drugs, {breast['n_lines']} breast lines with 30 cells each, all left out of training: "
        f"over these lines predictions and measured responses have a median Spearman of {shipped['median']:.2f} (95 % "
        f"interval over lines {shipped['low']:.2f} to {shipped['high']:.2f}); {shipped['share_above']:.0%} of the "
        f"drugs are above 0.2. Plain ridge regression has {bar['median']:.2f}; the gain is {gain['share']:+.2f} "
        f"({gain['low']:+.2f} to {gain['high']:+.2f}).",
        f"From a single cell of each line: {views['shipped_single']['one_cell']:.2f}, averaged over similar cells "
        f"{shipped['one_cell']:.2f}.",
    ]
    if "embedding_ridge" in views:
        alone, both = views["embedding_ridge"]["median"], views["shipped_and_embedding"]
        step = both["median"] - shipped["median"]
        verdict = "adds nothing that can be seen" if step < 0.02 else "adds a little"
        said.append(
            f"This model's embedding in place of the genes has {alone:.2f}, both together {both['median']:.2f}: the "
            f"model {verdict}. What carries the answer is the lines' expression."
        )
    else:
        said.append("No view here uses this model: what it would add to the lines' expression has not been measured.")
    if calibrated := breast.get("calibration", {}).get("median"):
        said.append(
            f"Of cells and drugs {calibrated['share_called']:.0%} are called sensitive or resistant, and "
            f"{calibrated['right_when_called']:.0%} of the calls are right (always saying resistant: "
            f"{1 - calibrated['base_rate']:.0%}); the rest is 'can't tell'."
        )
    if states := {name: state for part in STATES for name, state in found.get(part, {}).items()}:
        said.append(
            "Resistant or treated against sensitive or untreated cells, AUROC of predicted resistance (in brackets the "
            f"best of read depth, S and G2/M phase alone): {'; '.join(_state(*pair) for pair in states.items())}. "
            "A state is one culture or batch where no donors are named, and what a drug switches on can look like "
            "sensitivity (far below 0.5): no test of a prediction."
        )
    if published := found.get("published"):
        pairs = (f"{drug} {one['genes']:.2f} and {one['scFoundation']:.2f}" for drug, one in published.items())
        said.append(
            "The paper's AUROC on cells that are not at hand (SCAD on genes, and on scFoundation's embedding; mean of "
            f"five folds): {'; '.join(pairs)}. They compare with the states, not with the ranks of unseen lines."
        )
    return said


def _state(name: str, state: Mapping[str, Any]) -> str:
    """AUROC of a state; what is known without the predictor is turned to its better side."""
    alone = max((what for what in ALONE if what in state), key=lambda what: abs(state[what]["auroc"] - 0.5))
    simple = max(state[alone]["auroc"], 1 - state[alone]["auroc"])
    few = "".join(f", {state[f'n_{what}']:,} {what}" for what in ("genes", "donors") if f"n_{what}" in state)
    return f"{name.replace('_', ' ')}{few} {state['predictor']['auroc']:.2f} ({ALONE[alone]} {simple:.2f})"


def measured_table(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a view on the breast lines."""
    return [
        {
            "View": TITLES.get(name, name),
            "Median Spearman": f"{one['median']:.2f} ({one['low']:.2f} to {one['high']:.2f})",
            "Drugs above 0.2": f"{one['share_above']:.0%}",
            "From one cell": f"{one['one_cell']:.2f}",
            "Against ridge": f"{one['gain']['share']:+.2f} ({one['gain']['low']:+.2f} to {one['gain']['high']:+.2f})",
        }
        for name, one in sorted(found["breast"]["views"].items(), key=lambda pair: -pair[1]["median"])
    ]
