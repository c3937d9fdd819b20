"""The result of an enhancement: the verdict first, then genes before and after, tables and files."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.data.normalise import COUNTS_PER_CELL, log_values
from scfviz.jobs import JobStatus
from scfviz.tasks.enhancement.options import COMBINATION, DATASET_ALONE, POSTERIOR
from scfviz.tasks.registry import get_task
from scfviz.tasks.result import Result
from scfviz.ui.frame import page, sources
from scfviz.ui.frame.text import number, plain, plural
from scfviz.ui.tasks import request
from scfviz.ui.tasks.result import show_downloads, show_facts
from scfviz.ui.tasks.results import load_result

if TYPE_CHECKING:
    from scfviz.ui.explorer.data import Explored

TASK = get_task("enhancement")
MANY_INVENTED = 20  # correlations per 1,000 pairs
MODEL_SECONDS = 0.2  # a cell, on one processor core
FOLDS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_METHOD_COLUMNS = {
    "method": "Method",
    "correlation": "Correlation per gene",
    "fold": "Effective fold",
    "weight": "Weight in the combination",
    "poisson_loss": "Poisson loss (nats)",
    "mse": "Squared error of ln(1 + counts per 10,000)",
    "invented_per_1000": "Invented correlations per 1,000 pairs",
    "false_positives": "False differences (%, 5 is right)",
}
_GENE_COLUMNS = {
    "gene": "Gene",
    "light": "Light",
    "n_cells": "Cells with counts, of those compared",
    "correlation_input": "Correlation of the counts",
    "correlation": "Correlation, enhanced",
    "gain": "Gain",
    "gain_error": "Standard error",
    "loss_gain": "Gain over the gene's mean (nats per cell)",
}


@dataclass(frozen=True)
class Depths:
    """An enhanced matrix that can be seen at any depth.

    What is seen of a cell, and the share that a method expects, do not depend on the depth: one stored depth gives all.
    """

    result: Result

    def gene(self, name: str, fold: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """ln(1 + counts per 10,000) of a gene, counted and at so many times the own depth (None: as it was asked)."""
        column = self.result.tables["genes"]["gene"].tolist().index(name)
        seen = np.asarray(self.result.arrays["counts"][:, column].todense(), dtype=np.float64).ravel()
        depth, target = (self.result.cells[key].to_numpy(float) for key in ("source_depth", "target_depth"))
        before = log_values(seen, depth)
        after = np.asarray(self.result.arrays["enhanced"][:, column], dtype=np.float64)
        if fold is not None:
            more = np.maximum(target - depth, 0.0)
            rest = np.maximum(np.expm1(after) * target / COUNTS_PER_CELL - seen, 0.0)
            share = np.divide(rest, more, out=np.zeros(len(more)), where=more > 0)
            after = log_values(seen + share * (fold - 1) * depth, fold * depth)
        return before, after.astype(np.float32)


def show_request(source: sources.Source) -> None:
    """The form; it starts without the model, whose answers take long.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    said = (
        f"Without the model the answer takes seconds. The method *{COMBINATION}* asks the model about every cell "
        f"({_model_time(request.describe_cells(source)['n_obs'])}); its part can be added to the result later."
    )
    request.show(TASK, source, defaults={"method": DATASET_ALONE}, said=said)


def _model_time(n_obs: int) -> str:
    from scfviz.tasks.enhancement.scores import N_DRAWN_BY_MODEL, N_SCORED_BY_MODEL

    seconds = MODEL_SECONDS * (n_obs + N_SCORED_BY_MODEL + N_DRAWN_BY_MODEL)
    return f"about {seconds / 60:,.0f} minutes on a processor" if seconds > 90 else "about a minute on a processor"


def show_result(job: JobStatus, source: sources.Source) -> None:
    """Everything about a finished enhancement."""
    result = load_result(job.id)
    show_verdict(result)
    _offer_model(result, source)
    show_facts(TASK, result)
    _show_genes(job.id, source)
    _show_table(result)
    _show_unmeasured(result)
    show_downloads(TASK, result, source)


