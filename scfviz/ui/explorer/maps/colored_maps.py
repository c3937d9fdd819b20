"""The maps of a dataset with their colours and legend, as one piece for every page that shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from scfviz.ui.drawing.cell_map import cell_map
from scfviz.ui.explorer import address
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.maps import colors
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.frame import sources
from scfviz.ui.frame.text import plural


def show(
    source: sources.Source,
    data: Explored,
    *,
    key: str,
    store: str | None = None,
    maps: Sequence[str] | None = None,
    height: int = 420,
) -> Chosen:
    """Draw controls, maps and legend; the address and the session keep what is chosen, on every page the same.

    For a page that selects nothing; call it inside a fragment, so that a new colour does not run the whole page.

    Parameters
    ----------
    source, data
        The dataset, and how the explorer opened it: `explorer_data.explore(source, embed_job, store)`.
    key
        Name of the maps in the session.
    store
        Folder of the counts by genes, once it is written; see `explorer_data.store_folder`.
    maps
        Names of the maps, where the page decides; the visitor chooses otherwise.
    height
        Pixels of a map, at least.

    Returns
    -------
    Chosen
        What is drawn: for figures and captions.
    """
    address.restore(data)
    data = colors.with_palette(data)
    chosen = colors.choose(source, data, store, has_maps=maps is None)
    if maps is not None:
        chosen = replace(chosen, maps=list(maps))
    address.write(data, address.read().get(address.SELECTION), is_complete=chosen.is_complete)
    draw(source, data, chosen, key=key, height=height)
    return chosen


def draw(
    source: sources.Source,
    data: Explored,
    chosen: Chosen,
    *,
    key: str,
    height: int = 420,
    selected: np.ndarray | None = None,
    outlines: Mapping[str, Sequence] | None = None,
    shortcuts: Sequence[tuple[str, str]] = (),
    renamable: bool = False,
) -> None:
    """Draw the maps that were chosen, with the legend; the parameters are those of `cell_map`."""
    cell_map(
        {name: data.maps[name] for name in chosen.maps},
        chosen.coloring,
        key=key,
        height=height,
        selected=selected,
        outlines=outlines,
        names=data.obs.index,
        titles=data.titles,
        filename=f"{stem(source)}_map",
        caption=caption(source, data, chosen),
        renamable=renamable and chosen.column in data.labels,
        shortcuts=shortcuts,
    )


def caption(source: sources.Source, data: Explored, chosen: Chosen) -> str:
    """One line that says what the maps show, for figures."""
    unit = getattr(chosen.coloring, "unit", "")
    text = f"{source.title}: {plural(len(data.shown), 'cell')}, coloured by {chosen.coloring.title}"
    return f"{text} in {unit}" if unit else text


def stem(source: sources.Source) -> str:
    """The name of a dataset without folder and ending, for files."""
    return source.title.rsplit("/", 1)[-1].split(".")[0] or "cells"
