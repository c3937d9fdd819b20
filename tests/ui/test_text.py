"""Texts on screen: what is cut stays readable, and different things look different."""

from scfviz.ui.frame.text import shorten, shorten_apart


def test_names_that_would_look_alike_keep_what_tells_them_apart():
    """Three gene sets read "antigen processing and pres...ide antigen via MHC class II"."""
    names = [
        f"antigen processing and presentation of {kind} peptide antigen via MHC class II"
        for kind in ("exogenous", "endogenous", "any")
    ]
    short = shorten_apart([*names, "a short one", names[0]], 56)
    assert len(set(short)) == 4 and short[0] == short[4] and short[3] == "a short one"
    assert shorten_apart(["x" * 90, "y"], 20) == [shorten("x" * 90, 20), "y"] and shorten_apart([], 5) == []
