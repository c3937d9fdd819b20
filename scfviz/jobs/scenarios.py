"""Predicted changes that a visitor keeps by name, for later visits: theirs alone, one small file each."""

import hashlib
import re
import time
from pathlib import Path

from scfviz.errors import OptionError
from scfviz.jobs.access import owner_of
from scfviz.jobs.workspace import Workspace, read_json, write_json
from scfviz.tasks.perturbation.scenarios import COLUMNS, Scenario

MOST_KEPT, MOST_GENES, MOST_LETTERS = 100, 20_000, 80


def keep(workspace: Workspace, visitor: str, scenario: Scenario) -> None:
    """Keep a scenario under its name, in the place of an earlier one of that name.

    Raises
    ------
    OptionError
        The name is empty or too long, or too many are kept already.
    """
    name = scenario.name.strip()
    if not name or len(name) > MOST_LETTERS:
        raise OptionError(
            "The scenario has no name." if not name else f"The name has {len(name)} letters.",
            f"One of 1 to {MOST_LETTERS} letters is needed.",
            "Write another.",
        )
    kept = list_kept(workspace, visitor)
    if len(kept) >= MOST_KEPT and name not in {one.name for one in kept}:
        raise OptionError(
            f"{len(kept)} scenarios are kept.", f"At most {MOST_KEPT} are.", "Delete one that is no longer needed."
        )
    folder = _folder(workspace, visitor)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    columns = {one: list(scenario.columns[one])[:MOST_GENES] for one in COLUMNS}
    about = {
        "name": name,
        "asked": scenario.asked,
        "source": scenario.source,
        "unit": scenario.unit,
        "predictor": scenario.predictor,
    }
    write_json(folder / f"{_digest(name)}.json", about | {"kept_at": time.time(), "columns": columns})


def list_kept(workspace: Workspace, visitor: str) -> list[Scenario]:
    """What a visitor keeps, the newest first; a damaged file is left out."""
    found = []
    for path in _folder(workspace, visitor).glob("*.json"):
        try:
            about = read_json(path) or {}
            columns = {one: list(about["columns"][one]) for one in COLUMNS}
            texts = [str(about[one]) for one in ("name", "asked", "source", "unit")]
            if len({len(values) for values in columns.values()}) != 1:
                continue
            found.append(Scenario(*texts, columns, float(about["kept_at"]), str(about.get("predictor", ""))))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda one: -one.kept_at)


def remove(workspace: Workspace, visitor: str, name: str) -> None:
    """Delete a scenario; nothing happens where there is none of that name."""
    (_folder(workspace, visitor) / f"{_digest(name)}.json").unlink(missing_ok=True)


def free_name(kept: list[Scenario], wanted: str) -> str:
    """The name itself, or with a number where it is taken."""
    taken, name, number = {one.name for one in kept}, wanted[:MOST_LETTERS], 2
    while name in taken:
        name, number = f"{re.sub(r' [0-9]+$', '', name)} {number}", number + 1
    return name


def _folder(workspace: Workspace, visitor: str) -> Path:
    return workspace.root / "scenarios" / owner_of(visitor)[:32]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]
