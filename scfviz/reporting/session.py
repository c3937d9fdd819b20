"""A saved session: one small JSON file that holds a view and everything needed to find it again elsewhere.

The file holds rules, options and identities, never cells or numbers. It may come from anyone: every field is checked.
"""

import base64
import json
import math
import re
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

import scfviz
from scfviz.analysis.selection.history import MAX_NAME, MAX_NAMED, SelectionHistory, read_history
from scfviz.analysis.selection.rules import from_json
from scfviz.errors import OptionError

VERSION = 1
MAX_BYTES = 50_000_000
MAX_TEXT = 10_000
MAX_LABELS = 5_000
_ID, _JOB = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_VIEW = {
    "maps": list,
    "genes": list,
    "color": str,
    "label": str,
    "value": str,
    "gene": str,
    "set_source": str,
    "set": str,
    "set_genes": str,
    "palette": str,
    "ramp": str,
    "panel": str,
}
_FILTERS = ("min_counts", "min_genes", "max_pct_mt")
EMBEDDING = {"target_depth": float, "depth_fold": float, "pooling": str, "precision": str, "label_columns": list}
_PANELS = {
    "plots": {"genes": list, "by": str, "kind": str, "scaling": str, "order": str, "only_selected": bool},
    "composition": {"what": str, "by": str, "length": str, "only_selected": bool},
}
_SIDES, _CHOICES = ("group", "reference"), ("method", "donor_column")
COMPARISON = (*_SIDES, *_CHOICES)


