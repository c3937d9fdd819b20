"""Words and numbers on screen: names from files stay text, numbers get units that people read."""

import html
import re
from collections.abc import Sequence

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# Streamlit turns these into arrows, dashes and icons after Markdown has removed the backslashes.
_REWRITTEN = re.compile(r"(?<=-)(?=[->])|(?<=<)(?=-)|(?<=:)(?=[a-z])")
_WORD_JOINER = "\u2060"


def plain(text: object) -> str:
    """Text from a file, made safe for Markdown: shown letter by letter, never as markup.

    Parameters
    ----------
    text
        A name of a file, gene, column or label, from anywhere.

    Returns
    -------
    str
        One line of Markdown that renders as the text itself.
    """
    line = " ".join(str(text).split())
    return _PUNCTUATION.sub(r"\\\1", _REWRITTEN.sub(_WORD_JOINER, line))


def hover(text: object, length: int = 60) -> str:
    """Text from a file, made safe for Plotly, which reads a little HTML in labels and hover boxes."""
    return html.escape(shorten(text, length), quote=False)


def shorten(text: object, length: int) -> str:
    """One line of at most `length` letters, cut in the middle so that both ends of a file name stay readable."""
    line = " ".join(str(text).split())
    if len(line) <= length:
        return line
    head = (length - 1) // 2
    return f"{line[:head]}…{line[len(line) - (length - 1 - head) :]}"


def shorten_apart(texts: Sequence[object], length: int) -> list[str]:
    """Each text shortened; those that would look alike keep as many letters as it takes to tell them apart."""
    lines = [" ".join(str(text).split()) for text in texts]
    lengths = [length] * len(lines)
    while True:
        short = [shorten(line, n) for line, n in zip(lines, lengths, strict=True)]
        of: dict[str, set[str]] = {}
        for line, cut in zip(lines, short, strict=True):
            of.setdefault(cut, set()).add(line)
        if all(len(found) == 1 for found in of.values()):
            return short
        lengths = [n + 8 * (len(of[cut]) > 1) for n, cut in zip(lengths, short, strict=True)]


def number(value: float) -> str:
    """A count with thousands separators: `12,345`; small fractions keep two digits."""
    if value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.2f}"


def short_number(value: float) -> str:
    """A large number in three digits: `119 M`, `2.3 k`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return number(value)


def plural(count: int, word: str, words: str | None = None) -> str:
    """`1 cell`, `700 cells`."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def size(n_bytes: float) -> str:
    """A file size: `3.4 MB`."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= limit:
            return f"{n_bytes / limit:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def duration(seconds: float) -> str:
    """A waiting time in words: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
