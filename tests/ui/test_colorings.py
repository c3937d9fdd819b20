"""Every way to colour maps goes everywhere: address, session file, report and script, also for ways to come."""

import ast

import numpy as np
import pytest
import streamlit as st
from app_pages import open_explorer, spec_of
from test_explorer import FILE, dataset  # noqa: F401

from scfviz import jobs
from scfviz.reporting import methods, script
from scfviz.reporting import session as schema
from scfviz.ui.explorer import address
from scfviz.ui.explorer.data import explore
from scfviz.ui.explorer.maps import colors
from scfviz.ui.explorer.reporting import report, session
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import sources, state

VISITOR = "a" * 32


def choices(data) -> dict[str, dict]:
    """What is chosen for each way, by its fields."""
    some = list(data.genes[:3])
    return {
        "label": {"label": data.labels[-1]},
        "gene": {"gene": some[0]},
        "set": {"set_source": "own", "set": None, "set_genes": " ".join(some)},
        "value": {"value": data.values[-1]},
        "genes": {"genes": some[:2]},
    }


@pytest.fixture
def opened(dataset, monkeypatch):  # noqa: F811
    monkeypatch.setattr(state, "visitor", lambda: VISITOR)
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda _: None)
    yield explore(sources.resolve(f"folder:0/{FILE}"), None, None)
    st.session_state.clear()


def test_the_tables_of_ways_and_fields_agree(opened):
    assert set(colors._ASK) == set(address.COLORINGS) == set(choices(opened))
    assert set(schema._VIEW) == set(address.FIELDS)
    assert {name for name, kind in schema._VIEW.items() if kind is list} == set(address._LISTS)
    assert set(schema._PANELS) == set(session._PANELS)
    for kind, fields in choices(opened).items():
        assert set(fields) == set(address.COLORINGS[kind].fields)


@pytest.mark.parametrize("kind", address.COLORINGS)
def test_every_way_survives_address_and_session_file_and_is_in_report_and_script(kind, opened):
    """The colouring by a gene set was lost in link and session file."""
    fields = choices(opened)[kind]
    app = open_explorer(FILE, {"scfviz.visitor": VISITOR, "x_color": kind} | {f"x_{n}": v for n, v in fields.items()})
    title = spec_of(app)["colors"]["title"]
    linked = open_explorer(FILE, {"scfviz.visitor": VISITOR}, **{address.VIEW: app.query_params[address.VIEW]})
    assert spec_of(linked)["colors"]["title"] == title
    assert {name: linked.session_state[f"x_{name}"] for name in fields} == fields

    for name in address.FIELDS:
        st.session_state[f"x_{name}"] = app.session_state[f"x_{name}"]
    name = fields.get("label") or fields.get("value") or ("own genes" if kind == "set" else "")
    genes = {"gene": [fields.get("gene")], "genes": fields.get("genes"), "set": opened.genes[:3]}.get(kind, ())
    request = colors.Request(kind, name, tuple(genes))
    source = sources.resolve(f"folder:0/{FILE}")
    coloring = colors._color(source, opened, None, request)
    view = View(source, opened, None, None, colors.Chosen(["X_umap"], coloring, None, request), _history(), None)
    saved = schema.read_session(session.save(view, None).to_bytes())
    restored = open_explorer(FILE, {"scfviz.visitor": VISITOR, session._PENDING: saved})
    assert spec_of(restored)["colors"]["title"] == title

    record = report.gather(view, report.take(view))
    assert any(f"Coloured the maps by {record.colored.title}" == what for _, what in methods.steps(record))
    code = script.as_python(script.script_cells(record))
    ast.parse(code)
    assert "colors.csv" in code
    for part in (*record.colored.genes, record.colored.column):
        assert repr(part)[1:-1] in code


def _history():
    from scfviz.analysis.selection.history import SelectionHistory

    return SelectionHistory()


def test_the_numbers_of_a_scripts_colours_are_those_of_the_maps(opened, tmp_path):
    """What the script checks for a label, a gene, a value and a set, evaluated here as the script does it."""
    from scfviz.analysis.expression import AlignedExpression, read_gene
    from scfviz.analysis.gene_sets import score_set
    from scfviz.data.align import align_genes
    from scfviz.data.read import read_dataset

    source = sources.resolve(f"folder:0/{FILE}")
    expression = AlignedExpression(align_genes(read_dataset(source.path)))
    st.session_state["x_ramp"] = "viridis"
    genes = tuple(opened.genes[:3])
    values = {"gene": read_gene(expression, genes[0]), "set": score_set(expression, genes).values}
    for kind, expected in values.items():
        request = colors.Request(kind, "own genes", genes if kind == "set" else genes[:1])
        chosen = colors.Chosen(["X_umap"], colors._color(source, opened, None, request), None, request)
        found = report._colored(View(source, opened, None, None, chosen, _history(), None)).summary
        finite = expected[np.isfinite(expected)]
        assert found["n_cells"] == len(finite)
        np.testing.assert_allclose(found["mean"], finite.mean(), rtol=1e-4)
    assert jobs.Workspace().root.exists()
