"""The predictors that ship, read once for all visitors: their parameters are public and never changed."""

from pathlib import Path

import streamlit as st

from scfviz.tasks.perturbation import answers
from scfviz.tasks.perturbation.fit import PerturbationModel
from scfviz.tasks.perturbation.predictor import LineAnswers, read_predictor
from scfviz.ui.tasks.perturbation.ask import spaces_in_use


@st.cache_resource(show_spinner=False, max_entries=6)
def shipped_predictor(folder: str) -> PerturbationModel | LineAnswers:
    """A predictor that ships, read once."""
    return read_predictor(Path(folder))


@st.cache_resource(show_spinner=False, max_entries=3)
def answerers(folder: str) -> dict[str, answers.Answerer]:
    """Both questions of a line; what is read out alike is found once for both."""
    model = shipped_predictor(folder)
    spaces = spaces_in_use(None, model.changed.checkpoint["hash"])
    needed = answers.spaces_needed(model.changed, model.direction)
    readout = answers.readouts(model.changed.table.genes, spaces, needed)
    return {
        answers.CHANGED: answers.Answerer(model.changed.table, spaces, readout),
        answers.DIRECTION: answers.Answerer(model.direction.table, spaces, readout),
    }
