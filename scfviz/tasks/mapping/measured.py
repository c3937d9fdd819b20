"""What `benchmarks/mapping.py` measured on public pairs of datasets, in sentences and as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scfviz.places import RESULTS

FILE = RESULTS / "mapping.json"
WRONG, CASE = "wrong_tissue_", "organoid"
ENOUGH = 0.8  # of cells of a wrong tissue that should have no counterpart
_ARMS = {"pca": "PCA", "model": "model", "both": "both", "combination": "combination", "clusters": "Symphony",
         "harmony": "Harmony", "bbknn": "BBKNN"}  # fmt: skip
_BESIDE = ("clusters", "harmony", "bbknn")


def read_measured(path: Path = FILE) -> dict[str, Any] | None:
    """The recorded results; None where they are not at hand."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("pairs") else None


def describe_measured(found: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences: labels, novelty, false alarms, the control."""
    pairs = found["pairs"]
    shared = {name: pair for name, pair in pairs.items() if _value(pair, "combination", "f1") is not None}
    wrong = {name: pair for name, pair in pairs.items() if name.startswith(WRONG)}
    said = []
    if shared:
        of = {name: _value(pair, "combination", "f1") for name, pair in shared.items()}
        gains = [of[name] - _value(pair, "pca", "f1") for name, pair in shared.items()]
        n_higher = sum(gain > 0 for gain in gains)
        said.append(
            f"Labels: the combination with the model changed the macro-F1 of the PCA projection by {min(gains):+.3f} "
            f"to {max(gains):+.3f} ({n_higher} of {len(gains)} pairs higher).{_beside(shared, of)}"
        )
        said.append(
            f"Of cells that have a counterpart {_range(shared, 'false_no_counterpart')} were called without one; by "
            f"distance alone {_range(shared, 'false_no_counterpart_by_distance')}. A missing type was told from the "
            f"others with an AUROC of {_range(shared, 'novelty_auroc', '.2f')}; by distance alone "
            f"{_range(shared, 'novelty_auroc_by_distance', '.2f')}."
        )
    if wrong:
        noticed = sum(_value(pair, "combination", "no_counterpart") > ENOUGH for pair in wrong.values())
        said.append(
            f"A wrong tissue was noticed (no counterpart for more than {ENOUGH:.0%} of the cells) in {noticed} of "
            f"{len(wrong)} pairs: {_range(wrong, 'no_counterpart')}; by distance alone "
            f"{_range(wrong, 'no_counterpart_by_distance')}."
        )
    return said


def _beside(pairs: Mapping[str, Mapping[str, Any]], of: Mapping[str, float]) -> str:
    """On how many pairs what stands beside gave better labels."""
    counts = {
        _ARMS[arm]: [_value(pair, arm, "f1") > of[name] for name, pair in pairs.items() if arm in pair["arms"]]
        for arm in _BESIDE
    }
    told = [f"{title} on {sum(better)} of {len(better)}" for title, better in counts.items() if better]
    return f" Ahead of the combination: {', '.join(told)}." if told else ""


def measured_table(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a pair and space or correction: means over seeds."""
    rows = []
    for name, pair in found["pairs"].items():
        for arm, title in _ARMS.items():
            if arm not in pair["arms"]:
                continue
            value = {score: _value(pair, arm, score) for score in pair["arms"][arm]}
            rows.append(
                {
                    "Pair": name.replace("_", " "),
                    "Space": title,
                    "Macro-F1": value.get("f1"),
                    "Novelty AUROC": value.get("novelty_auroc", value.get("novelty_auroc_by_distance")),
                    "No counterpart": value.get("no_counterpart"),
                    "by distance alone": value.get("no_counterpart_by_distance"),
                    "iLISI in shared types": value.get("ilisi"),
                    "cLISI": value.get("clisi"),
                    "Picture": value.get("trustworthiness"),
                }
            )
    return rows


def _value(pair: Mapping[str, Any], arm: str, score: str) -> float | None:
    found = pair["arms"][arm].get(score)
    return None if found is None else found["mean"]


def _range(pairs: Mapping[str, Mapping[str, Any]], score: str, form: str = ".0%") -> str:
    found = [_value(pair, "combination", score) for pair in pairs.values()]
    found = [value for value in found if value is not None]
    return f"{min(found):{form}} to {max(found):{form}}" if found else "not measured"
