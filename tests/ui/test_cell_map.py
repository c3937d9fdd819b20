"""The map's Python side: codes, pictures, lasso, and what a browser may send."""

import json
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from scfviz.analysis.selection.rules import Categories, Polygon, Rectangle, SelectionContext, evaluate
from scfviz.ui.drawing import cell_map, map_layout, palette, quantise, raster
from scfviz.ui.drawing.coloring import Values, color_by_labels, color_by_values

APP = Path(__file__).resolve().parents[1] / "apps" / "cell_map_app.py"
SQUARE = [[4.0, -2.0], [8.0, -2.0], [8.0, 2.0], [4.0, 2.0]]


def run_app(**state) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    if state:
        app.run()
        app.session_state["map"] = state
    return app.run()


def spec_of(app: AppTest) -> dict:
    """The description that the visible component got."""
    return next(json.loads(e.proto.json) for e in app.get("bidi_component") if e.proto.WhichOneof("data") == "json")


def counted(app: AppTest) -> int:
    return int(app.text[0].value.split()[2])


def test_values_come_back_within_half_a_step():
    values = np.random.default_rng(0).gamma(2.0, 1.0, 20_000).astype(np.float32)
    values[::50] = np.nan
    coloring = color_by_values("g", "u", values)
    codes = quantise.encode(coloring)
    step = (coloring.high - coloring.low) / (quantise.N_VALUE_CODES - 1)
    # What the browser's legend and hover box make of a code (legend.js).
    back = np.where(codes == quantise.N_VALUE_CODES, np.nan, coloring.low + codes * step)
    assert codes.dtype == np.uint8
    assert np.array_equal(np.isnan(back), np.isnan(values))
    assert np.nanmax(np.abs(back - np.clip(values, coloring.low, coloring.high))) <= step / 2 * 1.01


def test_a_cell_without_a_value_never_looks_like_zero():
    codes = quantise.encode(Values("g", "u", np.array([0.0, np.nan, 1.0], np.float32), 0.0, 1.0))
    assert codes.tolist() == [0, quantise.N_VALUE_CODES, quantise.N_VALUE_CODES - 1]


def test_more_than_255_categories_take_two_bytes():
    labels = color_by_labels("x", pd.Series([f"c{i}" for i in range(10)]))
    assert quantise.encode(labels).dtype == np.uint8
    many = type(labels)("x", np.arange(400, dtype=np.int32), tuple(map(str, range(400))), ("#000000",) * 400)
    codes = quantise.encode(many)
    assert codes.dtype == np.uint16 and codes.tolist() == list(range(400))


def test_a_blend_keeps_each_genes_level():
    rng = np.random.default_rng(1)
    genes = {name: rng.gamma(1.0, 1.0, 500).astype(np.float32) for name in "ABC"}
    genes["A"][3] = np.nan
    blend = quantise.blend(genes, "u")
    codes = quantise.encode(blend).astype(int)
    assert codes[3] == quantise.n_codes(blend)
    known = np.arange(500) != 3
    for k in range(3):
        levels = codes // quantise.BLEND_LEVELS**k % quantise.BLEND_LEVELS
        assert np.array_equal(levels[known], blend.levels[k][known])
    palette = quantise.blend_palette(3)
    alone = [palette[(quantise.BLEND_LEVELS - 1) * quantise.BLEND_LEVELS**k] for k in range(3)]
    assert tuple(alone) == quantise.BLEND_COLORS


def picture(points, cells, **options):
    settings = {"box": (0.0, 0.0, 10.0, 10.0), "width": 100, "height": 100, "size": 3.0, "opacity": 1.0}
    return raster.draw_cells(np.asarray(points, np.float32), cells, **(settings | options))


def cells_of(codes, **options):
    return raster.Cells(
        np.asarray(codes, np.uint8), np.array([[255, 0, 0], [0, 0, 255], [9, 9, 9]], np.uint8), False, **options
    )


def test_a_picture_shows_every_cell_where_it_is():
    points = np.random.default_rng(0).uniform(0.5, 9.5, (200, 2))
    image = picture(points, cells_of(np.arange(200) % 2))
    for x, y in points:
        assert image[int(100 - y * 10), int(x * 10), 3] > 100
    assert picture(np.full((3, 2), 50.0), cells_of([0, 0, 0]))[..., 3].max() == 0


