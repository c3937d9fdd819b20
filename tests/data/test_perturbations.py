"""Perturbation designs are recognised from what columns hold, and what cannot be used is refused in words."""

import numpy as np
import pandas as pd
import pytest

from scfviz.data.guides import assign_guides
from scfviz.data.perturbations import find_columns, parse_condition, read_design
from scfviz.errors import DatasetError, OptionError


def obs(column: str, *values: str, n: int = 12, **more) -> pd.DataFrame:
    """Each value n times; further columns of one value a cell."""
    texts = np.repeat(values, n)
    return pd.DataFrame(
        {"sample": "one", **more, column: pd.Categorical(texts)}, index=[f"c{i}" for i in range(len(texts))]
    )


@pytest.mark.parametrize(
    "control", ["ctrl", "non-targeting", "NT", "NTC_2", "control", "safe-harbour", "scramble", "CTRL"]
)
@pytest.mark.parametrize("column", ["condition", "gene", "guide_identity", "something"])
def test_a_control_is_known_by_its_usual_names(control, column):
    design = read_design(obs(column, control, "KLF1", "MAPK1"))
    assert design.column == column and design.is_genetic
    assert design.conditions == ("control", "KLF1", "MAPK1") and design.controls == (control,)
    assert list(design.n_cells) == [12, 12, 12]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("KLF1+ctrl", "KLF1"),
        ("ctrl+KLF1", "KLF1"),
        ("MAPK1+KLF1", "KLF1+MAPK1"),
        ("KLF1_MAPK1", "KLF1+MAPK1"),
        ("STAT2g2", "STAT2"),
        ("sgSTAT2-1", "STAT2"),
        ("KLF1_+_12995988.23-P1P2", "KLF1"),
        ("ENSG00000141510.18", "TP53"),
    ],
)
def test_spellings_of_a_condition(value, expected):
    assert read_design(obs("condition", "ctrl", value)).conditions[1] == expected


def test_the_same_gene_under_two_names_is_one_condition():
    design = read_design(obs("gene", "ctrl", "TP53", "P53", "ENSG00000141510"))
    assert design.conditions == ("control", "TP53") and list(design.n_cells) == [12, 36]
    assert "joined" in design.notes[0]


def test_identifiers_of_the_czi_schema():
    table = {
        "p1": {"role": "targeting", "target_features": {"ENSG00000105610": "KLF1"}},
        "p2": {"role": "targeting", "target_features": {"ENSG00000100030": "MAPK1"}},
        "p3": {"role": "control"},
    }
    cells = obs("genetic_perturbation_id", "p3", "p1", "p1 || p2")
    assert read_design(cells, uns={"genetic_perturbations": table}).conditions == ("control", "KLF1", "KLF1+MAPK1")


def test_conditions_that_are_not_genes():
    design = read_design(obs("stim", "vehicle", "IFN-beta", "dexamethasone 10 nM"))
    assert not design.is_genetic and set(design.conditions) == {"control", "IFN-beta", "dexamethasone 10 nM"}
    assert "not genes" in design.describe()
    assert read_design(obs("stim", "vehicle", "TNF"), is_genetic=False).targets == ((), ())


def test_genes_go_before_guides_and_before_other_conditions():
    cells = obs("stim", "vehicle", "LPS", n=12)
    cells["guide"] = ["NTg1"] * 12 + ["STAT1g1"] * 6 + ["STAT1g2"] * 6
    cells["perturbation"] = ["NT"] * 12 + ["STAT1"] * 12
    assert find_columns(cells) == ("perturbation", "guide", "stim")


def test_unassigned_cells_belong_to_no_condition():
    design = read_design(obs("perturbation", "non-targeting", "STAT1", "unassigned"))
    assert (design.codes < 0).sum() == 12 and design.conditions == ("control", "STAT1")


def test_combinations_of_three_are_shown_and_said():
    design = read_design(obs("condition", "ctrl", "KLF1", "KLF1+MAPK1+TP53"))
    assert any("three genes" in note for note in design.notes)


