"""Columns of `obs` for drugs."""

import re

PREFIX, CONFIDENCE = "sensitivity_", "_confidence"
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9.+-]+")


def column_of(drug: str) -> str:
    """The column of `obs` for a drug: nothing but letters, digits and . + - _."""
    return PREFIX + _NOT_IN_KEYS.sub("_", drug).strip("_")