def test_cells_at_the_border_and_without_a_place_do_no_harm():
    image = picture([[0, 0], [10, 10], [np.nan, 5], [-0.1, 5], [1e9, -1e9]], cells_of([0, 1, 0, 1, 0]), size=12.0)
    assert image[99, 0, 0] == 255 and image[0, 99, 2] == 255 and image[50, 0, 2] == 255


def test_selected_cells_lie_above_others_and_others_stay_visible():
    points = [[5, 5]] * 50 + [[2, 2]] * 5
    codes = [0] * 49 + [1] + [0] * 5
    selected = np.zeros(55, bool)
    selected[49] = True
    image = picture(points, cells_of(codes, selected=selected), opacity=0.9)
    assert image[50, 50, 2] > 200 > image[50, 50, 0]
    assert 0 < image[80, 20, 3] < 255


def test_high_values_are_drawn_last_and_unknown_first():
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    codes = np.array([1, 0, 2, 0, 2], np.uint8)
    image = picture([[5, 5]] * 5, raster.Cells(codes, colors, True))
    assert image[50, 50].tolist() == [0, 255, 0, 255]


def test_hidden_categories_are_not_drawn():
    image = picture([[3, 3], [7, 7]], cells_of([0, 1], hidden=(1,)))
    assert image[70, 30, 3] == 255 and image[30, 70, 3] == 0


def test_dense_places_look_dense():
    points = [[3, 3]] + [[7, 7]] * 6
    image = picture(points, cells_of([0] * 7), opacity=0.4)
    assert image[70, 30, 3] == pytest.approx(102, abs=3)
    assert image[30, 70, 3] == pytest.approx(255 * (1 - 0.6**6), abs=3)


def test_large_pictures_in_parts_are_the_same(monkeypatch):
    points = np.random.default_rng(0).uniform(0, 10, (3000, 2))
    codes = np.arange(3000) % 2
    whole = picture(points, cells_of(codes), opacity=0.5)
    monkeypatch.setattr(raster, "_STAMPS_AT_ONCE", 500)
    assert np.array_equal(whole, picture(points, cells_of(codes), opacity=0.5))


def test_a_few_outliers_do_not_shrink_the_map():
    points = np.random.default_rng(0).normal(0, 1, (10_000, 2)).astype(np.float32)
    points[:3] = 1e6
    points[3] = np.nan
    box = raster.fit_box(points)
    assert -6 < box[0] < -2 and 2 < box[2] < 6
    assert raster.fit_box(np.full((3, 2), np.nan)) == (-1.0, -1.0, 1.0, 1.0)


def test_a_name_stands_on_its_group_also_when_it_has_two_parts():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(-5, 0.3, (600, 2)), rng.normal(5, 0.3, (500, 2))]).astype(np.float32)
    places = map_layout.label_places(points, np.zeros(1100, np.uint8), 2, ("two", "parts"))
    assert np.abs(np.abs(places[0]) - 5).max() < 1.0
    assert places[1] is None


def test_a_name_never_stands_on_another_group():
    """Guards against the name of a few scattered cells on the island of a large group."""
    rng = np.random.default_rng(0)
    large = [rng.normal(centre, 0.3, (500, 2)) for centre in ((0, 0), (6, 0), (0, 6))]
    few = np.array([[0.1, 0], [6.1, 0.1], [0, 6.2], [6, -0.1]])
    loner = rng.normal((6, 6), 0.05, (5, 2))
    xy = np.concatenate([*large, few, loner]).astype(np.float32)
    codes = np.repeat([0, 1, 2, 3, 4], [500, 500, 500, 4, 5]).astype(np.uint8)
    places = map_layout.find_places(xy, codes, 5, raster.fit_box(xy))
    assert places[3] is None, "its cells are everywhere a small part"
    for code in (0, 1, 2, 4):
        nearest = np.argsort(((xy - places[code]) ** 2).sum(axis=1))[:5]
        assert (codes[nearest] == code).all()
    # Cells without a group of their own, such as "no label", have no name.
    assert map_layout.find_places(xy, codes, 4, raster.fit_box(xy)) == places[:4]