def _offer_model(result: Result, source: sources.Source) -> None:
    """Ask for the same with the model, where it took no part."""
    options = result.report["options"]
    if options["method"] != DATASET_ALONE:
        return
    with st.container(border=True, key="card-model"):
        st.markdown(
            "**The model took no part in this.** What it adds is measured on the same held-back counts; it takes "
            f"{_model_time(len(result.kept))}."
        )
        if st.button("Add the model's part", icon=":material/neurology:", key="enhancement-add-model"):
            names = ("target_depth", "depth_fold", "genes", "all_genes", "intervals")
            given = {name: options[name] for name in names if options.get(name) not in (None, False)}
            request.start(TASK, source, method=COMBINATION, **given)
            st.rerun()


def say_verdict(result: Result) -> list[str]:
    """The verdict in sentences, the most important one first; the numbers are those of the user's own cells."""
    scores, method = result.scores, result.report["options"]["method"]
    if "effective_fold" not in scores and "correlation_per_gene" in scores:
        return [
            "**How much depth this is worth cannot be told on these cells.** The correlation per gene with held-back "
            f"counts is {scores['correlation_per_gene']:.2f}, that of the counts themselves "
            f"{scores['correlation_per_gene_of_input']:.2f}.",
            *filter(None, [_say_invented(result, method)]),
        ]
    if "effective_fold" not in scores:
        return ["**No verdict on these cells.** Nothing says whether the enhanced values are better than the counts."]
    fold, low, high = (scores[f"effective_fold{end}"] for end in ("", "_low", "_high"))
    if low > 1:
        first = f"**Enhancing these cells is like sequencing them {fold:.1f} times deeper**"
    elif high < 1:
        first = f"**Enhancing these cells makes them worse: it is like {fold:.2g} times the depth**"
    else:
        first = f"**Enhancement gains nothing certain on these cells: it is like {fold:.1f} times the depth**"
    beyond = " or more" if fold >= 19 else ""
    said = [f"{first}{beyond} (90 % interval {low:.2g} to {high:.2g}; method: {plain(method)})."]
    best, of_best = scores["best_simple_method"], scores["effective_fold_of_best_simple_method"]
    if best not in (method, "input"):
        said.append(f"The best simple method, {plain(best)}, is like {of_best:.1f} times the depth.")
    if "gain_by_the_model" in scores:
        gain, low, high = (scores[f"gain_by_the_model{end}"] for end in ("", "_low", "_high"))
        what = "adds" if low > 0 else "takes away" if high < 0 else "adds nothing certain"
        said.append(
            f"The model {what}: the correlation per gene changes by {gain:+.3f} against the dataset alone "
            f"({low:+.3f} to {high:+.3f})."
        )
    said.append(_say_invented(result, method))
    if (coverage := scores.get("interval_coverage")) is not None:
        said.append(
            f"Intervals that should hold 90 % held {coverage:.0%} of the held-back counts (where the interval is not "
            "zero alone; counts are whole numbers, so more than 90 % is no surprise)."
        )
    n_avoid, n_use = scores["genes_not_to_be_used"], scores["genes_to_use"]
    said.append(f"Of the genes compared, {n_use:,} can be used for certain, {n_avoid:,} should not be.")
    return [sentence for sentence in said if sentence]


def _say_invented(result: Result, method: str) -> str:
    table = result.tables["methods"].set_index("method")
    if method not in table.index or "invented_per_1000" not in table or table["invented_per_1000"].isna().all():
        return ""
    pairs, own = table.loc[method, "invented_per_1000"], table.loc["input", "invented_per_1000"]
    text = f"It invents {pairs:.0f} correlations per 1,000 pairs of genes (the counts show {own:.0f})."
    careful = table["invented_per_1000"].get(POSTERIOR, pairs)
    if pairs > MANY_INVENTED and careful < pairs / 2:
        text = (
            f"**It invents {pairs:.0f} correlations per 1,000 pairs of genes** (the counts show {own:.0f}); the method "
            f"*{POSTERIOR}* invents {careful:.0f}: take that where genes are compared with each other."
        )
    wrong, of_counts = table.loc[method, "false_positives"], table.loc["input", "false_positives"]
    if np.isfinite(wrong):
        text += (
            f" Do not test for differential expression on these values: {wrong:.0f} % of genes without any difference "
            f"come out as different at p < 0.05, of the counts {of_counts:.0f} %. Compare counts in the Explorer."
        )
    return text


