"""Views are combined by their worth on held-out parts: never clearly worse than the best, and the gain is honest."""

import numpy as np
import pytest

from scfviz.errors import DatasetError
from scfviz.tasks.views import combine, gain_from, weigh


def numbers(n: int = 400, seed: int = 0, **noise: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A truth of unit variance, and views of it with independent errors of these sizes."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return {name: truth + rng.normal(0, size, n) for name, size in noise.items()}, truth


def classes(
    n: int = 400, n_classes: int = 4, seed: int = 0, **skill: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Classes, and views that give the true one this much more of the probability than chance, with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    views = {}
    for name, more in skill.items():
        logits = rng.normal(size=(n, n_classes))
        logits[np.arange(n), truth] += more
        views[name] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return views, truth


def test_weights_are_those_of_inverse_variances():
    # independent errors: the best weights are proportional to 1 / variance, here 4 : 1
    views, truth = numbers(20_000, good=0.5, poor=1.0)
    found = weigh(views, truth, np.arange(len(truth)), loss="squared")
    assert found.weights == pytest.approx({"good": 0.8, "poor": 0.2}, abs=0.02)
    assert found.best == "good" and found.losses["good"] == pytest.approx(0.25, rel=0.05)
    assert found.combined_loss == pytest.approx(0.2, rel=0.05) and found.gain.share == pytest.approx(0.2, abs=0.03)
    assert found.gain.is_clear
    assert np.mean((combine(views, found.weights) - truth) ** 2) == pytest.approx(0.2, rel=0.05)


def test_a_view_that_knows_nothing_gets_no_weight():
    views, truth = classes(3000, knows=3.0, noise=0.0)
    found = weigh(views, truth, np.arange(len(truth)), loss="log")
    assert found.weights["noise"] < 0.05 and found.best == "knows"
    gain = gain_from(["noise"], views, truth, np.arange(len(truth)), loss="log")
    assert abs(gain.share) < 0.02 and gain.n_units == 3000


def test_two_views_that_err_independently_are_better_together():
    views, truth = classes(2000, a=1.5, b=1.5)
    found = weigh(views, truth, np.arange(len(truth)), loss="log")
    assert found.gain.is_clear and 0.3 < found.weights["a"] < 0.7
    assert gain_from(["b"], views, truth, np.arange(len(truth)), loss="log").is_clear


def test_a_gain_that_is_not_there_is_not_claimed():
    # fitted and scored on the same units, noise would seem to help every time
    claims = 0
    for seed in range(40):
        views, truth = numbers(40, seed, simple=0.5)
        views["noise"] = np.random.default_rng(1000 + seed).normal(size=40)
        claims += gain_from(["noise"], views, truth, np.arange(40), loss="squared", seed=seed).is_clear
    assert claims <= 4


def test_with_few_units_weights_stay_near_equal_ones():
    views, truth = numbers(3000, good=0.3, poor=1.0)
    few = weigh(views, truth, np.arange(len(truth)) % 2, loss="squared").weights
    many = weigh(views, truth, np.arange(len(truth)), loss="squared").weights
    assert 0.5 < few["good"] < many["good"]


def test_a_view_without_any_error_gets_the_weight():
    # a loss of nearly nothing once made the problem so steep that the weights stayed equal
    truth = np.arange(300) % 3
    sure = np.eye(3)[truth]
    found = weigh({"sure": sure, "chance": np.full((300, 3), 1 / 3)}, truth, np.arange(300), loss="log")
    assert found.weights["sure"] > 0.95 and found.best == "sure"


def test_every_unit_counts_the_same():
    views, truth = numbers(300, a=0.5, b=0.5)
    units = np.arange(300)
    repeated = np.concatenate([units, np.repeat(units[:5], 200)])
    of_all = {name: view[repeated] for name, view in views.items()}
    once = weigh(views, truth, units, loss="squared")
    assert weigh(of_all, truth[repeated], repeated, loss="squared").weights == pytest.approx(once.weights, abs=1e-6)


def test_the_order_of_views_and_rows_changes_nothing():
    views, truth = classes(200, a=2.0, b=1.0, c=0.5)
    units = np.arange(200) % 50
    found = weigh(views, truth, units, loss="log")
    turned = {name: views[name][::-1] for name in reversed(views)}
    again = weigh(turned, truth[::-1], units[::-1], loss="log")
    assert again.weights == pytest.approx(found.weights, abs=1e-5)
    assert again.combined_loss == pytest.approx(found.combined_loss, rel=1e-5) and again.best == found.best


def test_rows_of_several_numbers():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(60, 30))
    views = {"near": truth + rng.normal(0, 0.2, truth.shape), "mean": np.zeros_like(truth)}
    assert weigh(views, truth, np.arange(60), loss="squared").weights["near"] > 0.9


def test_one_unit_says_nothing_about_a_gain():
    views, truth = numbers(30, a=0.5, b=0.5)
    found = weigh(views, truth, np.zeros(30), loss="squared")
    assert found.gain.n_units == 1 and not found.gain.is_clear


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ({}, "0 views"),
        ({"a": np.zeros((5, 2))}, "must agree"),
        ({"a": np.full((4, 2), np.nan)}, "missing or infinite"),
        ({"a": np.full((4, 1), 0.5)}, "must agree"),
    ],
)
def test_views_that_do_not_fit_are_refused(views, words):
    with pytest.raises(DatasetError, match=words):
        weigh(views, np.array([0, 1, 0, 1]), np.arange(4), loss="log")
