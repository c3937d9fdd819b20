"""Where the titles of modules stand beside their discs: on no other title, and on no other disc where there is room."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scfviz.ui.frame.text import shorten

FONT_PIXELS, LINE_PIXELS, GAP_PIXELS = 13, 16, 3
_LETTER = 0.56 * FONT_PIXELS  # a bold letter's width
_LINE_LETTERS, _SHORT = 22, 12
_SIDES = ("top", "bottom", "left", "right")

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Title:
    """What is written, one line or two, on which side of the disc, and the pixels that it takes."""

    text: str
    position: str
    box: Box


def place_titles(
    names: Sequence[str], numbers: Sequence[int], discs: Sequence[tuple[float, float, float]], width: float
) -> list[Title]:
    """A title for each disc, those of the largest discs placed first.

    Parameters
    ----------
    names, numbers
        Of the modules. Where no name has room, the number stands in the disc, or nothing.
    discs
        Middle and radius in pixels, y downwards, x from the middle of the picture.
    width
        Of the picture, pixels: no title leaves it.
    """
    grounds = [(x - r, y - r, x + r, y + r) for x, y, r in discs]
    found: dict[int, Title] = {}
    for i in sorted(range(len(discs)), key=lambda i: -discs[i][2]):
        taken = [title.box for title in found.values()]
        others = [ground for j, ground in enumerate(grounds) if j != i]
        free = [
            title
            for title in _candidates(names[i], discs[i])
            if max(-title.box[0], title.box[2]) <= width / 2 and not _meets(title.box, taken)
        ]
        apart = (title for title in free if not _meets(title.box, others))
        number = _inside(str(numbers[i]), discs[i])
        last = number if not _meets(number.box, taken) else _inside("", discs[i])
        found[i] = next(apart, None) or next(iter(free), last)
    return [found[i] for i in range(len(discs))]


def wrap(name: str) -> str:
    """A name in one line or two, cut where these do not do."""
    name = " ".join(name.split())
    if len(name) <= _LINE_LETTERS:
        return name
    words = name.split(" ")
    splits = [(" ".join(words[:k]), " ".join(words[k:])) for k in range(1, len(words))]
    lines = min(splits, key=lambda pair: max(map(len, pair)), default=(name,))
    return "\n".join(shorten(line, _LINE_LETTERS) for line in lines)


def _candidates(name: str, disc: tuple[float, float, float]) -> Iterator[Title]:
    x, y, r = disc
    for text in dict.fromkeys((wrap(name), shorten(name, _LINE_LETTERS), shorten(name, _SHORT))):
        w, h = _size(text)
        for side in _SIDES:
            left = {"left": x - r - GAP_PIXELS - w, "right": x + r + GAP_PIXELS}.get(side, x - w / 2)
            top = {"top": y - r - GAP_PIXELS - h, "bottom": y + r + GAP_PIXELS}.get(side, y - h / 2)
            yield Title(text, side, (left, top, left + w, top + h))


def _inside(text: str, disc: tuple[float, float, float]) -> Title:
    (x, y, _), (w, h) = disc, _size(text)
    return Title(text, "inside", (x - w / 2, y - h / 2, x + w / 2, y + h / 2))


def _size(text: str) -> tuple[float, float]:
    lines = text.split("\n")
    return _LETTER * max(map(len, lines)), LINE_PIXELS * len(lines)


def _meets(box: Box, others: Sequence[Box]) -> bool:
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in others)
