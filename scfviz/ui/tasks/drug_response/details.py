"""What is predicted of one sample, one drug, two groups and a drug that nobody measured; report and script."""

import shlex
from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.tasks.drug_response import explain
from scfviz.tasks.drug_response.card import CAVEATS, say_domain, say_drug, say_worth
from scfviz.tasks.drug_response.compute import COLUMNS, new_drug_table, predict_new_drug, responses_table
from scfviz.tasks.drug_response.lines import NO_LINES, find_nearest_lines, nearest_lines_table
from scfviz.tasks.drug_response.predictor import DrugPredictor, DrugResponses
from scfviz.tasks.drug_response.samples import Samples
from scfviz.tasks.drug_response.scale import scale_samples
from scfviz.ui.drawing.charts import toolbar
from scfviz.ui.frame import page
from scfviz.ui.frame.text import plain
from scfviz.ui.tasks.drug_response import figures, lines

_TOP, _MOST_ROWS, _GENES, _MOST_REPORTED, _DRUGS_REPORTED = 20, 2_000, 15, 50, 10
_ONE, _DRUG, _GROUPS, _NEW = "One sample", "One drug", "Two groups", "New drug"
_COMPARED = {"drug": "Drug", "difference": "Difference", "low": "2.5 %", "high": "97.5 %", "specific": "Specific"}
_EXAMPLE = "COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1"


def show(samples: Samples, found: DrugResponses, predictor: DrugPredictor) -> None:
    """Parts of the answer, one at a time."""
    parts = [_ONE, _DRUG, _NEW] if len(found.samples) < 2 else [_ONE, _DRUG, _GROUPS, _NEW]
    part = st.segmented_control(
        "What to see", parts, default=_ONE, required=True, key="drug-details", label_visibility="collapsed"
    )
    with page.guard():
        if part == _ONE:
            _show_sample(samples, found, predictor)
        elif part == _DRUG:
            _show_drug(found, predictor)
        elif part == _GROUPS:
            _show_groups(samples, found)
        else:
            _show_new(found, predictor)


def _show_sample(samples: Samples, found: DrugResponses, predictor: DrugPredictor) -> None:
    _carry("drug-sample", "drug-marked")
    _carry("drug-of-sample", "drug-one")
    name = st.selectbox("Sample", found.samples, key="drug-sample")
    row = found.samples.index(name)
    left, middle, right = st.columns(3)
    left.metric(
        "General sensitivity", f"{found.general[row]:+.2f} ln(uM)", help="below zero: frailer than the mean line"
    )
    middle.metric(
        "Its percentile among the lines", f"{found.general_percentile[row]:.0f}", help="low: sensitive to most"
    )
    right.metric(
        "Unlikeness to tumour lines, percentile",
        f"{found.distance_percentile[row]:.0f}",
        help="from 99 on it is out of domain",
    )
    table = responses_table(found, predictor)
    table = table[table["sample"] == name].reset_index(drop=True)
    by_pathway = st.toggle("Sort by what is specific to the sample", key="drug-specific")
    if by_pathway:
        table = table.sort_values("specific", kind="stable", ignore_index=True)
    one, other = st.columns(2, gap="large")
    with one:
        st.markdown("##### Drugs that it is expected to be most sensitive to")
        st.plotly_chart(figures.draw_ranked(table.head(_TOP)), config=toolbar("ranked_drugs"), key="drug-ranked")
    with other:
        drug = st.selectbox("Drug", table["drug"], key="drug-of-sample")
        _show_pair(samples, found, predictor, row, drug)
    with one:
        lines.show(samples, found, predictor, row, drug)
    shown = table.drop(columns="sample").rename(columns=COLUMNS)
    formats = {title: st.column_config.NumberColumn(format="%.2f") for title in shown.select_dtypes("number")}
    st.dataframe(shown.head(_MOST_ROWS), hide_index=True, column_config=formats, key="drug-table")


def _carry(key: str, other: str) -> None:
    """A field that comes on screen takes what was chosen in its counterpart of the part that was left."""
    if key not in st.session_state and other in st.session_state:
        st.session_state[key] = st.session_state[other]


