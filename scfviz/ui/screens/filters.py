"""Quality of the cells in three figures, and limits with a preview of what they remove."""

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from scfviz.reporting.numbers import median_text
from scfviz.ui.frame import describe, sources, state
from scfviz.ui.frame.text import plural

if TYPE_CHECKING:
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator

# Column of the metrics, title, axis, logarithmic axis, the limit that acts on it.
_MEASURES = (
    ("total_counts", "Counts per cell", "counts per cell", True, "min_counts"),
    ("n_genes", "Genes per cell", "genes per cell", True, "min_genes"),
    ("pct_counts_mt", "Mitochondrial share", "% of counts, mitochondrial", False, "max_pct_mt"),
)


@st.fragment
def show(source: sources.Source) -> None:
    """Three figures with their limits below; moving a limit shows at once what it removes, a button puts it to use."""
    from scfviz.data.qc import filter_cells
    from scfviz.ui.drawing import charts
    from scfviz.ui.frame import page

    with page.guard():
        metrics = describe.quality(source, state.gene_column())
        about = describe.describe(source, state.gene_column())
        st.caption(_describe_genes(about))
        columns = st.columns(3, gap="medium")
        places = [column.container() for column in columns]
        limits = _limits(columns, metrics, source.ref)
        n_foreign = int(metrics["is_other_species"].sum()) if "is_other_species" in metrics else 0
        if n_foreign:
            limits = {"min_counts": 1.0} | limits
            st.warning(f"{plural(n_foreign, 'cell')} of the mouse cannot be embedded; any limit leaves them out.")
        model_counts = None  # of no meaning where the model reads none of these cells
        if about["refusal"] is None:
            model_counts = describe.open_dataset(source, state.gene_column()).counts.known_counts
        n_empty = 0 if model_counts is None else int((model_counts <= 0).sum())
        if n_empty:  # their depth has no logarithm, so the model cannot read them
            limits = {"min_counts": 1.0} | limits
            st.warning(
                f"{plural(n_empty, 'cell')} without a count in the model's genes cannot be embedded; "
                "any limit leaves them out."
            )
        given = {name: None for name in state.FILTER_TYPES} | limits
        kept = np.asarray(filter_cells(metrics, model_counts=model_counts, **given))
        for place, (name, title, unit, is_log, limit) in zip(places, _MEASURES, strict=True):
            values = metrics[name].to_numpy(float)
            with place:
                st.markdown(f"**{title}** · median {_median(values, is_log)}")
                if np.isfinite(values).any():
                    figure = charts.draw_quality(values, kept, x_title=unit, log=is_log, limit=limits.get(limit))
                    st.plotly_chart(
                        figure, config={"displayModeBar": False}, key=f"quality-{name}", alt=f"Histogram: {title}"
                    )
                else:
                    st.info(
                        "This file has no mitochondrial genes, so their share is not known.", icon=":material/info:"
                    )
        removed = int((~kept).sum())
        with st.container(horizontal=True, vertical_alignment="center"):
            changed = limits != state.filters()
            if st.button(
                "Use these limits", type="primary", disabled=not changed or removed == len(kept), key="use-filters"
            ):
                state.choose_filters(limits)
                st.rerun()
            if state.filters() and st.button(
                "Keep all cells", key="clear-filters", on_click=_forget, args=(source.ref,)
            ):
                st.rerun()
            st.markdown(_words(removed, len(kept), changed))


def _describe_genes(about: dict[str, Any]) -> str:
    """Over which genes cells are counted: all of the file, as other programs do, although the model reads fewer."""
    genes = about["genes"]
    reads = "" if about["refusal"] else f"; the model itself reads {genes['n_measured']:,} of them"
    return (
        f"Counts, genes and mitochondrial share of a cell are taken over all {genes['n_genes']:,} genes of the file, "
        f"and so are the limits{reads}."
    )


def _limits(places: "list[DeltaGenerator]", metrics: "pd.DataFrame", ref: str) -> dict[str, float]:
    used, chosen = state.filters(), {}
    settings = (
        ("min_counts", "At least … counts", 1.0, metrics["total_counts"]),
        ("min_genes", "At least … genes", 1, metrics["n_genes"]),
        ("max_pct_mt", "At most … % mitochondrial", 0.5, metrics["pct_counts_mt"]),
    )
    for place, (name, label, step, values) in zip(places, settings, strict=True):
        kind = state.FILTER_TYPES[name]
        if name == "max_pct_mt" and not np.isfinite(values).any():
            continue
        top = kind(100 if name == "max_pct_mt" else max(float(np.nanmax(values)), 1))
        key = _key(name, ref)
        if key not in st.session_state and name in used:
            st.session_state[key] = min(kind(used[name]), top)
        value = place.container().number_input(
            label,
            kind(0),
            top,
            None,
            kind(max(step, 1)) if kind is int else step,
            key=key,
            placeholder="no limit",
            format="%d" if kind is int else "%.0f" if name == "min_counts" else "%.1f",
        )
        if value is not None and value > 0 or (value is not None and name == "max_pct_mt"):
            chosen[name] = kind(value)
    return chosen


def _key(name: str, ref: str) -> str:
    return f"limit-{name}-{ref}"


def _forget(ref: str) -> None:
    state.choose_filters({})
    for name in state.FILTER_TYPES:
        st.session_state[_key(name, ref)] = None


def _median(values: np.ndarray, is_log: bool) -> str:
    if not np.isfinite(values).any():
        return "–"
    return median_text(np.nanmedian(values)) if is_log else f"{np.nanmedian(values):.1f} %"


def _words(removed: int, n_cells: int, changed: bool) -> str:
    if not removed:
        return f"All {plural(n_cells, 'cell')} kept." if not changed else "These limits remove no cell."
    if removed == n_cells:
        return "These limits remove every cell; loosen one."
    verb = "would be removed" if changed else "are removed"
    share = 100 * removed / n_cells
    return f"**{plural(removed, 'cell')}** of {n_cells:,} ({share:.1f} %) {verb}; {n_cells - removed:,} remain."
