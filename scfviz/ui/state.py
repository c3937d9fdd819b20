"""What a visitor has chosen: ids and options in session and address, so that a link or a refresh restores the view."""

import streamlit as st

from scfviz.errors import OptionError

_DATASET, _JOB, _FILTERS, _MODEL = "scfviz.dataset", "scfviz.job", "scfviz.filters", "scfviz.model"
_GENES, _ANEW = "scfviz.genes", "scfviz.anew"
_NAMES = ("dataset", "job", "model", "genes")
FILTER_TYPES = {"min_counts": float, "min_genes": int, "max_pct_mt": float}


def restore() -> None:
    """Bring session and address together when a page opens; the address wins, because it is what the visitor asked for.

    Raises
    ------
    OptionError
        The address holds a filter that is no number.
    """
    asked = st.query_params
    if "dataset" in asked and asked["dataset"] != dataset():
        choose_dataset(asked["dataset"], keep_address=True)
    if "job" in asked:
        st.session_state[_JOB] = asked["job"]
    if "genes" in asked:
        st.session_state[_GENES] = asked["genes"]
    if "model" in asked:
        st.session_state[_MODEL] = asked["model"]
    given = {name: asked[name] for name in FILTER_TYPES if name in asked}
    if given:
        st.session_state[_FILTERS] = {name: _filter_value(name, text) for name, text in given.items()}
    _write_address()


def dataset() -> str | None:
    """The reference of the dataset in use, such as `demo:pbmc68k_reduced`; see `sources`."""
    return st.session_state.get(_DATASET)


def choose_dataset(ref: str | None, *, keep_address: bool = False) -> None:
    """Use another dataset; results and filters of the last one are let go."""
    st.session_state[_DATASET] = ref
    for key in (_JOB, _FILTERS, _GENES):
        st.session_state.pop(key, None)
    if not keep_address:
        _write_address()


def job() -> str | None:
    """The id of the computation whose result is on screen."""
    return st.session_state.get(_JOB)


def choose_job(job_id: str | None) -> None:
    """Show another computation."""
    st.session_state[_JOB] = job_id
    st.session_state.pop(_ANEW, None)
    _write_address()


def ask_anew() -> None:
    """The visitor wants to choose options again although there is a computation with the last ones."""
    st.session_state[_ANEW] = True


def wants_anew() -> bool:
    """Whether `ask_anew` was called since a computation was chosen."""
    return st.session_state.get(_ANEW, False)


def filters() -> dict[str, float]:
    """The cell filters in use, by name; empty when all cells are kept."""
    return dict(st.session_state.get(_FILTERS) or {})


def choose_filters(values: dict[str, float]) -> None:
    """Use other cell filters; a result computed with the last ones is let go."""
    st.session_state[_FILTERS] = values
    st.session_state.pop(_JOB, None)
    _write_address()


def gene_column() -> str | None:
    """The column of the file that holds the names of the genes; `None` leaves the choice to its content."""
    return st.session_state.get(_GENES)


def choose_gene_column(column: str | None) -> None:
    """Take gene names from another column; a result computed with the last one is let go."""
    st.session_state[_GENES] = column
    st.session_state.pop(_JOB, None)
    _write_address()


def model() -> str:
    """The reference of the checkpoint in use; see `models`."""
    return st.session_state.get(_MODEL, "default")


def choose_model(ref: str) -> None:
    """Use another checkpoint; a result computed with the last one is let go."""
    st.session_state[_MODEL] = ref
    st.session_state.pop(_JOB, None)
    _write_address()


def address() -> dict[str, str]:
    """What the address has to hold to restore dataset, result and filters."""
    model_ref = model() if model() != "default" else None
    parts = {"dataset": dataset(), "job": job(), "model": model_ref, "genes": gene_column()} | {
        name: f"{value:g}" for name, value in filters().items()
    }
    return {name: value for name, value in parts.items() if value}


def _write_address() -> None:
    wanted = address()
    for name in (*_NAMES, *FILTER_TYPES):
        if name in wanted and st.query_params.get(name) != wanted[name]:
            st.query_params[name] = wanted[name]
        elif name not in wanted and name in st.query_params:
            del st.query_params[name]


def _filter_value(name: str, text: str) -> float:
    try:
        return FILTER_TYPES[name](float(text))
    except (ValueError, OverflowError):
        raise OptionError(
            f"The address asks for the filter {name} = '{text[:40]}', which is no number.",
            f"{name} is a number.",
            "Correct the address, or choose the filters again on the Dataset page.",
        ) from None