def show_verdict(result: Result) -> None:
    """The verdict, the picture of it, and the methods beside each other."""
    from scfviz.ui.tasks.enhancement import figures

    first, *others = say_verdict(result)
    methods = result.tables["methods"]
    with st.container(border=True, key="card-verdict"):
        st.markdown(f"#### What this is worth on your cells\n\n{first}")
        for sentence in others:
            st.markdown(f"- {sentence}")
        if not len(methods):
            return
        method = result.report["options"]["method"]
        if methods["fold"].notna().any():
            figure = figures.draw_worth(result.tables["read_depth_curve"], methods, method)
            st.plotly_chart(figure, key="enhancement-worth", config={"displaylogo": False})
        shown = methods[[name for name in _METHOD_COLUMNS if name in methods]].rename(columns=_METHOD_COLUMNS)
        st.dataframe(shown, hide_index=True, column_config=_formats(shown))


@st.fragment
def _show_genes(job_id: str, source: sources.Source) -> None:
    from scfviz.ui.tasks.enhancement import figures

    with page.guard():
        result = load_result(job_id)
        depths, names = Depths(result), _ordered_genes(result)
        with st.container(border=True, key="card-maps"):
            st.markdown("#### Before and after")
            left, right = st.columns([1, 2], gap="large")
            gene = left.selectbox("Gene", names, key="enhancement-gene")
            fold = _ask_depth(result, right)
            before, after = depths.gene(gene, fold)
            data = _explored(source)
            if data is not None:
                _show_maps(result, data, gene, before, after)
            groups = _ask_groups(data, result)
            if groups is not None:
                figure = figures.draw_halves(before, after, groups, gene)
                st.plotly_chart(figure, key="enhancement-violins", config={"displaylogo": False})
        if len(names) > 1:
            _show_pair(depths, names, gene, fold)


def _ordered_genes(result: Result) -> list[str]:
    """Genes to look at, those that can be used first."""
    table = result.tables["genes"]
    order = table.assign(rank=table["light"].map({"use": 0, "can't tell": 1, "do not use": 2}))
    return order.sort_values(["rank", "gain"], ascending=[True, False], kind="stable")["gene"].tolist()


def _ask_depth(result: Result, place: "st.delta_generator.DeltaGenerator") -> float | None:
    own = float(result.cells["source_depth"].median())
    ratio = (result.cells["target_depth"] / result.cells["source_depth"]).to_numpy()
    if (ratio <= 1 + 1e-9).all():
        return None
    asked = float(np.median(ratio))
    folds = sorted({fold for fold in FOLDS if fold <= 4 * asked} | ({round(asked, 2)} if asked > 1 else set()))
    text = {fold: f"{fold:g} ×, {number(fold * own)} counts" for fold in folds}
    text[1.0] = f"own depth, {number(own)} counts"
    start = min(folds, key=lambda fold: abs(fold - asked))
    fold = place.select_slider(
        "Read depth (median cell)", folds, value=start, format_func=lambda fold: text[fold], key="enhancement-depth"
    )
    place.caption(f"Your cells have {number(own)} counts (median) in the model's genes; asked for was {asked:.3g} ×.")
    return None if fold == start and np.ptp(ratio) > 1e-6 else fold


def _explored(source: sources.Source) -> "Explored | None":
    from scfviz.ui.explorer import data as explorer_data
    from scfviz.ui.explorer.maps import quick
    from scfviz.ui.tasks.embedding import known_job

    embedded = known_job(source)
    embed_job = embedded.id if embedded is not None and embedded.state == "done" else None
    data = explorer_data.explore(source, embed_job, None, request.finished_jobs(source))
    return data if quick.offer(source, data, embed_job) else None


