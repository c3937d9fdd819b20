"""What is selected, the named selections, and every step that led there, so that each can be undone and redone.

All of it is immutable: an action returns a new history. It is small (rules, not cells) and goes to disk as JSON.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from scfviz.analysis.selection.rules import Rule, from_json, to_json
from scfviz.errors import OptionError

MAX_STEPS, MAX_NAMED, MAX_NAME = 200, 500, 120
VERSION = 1


@dataclass(frozen=True)
class NamedSelection:
    """A selection that was given a name; `created_at` is UTC in ISO 8601, `n_cells` of `n_obs` were in it then."""

    name: str
    rule: Rule
    n_cells: int
    n_obs: int
    created_at: str
    author: str = ""


@dataclass(frozen=True)
class Step:
    """The state after one action, and the action in words."""

    action: str
    current: Rule | None
    named: tuple[NamedSelection, ...]


@dataclass(frozen=True)
class SelectionHistory:
    """The present state between what can be undone (`past`, oldest first) and redone (`future`, next first)."""

    present: Step = Step("Nothing is selected", None, ())
    past: tuple[Step, ...] = ()
    future: tuple[Step, ...] = ()

    @property
    def current(self) -> Rule | None:
        """What is selected now; None is nothing."""
        return self.present.current

    @property
    def named(self) -> tuple[NamedSelection, ...]:
        """The named selections, in the order they were made."""
        return self.present.named

    def select(self, rule: Rule | None) -> "SelectionHistory":
        """Select something else; None clears the selection. The same selection again is no step."""
        if rule == self.current:
            return self
        return self._add(Step(f"Select {rule.describe()}" if rule else "Clear the selection", rule, self.named))

    def keep(self, name: str, n_cells: int, n_obs: int, *, author: str = "") -> "SelectionHistory":
        """Give the current selection a name.

        Raises
        ------
        OptionError
            Nothing is selected, or the name is empty, too long or taken.
        """
        if self.current is None:
            raise OptionError(
                "Nothing is selected.", "A selection is needed before it can get a name.", "Select cells first."
            )
        if len(self.named) >= MAX_NAMED:
            raise OptionError(f"There are {MAX_NAMED} named selections.", "No more can be kept.", "Remove some.")
        name = self._free_name(name)
        new = NamedSelection(
            name, self.current, n_cells, n_obs, datetime.now(UTC).isoformat(timespec="seconds"), author
        )
        return self._add(Step(f"Name the selection '{name}'", self.current, (*self.named, new)))

    def rename(self, old: str, new: str) -> "SelectionHistory":
        """Give a named selection another name; OptionError as in `keep`, or when there is none called `old`."""
        kept = self.find(old)
        if new.strip() == old:
            return self
        new = self._free_name(new)
        named = tuple(replace(kept, name=new) if s is kept else s for s in self.named)
        return self._add(Step(f"Rename the selection '{old}' to '{new}'", self.current, named))

    def remove(self, name: str) -> "SelectionHistory":
        """Forget a named selection (until undone); OptionError when there is none."""
        kept = self.find(name)
        return self._add(
            Step(f"Remove the selection '{name}'", self.current, tuple(s for s in self.named if s is not kept))
        )

    def find(self, name: str) -> NamedSelection:
        """The selection with this name; OptionError when there is none."""
        for selection in self.named:
            if selection.name == name:
                return selection
        names = ", ".join(s.name for s in self.named[:10])
        raise OptionError(f"There is no selection '{name}'.", f"The named selections are: {names or 'none'}.")

    def undo(self) -> "SelectionHistory":
        """One step back; unchanged at the beginning."""
        if not self.past:
            return self
        return SelectionHistory(self.past[-1], self.past[:-1], (self.present, *self.future))

    def redo(self) -> "SelectionHistory":
        """One step forward again; unchanged at the end."""
        if not self.future:
            return self
        return SelectionHistory(self.future[0], (*self.past, self.present), self.future[1:])

    def _add(self, step: Step) -> "SelectionHistory":
        return SelectionHistory(step, (*self.past, self.present)[-MAX_STEPS:], ())

    def _free_name(self, name: str) -> str:
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise OptionError(
                "The name of the selection is empty, too long or has unprintable characters.",
                f"1 to {MAX_NAME} characters are needed.",
            )
        if any(s.name == name for s in self.named):
            raise OptionError(
                f"There is already a selection '{name}'.", "Each needs its own name.", "Choose another name."
            )
        return name

    def as_dict(self) -> dict[str, Any]:
        """JSON-able fields; each rule is written once however many steps share it."""
        numbers: dict[Rule, int] = {}

        def number(rule: Rule | None) -> int | None:
            return None if rule is None else numbers.setdefault(rule, len(numbers))

        def step(s: Step) -> dict[str, Any]:
            named = [{**vars(n), "rule": number(n.rule)} for n in s.named]
            return {"action": s.action, "current": number(s.current), "named": named}

        steps = {
            "past": [step(s) for s in self.past],
            "present": step(self.present),
            "future": [step(s) for s in self.future],
        }
        return {"version": VERSION, "rules": [to_json(rule) for rule in numbers], **steps}


def read_history(content: Any) -> SelectionHistory:
    """A history from the fields of `SelectionHistory.as_dict`; checked, for a saved session may come from anyone.

    Raises
    ------
    OptionError
        The content is no such history.
    """
    try:
        if content["version"] != VERSION:
            raise OptionError(
                f"These selections are of version {content['version']!r}.", f"Version {VERSION} can be read."
            )
        rules = [from_json(rule) for rule in content["rules"]]

        def rule(number: int | None) -> Rule | None:
            return None if number is None else rules[_count(number)]

        def named(fields: dict[str, Any]) -> NamedSelection:
            found = rule(fields["rule"])
            if found is None:
                raise TypeError("a named selection without a rule")
            return NamedSelection(
                _short(fields["name"]),
                found,
                _count(fields["n_cells"]),
                _count(fields["n_obs"]),
                _short(fields["created_at"]),
                _short(fields["author"]),
            )

        def step(fields: dict[str, Any]) -> Step:
            names = tuple(named(n) for n in fields["named"][:MAX_NAMED])
            return Step(str(fields["action"])[:10_000], rule(fields["current"]), names)

        def steps(key: str, part: Callable[[list], list]) -> tuple[Step, ...]:
            return tuple(step(s) for s in part(content[key]))

        return SelectionHistory(
            step(content["present"]), steps("past", lambda s: s[-MAX_STEPS:]), steps("future", lambda s: s[:MAX_STEPS])
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise OptionError("The saved selections are damaged.", "A file that scfviz wrote is needed.") from error


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("a count that is none")
    return value


def _short(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise TypeError("a text that is none")
    return value