def test_infinite_values_are_counted_at_the_ends():
    values = np.concatenate([np.linspace(0, 1, 1000), [np.inf] * 37, [-np.inf], [np.nan] * 3]).astype(np.float32)
    below, above, text = quantise.clip_text(color_by_values("x", "u", values))
    assert below and above and "38 of them infinite" in text
    ends = [int(word) for word in text.replace(".", "").split() if word.isdecimal()]
    assert sum(ends[:2]) == int((values < np.nanpercentile(values[np.isfinite(values)], 1)).sum()) + int(
        (values > np.nanpercentile(values[np.isfinite(values)], 99)).sum()
    )


def test_any_colour_vision_tells_groups_and_mixtures_apart():
    """CIELAB distance for normal, protan and deutan vision (Machado 2009): at least 15 of 12 groups, 8 of 60."""
    for colors in palette.GROUP_COLORS.values():
        assert len(set(colors)) == 60
        assert distance(colors[:12]) > 15 and distance(colors) > 8
    assert distance(palette.MIXTURES[:4]) > 45, "nothing, one gene, the other, both"
    assert distance(palette.MIXTURES) > 14
    for ramp in palette.RAMPS.values():
        for stops in (ramp.on_light, ramp.on_dark):
            light = [lab(stops, np.eye(3))[:, 0]]
            assert all((np.diff(each) > 0).all() or (np.diff(each) < 0).all() for each in light), ramp.title


VISIONS = (
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
)


def lab(colors, vision) -> np.ndarray:
    """CIELAB of hexadecimal colours as somebody sees them."""
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.clip(linear @ vision.T, 0, 1) @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def distance(colors) -> float:
    """The smallest between any two, in the vision that tells them apart least."""
    found = []
    for vision in VISIONS:
        seen = lab(colors, vision)
        apart = np.sqrt(((seen[:, None] - seen[None]) ** 2).sum(axis=2))
        found.append(apart[np.triu_indices(len(colors), 1)].min())
    return min(found)


def test_an_app_sends_bytes_once_and_a_small_description():
    app = run_app()
    spec = spec_of(app)
    channels = [e.proto.bytes for e in app.get("bidi_component") if e.proto.WhichOneof("data") == "bytes"]
    sent = {message[:36].decode(): message[40 : 40 + int.from_bytes(message[36:40], "little")] for message in channels}
    positions = np.frombuffer(sent[spec["maps"][0]["positions"]], np.float32)
    assert positions.shape == (10_000,)
    assert len(sent[spec["colors"]["channel"]]) == 5_000
    assert len(sent[spec["names"]].decode().split("\n")) == 5_000
    assert sum(spec["colors"]["counts"]) == spec["n"] == 5_000
    # Streamlit keeps only messages from this size on and sends smaller ones again with every click.
    assert min(map(len, channels)) >= st.get_option("global.minCachedMessageSize") > 0


def test_a_plain_click_sends_the_same_bytes_again_whatever_is_selected():
    """Unchanged messages travel as a hash; a description below 10 kB is all that is sent again."""
    app = run_app(event={"id": "1", "kind": "lasso", "map": "First", "polygon": SQUARE, "operation": "replace"})
    first = [e.proto.SerializeToString() for e in app.get("bidi_component")]
    app.button[0].click().run()
    assert [e.proto.SerializeToString() for e in app.get("bidi_component")] == first
    assert sum(len(message) for message in first if len(message) < 10_000) < 10_000


def test_a_lasso_selects_what_the_polygon_holds():
    app = run_app(event={"id": "1", "kind": "lasso", "map": "First", "polygon": SQUARE, "operation": "replace"})
    spec = spec_of(app)
    assert counted(app) == spec["selection"]["n"] == sum(spec["colors"]["selected"]) > 400
    assert np.allclose(spec["maps"][0]["outlines"], [SQUARE])
    bits = next(
        e.proto.bytes for e in app.get("bidi_component") if e.proto.bytes[:36].decode() == spec["selection"]["channel"]
    )
    mask = np.unpackbits(np.frombuffer(bits[40 : 40 + 625], np.uint8), bitorder="little")[:5_000]
    assert int(mask.sum()) == counted(app)
    assert "cells selected" in spec["description"]
    app.run()
    assert counted(app) == spec["selection"]["n"], "one event counts once"


