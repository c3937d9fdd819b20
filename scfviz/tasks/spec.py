"""What a task is: the line that says everything about it, and the options that it takes.

A line holds names of modules as text, so that reading the table of tasks imports nothing.
"""

import dataclasses
import importlib
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from scfviz.errors import OptionError

# What an option names. Datasets decide whose a result is; content, not paths, of datasets and checkpoints decides
# which result it is.
Kind = Literal["", "dataset", "checkpoint", "column", "columns", "gene_column", "gene", "genes", "filters", "device"]
Part = Literal["obs", "obsm", "layers"]
_MOST_NAMED = 5  # of a list
FILTERS = {
    "min_counts": ("Least counts of a cell that takes part", "counts"),
    "min_genes": ("Least genes with counts", "genes"),
    "max_pct_mt": ("Most mitochondrial share", "% of counts"),
}


def option(
    default: Any = dataclasses.MISSING,
    *,
    title: str = "",
    help: str = "",
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | Mapping[Any, str] = (),
    kind: Kind = "",
    in_form: bool = True,
) -> Any:
    """A field of an options dataclass; what it says makes command, form, checks and documentation.

    Parameters
    ----------
    title
        Its label in forms; the name in words when left out.
    low, high
        Ends of the range, both allowed.
    choices
        The values that are possible; a mapping says them in plain words.
    kind
        What the value names.
    in_form
        Whether the page's form asks for it. Datasets, checkpoint and filters are those in use.
    """
    about = {
        "title": title,
        "help": help,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": tuple(choices),
        "words": dict(choices) if isinstance(choices, Mapping) else {},
        "kind": kind,
        "in_form": in_form,
    }
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class TaskOptions:
    """What every task is asked with."""

    dataset: str = option(kind="dataset", help="the cells", in_form=False)
    gene_column: str | None = option(
        None, kind="gene_column", help="column of var with the genes; found when left out", in_form=False
    )
    counts: str | None = option(
        None, help="where the raw counts are: X, raw or the name of a layer; found when left out", in_form=False
    )
    filters: dict[str, float] | None = option(None, kind="filters", help="which cells take part", in_form=False)

    def check(self) -> None:
        """Refuse options that disagree with each other; each field by itself is checked before.

        Raises
        ------
        OptionError
            They do.
        """


@dataclass(frozen=True)
class ModelOptions(TaskOptions):
    """What every task with a model is asked with."""

    checkpoint: str | None = option(
        None, kind="checkpoint", help="checkpoint folder of the model; the one that ships when left out", in_form=False
    )
    precision: str = option(
        "auto", choices=("auto", "fp32", "bf16"), help="fp32 is exact, bf16 faster where the hardware has it"
    )
    device: str = option(
        "auto", choices=("auto", "cpu", "cuda", "mps"), kind="device", help="what computes", in_form=False
    )


@dataclass(frozen=True)
class Written:
    """One thing that a task writes.

    Attributes
    ----------
    part, key
        Where it goes in an h5ad; no key: it is shown and not written.
    name
        What it is called in the result: a column of `cells` for `obs`, else an array.
    title, unit
        As people read them.
    is_map
        Two numbers per cell that can be drawn as a map.
    is_prefix
        Every column of the result that begins with `name` and has no entry of its own, under its own name.
    """

    part: Part
    key: str
    name: str
    title: str
    unit: str = ""
    is_map: bool = False
    is_prefix: bool = False


