"""What to perturb next in a screen: genes that would say most about the others, and how far that can be believed."""

import streamlit as st

from scfviz.tasks.perturbation.next_steps import LEAST_LEVEL, explained_share, rank_next, space_weights
from scfviz.tasks.perturbation.run import predictor_of
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import page
from scfviz.ui.tasks.perturbation import figures, words
from scfviz.ui.tasks.perturbation.ask import spaces_in_use
from scfviz.ui.tasks.results import load_result

_MOST_BARS, _LITTLE = 20, 0.05


@st.fragment
def show(job_id: str) -> None:
    """Ranked genes; a few seconds of work, so it is asked for."""
    with page.guard(), st.container(border=True, key="card-next"):
        st.markdown("#### What should I perturb next?")
        if not st.toggle("Rank the genes that were not perturbed", key="perturbation-next"):
            st.caption(
                "The genes whose perturbation would say most about all others that were not perturbed, each given "
                "those before it: not those with the largest effect, but those that are known least and stand for many."
            )
            return
        result = load_result(job_id)
        model = predictor_of(result)
        is_on = st.toggle(
            "Genes are switched on: also those that the control hardly expresses", key="perturbation-next-on"
        )
        spaces = spaces_in_use(result.report["options"]["checkpoint"], model.checkpoint["hash"])
        with st.spinner("Ranking …"):
            table = rank_next(model, spaces, least_level=0.0 if is_on else LEAST_LEVEL)
        weights, share = space_weights(model), explained_share(model)
        st.markdown(f"{_say_share(share)} Nearness: {weights['go']:.0%} Gene Ontology, {weights['model']:.0%} model.")
        for sentence in words.next_sentences():
            st.markdown(sentence)
        left, right = st.columns(2, gap="large")
        with left:
            bars = table.head(_MOST_BARS).assign(change=table["others"] / max(table["others"].max(), 1e-12))
            figure = figures.draw_bars(bars.assign(low=bars["change"], high=bars["change"]))
            figure.update_layout(xaxis={"title": "information about other genes, the most = 1"})
            st.plotly_chart(figure, config=toolbar("next"), key="next-bars")
        names = {
            "gene": "Gene",
            "others": "Others' worth",
            "nearest": "Nearest measured",
            "likeness": "Likeness",
            "control": "Level in control",
        }
        formats = {names[name]: st.column_config.NumberColumn(format="%.2f") for name in ("likeness", "control")}
        worth = "of other genes that would be known as if they had been perturbed too: 1 is one gene"
        formats[names["others"]] = st.column_config.NumberColumn(format="%.3f", help=worth)
        right.dataframe(table[list(names)].rename(columns=names), hide_index=True, column_config=formats)
        right.download_button(
            "What to perturb next (CSV)",
            lambda: table.to_csv(index=False),
            "perturb_next.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
            key="download-next",
        )


def _say_share(share: float | None) -> str:
    if share is None:
        return "What nearness of genes explains was not measured in this screen: the order rests on it all the same."
    text = f"On held-out perturbations nearness of genes explained **{max(share, 0):.0%}** of what sets effects apart"
    return text + (": **so little that the order is hardly better than any other.**" if share < _LITTLE else ".")