def test_legend_and_lasso_combine():
    app = run_app(event={"id": "1", "kind": "category", "code": 0, "operation": "replace"})
    whole = counted(app)
    app.session_state["map"] = {
        "event": {"id": "2", "kind": "rectangle", "map": "First", "polygon": SQUARE, "operation": "intersect"}
    }
    app.run()
    assert 0 < counted(app) < whole
    app.session_state["map"] = {"event": {"id": "3", "kind": "clear"}}
    app.run()
    assert counted(app) == 0 and spec_of(app)["selection"] is None


@pytest.mark.parametrize(
    "event",
    [
        {"id": "1", "kind": "lasso", "map": "First", "polygon": [[0, 0], [1, float("nan")], [1, 1]]},
        {"id": "1", "kind": "lasso", "map": "First", "polygon": [[0, 0], [1, 1]]},
        {"id": "1", "kind": "lasso", "map": "First", "polygon": [["a", 0], [1, 1], [2, 2]]},
        {"id": "1", "kind": "lasso", "map": "First", "polygon": SQUARE, "operation": "drop table"},
        {"id": "1", "kind": "rename", "code": 1, "text": "  "},
        {"id": "1", "kind": "script"},
        {"kind": None},
    ],
)
def test_nonsense_from_a_browser_is_ignored(event):
    app = run_app(event=event)
    assert not app.exception and counted(app) == 0


def test_without_webgl_the_server_draws_what_is_in_view():
    screen = {"renderer": "raster", "width": 300, "height": 200, "zoom": 1, "dpr": 1, "dark": False,
              "boxes": {"First": [-9, -9, 9, 9], "Second": [-5, -5, 5, 5]}}  # fmt: skip
    app = run_app(screen=screen)
    spec = spec_of(app)
    channels = [e.proto.bytes for e in app.get("bidi_component") if e.proto.WhichOneof("data") == "bytes"]
    assert spec["renderer"] == "raster" and len(channels) == 2
    for message, map_spec in zip(channels, spec["maps"], strict=True):
        size = int.from_bytes(message[36:40], "little")
        image = Image.open(BytesIO(message[40 : 40 + size]))
        assert image.size == (300, 200) and map_spec["image"]["channel"] == message[:36].decode()
    for broken in ({"width": 1e9}, {"boxes": {"First": [1, 1, 0, 0]}}, {"boxes": None}, {"width": "x"}):
        assert not run_app(screen=screen | broken).exception


def test_hidden_categories_belong_to_their_colouring():
    app = run_app()
    colors = spec_of(app)["colors"]["id"]
    app.session_state["map"] = {"hidden": {"colors": colors, "codes": [1, 2]}}
    app.run()
    assert spec_of(app)["hidden"] == [1, 2]
    app.radio[0].set_value("GENE0").run()
    assert spec_of(app)["hidden"] == []


def test_events_become_rules():
    xy = np.array([[0.5, 0.5], [3.0, 3.0]])
    context = SelectionContext(pd.DataFrame({"kind": ["a", "b"]}, index=["x", "y"]), {"M": xy})
    polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    lasso = cell_map.MapEvent("lasso", "M", polygon=polygon).rule()
    box = cell_map.MapEvent("rectangle", "M", polygon=polygon).rule()
    legend = cell_map.MapEvent("category", code=1).rule(column="kind", names=("a", "b"))
    assert lasso == Polygon("M", polygon) and box == Rectangle("M", (0.0, 1.0), (0.0, 1.0))
    assert legend == Categories("kind", ("b",))
    assert [evaluate(rule, context).tolist() for rule in (lasso, box, legend)] == [
        [True, False],
        [True, False],
        [False, True],
    ]
    assert cell_map.MapEvent("cell", code=1).rule() is None


def test_browser_and_server_size_points_by_the_same_rule():
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    source = Path(cell_map.__file__).parents[1] / "components" / "cell_map" / "src" / "look.js"
    cases = [(700, 600, 500, 1), (5_000, 480, 420, 3.5), (100_000, 900, 520, 1), (1_000_000, 900, 520, 40)]
    code = (
        f"import {{ pointLook }} from '{source.as_uri()}';"
        f"console.log(JSON.stringify({json.dumps(cases)}.map((c) => pointLook(...c))))"
    )
    result = subprocess.run(["node", "--input-type=module", "-e", code], capture_output=True, text=True, check=True)
    assert np.allclose(json.loads(result.stdout), [raster.point_look(*case) for case in cases])