@dataclass(frozen=True)
class Task:
    """A question to the model, in one line.

    Attributes
    ----------
    name
        Of the job kind, of the rooms `tasks/NAME` and `ui/tasks/NAME`, and in Python.
    title, verb
        "Cell embedding", "Embed the cells".
    question
        One sentence that says what it is for: on its page and on the home card.
    options, run
        `module:Class` of its options; `module:function` (`OpenedCells`, options, `Steps`) -> `Result`.
    version
        Part of the identity: raised when the same options give other results.
    writes
        What it finds about cells.
    icon, section
        Of the menu.
    baseline
        The simple method that stands beside it, in words.
    needs_model
        Whether a checkpoint is loaded.
    reads_cell_space
        Whether a result depends on the checkpoint's cell space too.
    on_cluster
        Whether most of its time goes into passes of the model that a cluster can share (`Steps.cluster`).
    why_one_machine
        Why a cluster cannot, a sentence.
    lane
        "long" for what may take many minutes.
    memory
        `module:function` (options) -> `Need`; none: the memory does not grow with the cells.
    functions
        `module:function` of its public Python functions.
    command
        Of the command line. None: it has none.
    add_command
        `module:function` that adds the command, where it does not follow from the options.
    page, screen
        Route of its page, and `module` with `show_request(source)` or `show_result(job, source)`, or both. No page: the
        task is used from Python and the command line. No screen: the generic one.
    reporting
        `module` with what reports and scripts say of it, see `scfviz.tasks.reporting`; none: what follows from
        this line.
    """

    name: str
    title: str
    verb: str
    question: str
    options: str
    run: str
    version: int
    writes: tuple[Written, ...]
    baseline: str
    icon: str = ":material/function:"
    section: str = "Analyse"
    needs_model: bool = True
    reads_cell_space: bool = False
    on_cluster: bool = False
    why_one_machine: str = "It computes on one machine."
    lane: Literal["long", "quick"] = "long"
    memory: str | None = None
    functions: tuple[str, ...] = ()
    command: str | None = None
    add_command: str | None = None
    page: str | None = None
    screen: str | None = None
    reporting: str | None = None

    def written_in(self, columns: Iterable[str]) -> tuple[Written, ...]:
        """What it writes, with an entry for every column that a prefix stands for."""
        named, found = {entry.name for entry in self.writes}, []
        for entry in self.writes:
            rest = [str(name) for name in columns if entry.is_prefix and str(name).startswith(entry.name)]
            found += [entry] if not entry.is_prefix else []
            found += [
                dataclasses.replace(
                    entry, key=name, name=name, title=f"{entry.title} {name[len(entry.name) :]}", is_prefix=False
                )
                for name in rest
                if name not in named
            ]
        return tuple(found)

    @property
    def options_type(self) -> type[TaskOptions]:
        """The class of its options."""
        return load(self.options)


def load(path: str) -> Any:
    """What `module:name` or `module` stands for."""
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def fields_of(options_type: type[TaskOptions], *kinds: Kind) -> tuple[dataclasses.Field, ...]:
    """Fields of an options class; only those of some kinds, where kinds are given."""
    fields = dataclasses.fields(options_type)
    return tuple(f for f in fields if f.metadata["kind"] in kinds) if kinds else fields


def value_type(options_type: type[TaskOptions], field: dataclasses.Field) -> type:
    """Plain type of a field: of `float | None` it is float."""
    hint = typing.get_type_hints(options_type)[field.name]
    parts = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    found = next(part for part in parts if part is not type(None))
    return typing.get_origin(found) or found


def title_of(field: dataclasses.Field) -> str:
    """What an option is called on the screen."""
    return field.metadata["title"] or field.name.replace("_", " ").capitalize()


def words_of(field: dataclasses.Field, value: Any) -> str:
    """The value of an option as a sentence names it: `yes`, `2,000`, `co-expression`, `CD3D, LYZ and 7 more`."""
    if value in field.metadata["choices"]:
        words = field.metadata["words"].get(value, str(value).replace("_", " "))
        return words if words[:2].isupper() else words[:1].lower() + words[1:]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        more = f" and {len(value) - _MOST_NAMED} more" if len(value) > _MOST_NAMED else ""
        return ", ".join(map(str, value[:_MOST_NAMED])) + more
    return Path(str(value)).name if field.metadata["kind"] == "dataset" else str(value)


