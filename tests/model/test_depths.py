"""Depths far outside those that a model was trained with are said, with the trained range."""

import numpy as np

from scfviz.model.checkpoint import checkpoint_info, default_checkpoint
from scfviz.model.depths import depth_notes

TRAINING = {"depths": {"low": 400.0, "high": 50_000.0}}
CELLS = np.array([300.0, 2_000.0, 60_000.0])


def test_depths_near_the_trained_range_are_no_matter():
    assert depth_notes(TRAINING, CELLS, CELLS) == []
    assert depth_notes(TRAINING, CELLS, np.full(3, 10_000.0)) == []


def test_a_target_far_outside_is_said_with_the_range():
    [note] = depth_notes(TRAINING, CELLS, 1e5 * CELLS)
    assert "target depth of 3 of the 3 cells (30,000,000 to 6,000,000,000 counts)" in note
    assert "400 to 50,000 counts" in note
    assert "(5 counts)" in depth_notes(TRAINING, CELLS, np.full(3, 5.0))[0]


def test_cells_deeper_than_any_in_training_are_said_once():
    deep = np.array([2_000.0, 20_000_000.0])
    assert len(depth_notes(TRAINING, deep, deep)) == 1
    assert "own depth of 1 of the 2 cells" in depth_notes(TRAINING, deep, np.full(2, 10_000.0))[0]


def test_shallow_cells_are_no_matter_because_training_thins_cells():
    assert depth_notes(TRAINING, np.array([20.0]), np.array([10_000.0])) == []


def test_without_a_known_range_nothing_is_said():
    assert depth_notes({}, CELLS, 1e9 * CELLS) == []


def test_the_shipped_checkpoint_says_its_range_and_its_card_too():
    info = checkpoint_info(default_checkpoint())
    depths = info.training["depths"]
    assert f"{depths['low']:,.0f} to {depths['high']:,.0f} counts" in info.readme
