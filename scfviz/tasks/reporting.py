"""What reports, methods and scripts say of a finished task.

Everything follows from the task's line and its result. A task that has more to say brings a module (`Task.reporting`)
with functions of the same names (`step`, `methods`, `citations`, `caveats`, `section`, `script`; `cells` and `columns`
also take the public names of its maps and columns), each from an `Answered`; it takes the place of the one here.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfviz.tasks.fragments import Block, Cell, Contribution, File, Items, Pairs, Section, Table, Text
from scfviz.tasks.result import Result
from scfviz.tasks.spec import FILTERS, Task, fields_of, load, title_of

if TYPE_CHECKING:
    import pandas as pd

_MOST_GROUPS = 20


@dataclass(frozen=True)
class Answered:
    """A finished task: its line, what it found, and when it was done, in seconds since 1970."""

    task: Task
    result: Result
    finished: float | None = None

    def say(self, what: str, *more: Any) -> Any:
        """A fragment: "step", "methods", "citations", "caveats", "section", "script", "cells" or "columns"."""
        own = None if self.task.reporting is None else getattr(load(self.task.reporting), what, None)
        return (own or _DEFAULTS[what])(self, *more)

    def contribute(self, names: Mapping[str, str]) -> Contribution:
        """All fragments; `names` are those that its maps and columns have in the script, by their names here."""
        return Contribution(
            self.task.title,
            self.say("step"),
            self.finished,
            methods=self.say("methods"),
            sections=(self.say("section"),),
            first=self.say("cells", names),
            columns=self.say("columns", names),
            cite=self.say("citations"),
            caveats=self.say("caveats"),
        )


def step(answered: Answered) -> str:
    """What was done, in one line of the record."""
    model = _model(answered)
    return f"{answered.task.title}: {answered.result.report['n_obs']:,} cells" + (f" with {model}" if model else "")


def methods(answered: Answered) -> str:
    """Sentences for a methods paragraph."""
    task, report = answered.task, answered.result.report
    model = _model(answered)
    by = f" with the model {model} (content {report['checkpoint']['hash']})" if model else ""
    chosen = "; ".join(f"{name.lower()} {value}" for name, value in describe_options(answered).items())
    return (
        f"{task.title} was computed for {report['n_obs']:,} cells{by}"
        + (f" ({chosen})" if chosen else "")
        + f"; beside it stands {task.baseline}."
    )


def citations(answered: Answered) -> tuple[str, ...]:
    """What to cite, as keys of `scfviz.reporting.methods.CITATIONS` or as full texts."""
    return ("scfoundation",) if answered.task.needs_model else ()


def caveats(answered: Answered) -> tuple[str, ...]:
    """What a reader must know before believing the result."""
    checkpoint = answered.result.report["checkpoint"]
    if checkpoint is None or checkpoint["is_trained"]:
        return ()
    return (f"{answered.task.title}: the model is untrained, so its numbers say nothing about the cells.",)


def section(answered: Answered) -> Section:
    """What was found, with its numbers as files."""
    task, result = answered.task, answered.result
    blocks: list[Block] = [Text(methods(answered))]
    blocks += [Text(note, "note") for note in result.notes]
    numbers = {name: value for name, value in result.scores.items() if isinstance(value, int | float)}
    if numbers:
        blocks.append(Pairs({_words(name): f"{value:,.4g}" for name, value in numbers.items()}, "Scores"))
    for entry in task.written_in(result.cells):
        if entry.part == "obs" and entry.name in result.cells:
            column = result.cells[entry.name]
            title = f"{entry.title} ({entry.unit})" if entry.unit else entry.title
            blocks.append(_summary_of_numbers(column, title) if _is_number(column) else _counts(column, title))
    files = {"cells": result.cells.reset_index(names="cell")} | dict(result.tables)
    blocks += [File(table, f"{task.name}_{name}", f"{_words(name).lower()}") for name, table in files.items()]
    return Section(task.title, blocks)


def script(answered: Answered) -> Cell:
    """The same computation, compared with what was reported; leaves its result in a variable with the task's name."""
    task, result, name = answered.task, answered.result, answered.task.name
    given = "".join(f", {key}={value}" for key, value in _arguments(answered).items())
    lines = [
        f"{name} = scfviz.run_task({name!r}, dataset=DATASET{given})",
        f"check({f'cells of {name}'!r}, len({name}.kept), {len(result.kept)})",
    ]
    for entry in task.written_in(result.cells):
        if entry.part != "obs" or entry.name not in result.cells:
            continue
        column, found = result.cells[entry.name], f"{name}.cells[{entry.name!r}]"
        if _is_number(column):
            lines.append(f"check_close({f'mean of {entry.name}'!r}, {found}.mean(), {float(column.mean())!r})")
        else:
            counts = _group_counts(column)
            lines.append(
                f"check({f'groups of {entry.name}'!r}, {found}.astype(str).value_counts().to_dict(), {counts})"
            )
    lines.append(f'{name}.cells.to_csv(RESULTS / "{name}_cells.csv")')
    return Cell(f"{task.title}: the columns of every cell go into {name}_cells.csv.", "\n".join(lines))


