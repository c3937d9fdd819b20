"""The picture of a network of genes: titles, colours, sizes."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from scfviz.tasks.gene_modules.layout import place_genes
from scfviz.ui.drawing.network import HEIGHT, WIDTH, Disc, Edge, Network, Node, describe
from scfviz.ui.drawing.network_titles import place_titles, wrap

NAMES = (
    "negative regulation of viral genome replication",
    "MHC class II protein complex assembly",
    "RPS27A, RPS3A",
    "cytolysis",
    "a" * 70,
)


def make_network(n_modules: int, seed: int = 0) -> Network:
    """Modules of different sizes as the task lays them out."""
    rng = np.random.default_rng(seed)
    module = np.sort(np.concatenate([np.arange(n_modules), rng.integers(0, n_modules, 30 * n_modules)])) + 1
    n = len(module)
    graph = sparse.random(n, n, 0.02, format="csr", random_state=rng)
    places = place_genes(graph + graph.T, module).tolist()
    nodes = [
        Node(f"G{i}", x, y, int(module[i]), i % 5 / 4, is_marked=i == 0, has_label=i % 9 == 0)
        for i, (x, y) in enumerate(places)
    ]
    discs = []
    for number in range(1, n_modules + 1):
        own = np.array(places)[module == number]
        middle = own.mean(axis=0)
        radius = float(np.hypot(*(own - middle).T).max()) + 0.6
        discs.append(Disc(number, NAMES[number % len(NAMES)], *middle.tolist(), radius))
    return Network(tuple(nodes), (Edge("G0", "G1", 1.0, 1.0),), tuple(discs))


def meets(one, two) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


@pytest.mark.parametrize("n_modules", [1, 2, 7, 12, 25])
def test_titles_of_modules_never_overlap(n_modules):
    """They were all written above their discs, over each other and over other modules."""
    for seed in range(3):
        network = make_network(n_modules, seed)
        series = describe(network, HEIGHT)["series"][0]
        scale = series["data"][0]["symbolSize"] / 2 / network.discs[0].radius
        discs = [(disc.x * scale, -disc.y * scale, disc.radius * scale) for disc in network.discs]
        titles = place_titles([d.name for d in network.discs], [d.module for d in network.discs], discs, 2 * WIDTH)
        written = [title for title in titles if title.text]
        assert len(written) >= 0.8 * n_modules
        for one, two in itertools.combinations(written, 2):
            assert not meets(one.box, two.box), (one, two)


def test_a_title_keeps_off_another_disc_while_there_is_room():
    low, high = (0.0, 60.0, 50.0), (0.0, -50.0, 50.0)
    titles = place_titles(["lower one", "upper one"], [1, 2], [low, high], 500)
    for title, other in zip(titles, (high, low), strict=True):
        x, y, r = other
        assert not meets(title.box, (x - r, y - r, x + r, y + r)), title


def test_a_long_name_takes_two_lines():
    assert wrap("MHC class II protein complex assembly").split("\n") == ["MHC class II protein", "complex assembly"]
    assert max(map(len, wrap("b" * 90).split("\n"))) <= 22


def test_the_picture_fits_the_smallest_usual_chart():
    """Discs had the size of a wide chart on a narrow one, and lay over each other."""
    for seed in range(3):
        network = make_network(9, seed)
        series = describe(network, HEIGHT)["series"][0]
        xs, ys = (np.array([node[axis] for node in series["data"]]) for axis in "xy")
        scale = series["width"] / np.ptp(xs)
        assert scale == pytest.approx(series["height"] / np.ptp(ys), rel=0.01)
        middle = (xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2
        for node, disc in zip(series["data"], network.discs, strict=False):
            assert node["symbolSize"] == pytest.approx(2 * disc.radius * scale, rel=0.01)
            assert abs(node["x"] - middle[0]) * scale + node["symbolSize"] / 2 <= WIDTH / 2
            assert abs(node["y"] - middle[1]) * scale + node["symbolSize"] / 2 <= HEIGHT / 2


def test_no_colour_is_of_one_theme():
    """Halos stayed white when the page became dark: the page is not run then, the browser has to choose them."""
    for node in describe(make_network(4), HEIGHT)["series"][0]["data"]:
        assert not {"color", "textBorderColor", "backgroundColor"} & set(node["label"]), node["id"]
        rim = node["itemStyle"].get("borderColor", "#7f8c8f")
        assert rim.lower() not in ("#ffffff", "#000000", "#16282c")


def test_thousands_of_genes_are_drawn_smaller_and_without_rims():
    """They lay on one heap; rims cost time where they are not seen."""

    def draw(n: int) -> list[dict]:
        nodes = tuple(Node(f"G{i}", i % 40, i // 40, 1, 0.5, is_marked=i == 0) for i in range(n))
        return describe(Network(nodes, ()), HEIGHT)["series"][0]["data"]

    few, many = draw(300), draw(2_000)
    assert few[1]["itemStyle"]["borderWidth"] > 0 and few[1]["symbolSize"] > many[1]["symbolSize"]
    assert many[0]["itemStyle"]["borderWidth"] > 0, "a marked gene keeps its ring"
    assert not any(node["itemStyle"]["borderWidth"] for node in many[1:])


def test_no_ground_rises_over_its_genes():
    """A module under the mouse, or chosen, lay above its genes, and none of them could be clicked."""
    network = make_network(4)
    for node in describe(network, HEIGHT)["series"][0]["data"][: len(network.discs)]:
        assert node["emphasis"]["disabled"] and node["select"]["disabled"], node["id"]
