"""Two groups of cells compared over donors: modules and regulators that differ."""

from pathlib import Path

import numpy as np
import streamlit as st

from scfviz.tasks.gene_modules.donors import FEWEST_CELLS, FEWEST_DONORS, compare_over_donors
from scfviz.tasks.result import Result
from scfviz.ui.frame import describe, page, sources, state
from scfviz.ui.frame.text import plain
from scfviz.ui.tasks.gene_modules import words

_MOST_COLUMNS, _FEWEST, _MOST = 200, 2, 500
_NAMES = {
    "name": "What",
    "first": "First",
    "second": "Second",
    "difference": "Difference",
    "low": "from",
    "high": "to (95 %)",
    "pvals_adj": "Adjusted p",
}


@st.fragment
def show(result: Result, source: sources.Source) -> None:
    """A card that asks for a column of donors and two groups, and answers with a table."""
    groups = result.cells["gene_module_group"].astype(str).to_numpy()
    names = np.unique(groups).tolist()
    obs = describe.open_dataset(source, state.gene_column()).counts.obs
    columns = [str(name) for name in list(obs)[:_MOST_COLUMNS] if _FEWEST < obs[name].nunique() <= _MOST]
    if len(names) < 2 or not columns:
        return
    with st.container(border=True, key="card-donors"), page.guard():
        st.markdown("#### Compare two groups over donors")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            column = st.selectbox(
                "Donors",
                columns,
                index=None,
                key="gene_modules-donors",
                placeholder="Choose the column that tells donors apart",
                width=260,
            )
            first = st.selectbox("Group", names, key="gene_modules-donors-first", width=220)
            others = [name for name in names if name != first]
            second = st.selectbox("against", others, key="gene_modules-donors-second", width=220)
            kinds = ["Modules", "Regulators"] if "regulators" in result.tables else ["Modules"]
            kind = st.segmented_control("Of", kinds, default="Modules", required=True, key="gene_modules-donors-kind")
        if column is None:
            st.caption(
                f"Cells of one donor are no repeats: means of at least {FEWEST_CELLS} cells of each donor are "
                f"compared, of {FEWEST_DONORS} donors or more."
            )
            return
        donors = obs[column].astype(object).where(obs[column].notna(), "").astype(str).to_numpy()[result.kept]
        titles, values = _values(result, kind)
        table = compare_over_donors(values, titles, groups, donors, first, second)
        how = "paired t test" if table["is_paired"].iloc[0] else "Welch's t test"
        st.dataframe(
            table[list(_NAMES)].rename(columns=_NAMES | {"first": first, "second": second}),
            hide_index=True,
            key=f"gene_modules-donors-table-{kind}",
            column_config={"Adjusted p": st.column_config.NumberColumn(format="%.1e")},
        )
        unit = "score" if kind == "Modules" else words.activity_unit(result)
        st.caption(
            f"{table['n_first'].iloc[0]} and {table['n_second'].iloc[0]} donors of {plain(column)}, {how} over donors, "
            f"p adjusted for {len(table)} tests. Unit: {unit}. Groups that were "
            "found in these cells differ in the genes that set them apart: compare groups that were known before."
        )
        st.download_button(
            "Table (CSV)",
            table.to_csv(index=False),
            f"{Path(source.title).name.split('.')[0] or 'cells'}_{kind.lower()}_over_donors.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )


def _values(result: Result, kind: str) -> tuple[list[str], np.ndarray]:
    if kind == "Regulators":
        return result.tables["regulators"]["factor"].unique().tolist(), result.arrays["regulator_activity"]
    modules = result.tables["modules"]
    return [f"{row.module}: {row.name}" for row in modules.itertuples()], result.arrays["module_scores"]
