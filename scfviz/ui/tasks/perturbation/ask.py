"""Asking a predictor: one or two genes, what would change, how certain that is, and what is measured beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.data.perturbations import parse_condition
from scfviz.tasks.perturbation import methods
from scfviz.tasks.perturbation.card import verdict, view_verdict
from scfviz.tasks.perturbation.effects import ScreenEffects
from scfviz.tasks.perturbation.fit import (
    KIND_TITLES,
    MEASURED,
    PerturbationEffects,
    PerturbationModel,
    kind_of,
    predict_perturbation,
)
from scfviz.tasks.perturbation.spaces import GeneSpace, spaces_of
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import page, routes, sources
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks.perturbation import figures, scenarios

_MOST_BARS, _MOST_ROWS, _FOR_TERMS = 20, 2_000, 50
_UNKNOWN = "unknown to the model"


@st.cache_resource(show_spinner=False, max_entries=4)
def spaces_in_use(checkpoint: str | None, fitted: str = "") -> dict[str, GeneSpace]:
    """Both spaces of genes, read once; where no checkpoint is named, of the model with the hash `fitted`."""
    return spaces_of(checkpoint, fitted={"hash": fitted})


def show_effects(
    model: PerturbationModel,
    checkpoint: str | None,
    source: sources.Source | None,
    *,
    key: str,
    asked: scenarios.Asked,
    place: Any = None,
) -> None:
    """Ask a predictor of changes: choice of genes, verdict, pictures, table, scenarios.

    Parameters
    ----------
    checkpoint
        Folder of the model whose gene embeddings it was fitted with; None: found.
    key
        Tells its controls from those of other predictors.
    asked
        What the predictor is called.
    place
        Column in which the genes are chosen.
    """
    spaces = spaces_in_use(checkpoint, model.checkpoint["hash"])
    known = {one[0] for one in model.effects.targets if len(one) == 1}
    in_pairs = {gene for one in model.effects.targets for gene in one} - known
    genes = choose_genes(key, known, in_pairs, spaces, place or st, most=2, first=_first(model.effects))
    if not genes:
        st.markdown("Choose one or two genes.")
        return
    condition = "+".join(sorted(genes))
    there = [view for view in methods.VIEWS if view != methods.GRAPH or model.factors is not None]
    method = choose_method({view: methods.TITLES[view] for view in there}, key)
    found = predict_perturbation(model, [condition], spaces, method=method)
    kind = found.kinds[0]
    show_status(genes, known, in_pairs, spaces)
    table = effects_table(model, found)
    with st.container(border=True, key=f"card-verdict-{key}"):
        st.markdown(f"#### {plain(condition)}: {KIND_TITLES[kind]}")
        other = kind_of(found.conditions[0].split("+"), known - set(genes) if len(genes) == 1 else known)
        if method != methods.COMBINATION:
            st.markdown(view_verdict(model, other if kind == MEASURED else kind, method))
        elif kind == MEASURED:
            st.markdown(
                "This condition was measured in the screen: its measured change is shown. What the predictor said of "
                "it when it was held out stands beside it."
            )
            st.markdown(verdict(model, other))
        else:
            st.markdown(verdict(model, kind))
    _show_pictures(table, key)
    _show_table(table, found, condition, key)
    _show_terms(table, key)
    show_on_map(genes, source, key)
    if method == methods.COMBINATION:
        scenarios.show(condition, table[~table["is_target"]], asked, key)
    else:
        st.caption("Scenarios are kept of the combination.")


def choose_method(views: Mapping[str, str], key: str) -> str:
    """The combination, or one view alone, by its title."""
    titles = {methods.COMBINATION: "Combination of all views, by what each is worth"} | dict(views)
    with st.popover("Method", icon=":material/tune:"):
        chosen = st.radio(
            "What answers",
            list(titles),
            format_func=titles.get,
            key=f"perturbation-method-{key}",
            help="a view alone is a baseline: it has no learned interval",
        )
    return chosen


def _first(effects: ScreenEffects) -> list[str]:
    """The gene that a page opens with: the one that was measured alone and changed most, over its noise."""
    singles = [
        (-value, one[0]) for one, value in zip(effects.targets, effects.strength(), strict=True) if len(one) == 1
    ]
    return [gene for _, gene in sorted(singles)[:1]]


def effects_table(model: PerturbationModel, found: PerturbationEffects, row: int = 0) -> pd.DataFrame:
    """One row a gene, the largest change first: change with interval, measured, held out, and each view alone."""
    table = pd.DataFrame(
        {
            "gene": found.genes,
            "change": found.change[row],
            "low": found.low[row],
            "high": found.high[row],
            "control": model.effects.control,
        }
    )
    names = list(model.effects.conditions)
    if found.conditions[row] in names:
        table["measured"] = found.measured[row]
        table["held_out"] = np.asarray(model.held_out)[names.index(found.conditions[row])]
    for view, said in found.views.items():
        table[view] = said[row]
    if methods.GRAPH in found.views:
        table["graph_spread"] = found.graph_spread[row]
    table["is_target"] = table["gene"].isin(found.conditions[row].split("+"))
    order = np.argsort(-table["change"].abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def choose_genes(
    key: str,
    known: set[str],
    in_pairs: set[str],
    spaces: dict[str, GeneSpace],
    place: Any,
    *,
    most: int,
    first: list[str],
) -> list[str]:
    """The genes to perturb, by the model's symbols; each name says whether it was measured."""
    chosen = place.multiselect(
        "Gene to perturb" if most == 1 else "One or two genes to perturb",
        _options(tuple(sorted(known)), tuple(sorted(in_pairs))),
        default=first,
        max_selections=most,
        accept_new_options=True,
        select_all=False,
        key=f"perturbation-genes-{key}",
        format_func=lambda gene: f"{gene} · {_status(gene, known, in_pairs, spaces)}",
        placeholder="Type a gene",
    )
    genes = [gene for text in chosen for gene in parse_condition(text)]
    return list(dict.fromkeys(genes))[:most]


