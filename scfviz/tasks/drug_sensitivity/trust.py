"""How far a drug's predictions can be trusted: badges from the benchmark on breast lines."""

from collections.abc import Mapping
from typing import Any

GOOD, SOME = 0.4, 0.2
BADGES = {
    "better": f"Spearman {GOOD} or more over the held-out breast lines",
    "some": f"Spearman {SOME} to {GOOD}",
    "none": f"Spearman below {SOME}: no better than chance would often be",
    "not measured": "too few held-out lines with this drug",
}


def badge_of(about: Mapping[str, Any]) -> str:
    """The badge of a drug, a key of `BADGES`; `about` may hold `spearman`."""
    r = about.get("spearman")
    if r is None:
        return "not measured"
    return "better" if r >= GOOD else "some" if r >= SOME else "none"