@dataclass(frozen=True)
class SavedSession:
    """What a session file holds.

    Attributes
    ----------
    dataset
        Identity of the content, see `scfviz.data.source.dataset_id`.
    title, n_obs, size
        What it is called, its cells, and its bytes on disk, to find and to name it.
    view
        Maps, colouring and panel, by the names of the controls.
    filters, gene_column
        How the cells were filtered, and which column names the genes.
    embedding
        The computation of the maps: `job`, `options`, `checkpoint` (name and hash); `None` where there was none.
    tasks
        The computations of the other tasks by name: `job`, `options` (`None`: they name files that are not in the
        session), `checkpoint` (name and hash, or `None`).
    selections
        The current selection and the named ones; no steps to undo.
    labels
        User-defined labels, by column: `name`, `labels`, and `codes`, int (n_obs,), -1 for none.
    comparison
        The last comparison: `group` and `reference` as rules, `method`, `donor_column`.
    panels
        What `plots` (genes in groups) and `composition` showed last, where they were open.
    """

    dataset: str
    title: str
    n_obs: int
    size: int
    view: dict[str, Any] = field(default_factory=dict)
    filters: dict[str, float] = field(default_factory=dict)
    gene_column: str | None = None
    embedding: dict[str, Any] | None = None
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    selections: SelectionHistory = SelectionHistory()
    labels: list[dict[str, Any]] = field(default_factory=list)
    comparison: dict[str, Any] | None = None
    panels: dict[str, dict[str, Any]] = field(default_factory=dict)
    saved_at: str = ""

    def to_bytes(self) -> bytes:
        """The file."""
        present = SelectionHistory(present=self.selections.present)
        content = {
            "scfviz_session": VERSION,
            "scfviz": scfviz.__version__,
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "dataset": {"id": self.dataset, "title": self.title, "n_obs": self.n_obs, "size": self.size},
            "view": self.view,
            "filters": self.filters,
            "gene_column": self.gene_column,
            "embedding": self.embedding,
            "tasks": self.tasks,
            "selections": present.as_dict(),
            "labels": [entry | {"codes": pack_codes(entry["codes"])} for entry in self.labels],
            "comparison": self.comparison,
            "panels": self.panels,
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8")


def read_session(content: bytes) -> SavedSession:
    """A session from the bytes of its file.

    Raises
    ------
    OptionError
        It is no session file, of another version, or damaged.
    """
    if len(content) > MAX_BYTES:
        raise OptionError(
            f"The file has {len(content) / 1e6:.0f} MB.",
            f"A session file has at most {MAX_BYTES / 1e6:.0f} MB.",
            "Choose the file that 'Session file' saved.",
        )
    try:
        fields = json.loads(content.decode("utf-8"))
        version = fields["scfviz_session"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise OptionError(
            "This is no session file of scfviz.", "A .json file that it saved is needed.", "Choose another file."
        ) from None
    if version != VERSION:
        raise OptionError(
            f"The session file is of version {str(version)[:20]}.", f"Version {VERSION} can be read.", "Update scfviz."
        )
    try:
        about = fields["dataset"]
        return SavedSession(
            dataset=_matching(about["id"], _ID),
            title=_text(about["title"]),
            n_obs=_count(about["n_obs"]),
            size=_count(about["size"]),
            view=_read_view(fields["view"]),
            filters={name: _number(fields["filters"][name]) for name in _FILTERS if name in fields["filters"]},
            gene_column=None if fields["gene_column"] is None else _text(fields["gene_column"]),
            embedding=_read_embedding(fields["embedding"]),
            tasks=_read_tasks(fields.get("tasks") or {}),
            selections=replace(read_history(fields["selections"]), past=(), future=()),
            labels=[_read_labels(entry, about["n_obs"]) for entry in _list(fields["labels"], 200)],
            comparison=_read_comparison(fields["comparison"]),
            panels=_read_panels(fields.get("panels") or {}),
            saved_at=_text(fields["saved_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise OptionError(
            f"The session file is damaged ({type(error).__name__}: {str(error)[:80]}).",
            "A file that scfviz saved, unchanged, is needed.",
            "Save the session again where it was made.",
        ) from error


def merge_named(history: SelectionHistory, others: SelectionHistory) -> SelectionHistory:
    """A history with the named selections of another one added; one whose name is taken gets a number."""
    taken = {kept.name: kept.rule for kept in history.named}
    new = []
    for kept in others.named:
        name, number = kept.name, 2
        while name in taken and taken[name] != kept.rule:
            name = f"{kept.name[: MAX_NAME - 6]} ({number})"
            number += 1
        if name in taken:
            continue
        taken[name] = kept.rule
        new.append(replace(kept, name=name))
    named = (*history.named, *new)[:MAX_NAMED]
    return replace(history, present=replace(history.present, named=named))


def pack_codes(codes: np.ndarray) -> str:
    """Small whole numbers as text: 4 bytes each, compressed, in base 64."""
    return base64.b64encode(zlib.compress(np.asarray(codes, "<i4").tobytes(), 9)).decode("ascii")


def unpack_codes(text: str, n: int) -> np.ndarray:
    """The numbers of `pack_codes`, int32 (n,).

    Raises
    ------
    ValueError
        There are not `n` of them.
    """
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(base64.b64decode(text, validate=True), 4 * n + 1)
    except zlib.error as error:
        raise ValueError("labels that cannot be unpacked") from error
    if len(content) != 4 * n:
        raise ValueError("labels of another number of cells")
    return np.frombuffer(content, "<i4").astype(np.int32)


def _read_labels(given: dict[str, Any], n_obs: int) -> dict[str, Any]:
    labels = [_text(label) for label in _list(given["labels"], MAX_LABELS)]
    codes = unpack_codes(_text(given["codes"], MAX_BYTES), _count(n_obs))
    if len(codes) and not -1 <= codes.min() <= codes.max() < len(labels):
        raise ValueError("a label that is not in the list")
    return {"name": _text(given["name"]), "labels": labels, "codes": codes}


def _read_view(given: dict[str, Any]) -> dict[str, Any]:
    view: dict[str, Any] = {}
    for name, kind in _VIEW.items():
        if given.get(name) is not None:
            view[name] = [_text(part) for part in _list(given[name], 10)] if kind is list else _text(given[name])
    return view


def _read_panels(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    read = {bool: bool, str: _text, list: lambda value: [_text(part) for part in _list(value, 100)]}
    return {
        panel: {name: read[kind](given[panel][name]) for name, kind in kinds.items()}
        for panel, kinds in _PANELS.items()
        if given.get(panel) is not None
    }


def _read_embedding(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    options: dict[str, Any] = {}
    for name, kind in EMBEDDING.items():
        value = given["options"].get(name)
        if value is not None:
            read = {float: _number, str: _text, list: lambda v: [_text(part) for part in _list(v, 100)]}[kind]
            options[name] = read(value)
    checkpoint = {"name": _text(given["checkpoint"]["name"]), "hash": _matching(given["checkpoint"]["hash"], _ID)}
    return {"job": _matching(given["job"], _JOB), "options": options, "checkpoint": checkpoint}


def _read_tasks(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is no task here is left for who reads it; options are checked again when they are used."""
    tasks = {}
    for name in _list(list(given), 50):
        entry, checkpoint = given[name], given[name]["checkpoint"]
        if checkpoint is not None:
            checkpoint = {"name": _text(checkpoint["name"]), "hash": _matching(checkpoint["hash"], _ID)}
        options = entry["options"]
        if options is not None:
            options = {_matching(key, _NAME): _plain(options[key]) for key in _list(list(options), 100)}
        job = _matching(entry["job"], _JOB)
        tasks[_matching(name, _NAME)] = {"job": job, "options": options, "checkpoint": checkpoint}
    return tasks


def _plain(value: Any) -> Any:
    """A text, a number, true or false, or a list of texts."""
    if isinstance(value, list):
        return [_text(part) for part in _list(value, 10_000)]
    return value if isinstance(value, bool) else _text(value) if isinstance(value, str) else _number(value)


def _read_comparison(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    from scfviz.analysis.selection.rules import to_json

    texts = {name: None if given.get(name) is None else _text(given[name]) for name in _CHOICES}
    rules = {side: None if given.get(side) is None else to_json(from_json(given[side])) for side in _SIDES}
    if rules["group"] is None:
        raise ValueError("a comparison without cells")
    return texts | rules


def _text(value: Any, most: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise TypeError("a text that is none")
    return value


def _matching(value: Any, pattern: re.Pattern) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError("an identity that is none")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("a number that is none")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("a count that is none")
    return value


def _list(value: Any, most: int) -> list:
    if not isinstance(value, list) or len(value) > most:
        raise TypeError("a list that is none, or is too long")
    return value