@st.cache_data(show_spinner=False, max_entries=12)
def _options(known: tuple[str, ...], in_pairs: tuple[str, ...]) -> list[str]:
    """Every gene that can be asked for: those measured alone, those in pairs, all others of the vocabulary."""
    from scfviz.data.vocabulary import load_vocabulary

    others = sorted(set(load_vocabulary().symbols) - set(known) - set(in_pairs))
    return [*known, *in_pairs, *others]


def _status(gene: str, known: set[str], in_pairs: set[str], spaces: dict[str, GeneSpace]) -> str:
    if gene in known:
        return "measured in training"
    if gene in in_pairs:
        return "measured in pairs only"
    return "unseen" if any(gene in space.place for space in spaces.values()) else _UNKNOWN


def show_status(genes: list[str], known: set[str], in_pairs: set[str], spaces: dict[str, GeneSpace]) -> None:
    """Each gene with what is known of it."""
    words = [f"**{plain(gene)}** {_status(gene, known, in_pairs, spaces)}" for gene in genes]
    st.markdown(" · ".join(words))
    for gene in genes:
        if gene not in known and gene not in spaces["go"].place:
            st.caption(
                f":material/info: {plain(gene)} has no process in the Gene Ontology: its prediction is the mean of all "
                "perturbations, and the model's embedding where it has weight."
            )


