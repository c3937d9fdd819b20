"""What the explorer's page makes of the map: another name for a group, shortcuts, what is said when there is no map."""

import anndata as ad
from test_explorer import act, dataset, open_page, spec_of, text_of  # noqa: F401

from scfviz.data.source import dataset_id
from scfviz.jobs import Workspace, list_jobs
from scfviz.jobs.labels import list_labels


def test_a_group_that_is_renamed_in_the_legend_becomes_a_label(dataset):  # noqa: F811
    app = open_page(x_label="cell_type")
    colors = spec_of(app)["colors"]
    assert colors["n_renamable"] == 2
    act(app, kind="rename", code=colors["names"].index("B"), text="<i>B</i> cells")
    colors = spec_of(app)["colors"]
    assert "<i>B</i> cells" in colors["names"] and "B" not in colors["names"]
    [labels] = list_labels(Workspace(), dataset_id(dataset)).values()
    assert "<i>B</i> cells" in labels.labels
    assert list(ad.read_h5ad(dataset).obs["cell_type"].cat.categories) == ["<b>T</b> *x*", "B"], "the file is untouched"


def test_entries_that_are_no_group_keep_their_name(dataset):  # noqa: F811
    """The entry for many small groups, and what a browser makes up."""
    app = open_page(x_label="sample")
    colors = spec_of(app)["colors"]
    assert colors["n_renamable"] == len(colors["names"]) - 1
    for code in (colors["n_renamable"], 999, -1):
        act(app, kind="rename", code=code, text="mine")
    assert not list_labels(Workspace(), dataset_id(dataset)) and spec_of(app)["colors"]["names"] == colors["names"]


def test_only_labels_can_be_renamed_and_the_page_names_its_shortcuts(dataset):  # noqa: F811
    spec = spec_of(open_page({"x_color": "value", "x_value": "score"}))
    assert "n_renamable" not in spec["colors"]
    assert ["Ctrl+Z", "undo the last selection"] in spec["shortcuts"]


def test_a_file_without_a_map_gets_one_by_itself(dataset):  # noqa: F811
    adata = ad.read_h5ad(dataset)
    adata.obsm.clear()
    adata.write_h5ad(dataset)
    app = open_page()
    assert "nothing is lost" in text_of(app) and not app.get("bidi_component"), "its map is being computed"
    assert [job.kind for job in list_jobs(Workspace()) if job.kind not in ("gene_store",)], "a job was asked for"
