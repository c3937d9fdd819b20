"""Names that people read come from one table, that of the tasks."""

import pytest

from scfviz.analysis.selection.rules import (
    Categories,
    Cells,
    Difference,
    Intersection,
    Invert,
    Polygon,
    Query,
    Rectangle,
    Threshold,
    Union,
)
from scfviz.tasks.names import describe, public_names, public_rule

BOX = Rectangle("umap_model", (0.0, 1.0), (0.0, 1.0))
SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Polygon("umap_model", SQUARE), Polygon("X_umap_scfoundation", SQUARE)),
        (Rectangle("umap_joint", (0, 1), (0, 1)), Rectangle("X_umap_joint", (0, 1), (0, 1))),
        (Polygon("X_own", SQUARE), Polygon("X_own", SQUARE)),
        (Categories("clusters_baseline", ("1",)), Categories("leiden_baseline", ("1",))),
        (Categories("mine", ("clusters_model",)), Categories("mine", ("clusters_model",))),
        (Threshold("column", "clusters_model", ">", 1.0), Threshold("column", "leiden_scfoundation", ">", 1.0)),
        (Threshold("gene", "clusters_model", ">", 1.0), Threshold("gene", "clusters_model", ">", 1.0)),
        (
            Query('clusters_model == "clusters_model" and not_clusters_model > 1 or `clusters_joint` in ("1", "2")'),
            Query('leiden_scfoundation == "clusters_model" and not_clusters_model > 1 or `leiden_joint` in ("1", "2")'),
        ),
        (Cells(("umap_model",)), Cells(("umap_model",))),
    ],
)
def test_rules_speak_of_public_names_wherever_they_are_nested(rule, expected):
    assert public_rule(rule) == expected
    for wrap in (Invert, lambda r: Union((BOX, r)), lambda r: Intersection((r, BOX)), lambda r: Difference(BOX, r)):
        assert public_rule(wrap(rule)) == public_rule(wrap(expected))
        assert "umap_model'" not in describe(wrap(rule))


def test_a_key_that_the_file_has_itself_gets_a_number():
    names = public_names({"X_umap_scfoundation", "leiden_joint", "leiden_joint_2"})
    assert names["umap_model"] == "X_umap_scfoundation_2" and names["clusters_joint"] == "leiden_joint_3"
    assert names["umap_joint"] == "X_umap_joint" and len(set(names.values())) == len(names)


def test_on_screen_maps_and_columns_have_their_titles_and_queries_what_can_be_typed():
    """The card of the selection spoke of the map "X_umap_quick"."""
    titles = {"umap_model": "scFoundation", "clusters_model": "Clusters"}
    assert "the map 'scFoundation'" in describe(Invert(BOX), titles=titles)
    assert describe(Categories("clusters_model", ("1",)), titles=titles) == "Clusters is 1"
    assert "leiden_scfoundation == 1" in describe(Query("clusters_model == 1"), titles=titles)