def _show_pair(samples: Samples, found: DrugResponses, predictor: DrugPredictor, row: int, drug: str) -> None:
    column, place = found.drugs.index(drug), predictor.names.index(drug)
    about = predictor.drugs[place]
    parts = {
        "mean of all drugs": found.level,
        "potency of the drug": found.potency[column],
        "general sensitivity": found.general[row],
        "specific to the pair": found.specific[row, column],
    }
    value, low, high = (array[row, column] for array in (found.ln_ic50, found.low, found.high))
    st.markdown(
        f"ln IC50 **{value:.2f}** ({low:.2f} to {high:.2f}) = "
        + " ".join(f"{part:+.2f} ({what})" for what, part in parts.items())
    )
    st.caption(f"{plain(about.targets or 'Targets not known')} · {plain(about.pathway)} · {say_drug(predictor, place)}")
    _draw(about.smiles)
    scaled = scale_samples(samples, predictor.genes, predictor.factors, predictor.calibration, found.scale)
    genes = explain.gene_contributions(predictor, scaled, row, place).head(_GENES)
    st.markdown("##### Genes that carry the prediction")
    figure = figures.draw_signed(genes, "gene", "contribution", "ln(uM); to the left: more sensitive")
    st.plotly_chart(figure, config=toolbar("genes"), key="drug-genes")
    st.caption("An association over lines, not a mechanism; genes that go together share their weight.")


def _draw(smiles: str, key: str = "structure") -> None:
    from scfviz.tasks.drug_response.chemistry import draw_structure

    picture = draw_structure(smiles) if smiles else ""
    if picture:
        st.image(picture, width=320)
        st.download_button(
            "Structure (SVG)",
            picture,
            f"{key}.svg",
            "image/svg+xml",
            on_click="ignore",
            icon=":material/hexagon:",
            key=f"download-{key}",
        )


def _show_drug(found: DrugResponses, predictor: DrugPredictor) -> None:
    left, right = st.columns(2)
    _carry("drug-one", "drug-of-sample")
    _carry("drug-marked", "drug-sample")
    named = sorted(found.drugs, key=lambda name: (not name[:1].isalpha(), name.lower()))
    drug = left.selectbox("Drug", named, key="drug-one")
    marked = right.selectbox("Mark a sample", found.samples, key="drug-marked")
    place, column = predictor.names.index(drug), found.drugs.index(drug)
    one, other = st.columns([3, 2], gap="large")
    with one:
        figure = figures.draw_among_lines(found, predictor, drug, marked)
        st.plotly_chart(figure, config=toolbar("among_lines"), key="drug-among")
        st.caption(say_drug(predictor, place))
    with other:
        about = predictor.drugs[place]
        st.caption(f"{plain(about.targets or 'Targets not known')} · {plain(about.pathway)}")
        _draw(about.smiles)
        table = pd.DataFrame(
            {
                "Sample": found.samples,
                "Percentile": found.percentile[:, column],
                "5 %": found.percentile_low[:, column],
                "95 %": found.percentile_high[:, column],
                "ln IC50": found.ln_ic50[:, column],
            }
        ).sort_values("Percentile")
        formats = {title: st.column_config.NumberColumn(format="%.1f") for title in table.columns[1:]}
        st.dataframe(table.head(_MOST_ROWS), hide_index=True, column_config=formats, height=300)


