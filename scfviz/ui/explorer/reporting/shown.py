"""What a panel showed last, for exports: only the choices, kept while other panels are open."""

from typing import Any

import streamlit as st

from scfviz.ui.explorer.data import Explored


def remember(data: Explored, panel: str, **choices: Any) -> None:
    """Keep the choices of a panel; the next ones take their place."""
    st.session_state[_key(data, panel)] = choices


def recall(data: Explored, panel: str) -> dict[str, Any] | None:
    """The choices of a panel as it was open last; `None` where it was not."""
    return st.session_state.get(_key(data, panel))


def _key(data: Explored, panel: str) -> str:
    return f"scfviz.shown.{data.dataset}.{panel}"