def _show_maps(result: Result, data: "Explored", gene: str, before: np.ndarray, after: np.ndarray) -> None:
    from scfviz.ui.drawing.cell_map import cell_map
    from scfviz.ui.drawing.coloring import color_by_values

    name = next(iter(data.maps))
    both = color_by_values(gene, "ln(1 + counts per 10,000)", np.concatenate([before, after]))
    for column, title, values in zip(st.columns(2, gap="medium"), ("counts", "enhanced"), (before, after), strict=True):
        whole = np.full(max(int(data.shown.max()), int(result.kept.max())) + 1, np.nan, np.float32)
        whole[result.kept] = values
        coloring = replace(both, title=f"{gene}, {title}", values=whole[data.shown])
        with column:
            cell_map(
                {name: data.maps[name]},
                coloring,
                key=f"enhancement-{title}",
                names=data.obs.index,
                height=360,
                titles={name: f"{data.titles[name]}: {title}"},
                filename=f"{gene}_{title}",
            )
    st.caption("Both maps have one colour scale.")


def _ask_groups(data: "Explored | None", result: Result) -> np.ndarray | None:
    if data is None or not data.labels:
        return np.full(len(result.kept), "all cells")
    column = st.selectbox("Groups of the violins", data.labels, key="enhancement-groups")
    whole = np.full(max(int(data.shown.max()), int(result.kept.max())) + 1, "no label", dtype=object)
    whole[data.shown] = data.column(column).astype(str).to_numpy()
    return whole[result.kept].astype(str)


def _show_pair(depths: Depths, names: list[str], gene: str, fold: float | None) -> None:
    from scfviz.ui.tasks.enhancement import figures

    with st.container(border=True, key="card-pair"):
        st.markdown("#### Two genes, before and after")
        other = st.selectbox("Second gene", [name for name in names if name != gene], key="enhancement-second")
        pairs = zip(depths.gene(gene, fold), depths.gene(other, fold), strict=True)
        pairs = list(pairs)
        ends = tuple(max(max(float(pair[i].max()) for pair in pairs), 1e-3) for i in (0, 1))
        for column, title, (x, y) in zip(st.columns(2), ("Counts", "Enhanced"), pairs, strict=True):
            r = np.corrcoef(x, y)[0, 1] if x.std() > 0 and y.std() > 0 else 0.0
            column.markdown(f"**{title}**: r = {r:.2f}")
            column.plotly_chart(
                figures.draw_pair(x, y, (gene, other), ends),
                key=f"enhancement-pair-{title}",
                config={"displaylogo": False},
            )
        st.caption("A correlation that only the enhanced values show may be the method's own: see the verdict above.")


def _show_table(result: Result) -> None:
    table = result.tables["genes"]
    counts = table["light"].value_counts()
    with st.container(border=True, key="card-genes"):
        st.markdown("#### Genes")
        said = ", ".join(f"{word}: {counts.get(word, 0):,}" for word in ("use", "can't tell", "do not use"))
        st.caption(f"{plural(len(table), 'measured gene')}. {said.capitalize()}.")
        order = {name: place for place, name in enumerate(_ordered_genes(result))}
        shown = table.sort_values("gene", key=lambda names: names.map(order))
        shown = shown[[name for name in _GENE_COLUMNS if name in shown]].rename(columns=_GENE_COLUMNS)
        st.dataframe(shown.head(2_000), hide_index=True, column_config=_formats(shown))


def _show_unmeasured(result: Result) -> None:
    if "unmeasured" not in result.tables:
        return
    names = result.tables["unmeasured"]["gene"].tolist()
    values = np.asarray(result.arrays["unmeasured"])
    table = pd.DataFrame(
        {"Gene": names, "Mean over the cells": values.mean(axis=0), "Highest cell": values.max(axis=0)}
    )
    with st.container(border=True, key="card-unmeasured"):
        st.markdown("#### Genes that the file does not measure")
        st.markdown(
            "The model alone says this, in ln(1 + counts per 10,000). Nothing in your data can check it, so it has no "
            "light and is not written into the layer."
        )
        st.dataframe(table, hide_index=True, column_config=_formats(table))


def _formats(table: pd.DataFrame) -> dict:
    return {
        name: st.column_config.NumberColumn(format="%.3g") for name in table if pd.api.types.is_float_dtype(table[name])
    }