def cells(answered: Answered, _names: Mapping[str, str]) -> tuple[Cell, ...]:
    """All steps of the script."""
    return (answered.say("script"),)


def columns(answered: Answered, names: Mapping[str, str]) -> str:
    """A task's columns and maps beside the others, under their public names."""
    name, result = answered.task.name, answered.result
    new = {column: names.get(column, column) for column in result.cells if column in names}
    renamed = f".rename(columns={new!r})" if new else ""
    code = f"found = {name}.cells{renamed}\nobs = obs.join(found[[column for column in found if column not in obs]])\n"
    for entry in answered.task.writes:
        if entry.is_map and entry.name in result.arrays:
            key = names.get(entry.name, entry.name)
            code += f"maps[{key!r}] = np.full((counts.n_obs, 2), np.nan, dtype=np.float32)\n"
            code += f"maps[{key!r}][{name}.kept] = {name}.arrays[{entry.name!r}]\n"
    return code


_DEFAULTS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (step, methods, citations, caveats, section, script, cells, columns)
}


def describe_filters(filters: Mapping[str, float] | None) -> str:
    """The filters in words; empty where there are none."""
    filters = filters or {}
    texts = {
        "min_counts": "at least {:g} counts",
        "min_genes": "at least {:g} genes with counts",
        "max_pct_mt": "at most {:g} % mitochondrial counts",
    }
    return ", ".join(text.format(filters[name]) for name, text in texts.items() if filters.get(name) is not None)


def describe_options(answered: Answered) -> dict[str, str]:
    """Options that are not the default, by their titles, as text with units."""
    chosen = {}
    for field in fields_of(answered.task.options_type):
        value, about = answered.result.report["options"].get(field.name), field.metadata
        if value is None or value == field.default or field.name == "dataset" or about["kind"] == "checkpoint":
            continue
        if about["kind"] == "filters":
            chosen |= {FILTERS[name][0]: f"{limit:g} {FILTERS[name][1]}" for name, limit in value.items()}
            continue
        text = Path(str(value)).name if about["kind"] == "dataset" else _as_text(value)
        chosen[title_of(field)] = f"{text} {about['unit']}".strip()
    return chosen


def _arguments(answered: Answered) -> dict[str, str]:
    """Options that are not the default, as Python."""
    found = {}
    for field in fields_of(answered.task.options_type):
        value, kind = answered.result.report["options"].get(field.name), field.metadata["kind"]
        if kind == "checkpoint":
            found[field.name] = _checkpoint(answered)
        elif field.name != "dataset" and value is not None and (field.default is MISSING or value != field.default):
            found[field.name] = f"Path({Path(str(value)).name!r})" if kind == "dataset" else repr(value)
    return found


def _checkpoint(answered: Answered) -> str:
    from scfviz.model.checkpoint import checkpoint_info, default_checkpoint

    used = answered.result.report["checkpoint"]
    if used is None or checkpoint_info(default_checkpoint()).hash == used["hash"]:
        return "None"
    return f"Path({used['name']!r})"


def _model(answered: Answered) -> str:
    checkpoint = answered.result.report["checkpoint"]
    return "" if checkpoint is None else f"'{checkpoint['name']}'"


def _summary_of_numbers(column: "pd.Series", title: str) -> Block:
    known = column.dropna()
    rows = {
        "Cells": f"{len(known):,}",
        "Mean": f"{known.mean():,.4g}",
        "Median": f"{known.median():,.4g}",
        "Range": f"{known.min():,.4g} to {known.max():,.4g}" if len(known) else "none",
    }
    return Table(("", title), list(rows.items()), title, (1,))


def _counts(column: "pd.Series", title: str) -> Block:
    counts = _group_counts(column)
    rows = [(name, f"{n:,}") for name, n in list(counts.items())[:_MOST_GROUPS]]
    if len(counts) > _MOST_GROUPS:
        return Items([(f"{title}: {len(counts):,} groups; the file holds them all.", "")])
    return Table((title, "Cells"), rows, title, (1,))


def _group_counts(column: "pd.Series") -> dict[str, int]:
    return {name: int(n) for name, n in column.astype(str).value_counts().items() if n}


def _is_number(column: "pd.Series") -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
