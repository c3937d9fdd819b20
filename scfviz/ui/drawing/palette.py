"""Colours that people with any colour vision can tell apart.

`CATEGORIES` begins with Okabe and Ito's six colours that show on white and on dark alike (black and yellow do not). The
others were chosen one by one, each the farthest from all before it in CIELAB for normal, protan and deutan vision
(Machado 2009), among colours of medium lightness and little chroma. Any two of the first 12 are at least 17 units apart
in every vision, of all 30 at least 11.
"""

import re
from collections.abc import Sequence

CATEGORIES = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#d55e00",
    "#56b4e9",
    "#c0d884",
    "#9c0c24",
    "#0c6ce4",
    "#544860",
    "#f0c0c0",
    "#6c9c54",
    "#609cfc",
    "#483ca8",
    "#00e4f0",
    "#186c54",
    "#783084",
    "#f0cc60",
    "#a84818",
    "#fc7890",
    "#a8a848",
    "#846090",
    "#607848",
    "#e4a8cc",
    "#e4cca8",
    "#305424",
    "#487878",
    "#b4b478",
    "#a86cd8",
    "#9084c0",
)
OTHER = "#8f999b"
FAINT = "rgba(128, 140, 143, 0.28)"
PANEL = "rgba(128, 140, 143, 0.07)"
# Viridis without the ends that vanish on a white (yellow) or dark (violet) ground.
VALUES_ON_LIGHT = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#7ad151", "#c2df23")
VALUES_ON_DARK = ("#3e4c8a", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6dcd59", "#b4de2c", "#fde725")

_HEX = re.compile(r"#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?")


def category_colors(n: int, stored: Sequence[str] | None = None) -> tuple[str, ...]:
    """One colour per category: the file's own where it has a valid one for every category, else ours.

    Parameters
    ----------
    n
        How many categories, at most 30 with our own colours.
    stored
        `uns["<column>_colors"]` of the file, hexadecimal.
    """
    if stored is not None and len(stored) >= n and all(_HEX.fullmatch(str(color)) for color in stored):
        return tuple(str(color)[:7] for color in stored[:n])
    return CATEGORIES[:n]
