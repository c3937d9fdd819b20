"""A small still picture of a map, for pages that show a dataset and ask nothing about its cells."""

import numpy as np

from scfviz.ui.drawing import quantise, raster
from scfviz.ui.drawing.coloring import Values
from scfviz.ui.drawing.quantise import Coloring

_SHARPNESS = 2  # pixels of the picture per pixel of the screen


def draw_thumbnail(points: np.ndarray, coloring: Coloring, *, width: int, height: int, dark: bool = False) -> bytes:
    """The whole map as a PNG on a transparent ground.

    Parameters
    ----------
    points
        float (n_cells, 2); cells without a place (NaN) are left out.
    width, height
        Pixels of the screen; the picture has twice as many, for fine screens.
    dark
        Colours of numbers for a dark page.
    """
    codes = quantise.encode(coloring)
    cells = raster.Cells(codes, quantise.color_table(coloring, dark=dark), isinstance(coloring, Values))
    size, opacity = raster.point_look(len(points), width, height)
    picture = raster.draw_cells(
        points,
        cells,
        box=raster.widen(raster.fit_box(points), width, height),
        width=width * _SHARPNESS,
        height=height * _SHARPNESS,
        size=size * _SHARPNESS,
        opacity=opacity,
        supersampling=1,
    )
    return raster.to_png(picture)
