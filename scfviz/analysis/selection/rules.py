"""Selections of cells as rules: what was drawn or asked for, not a list of cells. The rule is the provenance.

A rule is evaluated to a bool mask on a `SelectionContext`; rules combine into trees (`Union`, `Intersection`,
`Difference`, `Invert`) and travel as JSON.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.analysis.selection.query import evaluate_query, read_column
from scfviz.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

MAX_VERTICES, MAX_NAMES, MAX_DEPTH, MAX_PARTS = 20_000, 2_000_000, 100, 1_000
OPERATORS = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True)
class SelectionContext:
    """What rules are evaluated on.

    Attributes
    ----------
    obs
        Table of the cells, (n_obs, ...), its index the names of the cells.
    maps
        Positions by the name of the map, float (n_obs, 2).
    read_gene
        Gives ln(1 + counts per 10,000) of a gene, float (n_obs,); raises GeneError.
    """

    obs: "pd.DataFrame"
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    read_gene: Callable[[str], np.ndarray] | None = None

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.obs)


@dataclass(frozen=True)
class Polygon:
    """Cells inside a line drawn on a map, even-odd rule; vertices in the map's own coordinates."""

    map: str
    vertices: tuple[tuple[float, float], ...]

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        from matplotlib.path import Path

        xy, line = _map(context, self.map), np.array(self.vertices, dtype=np.float64)
        low, high = line.min(axis=0), line.max(axis=0)
        inside = ((xy >= low) & (xy <= high)).all(axis=1)
        candidates = np.flatnonzero(inside)
        inside[candidates] = Path(np.vstack([line, line[:1]]), closed=True).contains_points(xy[candidates])
        return inside

    def describe(self) -> str:
        """The rule in words."""
        return f"a lasso of {len(self.vertices)} points on the map '{self.map}'"


@dataclass(frozen=True)
class Rectangle:
    """Cells in a box on a map, borders included; (lowest, highest) of each axis."""

    map: str
    x: tuple[float, float]
    y: tuple[float, float]

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        xy = _map(context, self.map)
        low, high = (self.x[0], self.y[0]), (self.x[1], self.y[1])
        return ((xy >= low) & (xy <= high)).all(axis=1)

    def describe(self) -> str:
        """The rule in words."""
        return f"a box on the map '{self.map}' (x {self.x[0]:g} to {self.x[1]:g}, y {self.y[0]:g} to {self.y[1]:g})"


@dataclass(frozen=True)
class Categories:
    """Cells whose column has one of the values; None among them means missing."""

    column: str
    values: tuple[str | float | bool | None, ...]

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        column = _column(context, self.column)
        vector = read_column(column)
        chosen = np.zeros(context.n_obs, dtype=bool)
        for value in self.values:
            if value is None:
                chosen |= ~vector.known
            elif vector.categories is not None:
                chosen |= np.isin(vector.values, np.flatnonzero(vector.categories == str(value)))
            elif (number := _as_number(value)) is not None:
                chosen |= vector.known & (vector.values == number)
        return chosen

    def describe(self) -> str:
        """The rule in words."""
        values = ", ".join("missing" if v is None else str(v) for v in self.values[:6])
        more = f" and {len(self.values) - 6} more" if len(self.values) > 6 else ""
        return f"{self.column} is {values}{more}"


def _as_number(value: str | float | bool) -> float | None:
    """The number that a group of a numeric column is called by, such as the cluster "3"."""
    try:
        return float(value)
    except ValueError:
        return None


@dataclass(frozen=True)
class Threshold:
    """Cells whose gene or column lies on one side of a value; `kind` is "gene" or "column".

    A gene's value is ln(1 + counts per 10,000).
    """

    kind: str
    name: str
    op: str
    value: float

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        if self.kind == "gene":
            if context.read_gene is None:
                raise OptionError("Genes cannot be asked for here.", "", "Use columns of the table of cells.")
            values, known = (
                np.asarray(context.read_gene(self.name), dtype=np.float64),
                np.ones(context.n_obs, dtype=bool),
            )
        else:
            vector = read_column(_column(context, self.name))
            if vector.kind != "number":
                raise OptionError(f"The column '{self.name}' holds no numbers.", "A threshold needs numbers.")
            values, known = vector.values, vector.known
        with np.errstate(invalid="ignore"):
            return OPERATORS[self.op](values, self.value) & known

    def describe(self) -> str:
        """The rule in words."""
        unit = " (ln of 1 + counts per 10,000)" if self.kind == "gene" else ""
        return f"{self.name} {self.op} {self.value:g}{unit}"