def _show_pictures(table: pd.DataFrame, key: str) -> None:
    shown = table[~table["is_target"]]
    is_alone = bool(shown["low"].isna().all())
    half = 1.0 if is_alone else np.maximum((shown["high"] - shown["low"]) / 2, 1e-9)
    side = np.where(shown["low"] > 0, 1, np.where(shown["high"] < 0, -1, 0))
    points = pd.DataFrame(
        {"gene": shown["gene"], "x": shown["change"], "y": shown["change"].abs() / half, "side": side}
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Every gene")
        height = "size of the change" if is_alone else "change over half of its 90 % interval"
        figure = figures.draw_volcano(points, f"change, {figures.UNIT}", height)
        st.plotly_chart(figure, config=toolbar(f"{key}_volcano"), key=f"volcano-{key}")
        clear = f"{plural(int((side != 0).sum()), 'gene')} whose 90 % interval leaves out zero."
        st.caption(f"{'A view alone has no interval.' if is_alone else clear} Population means.")
    with right:
        st.markdown("##### The largest changes")
        top = shown.head(_MOST_BARS)
        of_measured, name = ("measured", "measured") if is_alone else ("held_out", "predicted when held out")
        beside = of_measured if of_measured in top else None
        figure = figures.draw_bars(top, beside=beside, beside_name=name)
        st.plotly_chart(figure, config=toolbar(f"{key}_changes"), key=f"bars-{key}")
        if beside == "held_out":
            st.caption("Bars: measured. Diamonds: what was predicted without having seen it.")


def _show_table(table: pd.DataFrame, found: PerturbationEffects, condition: str, key: str) -> None:
    names = {
        "gene": "Gene",
        "change": "Change",
        "low": "5 %",
        "high": "95 %",
        "measured": "Measured",
        "held_out": "Predicted when held out",
        "control": "Control",
    } | {view: methods.TITLES[view] for view in found.views}
    names["graph_spread"] = "Standard deviation of three networks"
    shown = table[[name for name in names if name in table]].dropna(axis=1, how="all").rename(columns=names)
    with st.expander(f"Table of all genes, with each view alone ({found.kinds[0].replace('_', ' ')})"):
        st.dataframe(
            shown.head(_MOST_ROWS),
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="%.3f") for name in shown.columns if name != "Gene"
            },
        )
        st.caption(f"Mean change against control in {figures.UNIT}; the perturbed gene itself is in the table.")
    st.download_button(
        "Table of changes (CSV)",
        lambda: table.to_csv(index=False),
        f"{condition}_changes.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key=f"download-changes-{key}",
    )


def _show_terms(table: pd.DataFrame, key: str) -> None:
    """Gene Ontology terms of what changes; a second's work, so it is asked for."""
    if not st.toggle("Gene Ontology terms of what changes", key=f"perturbation-terms-{key}"):
        return
    from scfviz.analysis.enrichment import enrich_list
    from scfviz.analysis.gene_sets import load_gene_ontology

    changed = table[~table["is_target"]]
    sides = {"Higher": changed[changed["change"] > 0], "Lower": changed[changed["change"] < 0]}
    for column, (side, part) in zip(st.columns(2, gap="large"), sides.items(), strict=True):
        with column, page.guard():
            st.markdown(f"##### {side}: the {min(_FOR_TERMS, len(part))} largest changes")
            if part.empty:
                continue
            terms = enrich_list(list(part["gene"].head(_FOR_TERMS)), load_gene_ontology(), list(table["gene"]))
            shown = terms.head(12)[["name", "n_overlap", "n_set", "fold", "pvals_adj", "genes"]]
            st.dataframe(
                shown.set_axis(["Process", "Overlap", "Genes", "Fold", "Adjusted p", "Which"], axis=1), hide_index=True
            )
    st.caption(f"Against the {len(table):,} genes read out; p adjusted over all sets (Benjamini-Hochberg).")


def show_on_map(genes: list[str], source: sources.Source | None, key: str) -> None:
    """Buttons that show a perturbed gene on the map of the cells in use."""
    if source is None:
        return
    with st.container(horizontal=True):
        for gene in genes:
            if st.button(f"{gene} on the map", icon=":material/scatter_plot:", key=f"on-map-{key}-{gene}"):
                from scfviz.ui.explorer.maps import colors

                st.session_state["x_color"] = "gene"
                colors.put("x_gene", gene)
                routes.go("explorer")