def read_options(options_type: type[TaskOptions], given: Mapping[str, Any]) -> TaskOptions:
    """Options from plain values, checked; paths become absolute, and the default checkpoint is filled in.

    Raises
    ------
    OptionError
        A name is unknown, a value is missing, of another type, out of range or not among the choices, or two disagree.
    """
    fields = {field.name: field for field in fields_of(options_type)}
    if unknown := sorted(set(given) - set(fields)):
        raise OptionError(
            f"There is no option {', '.join(unknown)}.", f"There are: {', '.join(fields)}.", "Correct the name."
        )
    values = {}
    for name, field in fields.items():
        value = given.get(name, None if field.default is dataclasses.MISSING else field.default)
        values[name] = None if value is None else _read_value(options_type, field, value)
        if field.metadata["kind"] == "checkpoint" and name == "checkpoint" and value is None:
            from scfviz.model.checkpoint import default_checkpoint

            values[name] = str(default_checkpoint().resolve())
        elif values[name] is None and field.default is not None:
            what = field.metadata["help"] or name.replace("_", " ")
            raise OptionError(f"No {name.replace('_', ' ')} was given.", f"It is needed: {what}.", f"Choose a {name}.")
    options = options_type(**values)
    options.check()
    return options


def identity_of(task: Task, options: TaskOptions) -> dict[str, Any]:
    """What a result depends on: the options, with content instead of the paths of datasets and checkpoints.

    Raises
    ------
    DatasetError, CheckpointError
        One of them is not there.
    """
    from scfviz.data.source import dataset_id
    from scfviz.model.checkpoint import cell_space_of, checkpoint_info

    found = dataclasses.asdict(options) | {"version": task.version}
    for field in fields_of(type(options), "dataset", "checkpoint"):
        path = found[field.name]
        if path is None:
            continue
        if field.metadata["kind"] == "dataset":
            found[field.name] = dataset_id(path)
            continue
        info = checkpoint_info(path)
        found[field.name] = info.hash
        if task.reads_cell_space and (space := cell_space_of(info)) is not None:
            found["cell_space"] = space.hash
    return found


def _read_value(options_type: type[TaskOptions], field: dataclasses.Field, value: Any) -> Any:
    about, kind = field.metadata, value_type(options_type, field)
    if about["kind"] == "filters":
        return _read_filters(value)
    if about["kind"] in ("dataset", "checkpoint"):
        return str(Path(value).expanduser().resolve())
    read = _READERS[kind](value)
    name = title_of(field)
    if read is None:
        raise OptionError(f"{name} is {str(value)[:60]!r}.", f"It must be {_WORDS[kind]}.", "Correct it.")
    if about["choices"] and read not in about["choices"]:
        choices = ", ".join(map(str, about["choices"]))
        raise OptionError(f"{name} is {str(value)[:60]!r}.", f"One of: {choices}.", "Choose one of them.")
    low, high = about["low"], about["high"]
    if (low is not None and read < low) or (high is not None and read > high):
        unit = f" {about['unit']}" if about["unit"] else ""
        least = "" if low is None else f" at least {low:,g}"
        most = "" if high is None else f" at most {high:,g}"
        both = " and" if least and most else ""
        raise OptionError(f"{name} is {read:,g}{unit}.", f"It must be{least}{both}{most}{unit}.", "Change it.")
    return read


def _read_filters(value: Mapping[str, Any]) -> dict[str, float] | None:
    given = {name: limit for name, limit in dict(value).items() if limit is not None}
    if unknown := sorted(set(given) - set(FILTERS)):
        raise OptionError(f"There is no filter {', '.join(unknown)}.", f"There are: {', '.join(FILTERS)}.")
    for name, limit in given.items():
        if _number(limit) is None:
            raise OptionError(f"The filter {name} is {str(limit)[:60]!r}.", "It must be a number.", "Correct it.")
    return given or None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0  # no NaN, no inf
    return value if is_number else None


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else None


_READERS: dict[type, Callable[[Any], Any]] = {
    bool: lambda value: value if isinstance(value, bool) else None,
    int: lambda value: int(value) if _number(value) is not None and int(value) == value else None,
    float: lambda value: None if _number(value) is None else float(value),
    str: lambda value: value if isinstance(value, str) else None,
    tuple: _texts,
}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", tuple: "a list of texts"}