@dataclass(frozen=True)
class Query:
    """Cells that a query chooses; the language is in `scfviz.analysis.selection.query`."""

    text: str

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        return evaluate_query(self.text, context.obs, context.read_gene)

    def describe(self) -> str:
        """The rule in words."""
        return f"the query {self.text.strip()}"


@dataclass(frozen=True)
class Cells:
    """Cells by name. Names that are not in the dataset choose nothing."""

    names: tuple[str, ...]

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        return np.asarray(context.obs.index.astype(str).isin(set(self.names)))

    def describe(self) -> str:
        """The rule in words."""
        return f"a list of {len(self.names):,} cells"


@dataclass(frozen=True)
class Union:
    """Cells in any part."""

    parts: tuple["Rule", ...]

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        return np.logical_or.reduce([part.mask(context) for part in self.parts])

    def describe(self) -> str:
        """The rule in words."""
        return " or ".join(f"({part.describe()})" for part in self.parts)


@dataclass(frozen=True)
class Intersection:
    """Cells in all parts."""

    parts: tuple["Rule", ...]

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        return np.logical_and.reduce([part.mask(context) for part in self.parts])

    def describe(self) -> str:
        """The rule in words."""
        return " and ".join(f"({part.describe()})" for part in self.parts)


@dataclass(frozen=True)
class Difference:
    """Cells in the first that are not in the second."""

    left: "Rule"
    right: "Rule"

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        return self.left.mask(context) & ~self.right.mask(context)

    def describe(self) -> str:
        """The rule in words."""
        return f"({self.left.describe()}) without ({self.right.describe()})"


@dataclass(frozen=True)
class Invert:
    """All other cells."""

    part: "Rule"

    def mask(self, context: SelectionContext) -> np.ndarray:
        """Which cells the rule chooses: bool (n_obs,)."""
        return ~self.part.mask(context)

    def describe(self) -> str:
        """The rule in words."""
        return f"everything but ({self.part.describe()})"


Rule = Polygon | Rectangle | Categories | Threshold | Query | Cells | Union | Intersection | Difference | Invert
NAMES: dict[str, type] = {
    cls.__name__.lower(): cls
    for cls in (Polygon, Rectangle, Categories, Threshold, Query, Cells, Union, Intersection, Difference, Invert)
}


def evaluate(rule: Rule, context: SelectionContext) -> np.ndarray:
    """The cells that a rule chooses, bool (n_obs,).

    Raises
    ------
    OptionError
        A map, column or value is not there, or a query cannot be read.
    GeneError
        A gene is unknown or was not measured.
    """
    return rule.mask(context)


def combine(how: str, current: Rule | None, new: Rule) -> Rule:
    """A rule joined to what is selected: `how` is "replace", "add", "subtract" or "intersect".

    Without a current selection, adding and intersecting start a new one, and subtracting leaves all cells
    but those of the new rule.
    """
    match how:
        case "replace":
            return new
        case "add":
            return (
                new
                if current is None
                else Union((*current.parts, new) if isinstance(current, Union) else (current, new))
            )
        case "intersect":
            return new if current is None else Intersection((current, new))
        case "subtract":
            return Invert(new) if current is None else Difference(current, new)
    raise OptionError(f"Selections cannot be combined by '{how}'.", "There are: replace, add, subtract, intersect.")


