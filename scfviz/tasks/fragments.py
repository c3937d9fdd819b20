"""What reports and scripts are made of, as plain data: whoever computed something says with these what it found.

A fragment holds texts, numbers and pictures, never HTML: the templates of `scfviz.reporting` draw it and escape
everything that comes from a file.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    import pandas as pd

_LARGE_INCHES = 9  # a wider picture would be unreadable on a phone, so that it is scrolled there


@dataclass(frozen=True)
class Text:
    """A paragraph; `look` is "note" for what stands above a table, "warning" for a caveat."""

    text: str
    look: Literal["plain", "note", "warning"] = "plain"
    template: ClassVar[str] = "text.html"


@dataclass(frozen=True)
class Items:
    """A list, numbered or not; each item is a text and when it was, or an empty text."""

    items: Sequence[tuple[str, str]]
    is_numbered: bool = False
    template: ClassVar[str] = "items.html"


@dataclass(frozen=True)
class Picture:
    """A picture: the bytes of an SVG or PNG file, what it shows, and a caption."""

    content: bytes
    alt: str
    caption: str
    template: ClassVar[str] = "picture.html"

    @property
    def address(self) -> str:
        """The picture as text that an HTML page can hold; shown as an image, so nothing in it can run."""
        kind = "png" if self.content.startswith(b"\x89PNG") else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"

    @property
    def is_large(self) -> bool:
        """Whether it is wider than a phone can show it, as the first lines of an SVG picture say."""
        found = re.search(rb'<svg[^>]*? width="([\d.]+)pt"', self.content[:4000])
        return found is not None and float(found[1]) / 72 > _LARGE_INCHES


@dataclass(frozen=True)
class Table:
    """A table of texts: `name` is read out, `numbers` are the columns that hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str
    numbers: Sequence[int] = ()
    template: ClassVar[str] = "table.html"


@dataclass(frozen=True)
class Pairs:
    """Names and what they stand for."""

    rows: Mapping[str, str]
    name: str
    template: ClassVar[str] = "pairs.html"


@dataclass(frozen=True)
class File:
    """A table that the reader can save as `name`.csv; `what` says what is in it."""

    table: "pd.DataFrame"
    name: str
    what: str
    template: ClassVar[str] = "file.html"

    @property
    def content(self) -> bytes:
        """The table as CSV, numbers in six digits."""
        return self.table.to_csv(index=False, float_format="%.6g").encode("utf-8")


Block = Text | Items | Picture | Table | Pairs | File


@dataclass(frozen=True)
class Section:
    """A part of a report: its heading, and what stands below."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Cell:
    """One step of a script: what it does in words, and the code; no code is a text alone."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class Contribution:
    """What a task has to say about one finished result of its own.

    Attributes
    ----------
    title
        Of the task.
    done
        What was done, as one line of the analysis record: "Enhanced 700 cells to 10,000 counts".
    finished
        When, in seconds since 1970.
    methods
        Its sentences in the methods paragraph.
    sections
        Of the report.
    first
        Cells of the script that come before selections are evaluated: they find `DATASET`, `RESULTS`, `adata`,
        `counts`, `check` and `check_close` defined.
    columns
        Code that adds its columns to `obs` and its maps to `maps`, so that selections can speak of them.
    cells
        Cells at the end: they find `kept`, `cells`, `model`, `context` and `takes_part` defined, too.
    cite
        What to cite, in full or as keys of `scfviz.reporting.methods.CITATIONS`.
    caveats
        What a reader must know.
    """

    title: str
    done: str
    finished: float | None = None
    methods: str = ""
    sections: Sequence[Section] = ()
    first: Sequence[Cell] = ()
    columns: str = ""
    cells: Sequence[Cell] = ()
    cite: Sequence[str] = ()
    caveats: Sequence[str] = ()
