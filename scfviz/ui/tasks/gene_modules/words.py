"""What the benchmark of gene modules found, in sentences, read from its committed results."""

import functools
import json
from typing import TYPE_CHECKING, Any

from scfviz.places import RESULTS

if TYPE_CHECKING:
    from scfviz.tasks.result import Result

_RESULTS = RESULTS / "gene_modules.json"


@functools.lru_cache(maxsize=1)
def read_results() -> dict[str, Any]:
    """The results of `benchmarks/gene_modules.py`; empty where they are not there."""
    try:
        return json.loads(_RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def activity_unit(result: "Result") -> str:
    """What activities of factors in a result are measured in."""
    from scfviz.tasks.gene_modules.options import ACTIVITIES

    return ACTIVITIES[result.report["options"].get("activity", "ulm")]


def measured() -> list[str]:
    """One sentence for each finding; the first says whether links know regulators better than expression alone."""
    return list(read_results().get("verdict", ()))