def rule_id(rule: Rule) -> str:
    """12 hexadecimal digits that are the same for the same rule, for addresses and file names."""
    text = json.dumps(to_json(rule), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def to_json(rule: Rule) -> dict[str, Any]:
    """A rule as JSON-able fields."""
    fields: dict[str, Any] = {"rule": type(rule).__name__.lower()}
    for name, value in vars(rule).items():
        if isinstance(rule, Union | Intersection):
            fields[name] = [to_json(part) for part in value]
        elif isinstance(rule, Difference | Invert):
            fields[name] = to_json(value)
        elif isinstance(rule, Polygon) and name == "vertices":
            fields[name] = [list(vertex) for vertex in value]
        else:
            fields[name] = list(value) if isinstance(value, tuple) else value
    return fields


def from_json(content: Any, *, depth: int = 0) -> Rule:
    """A rule from JSON that may come from anyone: every field is checked.

    Raises
    ------
    OptionError
        It is no rule.
    """
    if depth > MAX_DEPTH:
        raise OptionError("The selection is nested too deeply.", f"At most {MAX_DEPTH} levels are read.")
    name = content.get("rule") if isinstance(content, dict) else None
    if not isinstance(name, str) or name not in NAMES:
        raise OptionError("This is no selection.", f"A rule of one of the kinds {', '.join(NAMES)} is needed.")
    fields = {key: value for key, value in content.items() if key != "rule"}
    cls = NAMES[name]
    if set(fields) != set(cls.__dataclass_fields__):
        raise OptionError(
            f"The selection '{name}' has other fields than expected.", f"Needed: {', '.join(cls.__dataclass_fields__)}."
        )
    read = {
        "polygon": lambda map, vertices: Polygon(_text(map), _vertices(vertices)),
        "rectangle": lambda map, x, y: Rectangle(_text(map), _range(x), _range(y)),
        "categories": lambda column, values: Categories(_text(column), _list(values, MAX_NAMES, _value)),
        "threshold": lambda kind, name, op, value: Threshold(
            _one_of(kind, ("gene", "column")), _text(name), _one_of(op, OPERATORS), _number(value)
        ),
        "query": lambda text: Query(_text(text)),
        "cells": lambda names: Cells(_list(names, MAX_NAMES, _text)),
        "union": lambda parts: Union(_list(parts, MAX_PARTS, lambda p: from_json(p, depth=depth + 1), fewest=1)),
        "intersection": lambda parts: Intersection(
            _list(parts, MAX_PARTS, lambda p: from_json(p, depth=depth + 1), fewest=1)
        ),
        "difference": lambda left, right: Difference(
            from_json(left, depth=depth + 1), from_json(right, depth=depth + 1)
        ),
        "invert": lambda part: Invert(from_json(part, depth=depth + 1)),
    }
    return read[name](**fields)


def _map(context: SelectionContext, name: str) -> np.ndarray:
    if name not in context.maps:
        raise OptionError(
            f"There is no map '{name}' here.",
            f"There are: {', '.join(context.maps) or 'none'}.",
            "The selection was drawn on another map; open that one.",
        )
    return np.asarray(context.maps[name], dtype=np.float64)[:, :2]


def _column(context: SelectionContext, name: str) -> "pd.Series":
    for i, key in enumerate(context.obs.columns):
        if str(key) == name:
            return context.obs.iloc[:, i]
    columns = ", ".join(map(str, context.obs.columns[:10]))
    raise OptionError(f"There is no column '{name}'.", f"The columns are {columns or 'none'}.")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 10_000:
        raise OptionError(
            "A name or text in the selection is missing or too long.", "1 to 10,000 characters are needed."
        )
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise OptionError("A number in the selection is none.", "A finite number is needed.")
    return float(value)


def _value(value: Any) -> str | float | bool | None:
    return value if value is None or isinstance(value, bool | str) else _number(value)


def _list(values: Any, most: int, read: Callable[[Any], Any], fewest: int = 0) -> tuple:
    if not isinstance(values, list | tuple) or not fewest <= len(values) <= most:
        raise OptionError(
            "A list in the selection is missing, too short or too long.", f"{fewest} to {most:,} entries are needed."
        )
    return tuple(read(value) for value in values)


def _vertices(values: Any) -> tuple[tuple[float, float], ...]:
    return _list(values, MAX_VERTICES, lambda vertex: _pair(vertex), fewest=3)


def _pair(values: Any) -> tuple[float, float]:
    x, y = _list(values, 2, _number, fewest=2)
    return x, y


def _range(values: Any) -> tuple[float, float]:
    low, high = _pair(values)
    return min(low, high), max(low, high)


def _one_of(value: Any, allowed: Any) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise OptionError("A word in the selection is not known.", f"One of {', '.join(allowed)} is needed.")
    return value
