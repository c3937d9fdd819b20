"""What benchmarks recorded, in the words that pages show: numbers are those of the file, and no file is no sentence."""

import json

import pytest

from scfviz.tasks.drug_response import measured as of_drugs
from scfviz.tasks.drug_sensitivity import measured as of_cells
from scfviz.tasks.enhancement import measured as of_enhancement
from scfviz.tasks.mapping import measured as of_mapping


@pytest.mark.parametrize("measured", [of_cells, of_drugs, of_enhancement, of_mapping])
def test_recorded_results_are_described_and_none_are_made_up(measured, tmp_path):
    found = measured.read_measured()
    assert found is not None and measured.describe_measured(found) and measured.measured_table(found)
    assert measured.read_measured(tmp_path / "absent.json") is None
    (tmp_path / "broken.json").write_text("{")
    assert measured.read_measured(tmp_path / "broken.json") is None


def test_a_dataset_counts_as_ahead_or_behind_by_the_interval_of_the_gain(tmp_path):
    def run(low, high):
        scores = {"effective_fold": 2.0, "effective_fold_low": 1.5, "effective_fold_high": 3.0} | {
            "best_simple_method": "neighbours",
            "effective_fold_of_best_simple_method": 1.2,
            "gain_over_best_simple_method_low": low,
            "gain_over_best_simple_method_high": high,
        }
        names = ("dataset alone", "posterior", "low rank")
        return {"scores": scores, "methods": [{"method": m, "fold": 1.1, "invented_per_1000": 3.0} for m in names]}

    runs = {"dataset/a/0": run(0.01, 0.02), "dataset/b/0": run(-0.01, 0.01), "dataset/c/0": run(-0.02, -0.01)}
    (tmp_path / "found.json").write_text(json.dumps({"runs": runs}))
    found = of_enhancement.read_measured(tmp_path / "found.json")
    assert [row["Combination is"] for row in of_enhancement.measured_table(found)] == ["ahead", "alike", "behind"]
    assert "on 1 of 3 datasets, behind on 1" in of_enhancement.describe_measured(found)[0]


def test_thinned_counts_and_mixtures_are_said_where_they_were_measured(tmp_path):
    gain = {"gain_over_best_simple_method_low": -0.02, "gain_over_best_simple_method_high": -0.01}
    runs = {"thinning 5 %/a/0": {"scores": gain}, "thinning 50 %/a/0": {"skipped": "no genes"}}
    names = {"input": 0.2, "low rank": 0.3, "dataset alone": 0.5}
    runs["mixtures/m/0"] = {"methods": {name: {"median_correlation": value} for name, value in names.items()}}
    said = " ".join(of_enhancement.describe_measured({"runs": runs | _whole()}))
    assert "5 %: ahead on 0, behind on 1 of 1." in said and "50 %" not in said
    assert "counts 0.20, low rank 0.30, combination 0.50." in said


def _whole():
    scores = {f"gain_over_best_simple_method{end}": 0.1 for end in ("_low", "_high")}
    scores |= {f"effective_fold{end}": 2.0 for end in ("", "_low", "_high")}
    scores |= {"best_simple_method": "low rank", "effective_fold_of_best_simple_method": 1.5}
    names = ("dataset alone", "posterior", "low rank")
    return {
        "dataset/a/0": {
            "scores": scores,
            "methods": [{"method": m, "fold": 1.1, "invented_per_1000": 3.0} for m in names],
        }
    }


def test_a_wrong_tissue_counts_as_noticed_above_four_fifths(tmp_path):
    def pair(share):
        arm = {"no_counterpart": {"mean": share, "sd": 0.0}, "no_counterpart_by_distance": {"mean": 0.1, "sd": 0.0}}
        return {"arms": {"pca": arm, "combination": arm}}

    pairs = {"wrong_tissue_a": pair(0.9), "wrong_tissue_b": pair(0.5)}
    said = " ".join(of_mapping.describe_measured({"pairs": pairs}))
    assert "in 1 of 2 pairs: 50% to 90%; by distance alone 10% to 10%" in said


def test_drug_responses_have_their_intervals_behind_them_and_the_same_columns_in_each_row():
    arms = {
        "n": {"lines": 1_200},
        "predictor": {
            "normalised_r": 0.5,
            "normalised_r low": 0.4,
            "normalised_r high": 0.6,
            "seeds": 5,
        },
        "predictor minus forest": {"normalised_r low": -0.01, "normalised_r high": 0.02},
        "structure": {"partial_r": 0.1, "partial_low": 0.05, "partial_high": 0.2, "5 % of the drugs below": 0.3},
        "laboratory": {"median spearman": 0.3, "low": 0.2, "high": 0.4},
    }
    rows = of_drugs.measured_table({"questions": ["unseen line", "never measured"], "unseen line": arms})
    assert {tuple(row) for row in rows} == {("Question", "Arm", *of_drugs.COLUMNS.values(), "Other numbers")}
    assert {row["Question"] for row in rows} == {"unseen line (1,200 lines)"}
    assert [row["All pairs"] for row in rows] == ["0.500 (0.400 to 0.600)", "-0.010 to 0.020", "", ""]
    assert [row["Other numbers"] for row in rows] == [
        "seeds 5",
        "",
        "partial r 0.100 (0.050 to 0.200); 5 % of the drugs below 0.300",
        "median spearman 0.300 (0.200 to 0.400)",
    ]


def test_states_stand_beside_the_simple_thing_that_separates_them_best():
    one = {what: {"auroc": value} for what, value in (("predictor", 0.9), ("depth", 0.2), ("s_phase", 0.6))}
    few = {"predictor": {"auroc": 0.4}, "depth": {"auroc": 0.6}, "n_genes": 1_400, "n_donors": 5}
    recorded = of_cells.read_measured()
    found = {"breast": recorded["breast"], "states": {"a_drug": one}, "panel": {"few": few}}
    *_, said = of_cells.describe_measured(found)
    assert "a drug 0.90 (read depth 0.80); few, 1,400 genes, 5 donors 0.40 (read depth 0.60)." in said
    assert not any("AUROC" in said for said in of_cells.describe_measured({"breast": recorded["breast"]}))
    *_, said = of_cells.describe_measured(found | {"published": {"a drug": {"genes": 0.41, "scFoundation": 0.72}}})
    assert "on cells that are not at hand" in said and "a drug 0.41 and 0.72" in said
