"""What `benchmarks/drug_response.py` measured on public lines, in sentences and as a table."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scfviz.places import RESULTS

COLUMNS = {
    "normalised_r": "All pairs",
    "general_r": "General",
    "specific_r": "Specific",
    "per_drug_r": "Median drug",
    "pooled_r": "Pooled",
}
FILE = RESULTS / "drug_response.json"


def read_measured(path: Path = FILE) -> dict[str, Any] | None:
    """The recorded results; None where they are not at hand."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("questions") else None


def describe_measured(found: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences."""
    return list(found.get("verdict", ()))


def measured_table(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a question and arm: correlations that many have, with their intervals, and other numbers in words."""
    rows = []
    for question in found.get("questions", ()):
        arms = found.get(question) or {}
        size = ", ".join(f"{count:,} {what}" for what, count in arms.get("n", {}).items())
        title = f"{question} ({size})" if size else question
        for arm, scores in arms.items():
            if isinstance(scores, Mapping) and arm != "n":
                rows.append({"Question": title, "Arm": arm} | _row(scores))
    return rows


def _row(scores: Mapping[str, Any]) -> dict[str, str]:
    """Numbers of an arm as text, each with its interval: "r low" and "r high", or "partial_low" for "partial_r"."""
    numbers = {name: value for name, value in scores.items() if isinstance(value, int | float)}
    ends = {name: name[:-3] + "high" for name in numbers if re.search(r"(^|[ _])low$", name)}
    ends = {low: high for low, high in ends.items() if high in numbers}
    texts = {name: _text(value) for name, value in numbers.items() if name not in {*ends, *ends.values()}}
    for low, high in ends.items():
        interval, stem = f"{_text(numbers[low])} to {_text(numbers[high])}", low[:-3].strip(" _")
        named = (name for name in texts if stem in (name, name.removesuffix("_r")))
        name = next(named, stem or next(iter(texts), "interval"))
        texts[name] = f"{texts[name]} ({interval})" if name in texts else interval
    row = {title: texts.pop(name, "") for name, title in COLUMNS.items()}
    other = (f"{name.replace('_', ' ')} {text}" for name, text in texts.items())
    return row | {"Other numbers": "; ".join(other)}


def _text(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
