"""What people read: names of maps and columns as files, reports and scripts have them, not as the program keeps them.

The one table is that of the tasks: each says what it writes, and under which key (`X_umap_scfoundation`).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from scfviz.analysis.selection.rules import (
    Categories,
    Difference,
    Intersection,
    Invert,
    Polygon,
    Query,
    Rectangle,
    Rule,
    Threshold,
    Union,
)
from scfviz.tasks.registry import TASKS
from scfviz.tasks.spec import Written


def public_names(taken: Collection[str] = ()) -> dict[str, str]:
    """The key of everything that tasks write, by the name in their results.

    Parameters
    ----------
    taken
        Names that the user's file has itself: a key among them gets a number, so that the two stay apart.
    """
    found = {}
    for task in TASKS.values():
        for entry in task.writes:
            if entry.key and entry.key != entry.name:
                key, number = entry.key, 2
                while key in taken:
                    key, number = f"{entry.key}_{number}", number + 1
                found[entry.name] = key
    return found


def inherited_key(key: str, level: int) -> str:
    """Under which name a subset's file holds a result of the dataset that its cells come from.

    Parameters
    ----------
    level
        Place of that dataset in the subset's lineage, from 1: a subset of a subset holds results of both.
    """
    return f"{key}_inherited" + (f"_{level}" if level > 1 else "")


def inherited(name: str) -> tuple[Written, int] | None:
    """What a name of `inherited_key` stands for, and the place in the lineage; None for any other name."""
    match = re.fullmatch(r"(.+)_inherited(?:_(\d{1,2}))?", name)
    entries = (entry for task in TASKS.values() for entry in task.writes if match and entry.key == match[1])
    return next(((entry, int(match[2] or 1)) for entry in entries), None)


def public_rule(rule: Rule, names: Mapping[str, str] | None = None) -> Rule:
    """A rule that speaks of maps and columns by their public names."""
    names = public_names() if names is None else names
    return _renamed(rule, names, names)


def describe(rule: Rule, names: Mapping[str, str] | None = None, titles: Mapping[str, str] | None = None) -> str:
    """A rule in words.

    Parameters
    ----------
    names
        Public names, where they are not those of `public_names`.
    titles
        What the screen calls maps and columns; without them they have their public names. Queries keep those in any
        case: they are what can be typed.
    """
    names = public_names() if names is None else names
    return _renamed(rule, {**names, **(titles or {})}, names).describe()


def _renamed(rule: Rule, names: Mapping[str, str], typed: Mapping[str, str]) -> Rule:
    """A rule with other names of maps and columns, and those of queries apart."""
    if isinstance(rule, Polygon | Rectangle):
        return replace(rule, map=names.get(rule.map, rule.map))
    if isinstance(rule, Categories):
        return replace(rule, column=names.get(rule.column, rule.column))
    if isinstance(rule, Threshold):
        return replace(rule, name=names.get(rule.name, rule.name)) if rule.kind == "column" else rule
    if isinstance(rule, Query):
        return Query(_renamed_query(rule.text, typed))
    if isinstance(rule, Union | Intersection):
        return replace(rule, parts=tuple(_renamed(part, names, typed) for part in rule.parts))
    if isinstance(rule, Difference):
        return Difference(_renamed(rule.left, names, typed), _renamed(rule.right, names, typed))
    return Invert(_renamed(rule.part, names, typed)) if isinstance(rule, Invert) else rule


def _renamed_query(text: str, names: Mapping[str, str]) -> str:
    """A query with other names of columns; texts in quotes are values, and stay."""
    words = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    pattern = re.compile(rf"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?<![\w.])({words})(?![\w.])""")
    return pattern.sub(lambda match: match[1] or names[match[2]], text)
