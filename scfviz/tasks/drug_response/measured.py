"""What `benchmarks/drug_response.py` measured on public lines, in sentences and as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "drug_response.json"


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
    """One row a question and arm, with what was measured."""
    rows = []
    for question in found.get("questions", ()):
        for arm, scores in (found.get(question) or {}).items():
            if isinstance(scores, Mapping):
                numbers = {name: value for name, value in scores.items() if isinstance(value, int | float)}
                rows.append({"Question": question, "Arm": arm} | numbers)
    return rows
