"""What the parts of the explorer share while one visitor looks at one dataset."""

from dataclasses import dataclass

import numpy as np

from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Rule
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.maps import colored_maps
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.frame import sources
from scfviz.ui.tasks.results import jobs_used


@dataclass(frozen=True)
class View:
    """A dataset, how it is looked at, and what is selected.

    Attributes
    ----------
    embed_job
        The embedding whose maps are shown; `None` before there is one.
    store
        Folder of the counts by genes, once it is written.
    history
        The selections of this visitor; `history.current` is the rule in force.
    mask
        bool (n_shown,): the shown cells that are selected; `None` when nothing is.
    task_jobs
        Other finished tasks whose columns and maps are shown.
    hidden
        bool (n_shown,): the cells whose group is switched off in the legend; `None` where that is not known.
    """

    source: sources.Source
    data: Explored
    embed_job: str | None
    store: str | None
    chosen: Chosen
    history: SelectionHistory
    mask: np.ndarray | None
    task_jobs: tuple[str, ...] = ()
    hidden: np.ndarray | None = None

    @property
    def caption(self) -> str:
        """One line that says what the maps show, for figures."""
        return colored_maps.caption(self.source, self.data, self.chosen)

    def task_jobs_of(self, *rules: Rule | None) -> list[str]:
        """Ids of the finished tasks, without the embedding, whose columns or maps rules speak of."""
        return jobs_used(self.task_jobs, rules)
