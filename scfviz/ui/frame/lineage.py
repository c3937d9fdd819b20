"""Where the cells of a dataset came from, in one line, with the way back."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from scfviz.data.source import dataset_id
from scfviz.errors import DatasetError, OptionError
from scfviz.ui.frame import routes, sources, state
from scfviz.ui.frame.text import plain, shorten


def show(lineage: Sequence[dict[str, Any]]) -> None:
    """Say which dataset the cells were selected in, and how; nothing for a dataset that is no subset.

    Parameters
    ----------
    lineage
        From `scfviz.jobs.kinds.export.read_lineage`.
    """
    if not lineage:
        return
    last = lineage[-1]
    before = [plain(shorten(entry["title"], 40)) for entry in lineage[:-1]]
    since = f", itself selected in {', in '.join(reversed(before))}" if before else ""
    with st.container(horizontal=True, vertical_alignment="center", key="lineage"):
        st.caption(
            f":material/account_tree: **{last['n_cells']:,} of {last['n_obs']:,} cells** of "
            f"{plain(shorten(last['title'], 60))}{since} · {plain(shorten(last['words'], 120))} · "
            f"{plain(last['at'][:10])}"
        )
        if _is_here(last["ref"]) and st.button(
            "Back to it",
            icon=":material/arrow_upward:",
            type="tertiary",
            key="lineage-back",
            help="Open the dataset that the cells were selected in",
        ):
            _go_back(last)


def _is_here(ref: str) -> bool:
    try:
        sources.resolve(ref)
    except DatasetError:
        return False
    return True


def _go_back(entry: dict[str, Any]) -> None:
    if dataset_id(sources.resolve(entry["ref"]).path) != entry["dataset"]:
        raise OptionError(
            f"'{entry['title']}' is not the file any more that the cells were selected in.",
            "Its content has changed since.",
            "Choose it on the Dataset page if you want to open it all the same.",
        )
    open_dataset(entry["ref"])


def open_dataset(ref: str) -> None:
    """Use another dataset in the explorer; what its controls showed of the last one is let go."""
    for key in [key for key in st.session_state if str(key).startswith("x_") and not str(key).endswith("_author")]:
        del st.session_state[key]
    state.choose_dataset(ref, keep_address=True)  # the address changes once, so that Back shows the dataset of now
    routes.go("explorer")