def _show_groups(samples: Samples, found: DrugResponses) -> None:
    column = None
    if samples.groups:
        column = st.selectbox(
            "Groups", list(samples.groups), index=None, key="drug-groups", placeholder="Choose samples"
        )
    left, right = st.columns(2)
    if column is None:
        one = left.multiselect("Samples", found.samples, select_all=False, key="drug-group-a")
        other = right.multiselect("Against", found.samples, select_all=False, key="drug-group-b")
        names = np.array(found.samples, dtype=object)
        sides = np.isin(names, one), np.isin(names, other)
    else:
        values = samples.groups[column]
        choices = sorted(set(values))
        one = left.selectbox("Group", choices, key="drug-group-a1")
        other = right.selectbox("Against", choices, index=min(1, len(choices) - 1), key="drug-group-b1")
        sides = values == one, values == other
    if not sides[0].any() or not sides[1].any() or one == other:
        st.markdown("Choose two groups of samples, or two samples.")
        return
    table = explain.compare_groups(found, *sides)
    ends = pd.concat([table.head(_TOP // 2), table.tail(_TOP // 2)]).drop_duplicates()
    figure = figures.draw_signed(ends, "drug", "difference", "difference of ln IC50; to the left: the first is frailer")
    st.plotly_chart(figure, config=toolbar("groups"), key="drug-compared")
    shown = table.dropna(axis="columns", how="all").rename(columns=_COMPARED)
    formats = {title: st.column_config.NumberColumn(format="%.2f") for title in shown.select_dtypes("number")}
    st.dataframe(shown, hide_index=True, height=300, column_config=formats)
    st.caption(
        f"{int(sides[0].sum()):,} against {int(sides[1].sum()):,} samples: differences of ln IC50. *Specific*: without "
        "what all drugs share in a sample. Intervals (95 %) by resampling samples, from three on each side; they hold "
        "what differs between samples, not the errors of the predictor."
    )


def _show_new(found: DrugResponses, predictor: DrugPredictor) -> None:
    smiles = st.text_input("SMILES of the drug", value=_EXAMPLE, key="drug-smiles")
    new = predict_new_drug(found, predictor, smiles)
    one, other = st.columns([2, 3], gap="large")
    with one:
        _draw(new.structure.smiles, "new_drug")
        st.caption(f"{plain(new.structure.formula)}, {new.structure.weight:.1f} Da")
        st.dataframe(pd.DataFrame(new.nearest, columns=["Nearest measured drug", "Similarity"]), hide_index=True)
    with other:
        for note in new.notes:
            st.markdown(plain(note))
        table = new_drug_table(found, new).drop(columns=["drug", "is_measured"]).sort_values("ln_ic50")
        shown = table.rename(columns=COLUMNS)
        formats = {title: st.column_config.NumberColumn(format="%.2f") for title in shown.select_dtypes("number")}
        st.dataframe(shown.head(_MOST_ROWS), hide_index=True, column_config=formats)
        st.download_button(
            "Predictions of this drug (CSV)",
            lambda: new_drug_table(found, new).to_csv(index=False),
            "new_drug.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
            key="download-new-drug-table",
        )


def show_measured() -> None:
    """What the benchmark found; nothing where no results are recorded."""
    from scfviz.tasks.drug_response.measured import describe_measured, measured_table, read_measured

    found = read_measured()
    if found is None:
        return
    with st.container(border=True, key="card-measured-drugs"):
        st.markdown("#### Drug response, measured on public lines")
        for sentence in describe_measured(found):
            st.markdown(plain(sentence))
        with st.expander("Numbers", icon=":material/table:"):
            st.dataframe(measured_table(found), hide_index=True)
            st.caption(
                "Correlations of predicted and measured responses, with 95 % intervals. *All pairs*: each drug's mean "
                "taken off. *General*: what all drugs share in a line. *Specific*: what is left of a line and a "
                "drug. *Median drug*: over lines, by drug. *Pooled*: drug means left in, which averages win. Lines are "
                "of GDSC2 where nothing else is written. Made by `benchmarks/drug_response.py`; more in "
                "`benchmarks/NOTES.md`."
            )


def report_text(name: str, samples: Samples, found: DrugResponses, predictor: DrugPredictor) -> str:
    """A report in Markdown: what was read, what it is worth, the first drugs of each sample and its nearest lines."""
    text = [f"# Drug response: {name}", "", say_worth(predictor), "", say_domain(found), ""]
    text += [f"- {note}" for note in found.notes]
    table = responses_table(found, predictor)
    text += [
        "",
        "| sample | drug | percentile | 90 % interval | IC50, uM | specific, ln(uM) |",
        "|---|---|---|---|---|---|",
    ]
    for sample in found.samples[:_MOST_REPORTED]:
        for row in table[table["sample"] == sample].head(_DRUGS_REPORTED).itertuples():
            text.append(
                f"| {_cell(row.sample)} | {_cell(row.drug)} | {row.percentile:.0f} | {row.percentile_low:.0f} to "
                f"{row.percentile_high:.0f} | {row.ic50_um:.3g} | {row.specific:+.2f} |"
            )
    if found.is_measured.any():
        text += ["", "## Measured on these samples (the other drugs follow)", ""]
        text += ["| sample | drug | ln IC50 |", "|---|---|---|"]
        text += [
            f"| {_cell(found.samples[i])} | {_cell(found.drugs[j])} | {found.ln_ic50[i, j]:+.3f} |"
            for i, j in np.argwhere(found.is_measured)
        ]
    text += ["", "## Nearest training lines", "", *_nearest_text(samples, found, predictor, table)]
    methods = (
        f"Responses to {len(found.drugs)} drugs were predicted from bulk expression by ridge regression on "
        f"{predictor.factors.loadings.shape[1]} factors of {len(predictor.genes):,} genes, learned from "
        f"{predictor.about['n_lines']:,} cancer cell lines ({predictor.about.get('source', '')}); samples were "
        f"compared on the scale '{found.scale}' by {found.n_genes:,} genes; 90 % intervals are conformal."
    )
    return "\n".join([*text, "", "## Methods", "", methods, "", "## Caveats", "", *CAVEATS, ""])


def _nearest_text(samples: Samples, found: DrugResponses, predictor: DrugPredictor, table: pd.DataFrame) -> list[str]:
    """Lines of each sample, with what was measured on them for the drugs that the report names of it."""
    if predictor.lines is None:
        return [NO_LINES]
    rows = range(min(len(found.samples), _MOST_REPORTED))
    nearest = find_nearest_lines(predictor, samples, found.scale, rows=rows)
    values = nearest_lines_table(predictor, nearest).set_index(["sample", "drug", "line"])
    text = [
        "Measured ln(IC50 in uM) of the drugs above, in brackets its percentile among the training lines; empty where "
        "a line was not measured. Similarity: cosine of the scores of expression, near 0 for unrelated lines."
    ]
    for i, sample in enumerate(nearest.samples):
        drugs = list(table.loc[table["sample"] == sample, "drug"].head(_DRUGS_REPORTED))
        text += ["", f"### {_cell(sample)}", "", f"| line | similarity | {' | '.join(map(_cell, drugs))} |"]
        text.append("|---" * (2 + len(drugs)) + "|")
        for row, near in zip(nearest.rows[i], nearest.similarity[i], strict=True):
            line = predictor.lines.names[row]
            measured = (values.loc[key] if (key := (sample, drug, line)) in values.index else None for drug in drugs)
            cells = ("" if one is None else f"{one.ln_ic50:+.2f} ({one.percentile:.0f})" for one in measured)
            text.append(f"| {_cell(line)} | {near:.2f} | {' | '.join(cells)} |")
    return text


def _cell(name: str) -> str:
    """A name from a file as a cell of a Markdown table: one line, no markup."""
    return " ".join(name.split()).replace("<", "&lt;").replace("|", "\\|")


def command_text(
    name: str,
    found: DrugResponses,
    folder: str | None = None,
    measured: Mapping[tuple[str, str], float] | None = None,
    column: str | None = None,
    by: str | None = None,
) -> str:
    """The command that gives the same table; what was measured is in the file that the page offers."""
    parts = ["scfviz", "drugs", "predict", name, "--out", "predictions.csv", "--scale", found.scale]
    parts += ["--predictor", folder] if folder is not None else []
    parts += ["--gene-column", column] if column is not None else []
    parts += ["--by", by] if by is not None else []
    return shlex.join(parts + (["--measured", "measured.csv"] if measured else []))


def script_text(
    name: str,
    found: DrugResponses,
    folder: str | None = None,
    measured: Mapping[tuple[str, str], float] | None = None,
    column: str | None = None,
    by: str | None = None,
) -> str:
    """Python that gives the same table, by the predictor in a folder or the one that ships.

    Parameters
    ----------
    measured
        ln(IC50 in uM) that the user measured, by (sample, drug).
    column
        Of the gene table, where the user chose one.
    by
        Of the cells, where they were added up to the samples.
    """
    rows = "".join(f"    {pair!r}: {value!r},\n" for pair, value in (measured or {}).items())
    given = f"measured = {{\n{rows}}}\n" if rows else ""
    passed = (", measured=measured" if rows else "") + (f", column={column!r}" if column is not None else "")
    passed += f", by={by!r}" if by is not None else ""
    return (
        "import scfviz\n\n"
        f"predictor = scfviz.read_drug_predictor({'' if folder is None else repr(folder)})\n"
        f"{given}"
        f"found = scfviz.predict_ic50({name!r}, predictor=predictor, scale={found.scale!r}{passed})\n"
        "scfviz.responses_table(found, predictor).to_csv('predictions.csv', index=False, float_format='%.6g')\n"
    )
