"""Colours that people with any colour vision can tell apart: for groups, for numbers, and for genes that are mixed.

Every set of group colours begins with published ones: Okabe and Ito's six that show on white and on dark alike (black
and yellow do not), and Paul Tol's "bright" and "muted" without their greys. The others were chosen one by one, each the
farthest from all before it in CIELAB for normal, protan and deutan vision (Machado 2009). Of the first 12 any two are
at least 15 units apart in every vision, of all 60 at least 8.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple


def _colors(text: str) -> tuple[str, ...]:
    return tuple(f"#{color}" for color in text.split())


CATEGORIES = _colors(
    "0072b2 e69f00 009e73 cc79a7 d55e00 56b4e9 c0d884 9c0c24 0c6ce4 544860 f0c0c0 6c9c54 609cfc 483ca8 00e4f0 "
    "186c54 783084 f0cc60 a84818 fc7890 a8a848 846090 607848 e4a8cc e4cca8 305424 487878 b4b478 a86cd8 9084c0 "
    "fce400 2430cc 1860fc 3c0c9c 600078 602430 3c3054 fccc3c a8f0e4 602400 483cc0 a83ca8 789018 6c7830 005448 "
    "30d8fc 54c09c 78fc78 6c84fc f06cd8 902400 84903c 6c54c0 fc1878 24603c 783c78 48b4fc 18cccc 782490 6c0090"
)
_BRIGHT = _colors(
    "4477aa ee6677 228833 ccbb44 66ccee aa3377 003cd8 302484 0090fc 243c18 a8f0cc fce418 c0f09c 003c3c 3cb4fc "
    "cc0c00 84f0f0 0054c0 007848 a8b460 600c60 306cfc 30549c 1824a8 c08400 c0f078 3c9cb4 3ccc9c 5478cc d84878 "
    "00543c e4e454 0ccccc 48a8d8 a8e4a8 3cd8c0 ccc018 840c24 b48454 c0c084 902478 006c00 786060 b4d878 782454 "
    "c05430 0054d8 cc903c 009cf0 786c90 782484 3c6ce4 a86054 90e4fc 3c90cc 788490 483c00 785490 601854 3c5430"
)
_MUTED = _colors(
    "332288 88ccee 44aa99 117733 999933 ddcc77 cc6677 882255 aa4499 4890fc 90f0c0 3c3018 3c9cd8 541860 c09c6c "
    "78f0e4 1860c0 843000 f0d860 849cc0 307854 846c00 fcb49c 24606c 183c3c 78c0fc c0b43c 543c90 54cccc 249c48 "
    "48a8fc 0078c0 b45490 006030 e4e49c 5484b4 90d8c0 78f0fc 544878 30cc84 b4b454 489078 3c3000 542454 3c3c30 "
    "e46c54 00600c fc6c9c 3c78d8 540c6c a85454 b4780c 0048a8 9048a8 e4e478 84c0b4 78a8b4 9c7830 0c5454 6ca8d8"
)
OTHER = "#8f999b"
FAINT = "rgba(128, 140, 143, 0.28)"
PANEL = "rgba(128, 140, 143, 0.07)"
FILE = "file"
GROUP_COLORS = {"okabe-ito": CATEGORIES, "bright": _BRIGHT, "muted": _MUTED}
GROUP_TITLES = {
    FILE: "As in the file, else Okabe-Ito",
    "okabe-ito": "Okabe-Ito",
    "bright": "Tol bright",
    "muted": "Tol muted",
}


class Ramp(NamedTuple):
    """Colours of low to high numbers, without the ends that vanish on a white or a dark ground."""

    title: str
    on_light: tuple[str, ...]
    on_dark: tuple[str, ...]


RAMPS = {
    "viridis": Ramp(
        "Viridis",
        _colors("440154 443983 31688e 21918c 35b779 7ad151 c2df23"),
        _colors("3e4c8a 31688e 26828e 1f9e89 35b779 6dcd59 b4de2c fde725"),
    ),
    "cividis": Ramp(
        "Cividis",
        _colors("00224e 1a386f 444f6c 636670 7f7e78 9f9775 c1b26a e5cf52"),
        _colors("35456c 535a6d 6c6e72 868379 a39a74 c1b26a e0cb56 fee838"),
    ),
    "magma": Ramp(
        "Magma",
        _colors("1c1044 4e117b 802582 b2357b e34e65 fa815f febd82"),
        _colors("641a80 8c2981 b73779 de4968 f7705c fe9f6d fecf92 fcfdbf"),
    ),
    "magma-reversed": Ramp(
        "Magma, high is dark",
        _colors("fde7a9 feaa74 f66c5c d0416f 9b2e7f 671b80 311165"),
        _colors("fcfdbf fecf92 fe9f6d f7705c de4968 b73779 8c2981 641a80"),
    ),
    "blues": Ramp(
        "Blues",
        _colors("c6dbef a4cce3 7ab6d9 539ecd 3484bf 1967ad 084c95 08306b"),
        _colors("1d4a78 1967ad 3484bf 539ecd 7ab6d9 a4cce3 c6dbef eaf3fb"),
    ),
    "greys": Ramp(
        "Greys",
        _colors("d9d9d9 c1c1c1 a2a2a2 828282 656565 444444 1f1f1f 000000"),
        _colors("3a4244 505050 6d6d6d 8a8a8a a8a8a8 c5c5c5 e2e2e2 ffffff"),
    ),
}
DEFAULT_RAMP = "viridis"
VALUES_ON_LIGHT, VALUES_ON_DARK = RAMPS[DEFAULT_RAMP].on_light, RAMPS[DEFAULT_RAMP].on_dark
# Two or three genes at once: none, first, second, first and second, third, third and first, third and second, all.
MIXTURES = _colors("ccd1d4 e69f00 0072b2 80302a cc79a7 e0a070 3030d8 3c3c3c")

_HEX = re.compile(r"#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?")


def category_colors(n: int, stored: Sequence[str] | None = None, chosen: str = FILE) -> tuple[str, ...]:
    """One colour per category.

    Parameters
    ----------
    n
        How many categories, at most 60 with our own colours.
    stored
        `uns["<column>_colors"]` of the file, hexadecimal.
    chosen
        A key of `GROUP_COLORS`; or `FILE`: the file's own where it has a valid one for every category, else
        Okabe-Ito.
    """
    is_valid = stored is not None and len(stored) >= n and all(_HEX.fullmatch(str(color)) for color in stored)
    if chosen == FILE and is_valid:
        return tuple(str(color)[:7] for color in stored[:n])
    return GROUP_COLORS.get(chosen, CATEGORIES)[:n]
