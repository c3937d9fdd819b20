"""The view in the address: written and restored as a whole, so that Back and Forward never show half of one."""

import pytest
from app_pages import check, n_selected, open_explorer, spec_of, text_of
from datasets import some_genes
from streamlit.testing.v1 import AppTest
from test_explorer import FILE, LEFT, act, dataset, open_page  # noqa: F401

from scfviz.ui.drawing import palette
from scfviz.ui.explorer import address, layout


@pytest.fixture
def go(monkeypatch):
    """Run the page as Back and Forward do: with an older address, and the browser's word that it is history."""

    def step(app: AppTest, query: dict[str, list[str]]) -> AppTest:
        app.query_params.clear()
        for name, value in query.items():
            app.query_params[name] = value
        with monkeypatch.context() as patch:
            patch.setattr(address, "is_history_step", lambda: True)
            return check(app.run())

    return step


def test_back_and_forward_restore_colour_panel_and_selection_together(dataset, go):  # noqa: F811
    """Guards against grey maps after Back: the way to colour was lost while the gene was not."""
    gene = some_genes()[7]
    app = act(open_page(), kind="lasso", map="X_umap", polygon=LEFT)
    with_lasso = dict(app.query_params)
    app.session_state["x_color"], app.session_state["x_gene"] = "gene", gene
    with_gene = dict(check(app.run()).query_params)
    assert spec_of(app)["colors"]["title"] == gene and with_gene != with_lasso
    app.session_state["x_panel"] = "plots"
    check(app.run())

    go(app, with_gene)
    assert app.session_state["x_panel"] == "compare" and spec_of(app)["colors"]["title"] == gene
    go(app, with_lasso)
    assert spec_of(app)["colors"]["title"] == "cell_type" and n_selected(app) == 40
    go(app, {"dataset": with_lasso["dataset"]})
    assert spec_of(app)["colors"]["title"] == "cell_type" and n_selected(app) == 0
    go(app, with_gene)
    assert spec_of(app)["colors"]["title"] == gene and n_selected(app) == 40
    assert dict(app.query_params) == with_gene, "a step through the history writes no other address"


def test_a_link_opens_the_whole_view_for_somebody_else(dataset):  # noqa: F811
    app = open_page({"x_color": "value", "x_value": "score", "x_ramp": "cividis", "x_palette": "muted"})
    app.session_state["x_panel"] = "plots"
    view = check(app.run()).query_params["view"]
    other = open_explorer(FILE, view=view)
    colors = spec_of(other)["colors"]
    assert colors["title"] == "score" and colors["stops_light"] == list(palette.RAMPS["cividis"].on_light)
    assert other.session_state["x_panel"] == "plots" and other.session_state["x_palette"] == "muted"


def test_the_view_that_opens_by_itself_adds_nothing_to_the_address(dataset):  # noqa: F811
    """Else Back would seem to do nothing."""
    app = open_page()
    assert set(app.query_params) == {"dataset"}
    app.session_state["x_palette"] = "bright"
    assert check(app.run()).query_params["view"] == "palette.bright"
    app.session_state["x_palette"] = palette.FILE
    assert "view" not in check(app.run()).query_params


def test_what_an_address_names_and_is_not_here_is_left_out(dataset):  # noqa: F811
    app = open_page(view="color.label~label.gone~maps.nowhere~ramp.x~palette.y~panel.compare~nonsense~a.b.c")
    assert spec_of(app)["colors"]["title"] == "cell_type" and [m["name"] for m in spec_of(app)["maps"]] == ["X_umap"]
    assert spec_of(open_page(view="color.nothing"))["colors"]["title"] == "cell_type"


@pytest.mark.parametrize("name", ["a~b", "50% of cells", "x.y z", "Zelle ü", "%7E"])
def test_any_name_comes_back_from_the_address(name):
    class Data:
        labels, values, maps = ("first", name), ("score",), {"X_umap": None}

    text = address.encode(Data, {"color": "label", "label": name, "maps": ["X_umap"], "panel": "plots"}, "0" * 12)
    assert address.decode(text) == {"label": name, "panel": "plots", "sel": "0" * 12}


def test_chosen_colours_are_those_of_maps_and_figures(dataset):  # noqa: F811
    """The file's own colours are kept until the visitor wants others; figures beside the map follow."""
    own = spec_of(open_page())["colors"]["palette"]
    assert set(own) == {"#112233", "#445566"}
    app = open_page(view="palette.muted~panel.composition")
    assert spec_of(app)["colors"]["palette"] == list(palette.GROUP_COLORS["muted"][:2])


def test_whole_numbers_with_few_values_can_be_groups(dataset):  # noqa: F811
    import anndata as ad

    adata = ad.read_h5ad(dataset)
    adata.obs["cluster"] = [i % 12 for i in range(adata.n_obs)]
    adata.obs["cluster_or_none"] = [float(i % 7) if i % 9 else float("nan") for i in range(adata.n_obs)]
    adata.obs["number"] = range(adata.n_obs)
    adata.write_h5ad(dataset)
    app = open_page(x_label="cluster")
    assert spec_of(app)["colors"]["names"] == [str(i) for i in range(12)]
    act(app, kind="category", code=3)
    assert n_selected(app) == 10
    names = spec_of(open_page(x_label="cluster_or_none"))["colors"]["names"]
    assert names == [*map(str, range(7)), "no label"]
    assert spec_of(open_page(x_label="number"))["colors"]["title"] == "cell_type", "a number of each cell is no group"
    assert spec_of(open_page(x_color="value", x_value="cluster"))["colors"]["kind"] == "values"


def test_a_column_of_types_goes_before_one_that_only_sounds_like_it():
    """Guards against a first map by `also_in_set_labelled_1975`, true or false, of a file with types of cells."""
    import pandas as pd

    from scfviz.ui.explorer.data import _order_labels

    obs = pd.DataFrame({name: ["a", "b"] for name in ("condition", "also_in_set_labelled_1975", "cell_type")})
    assert _order_labels(list(obs), obs) == ("cell_type", "also_in_set_labelled_1975", "condition")


def test_a_lasso_does_not_take_cells_that_are_switched_off(dataset):  # noqa: F811
    """Guards against three numbers of shown cells on a page, and against selecting what nobody sees."""
    app = open_page()
    colors = spec_of(app)["colors"]
    hidden = {"colors": colors["id"], "codes": [colors["names"].index("B")]}
    everywhere = [[-3.0, -3.0], [3.0, -3.0], [3.0, 3.0], [-3.0, 3.0]]
    event = {"id": "1", "kind": "lasso", "map": "X_umap", "polygon": everywhere, "operation": "replace"}
    app.session_state[layout.KEY] = {"hidden": hidden, "event": event}
    check(app.run())
    assert n_selected(app) == 80 and "80 of 120 cells shown" in text_of(app)
    app.session_state[layout.KEY] = {"event": event | {"id": "2"}}
    assert n_selected(check(app.run())) == 120
    app.session_state[layout.KEY] = {"hidden": hidden}
    check(app.run())
    assert "40 of them in groups that are switched off" in text_of(app)
