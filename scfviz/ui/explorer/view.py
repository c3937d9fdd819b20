"""What the parts of the explorer share while one visitor looks at one dataset."""

from dataclasses import dataclass

import numpy as np

from scfviz.analysis.selection.history import SelectionHistory
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.frame import sources
from scfviz.ui.frame.text import plural


@dataclass(frozen=True)
class View:
    """A dataset, how it is looked at, and what is selected.

    Attributes
    ----------
    embed_job
        The computation whose maps are shown; `None` before there is one.
    store
        Folder of the counts by genes, once it is written.
    history
        The selections of this visitor; `history.current` is the rule in force.
    mask
        bool (n_shown,): the shown cells that are selected; `None` when nothing is.
    """

    source: sources.Source
    data: Explored
    embed_job: str | None
    store: str | None
    chosen: Chosen
    history: SelectionHistory
    mask: np.ndarray | None

    @property
    def caption(self) -> str:
        """One line that says what the maps show, for figures."""
        unit = getattr(self.chosen.coloring, "unit", "")
        text = f"{self.source.title}: {plural(len(self.data.shown), 'cell')}, coloured by {self.chosen.coloring.title}"
        return f"{text} in {unit}" if unit else text
