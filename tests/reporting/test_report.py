"""What is exported holds: the report says what was done, the script gives the same numbers, a link and a session file
restore the view.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from app_pages import check, compute, n_selected, spec_of, text_of
from small_cells import give_cell_space, make_cells, save_tiny_checkpoint
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.analysis.labels.labels import Annotation, start_annotation
from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Categories, Difference, Polygon, Query, to_json
from scfviz.data.source import dataset_id
from scfviz.errors import OptionError
from scfviz.jobs import gene_set_files
from scfviz.jobs.labels import change_labels, remove_labels, start_labels
from scfviz.jobs.workspace import read_json
from scfviz.reporting import methods, script
from scfviz.reporting.report import Pictures, write_report
from scfviz.reporting.session import SavedSession, merge_named, pack_codes, read_session, unpack_codes
from scfviz.tasks.fragments import File, Items, Pairs, Picture, Section, Table, Text
from scfviz.tasks.names import describe
from scfviz.ui.drawing import coloring
from scfviz.ui.explorer import address, layout
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.explorer.reporting import downloads, report, session, shown
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import sources, state

ROOT = Path(__file__).resolve().parents[2]
N = 150
UMAPS = {"umap_model": "X_umap_scfoundation", "umap_baseline": "X_umap_baseline", "umap_joint": "X_umap_joint"}
FILE = "<b>own'\"<b> \\ $cells$ {x}.h5ad"
NAME = "it's <i>\"left\"</i> {x} \\n '''"
LEFT = ((-9.0, -9.0), (0.0, -9.0), (0.0, 9.0), (-9.0, 9.0))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A dataset with hostile names and its finished embedding, filtered, by a small untrained model."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "data").mkdir()
    adata = make_cells(N)
    is_b = (adata.obs["cell_type"] == "B cell").to_numpy()
    adata.obs["cell_type"] = pd.Categorical(np.where(is_b, "<b>B</b> $x$", "other"))
    number = np.where(is_b, np.cumsum(is_b), np.cumsum(~is_b))
    adata.obs["donor"] = pd.Categorical([f"d{i % 2}" for i in number])
    adata.obsm["X_own"] = np.stack([np.where(is_b, -1.0, 1.0), np.arange(N) / N], axis=1)
    adata.write_h5ad(folder / "data" / FILE)
    checkpoint = save_tiny_checkpoint(folder / "workspace" / "checkpoints" / "test" / "tiny")
    give_cell_space(checkpoint)
    options = {"dataset": str(folder / "data" / FILE), "checkpoint": str(checkpoint), "filters": {"min_counts": 1440}}
    return folder, compute(jobs.Workspace(folder / "workspace"), "embedding", options)


@pytest.fixture
def with_home(home, monkeypatch):
    folder, job_id = home
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(folder / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(folder / "data"))
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    monkeypatch.setattr("scfviz.ui.frame.state.filters", lambda: {"min_counts": 1440.0})
    yield folder, job_id
    st.session_state.clear()


def make_view(job_id: str, history: SelectionHistory | None = None) -> View:
    source = sources.resolve(f"folder:0/{FILE}")
    data = explorer_data.explore(source, job_id, None)
    labels = coloring.color_by_labels("cell_type", data.column("cell_type"))
    history = history or SelectionHistory()
    mask = None if history.current is None else data.mask(history.current)
    maps = ["umap_model", "X_own"]
    return View(source, data, job_id, None, Chosen(maps, labels, "cell_type"), history, mask)


def make_history(data: explorer_data.Explored) -> SelectionHistory:
    b = Categories("cell_type", ("<b>B</b> $x$",))
    xy = data.maps["umap_model"]
    middle = float(np.median(xy[:, 0]))
    half = Polygon("umap_model", ((-99.0, -99.0), (middle, -99.0), (middle, 99.0), (-99.0, 99.0)))
    rules = {NAME: b, "half of the map": half, "left": Polygon("X_own", LEFT)}
    history = SelectionHistory()
    for name, rule in rules.items():
        history = history.select(rule).keep(name, int(data.mask(rule).sum()), len(data.shown))
    gene = data.genes[7]
    return history.select(Difference(b, Query(f'gene("{gene}") > 1 and clusters_model == "0"')))


def compare(view: View, method: str = "wilcoxon") -> str:
    """A finished comparison, as the panel asks for it."""
    options = {
        "dataset": str(view.source.path.resolve()),
        "group": to_json(view.history.named[0].rule),
        "reference": None,
        "method": method,
        "donor_column": "donor" if method == "pseudobulk" else None,
        "embed_job": view.embed_job,
        "gene_column": None,
        "gene_store": None,
    }
    # or the worker of the embedding does it, while it still waits for more
    job_id = compute(jobs.Workspace(), "differential_expression", options, here=True)
    if method != "pseudobulk":
        st.session_state[f"scfviz.comparison.{view.data.dataset}"] = job_id
    return job_id


@pytest.fixture
def worked(with_home):
    """A view with selections and a finished comparison."""
    folder, job_id = with_home
    view = make_view(job_id)
    view = make_view(job_id, make_history(view.data))
    return folder, view, compare(view)


SETS = (("first", 0, 30), ("second", 40, 70), ("others", 200, 230), ("=<i>more</i>", 20, 60))


def look(view: View, compare_job: str, way: str = "list", **genes) -> str:
    """Gene sets of the comparison, genes in groups and parts of groups, as their panels leave them behind."""
    names = pd.read_parquet(jobs.result_dir(jobs.Workspace(), compare_job) / "table.parquet")["names"].astype(str)
    lines = ["\t".join([name, "about", *sorted(names)[start:end]]) for name, start, end in SETS]
    ref = gene_set_files.save(("\n".join(lines) + "\n").encode(), "sets.gmt", state.visitor())
    gmt = gene_set_files.path_of(ref, state.visitor())
    options = {"comparison": compare_job, "way": way, "gmt": str(gmt) if way == "ranking" else None, "max_padj": 0.9}
    job_id = compute(jobs.Workspace(), "enrichment", options | {"min_change": 0.0}, here=True)
    st.session_state[f"scfviz.enrichment.{view.data.dataset}"] = job_id
    choice = {"genes": list(names[:4]), "by": "cell_type", "kind": "dots", "only_selected": False, "scaling": "z"}
    shown.remember(view.data, "plots", **(choice | {"order": "both"} | genes))
    shown.remember(view.data, "composition", what="cell_type", by="donor", length="share", only_selected=True)
    return job_id


class Reader(HTMLParser):
    """Everything an HTML page would load or run, and the files in it."""

    def __init__(self):
        super().__init__()
        self.tags, self.loads, self.links, self.text, self.files = set(), [], [], [], {}

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "action", "data")]
        self.links += [value for name, value in attrs if name == "href"]
        given = dict(attrs)
        if "download" in given:
            start, _, content = given["href"].partition(",")
            assert start == "data:text/csv;charset=utf-8;base64"
            self.files[given["download"]] = pd.read_csv(io.BytesIO(base64.b64decode(content)))
        assert not [name for name, _ in attrs if name.startswith("on")], attrs

    def handle_data(self, data):
        self.text.append(data)


def run(text: str, folder: Path) -> subprocess.CompletedProcess:
    (folder / "redo.py").write_text(text, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "redo.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )


def test_script_gives_the_same_numbers_as_the_app(worked, tmp_path):
    folder, view, compare_job = worked
    enrich_job = look(view, compare_job)
    shutil.copy(view.source.path, tmp_path / FILE)
    shutil.copytree(folder / "workspace" / "checkpoints" / "test" / "tiny", tmp_path / "tiny")
    text = script.as_python(script.script_cells(report.gather(view, report.take(view))))
    done = run(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {line.partition(": ")[0]: line.partition(": ")[2] for line in done.stdout.splitlines() if ": " in line}
    assert found["cells"] == str(N) and found["cells that are kept"] == str(len(view.data.shown))
    for kept in view.history.named:
        assert found[f"cells in {kept.name!r}"] == str(kept.n_cells)
    embedded, compared = (jobs.result_dir(jobs.Workspace(), job) for job in (view.embed_job, compare_job))
    results = tmp_path / "scfviz_results"
    for name in ("embedding", "places", "baseline", "joint", *UMAPS):
        expected, got = np.load(embedded / "arrays" / f"{name}.npy"), np.load(results / f"{UMAPS.get(name, name)}.npy")
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=name)
    expected = pd.read_parquet(compared / "table.parquet").reset_index(drop=True)
    got = pd.read_csv(results / "comparison.csv")
    assert list(got["names"]) == list(expected["names"])
    for column in expected.select_dtypes("number"):
        np.testing.assert_allclose(got[column], expected[column], rtol=1e-5, atol=1e-12, err_msg=column)
    cells = pd.read_csv(results / "cells.csv", index_col=0)
    assert list(cells["leiden_scfoundation"].astype(str)) == list(view.data.column("clusters_model").astype(str))
    assert_same_pictures(view, enrich_job, results)


def assert_same_pictures(view: View, enrich_job: str, results: Path) -> None:
    """What a script wrote about sets, genes and parts is what the panels hold."""
    expected = pd.read_parquet(jobs.result_dir(jobs.Workspace(), enrich_job) / "table.parquet")
    got = pd.read_csv(results / "gene_sets.csv", keep_default_na=False)
    assert list(got["name"]) == list(expected["name"]) and len(got) >= len(SETS)
    for column in ("pvals", "fold" if "fold" in expected else "nes"):
        np.testing.assert_allclose(got[column], expected[column], rtol=1e-4, err_msg=column)
    work = report.gather(view, report.take(view))
    got = pd.read_csv(results / "expression.csv")
    assert list(got["gene"]) == list(work.pictured.table["gene"])
    assert list(got["group"]) == list(work.pictured.table["group"])
    for column in work.pictured.table.columns[2:]:
        np.testing.assert_allclose(got[column], work.pictured.table[column], rtol=1e-4, atol=1e-6, err_msg=column)
    got = pd.read_csv(results / "composition.csv", index_col=0)
    assert (got.to_numpy() == work.composed.counts).all() and list(got.columns) == list(work.composed.parts.names)


def test_script_redoes_sets_of_a_file_violins_and_named_groups_without_an_embedding(with_home, tmp_path):
    source = sources.resolve(f"folder:0/{FILE}")
    data = explorer_data.explore(source, None, None)
    left, b = Polygon("X_own", LEFT), Categories("donor", ("d0",))
    history = SelectionHistory().select(left).keep(NAME, 1, 2).select(b).keep("=<b>donor</b>", 1, 2).select(left)
    labels = coloring.color_by_labels("cell_type", data.column("cell_type"))
    view = View(source, data, None, None, Chosen(["X_own"], labels, "cell_type"), history, data.mask(left))
    enrich_job = look(view, compare(view), "ranking", by="(named)", kind="violins", only_selected=True)
    shutil.copy(view.source.path, tmp_path / FILE)
    shutil.copy(next((jobs.Workspace().root / "gene_sets").rglob("sets.gmt")), tmp_path)
    work = report.gather(view, report.take(view))
    assert work.enriched.sets == "sets.gmt" or work.enriched.sets.endswith("sets.gmt")
    text = script.as_python(script.script_cells(work))
    assert "np.str_" not in text, "names are plain texts"
    done = run(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_pictures(view, enrich_job, tmp_path / "scfviz_results")
    assert set(work.pictured.groups.names) == {NAME, f"{NAME} + =<b>donor</b>"}, "of the selected cells"
    number = f"{work.pictured.table['median'].max():.6g}"
    wrong = run(text.replace(number, "123.4"), tmp_path)
    assert wrong.returncode == 1 and "median of each gene and group" in wrong.stderr


def test_no_name_of_the_program_itself_is_in_report_script_or_table(worked):
    """They said `umap_model` and `clusters_model` where the h5ad says `X_umap_scfoundation` and so on."""
    _, view, compare_job = worked
    look(view, compare_job)
    handed = report.take(view)
    texts = {
        "report": report.report_html(view, handed),
        "script": script.as_python(script.script_cells(report.gather(view, handed))),
        "table": downloads.cell_table(view.data, view.history).head().to_csv(),
    }
    for what, text in texts.items():
        found = re.findall(r"(?:umap|clusters)_(?:model|baseline|joint)", re.sub(r"X_umap_(baseline|joint)", "", text))
        assert not found, (what, found)
    assert "X_umap_scfoundation_1" in texts["table"] and "leiden_scfoundation" in texts["table"]


def test_every_block_of_a_section_is_escaped(with_home):
    """Tasks and panels say with plain data what they found; nothing in it becomes HTML, and every kind is drawn."""
    _, job_id = with_home
    view = make_view(job_id)
    raw = "<u>\"x' onload=1</u>"
    table = pd.DataFrame({raw: [1.0]})
    blocks = [
        Text(raw, "warning"),
        Text(raw, "note"),
        Items([(raw, raw)]),
        Items([(raw, "")], is_numbered=True),
        Picture(b"<svg onload='x'></svg>", raw, raw),
        Table((raw, "n"), [(raw, "1")], raw, (1,)),
        Pairs({raw: raw}, raw),
        File(table, raw, raw),
    ]
    record = replace(
        report.gather(view, report.take(view)), comparisons=(), enriched=None, pictured=None, composed=None
    )
    html = write_report(record, Pictures((), ()), more=[Section(raw, blocks)])
    assert "<u>" not in html and html.count("&lt;u&gt;") >= 18
    reader = Reader()  # which refuses handlers of events
    reader.feed(html)
    assert "u" not in reader.tags and len(reader.files) == 1 and list(next(iter(reader.files.values()))) == [raw]


def test_user_defined_labels_are_in_report_script_and_session(worked, tmp_path):
    """They were missing wherever no rule spoke of them."""
    _, view, _ = worked
    key, workspace = view.data.key, jobs.Workspace()
    start_labels(workspace, key, start_annotation("mine <u>", view.data.context.obs), ())
    change_labels(
        workspace, key, "mine <u>", lambda a: a.assign(np.arange(N) < 36, "<b>NK</b>", how="a lasso", author="Ada")
    )
    change_labels(workspace, key, "mine <u>", lambda a: a.assign(np.arange(N) >= 120, "B"))
    try:
        handed = report.take(view)
        record = report.gather(view, handed)
        reader = Reader()
        reader.feed(report.report_html(view, handed))
        text = " ".join(" ".join(reader.text).split())
        assert f"Labelled 66 of {N} cells in 'mine <u>' (2 labels)" in text
        assert "<b>NK</b> 36" in text and "B 30" in text and "by Ada" in text and "(a lasso)" in text
        words = methods.methods_paragraph(record)
        assert f"Labelled 66 of {N} cells in 'mine <u>' (2 labels), by hand" in words
        code = script.as_python(script.script_cells(record))
        assert "'mine <u>'" in code and "<b>NK</b>" in code
        saved = read_session(session.with_labels(handed.session, key).to_bytes())
        assert [entry["name"] for entry in saved.labels] == ["mine <u>"]
    finally:
        remove_labels(workspace, key, "mine <u>")


def test_report_shows_sets_genes_and_parts_with_their_numbers(worked):
    _, view, compare_job = worked
    enrich_job = look(view, compare_job)
    reader = Reader()
    reader.feed(report.report_html(view, report.take(view)))
    text = " ".join(" ".join(reader.text).split())
    work = report.gather(view, report.take(view))
    assert len(reader.loads) == 1 + len(work.comparisons) + 3
    files = {"comparison.csv", "gene_sets.csv", "expression.csv", "composition.csv"}
    assert files <= set(reader.files) and all(name.endswith(".csv") for name in reader.files)
    sets = pd.read_parquet(jobs.result_dir(jobs.Workspace(), enrich_job) / "table.parquet")
    assert sets["name"][0] in text and list(reader.files["gene_sets.csv"]["name"]) == list(sets["name"])
    np.testing.assert_allclose(reader.files["expression.csv"]["mean"], work.pictured.table["mean"], rtol=1e-5)
    assert reader.files["composition.csv"]["n_cells"].sum() == work.composed.counts.sum() == view.mask.sum()
    assert len(reader.files["comparison.csv"]) == len(work.comparisons[0].table)
    n_shown = len(view.data.shown)
    for words in (
        f"{work.enriched.report['n_list']:,} genes that are higher in the first side of the comparison",
        "adjusted p at most 0.9, log2 fold change at least 0, at most 500 genes",
        f"Dot plot of {n_shown} of {n_shown} cells, in 2 groups of cell_type",
        "colour is the mean, standard deviations of groups of each gene",
        f"cell_type within donor (selected cells only): {view.mask.sum()} of {n_shown} cells",
        f"Gene {work.pictured.groups.names[0]} (n",
        "Mean of ln(1 + counts per 10,000)",
        "by the hypergeometric test",
        "doi:10.1038/75556",
    ):
        assert words in text, words
    assert "Subramanian" not in text and "permut" not in text.lower(), "only what was used is cited"
    times = [when for when, _ in methods.steps(work) if when]
    assert times == sorted(times) and any("Tested its" in what for _, what in methods.steps(work))


def test_panels_whose_label_or_selection_is_gone_are_left_out(worked):
    _, view, _ = worked
    choice = {"genes": [view.data.genes[0]], "kind": "dots", "scaling": "mean", "order": "listed"}
    for choices in ({"by": "not_here", "only_selected": False}, {"by": "(named)", "only_selected": True}):
        shown.remember(view.data, "plots", **choice, **choices)
        shown.remember(view.data, "composition", what="cell_type", length="share", **choices)
        bare = replace(view, history=SelectionHistory(), mask=None)
        work = report.gather(bare, report.take(bare))
        assert work.pictured is None and work.composed is None
    shown.remember(view.data, "plots", **(choice | {"genes": ["NOT A GENE"]}), by="cell_type", only_selected=False)
    assert report.gather(view, report.take(view)).pictured is None


def test_panels_leave_behind_what_they_show(with_home):
    data = explorer_data.explore(sources.resolve(f"folder:0/{FILE}"), with_home[1], None)
    app = open_page(x_plot_genes=[data.genes[5]], x_panel=panel("plots"))
    app.segmented_control(key="x_panel").set_value("composition").run()
    check(app.segmented_control(key="x_panel").set_value("report").run())
    kept = {name: app.session_state[f"scfviz.shown.{data.dataset}.{name}"] for name in ("plots", "composition")}
    assert kept["plots"]["genes"] == [data.genes[5]] and kept["plots"]["kind"] == "dots"
    assert kept["composition"]["what"] == "cell_type"


def test_script_stops_where_the_dataset_is_another(worked, tmp_path):
    _, view, _ = worked
    make_cells(N, seed=1).write_h5ad(tmp_path / FILE)
    done = run(script.as_python(script.script_cells(report.gather(view, report.take(view)))), tmp_path)
    assert done.returncode == 1 and "in the report" in done.stderr and "Traceback" not in done.stderr


def test_notebook_holds_the_same_code_as_the_script(worked):
    _, view, _ = worked
    cells = script.script_cells(report.gather(view, report.take(view)))
    notebook = json.loads(script.as_notebook(cells))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code == [cell.code for cell in cells if cell.code]
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch("[a-zA-Z0-9-_]{1,64}", name) for name in ids)
    for cell in notebook["cells"]:
        needed = {"cell_type", "id", "metadata", "source"}
        assert set(cell) == needed | ({"outputs", "execution_count"} if cell["cell_type"] == "code" else set())
    compile("\n".join(code), "notebook", "exec")


def test_comparison_between_donors_is_told_and_redone_beside_that_of_cells(worked):
    _, view, _ = worked
    compare(view, "pseudobulk")
    work = report.gather(view, report.take(view))
    assert [compared.method for compared in work.comparisons] == ["wilcoxon", "pseudobulk"]
    text = script.as_python(script.script_cells(work))
    assert "compare_donors(counts, group, reference, 'donor')" in text and "compare_cells(" in text
    words = methods.methods_paragraph(work)
    assert "DESeq2" in words and "Muzellec" in words and "Wilcoxon" in words
    assert any("PyDESeq2" in text for text in methods.citations(work))
    html = report.report_html(view, report.take(view))
    assert "Which genes differ between donors" in html and html.count("<img") == 3


def test_report_needs_no_network_and_runs_nothing(worked):
    _, view, _ = worked
    html = report.report_html(view, report.take(view), author="<script>me</script>")
    reader = Reader()
    reader.feed(html)
    assert not reader.tags & {"script", "link", "iframe", "object", "embed", "form", "base", "b", "i"}
    assert reader.loads and all(part.startswith("data:image/svg+xml;base64,") for part in reader.loads)
    assert len(reader.loads) == 1 + len(report.take(view).comparisons), "the maps, a volcano for each comparison"
    assert all(part.startswith(("#part-", "data:text/csv;")) for part in reader.links)
    assert "default-src 'none'" in html
    text = " ".join(reader.text)
    for name in (FILE, NAME, "<script>me</script>", "<b>B</b> $x$"):
        assert name in text


def test_report_says_what_was_done_and_not_more(worked):
    _, view, compare_job = worked
    donors = report.take(view).comparisons[1:]
    reader = Reader()
    reader.feed(report.report_html(view, report.take(view)))
    text = " ".join(" ".join(reader.text).split())
    n_removed = N - len(view.data.shown)
    assert n_removed > 0 and f"{n_removed} of {N} removed" in text and "at least 1440 counts" in text
    for kept in view.history.named:
        assert describe(kept.rule) in text
    table = pd.read_parquet(jobs.result_dir(jobs.Workspace(), compare_job) / "table.parquet")
    assert all(gene in text for gene in table["names"].head(5))
    assert "model is untrained" in text and "Cells of one donor are not replicates" in text
    for doi in ("10.1038/s41592-024-02305-7", "10.1186/s13059-017-1382-0", "arXiv:1802.03426", "s41598-019-41695-z"):
        assert doi in text
    assert ("DESeq2" in text) == bool(donors)
    checkpoint = read_json(jobs.result_dir(jobs.Workspace(), view.embed_job) / "report.json")["checkpoint"]
    assert checkpoint["hash"] in text and dataset_id(view.source.path) in text
    order = [text.index(words) for words in ("Opened", "Embedded", "Named the selection", "Selected now")]
    assert order == sorted(order)
    times = [when for when, _ in methods.steps(report.gather(view, report.take(view))) if when]
    assert len(times) == 5 + len(donors) and times == sorted(times)


def test_report_without_an_embedding_or_a_comparison_does_not_speak_of_them(with_home):
    source = sources.resolve(f"folder:0/{FILE}")
    data = explorer_data.explore(source, None, None)
    labels = coloring.color_by_labels("cell_type", data.column("cell_type"))
    view = View(source, data, None, None, Chosen(["X_own"], labels, "cell_type"), SelectionHistory(), None)
    reader = Reader()
    reader.feed(report.report_html(view, report.take(view)))
    text = " ".join(reader.text)
    assert "UMAP" not in text and "Wilcoxon" not in text and "02305-7" not in text and "Which genes differ" not in text
    assert "What these genes do" not in text and "How genes are expressed" not in text and "10.1038/75556" not in text
    compile(script.as_python(script.script_cells(report.gather(view, report.take(view)))), "script", "exec")


def test_names_from_files_never_become_code(worked):
    """Whatever a file, a selection or a column is called, the script holds it as a text."""
    _, view, _ = worked
    hostile = "x'); import os; os._exit(3) #\n\"\"\"\nimport os; os._exit(4)\n'''\\"
    history = view.history.select(Query("doublet == True"))
    kept = history.named[0]
    named = (type(kept)(hostile[:100], Categories(hostile, (hostile, None, True)), 1, 2, kept.created_at),)
    work = report.gather(view, report.take(view))
    labels = {hostile: Annotation(hostile, (hostile,), np.zeros(N, np.int32))}
    work = replace(work, title=hostile, named=named, n_now=(1,), gene_column=hostile, labels=labels)
    import ast

    tree = ast.parse(script.as_python(script.script_cells(work)))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "os" not in names
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert hostile in constants
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not [call for call in calls if "exit" in call.lower() and call != "SystemExit"]


# --- the address ------------------------------------------------------------------------------------------------------


def open_page(session_values: dict | None = None, **query) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / "explorer.py"), default_timeout=120)
    app.query_params["dataset"] = f"folder:0/{FILE}"
    app.query_params["model"] = "test/tiny"
    app.query_params["min_counts"] = "1440"
    for key, value in query.items():
        app.query_params[key] = value
    for key, value in (session_values or {}).items():
        app.session_state[key] = value
    return check(app.run())


def lasso(app: AppTest) -> AppTest:
    event = {"id": str(time.monotonic_ns()), "operation": "replace", "kind": "lasso", "map": "X_own"}
    app.session_state[layout.KEY] = {"event": event | {"polygon": [list(point) for point in LEFT]}}
    return check(app.run())


def link_of(app: AppTest) -> dict[str, list[str]]:
    (text,) = [block.value for block in app.code if "dataset=" in block.value]
    return parse_qs(text.partition("?")[2])


def view_of(app: AppTest) -> dict:
    """The choices that the link of a page names."""
    return address.decode(link_of(app).get(address.VIEW, [""])[0])


def test_link_restores_the_view_for_somebody_else(with_home):
    genes = list(explorer_data.explore(sources.resolve(f"folder:0/{FILE}"), with_home[1], None).genes[5:8])
    first = lasso(open_page(x_maps=["X_own"], x_color="Mix", x_genes=genes, x_panel=panel("report")))
    link = link_of(first)
    assert view_of(first)["sel"] and link["dataset"] == [f"folder:0/{FILE}"] and link["job"] == [with_home[1]]
    second = AppTest.from_file(str(ROOT / "pages" / "explorer.py"), default_timeout=120)
    for name, values in link.items():
        second.query_params[name] = values
    check(second.run())
    assert [entry["name"] for entry in spec_of(second)["maps"]] == ["X_own"]
    assert spec_of(second)["colors"] == spec_of(first)["colors"] and spec_of(second)["colors"]["kind"] == "blend"
    assert n_selected(second) == n_selected(first) > 0
    assert link_of(second) == link


def panel(name: str) -> str:
    return layout.panel_title(name)


def test_address_follows_the_selection_and_forgets_it(with_home):
    app = lasso(open_page(x_panel=panel("report")))
    first = view_of(app)["sel"]
    check(app.button(key="x_invert").click().run())
    assert view_of(app)["sel"] != first
    check(app.button(key="x_undo").click().run())
    assert view_of(app)["sel"] == first
    check(app.button(key="x_clear").click().run())
    assert "sel" not in view_of(app)
    assert n_selected(app) == 0, "the address does not bring back what was cleared"


@pytest.mark.parametrize("name", ["0123456789ab", "../../secret", "", "x" * 5000])
def test_unknown_selection_in_an_address_is_one_sentence(with_home, name):
    app = open_page(sel=name)
    assert ("not known on this server" in text_of(app)) == bool(name)
    assert not app.error and n_selected(app) == 0
    assert "not known" not in text_of(lasso(app)), "the sentence goes with the next selection"


def test_linked_selection_that_needs_a_missing_map_leaves_the_page_whole(with_home):
    data = explorer_data.explore(sources.resolve(f"folder:0/{FILE}"), with_home[1], None)
    name = session.save_rule(data.dataset, Polygon("not_here", LEFT))
    app = open_page(sel=name)
    assert "There is no map" in text_of(app).replace("\\", "") and not app.error
    path = next((jobs.Workspace().root / "selections").glob(f"*/{name}.json"))
    path.write_text('{"rule": "poly', encoding="utf-8")
    assert "not known" in text_of(open_page(sel=name))


# --- the session file -------------------------------------------------------------------------------------------------


def saved_session(view: View) -> SavedSession:
    chosen = {"x_color": "gene", "x_gene": view.data.genes[3], "x_panel": "report", "x_maps": view.chosen.maps}
    for name, value in chosen.items():
        st.session_state[name] = value
    kinds = {"by": view.data.labels[0], "only_selected": False}
    choice = {"genes": list(view.data.genes[:4]), "kind": "violins", "scaling": "mean", "order": "groups"}
    shown.remember(view.data, "plots", **choice | kinds)
    shown.remember(view.data, "composition", what=view.data.labels[0], length="cells", **kinds)
    return read_session(session.with_labels(report.take(view).session, view.data.key).to_bytes())


def test_session_file_restores_view_selections_and_comparison_elsewhere(worked, tmp_path, monkeypatch):
    """Another server: its own workspace, the same file under another name, the result not computed yet."""
    folder, view, compare_job = worked
    saved = saved_session(view)
    content = saved.to_bytes()
    assert saved.selections.named == view.history.named and saved.selections.current == view.history.current
    assert len(content) < 50_000 and str(folder).encode() not in content, "small, and no path of this server"
    elsewhere = tmp_path / "workspace"
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(elsewhere))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    shutil.copy(view.source.path, tmp_path / "data" / "renamed.h5ad")
    ref = sources.find_content(saved.dataset, saved.size, saved.title, "somebody")
    assert ref == "folder:0/renamed.h5ad"
    assert "not on this server" in session._missing_maps(saved)
    shutil.copytree(folder / "workspace" / "checkpoints", elsewhere / "checkpoints", dirs_exist_ok=True)
    assert "not computed here yet" in session._missing_maps(saved)
    for job_id in (view.embed_job, compare_job):
        shutil.copytree(folder / "workspace" / "jobs" / job_id, elsewhere / "jobs" / job_id)
    assert session._missing_maps(saved) == ""
    upload = replace(saved, embedding=saved.embedding | {"job": "0" * 16})  # made on somebody's upload of the same
    assert session._job_of(upload).id == view.embed_job
    for change in ({"gene_column": "other"}, {"filters": {}}, {"dataset": "0" * 16}):
        assert session._job_of(replace(upload, **change)) is None
    app = AppTest.from_file(str(ROOT / "pages" / "explorer.py"), default_timeout=120)
    app.query_params["dataset"], app.query_params["model"] = ref, "test/tiny"
    app.query_params["job"], app.query_params["min_counts"] = view.embed_job, "1440"
    app.session_state[session._PENDING] = saved
    check(app.run())
    assert [entry["name"] for entry in spec_of(app)["maps"]] == ["umap_model", "X_own"]
    assert spec_of(app)["colors"]["title"] == view.data.genes[3]
    assert n_selected(app) == int(view.mask.sum())
    newest_first = [f"{kept.name} ({kept.n_cells:,} cells)" for kept in reversed(view.history.named)]
    assert app.selectbox(key="x_named").options == newest_first
    assert app.session_state[f"scfviz.comparison.{saved.dataset}"] == compare_job, (
        "the result is found, not computed again"
    )
    assert not app.error and "differ:" not in text_of(app)
    restored = {"x_plot_kind": "violins", "x_plot_order": "groups", "x_length": "cells", "x_parts": view.data.labels[0]}
    assert {key: app.session_state[key] for key in restored} == restored
    assert app.session_state["x_plot_genes"] == list(view.data.genes[:4]), "so that the report shows them at once"
    assert shown._key(view.data, "plots") in app.session_state
    assert view_of(app)["color"] == "gene" and view_of(app)["gene"] == view.data.genes[3]


def test_session_of_another_dataset_is_refused_in_words(worked):
    _, view, _ = worked
    other = replace(saved_session(view), dataset="0" * 16).to_bytes()
    app = open_page(x_panel=panel("report"))
    app.file_uploader(key="session-0").set_value(("other.json", other, "application/json"))
    check(app.run())
    assert len(app.error) == 1 and "The session belongs to" in app.error[0].value
    assert not [button for button in app.button if button.key == "restore-session"]


def test_session_names_that_are_taken_get_a_number_and_the_same_ones_stay_single():
    mine = SelectionHistory().select(Query("a > 1")).keep("one", 1, 2).select(Query("b > 1")).keep("two", 1, 2)
    other = SelectionHistory().select(Query("c > 1")).keep("one", 1, 2).select(Query("b > 1")).keep("two", 1, 2)
    merged = merge_named(mine, other)
    assert [kept.name for kept in merged.named] == ["one", "two", "one (2)"]
    assert merge_named(merged, mine).named == merge_named(merged, other).named == merged.named


@pytest.mark.parametrize(
    "change",
    [
        {"scfviz_session": 2},
        {"dataset": {"id": "../../x", "title": "t", "n_obs": 1, "size": 1}},
        {"dataset": {"id": "0" * 16, "title": "t", "n_obs": -1, "size": 1}},
        {"view": {"maps": "X"}},
        {"view": {"gene": ["X"]}},
        {"filters": {"min_counts": "many"}},
        {"selections": {"version": 1}},
        {"selections": None},
        {"labels": [{"name": "a", "labels": ["x"], "codes": "!!"}]},
        {"labels": [{"name": "a", "labels": ["x"], "codes": pack_codes(np.zeros(10**6))}]},
        {"labels": [{"name": "a", "labels": ["x"], "codes": pack_codes(np.full(3, 5))}]},
        {"embedding": {"job": "x", "options": {}, "checkpoint": {"name": "", "hash": "0" * 16}}},
        {"comparison": {"group": {"rule": "query"}}},
        {"comparison": {"group": None}},
    ],
)
def test_damaged_session_files_are_refused(change):
    content = json.loads(SavedSession("0" * 16, "cells", 3, 10).to_bytes())
    assert read_session(json.dumps(content).encode()).title == "cells"
    with pytest.raises(OptionError):
        read_session(json.dumps(content | change).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"scfviz_session": 1}',
        b"a,b\n1,2\n",
        SavedSession("0" * 16, "cells", 3, 10).to_bytes()[:-40],
        b" " * 50_000_001,
    ],
)
def test_files_that_are_no_session_are_refused(content):
    with pytest.raises(OptionError):
        read_session(content)


def test_labels_travel_with_the_session():
    codes = np.random.default_rng(0).integers(-1, 3, 1000)
    assert (unpack_codes(pack_codes(codes), 1000) == codes).all()
    entry = {"name": "<i>mine</i>", "labels": ["a", "b", "c"], "codes": codes}
    saved = read_session(SavedSession("0" * 16, "cells", 1000, 10, labels=[entry]).to_bytes())
    assert (saved.labels[0]["codes"] == codes).all() and saved.labels[0]["labels"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("median", "text"), [(2.5, "2.5"), (2.0, "2"), (3.5, "3.5"), (1234.0, "1,234"), (1234.5, "1,234.5")]
)
def test_a_median_between_two_counts_is_the_same_everywhere(median, text):
    """A table of two genes had a median of 2.50 on top of the page and of 2 below."""
    from scfviz.reporting.numbers import median_text
    from scfviz.ui.screens.filters import _median

    assert median_text(median) == text == _median(np.array([median - 1, median + 1]), True)