@pytest.mark.parametrize(
    ("cells", "options", "words"),
    [
        (obs("gene", "ctrl", "KLF1+GATA1", "KLF1+TP53"), {}, "Every condition combines genes"),
        (obs("gene", "ctrl", "KLF1", "TP53", "A1BG+A1CF+TAL1"), {}, "1 condition combines three genes or more"),
        (obs("gene", "ctrl", "KLF1", "TP53", "P53"), {}, "1 value names the same genes"),
        (obs("Cell type", "NK", "B"), {"column": "Cell type", "control": "B"}, "like a column of cell types"),
        (
            pd.concat([obs("gene", "ctrl", "KLF1"), obs("gene", "TP53", n=1)]),
            {},
            "1 condition has fewer than 5 cells",
        ),
    ],
)  # fmt: skip
def test_what_can_be_used_in_part_is_said(cells, options, words):
    notes = read_design(cells, **options).notes
    assert sum(words in note for note in notes) == 1
    assert not read_design(obs("gene", "ctrl", "KLF1", "KLF1+TP53", n=12)).notes


@pytest.mark.parametrize(
    ("cells", "options", "words"),
    [
        (obs("cell_type", "CD14 Mono", "B", "NK"), {}, "No column holds perturbations"),
        (obs("condition", "CD14 Mono", "B", "NK"), {"column": "condition"}, "has no control group"),
        (obs("gene", "KLF1", "MAPK1"), {"column": "gene"}, "has no control group"),
        (obs("gene", "ctrl", "KLF1", n=3), {}, "has 3 cells"),
        (obs("gene", "ctrl"), {"column": "gene"}, "control cells only"),
        (obs("gene", *["ctrl"] * 12, "KLF1", "TP53", n=1), {}, "No condition of 'gene' has 5 cells"),
        (
            obs("gene", *["ctrl"] * 12, *[f"G{i}" for i in range(10_000)], n=1),
            {"column": "gene"},
            "10,000 conditions",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_words(cells, options, words):
    with pytest.raises(DatasetError, match=words) as error:
        read_design(cells, **options)
    assert error.value.advice or error.value.needed


def test_a_column_or_control_that_is_not_there():
    cells = obs("gene", "ctrl", "KLF1")
    with pytest.raises(OptionError, match="no column 'genes'"):
        read_design(cells, column="genes")
    with pytest.raises(OptionError, match="no value 'NT'"):
        read_design(cells, column="gene", control="NT")
    assert read_design(cells, column="gene", control="KLF1").conditions[0] == "control"


def test_guides_become_conditions_by_their_share():
    counts = np.array([[10, 0, 0, 0], [6, 5, 0, 0], [9, 0, 1, 0], [0, 0, 8, 0], [1, 1, 0, 0], [5, 0, 0, 9]])
    names = [f"c{i}" for i in range(6)]
    found = assign_guides(counts, ["STAT1g1", "IRF1g2", "NTg1", "STAT1g2"], names, [*names, "other"])
    assert list(found.conditions) == ["STAT1", "IRF1+STAT1", "STAT1", "ctrl", "unassigned", "STAT1", "unassigned"]
    assert found.n_matched == 6 and found.n_several == 1 and "guide table" in found.describe()
    with pytest.raises(DatasetError, match="None of the guide table's barcodes"):
        assign_guides(counts, ["STAT1g1", "IRF1g2", "NTg1", "STAT1g2"], names, ["x-1", "y-1"])
    with pytest.raises(DatasetError, match="names are"):
        assign_guides(counts, ["STAT1g1"], names, names)


def test_a_typed_condition_goes_by_the_models_symbols():
    assert parse_condition("P53+KLF1") == ("KLF1", "TP53") and parse_condition("KLF1+ctrl") == ("KLF1",)
    with pytest.raises(OptionError, match="names no gene"):
        parse_condition(" + ")
