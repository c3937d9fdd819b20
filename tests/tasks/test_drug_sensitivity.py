"""Drug sensitivity of cells: properties, right values, and what is refused."""

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfviz.__main__ import main
from scfviz.data.open import open_dataset
from scfviz.errors import CheckpointError, DatasetError, GeneError, OptionError
from scfviz.tasks.drug_sensitivity import predictor as predictors
from scfviz.tasks.drug_sensitivity.alone import G2M_PHASE, S_PHASE, cycle_scores, explain
from scfviz.tasks.drug_sensitivity.card import write_card
from scfviz.tasks.drug_sensitivity.compute import call_cells, predict_sensitivity, smooth_parts
from scfviz.tasks.drug_sensitivity.domain import DIVISION, judge_domain, say_domain
from scfviz.tasks.drug_sensitivity.fit import fit_predictor, standardise_cell
from scfviz.tasks.drug_sensitivity.groups import cover_groups, describe_groups, group_means, rank_differences
from scfviz.tasks.drug_sensitivity.names import column_of
from scfviz.tasks.drug_sensitivity.predictor import read_predictor, save_predictor
from scfviz.tasks.drug_sensitivity.simulate import draw_cells, rates_of
from scfviz.tasks.drug_sensitivity.trust import badge_of
from scfviz.tasks.run import run_task

N_GENES, N_LINES = 200, 60
DRUGS = ("Erlotinib", "Nutlin-3a (-)", "Nothing")


@pytest.fixture(scope="module")
def symbols():
    from scfviz.data.vocabulary import load_vocabulary

    first = [*dict.fromkeys([*DIVISION, *S_PHASE[:20], *G2M_PHASE[:20]])]
    return [*first, *[gene for gene in load_vocabulary().symbols if gene not in first][: N_GENES - len(first)]]


@pytest.fixture(scope="module")
def taught(symbols):
    """A predictor from lines in which two gene programmes decide about two drugs, and nothing about a third."""
    rng = np.random.default_rng(0)
    programmes = rng.normal(size=(N_LINES, 2))
    loadings = np.zeros((2, N_GENES))
    loadings[0, 80:110], loadings[1, 110:140] = 1, 1
    base = rng.normal(size=N_GENES)
    values = standardise_cell(base + 0.6 * programmes @ loadings + 0.3 * rng.normal(size=(N_LINES, N_GENES)))
    ln_ic50 = np.column_stack([programmes + 0.2 * rng.normal(size=(N_LINES, 2)), rng.normal(size=N_LINES)])
    ln_ic50[rng.random(ln_ic50.shape) < 0.1] = np.nan
    shares = np.exp(base)
    offset = standardise_cell(draw_cells(rates_of(values, shares), np.arange(N_LINES), 3_000.0, 1)).mean(axis=0)
    about = {"name": "test", "data": "made up", "drugs": {"Erlotinib": {"synonyms": ["Tarceva"], "spearman": 0.5}}}
    found = fit_predictor(values, symbols, ln_ic50, DRUGS, offset=offset, mean_shares=shares, about=about)
    return found, base, loadings


def make_cells(taught, symbols, programmes, depth=3_000.0, seed=0):
    """Counts of cells with these two programmes."""
    _, base, loadings = taught
    rng = np.random.default_rng(seed)
    rates = np.exp(base + 1.2 * np.asarray(programmes) @ loadings)
    counts = rng.poisson(depth * rates / rates.sum(axis=1, keepdims=True)).astype(np.float32)
    names = [f"cell{i}" for i in range(len(counts))]
    groups = np.where(np.asarray(programmes)[:, 0] > 0, "high", "low")
    return ad.AnnData(
        sp.csr_matrix(counts), obs=pd.DataFrame({"group": groups}, index=names), var=pd.DataFrame(index=symbols)
    )


@pytest.fixture(scope="module")
def cells(taught, symbols):
    programmes = np.repeat([[1.5, 0.0], [-1.5, 0.0]], 40, axis=0)
    return make_cells(taught, symbols, programmes)


@pytest.fixture
def shipped(taught, tmp_path, monkeypatch):
    """What ships is the taught predictor, for commands and jobs."""
    folder = save_predictor(taught[0], tmp_path / "predictor", card="card")
    monkeypatch.setattr(predictors, "SHIPPED", folder)
    return folder


def counts_of(adata, tmp_path, name="cells.h5ad"):
    adata.write_h5ad(tmp_path / name)
    return open_dataset(tmp_path / name).counts


def test_cells_with_the_resistant_programme_are_called_resistant(taught, cells, tmp_path):
    found = predict_sensitivity(counts_of(cells, tmp_path), predictor=taught[0])
    high, low = (found.probability[cells.obs["group"] == name, 0] for name in ("high", "low"))
    assert np.median(high) < 0.25 and np.median(low) > 0.75
    assert (found.confidence >= 0.5).all() and (found.confidence <= 1).all()
    calls = call_cells(found.probability[:, 0])
    assert (calls[:40] == "resistant").mean() > 0.8 and (calls[40:] == "sensitive").mean() > 0.8


def test_a_drug_of_which_nothing_is_known_cannot_be_told(taught, cells, tmp_path):
    found = predict_sensitivity(counts_of(cells, tmp_path), ["Nothing"], predictor=taught[0])
    assert (call_cells(found.probability) == "can't tell").mean() > 0.8


def test_numbers_do_not_depend_on_order_chunks_or_company(taught, cells, tmp_path, monkeypatch):
    counts = counts_of(cells, tmp_path)
    whole = predict_sensitivity(counts, predictor=taught[0]).score
    order = np.random.default_rng(1).permutation(counts.n_obs)
    assert np.array_equal(predict_sensitivity(counts.subset(order), predictor=taught[0]).score, whole[order])
    few = np.array([3, 70])
    assert np.allclose(predict_sensitivity(counts.subset(few), predictor=taught[0]).score, whole[few], atol=1e-6)
    monkeypatch.setattr("scfviz.tasks.drug_sensitivity.compute._ROWS", 7)
    assert np.allclose(predict_sensitivity(counts, predictor=taught[0]).score, whole, atol=1e-6)
    genes = np.random.default_rng(2).permutation(cells.n_vars)
    other = counts_of(cells[:, genes].copy(), tmp_path, "other.h5ad")
    assert np.allclose(predict_sensitivity(other, predictor=taught[0]).score, whole, atol=1e-4)


def test_scores_by_hand(taught, cells, tmp_path):
    model = taught[0]
    x = np.log1p(cells.X[5].toarray().ravel() * 1e4 / cells.X[5].sum())
    by_hand = ((x - x.mean()) / x.std() - model.offset) @ model.projection @ model.coefficients
    assert np.allclose(predict_sensitivity(counts_of(cells, tmp_path), predictor=model).score[5], by_hand, atol=1e-3)


def test_a_shallow_cell_says_less(taught):
    model, score = taught[0], np.full((2, 3), 0.2)
    assert (model.spread[0, 0, :2] > model.spread[0, -1, :2]).all(), "one cell, shallow and deep"
    assert (model.spread[1, 0, :2] < model.spread[0, 0, :2]).all(), "similar cells and one cell"
    same = replace(model, slope=np.ones_like(model.slope))
    shallow, deep = same.probabilities(score, np.array([100.0, 50_000.0]))[:, 0]
    assert 0.5 > shallow > deep


def test_probabilities_are_calibrated_on_lines_never_seen(taught, symbols, tmp_path):
    programmes = np.random.default_rng(5).normal(size=(600, 2)) * 0.5
    found = predict_sensitivity(counts_of(make_cells(taught, symbols, programmes), tmp_path), predictor=taught[0])
    is_sensitive = programmes[:, 0] < 0
    sure = found.confidence[:, 0] >= 0.8
    right = (found.probability[sure, 0] > 0.5) == is_sensitive[sure]
    assert sure.sum() > 100 and right.mean() > 0.8


def test_similar_cells_steady_each_other(taught, cells, tmp_path):
    counts = counts_of(cells, tmp_path)
    points = np.column_stack([cells.obs["group"] == "high", np.random.default_rng(0).random(80) * 0.01]).astype(float)
    alone = predict_sensitivity(counts, predictor=taught[0]).score[:, 0]
    together = predict_sensitivity(counts, predictor=taught[0], components=points)
    assert together.is_smoothed and together.score[:40, 0].std() < alone[:40].std() / 2
    assert abs(together.score[:40, 0].mean() - alone[:40].mean()) < 0.3 * alone.std()
    parts = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    parts[4] = np.nan
    found = smooth_parts(parts, np.random.default_rng(2).normal(size=(40, 2)))
    assert np.isnan(found[4]).all() and np.isfinite(np.delete(found, 4, axis=0)).all()
    assert smooth_parts(parts[:9], np.zeros((9, 2))) is not None and np.array_equal(
        smooth_parts(parts[:4], np.zeros((4, 2))), parts[:4]
    )


def test_names_in_any_spelling_and_the_nearest_of_a_wrong_one(taught):
    model = taught[0]
    assert model.find_drugs(["erlotinib", "nutlin 3a", "Tarceva", "Nutlin"]) == [0, 1]
    with pytest.raises(OptionError, match="Erlotinib"):
        model.find_drugs(["Erlotinip"])
    with pytest.raises(OptionError, match="none of the 3 drugs"):
        model.find_drugs(["zzz"])


def test_a_saved_predictor_is_the_same_and_damage_is_noticed(taught, tmp_path):
    folder = save_predictor(taught[0], tmp_path / "p", card=write_card(taught[0], {}))
    read = read_predictor(folder)
    assert read.drugs == DRUGS and np.allclose(read.coefficients, taught[0].coefficients, rtol=2e-3)
    with pytest.raises(OptionError, match="exists already"):
        save_predictor(taught[0], folder, card="")
    (folder / "genes.tsv").write_text("symbol\nA\n")
    with pytest.raises(CheckpointError, match="damaged"):
        read_predictor(folder)
    with pytest.raises(CheckpointError, match="damaged"):
        read_predictor(tmp_path / "nowhere")


def test_what_is_no_gene_of_it_is_refused_and_missing_genes_are_left_out(taught, cells, symbols, tmp_path):
    with pytest.raises(GeneError, match="of the 200 genes"):
        predict_sensitivity(counts_of(cells[:, :30].copy(), tmp_path), predictor=taught[0])
    most = predict_sensitivity(counts_of(cells[:, :180].copy(), tmp_path, "most.h5ad"), predictor=taught[0])
    assert most.n_measured == 180 and np.median(most.probability[:40, 0]) < 0.3
    with pytest.raises(DatasetError, match="lines have responses"):
        fit_predictor(np.ones((5, 3)), "abc", np.ones((5, 1)), "x", offset=np.zeros(3), mean_shares=np.ones(3))


def test_healthy_cells_are_told_from_growing_ones(cells, symbols, tmp_path):
    assert judge_domain(counts_of(cells, tmp_path)).kind == "growing"
    resting = cells.copy()
    resting.X = resting.X.multiply((~np.isin(symbols, DIVISION)).astype(np.float32)).tocsr()
    judged = judge_domain(counts_of(resting, tmp_path, "resting.h5ad"))
    assert judged.kind == "resting" and "out of domain" in say_domain(judged.kind, judged.dividing)
    few = judge_domain(counts_of(cells[:, 100:].copy(), tmp_path, "few.h5ad"))
    assert few.kind == "unknown" and "not known" in say_domain(few.kind, None)


def test_depth_and_cycle_get_the_share_that_they_explain():
    rng = np.random.default_rng(0)
    depth, cycle = rng.integers(500, 5_000, 400), rng.normal(size=(400, 2))
    groups = rng.choice(["a", "b", "c"], 400)
    noise = 0.1 * rng.normal(size=400)
    by_depth, by_cycle, by_group = np.log1p(depth) + noise, cycle[:, 1] + noise, (groups == "b") + noise
    table = explain(np.column_stack([by_depth, by_cycle, by_group, np.ones(400)]), depth, cycle, groups)
    assert table["depth"].iloc[0] > 0.9 and table["cycle"].iloc[1] > 0.9 and table["groups"].iloc[2] > 0.9
    assert table.loc[[0, 1], "groups_left"].max() < 0.02 and table["groups_left"].iloc[2] > 0.9
    assert (table.iloc[3] == 0).all() and table[["cycle", "groups"]].iloc[0].max() < 0.05


def test_few_clusters_do_not_blame_depth_by_chance():
    from scfviz.ui.tasks.drug_response.cells_words import sentence_of_explanation

    row = {f"explained_by_{name}": 0.9 for name in ("depth", "cycle", "both", "groups")} | {
        "explained_by_groups_left": 0.1
    }
    assert sentence_of_explanation(row, 30).startswith("**Yes, largely.**")
    assert "cannot be told" in sentence_of_explanation(row, 4)
    assert sentence_of_explanation(row | {"explained_by_both": 0.3}, 30).startswith("**No, not alone.**")


def test_healthy_blood_is_out_of_domain_and_lung_lines_are_not(shared):
    for name, kind in (("pbmc3k", "resting"), ("scmix_singlecell", "growing")):
        counts = open_dataset(shared / "data" / "evaluation" / f"{name}.h5ad").counts
        assert judge_domain(counts.subset(np.arange(300))).kind == kind


def test_cycle_scores_are_means_of_their_genes(cells, symbols, tmp_path):
    found = cycle_scores(counts_of(cells, tmp_path))
    x = np.log1p(cells.X[3].toarray().ravel() * 1e4 / cells.X[3].sum())
    assert np.isclose(found[3, 0], x[np.isin(symbols, S_PHASE)].mean(), atol=1e-4)


def test_groups_shares_differences_and_cover():
    p = np.array([[0.9, 0.2, 0.5], [0.8, 0.1, 0.5], [0.1, 0.9, 0.5], [np.nan] * 3])
    codes = np.array([0, 0, 1, 1])
    means = group_means(p, codes, 3)
    assert np.allclose(means[:2], [[0.85, 0.15, 0.5], [0.1, 0.9, 0.5]]) and np.isnan(means[2]).all()
    table = describe_groups(p[:, 0], codes, ["a", "b", "none"])
    assert (
        list(table["group"]) == ["a", "b"] and table["sensitive"].tolist() == [1, 0] and table["n_cells"].iloc[1] == 1
    )
    ranked = rank_differences(p, codes == 0, codes == 1)
    assert np.allclose(ranked["difference"], [0.75, -0.75, 0]) and ranked["overlap"].tolist() == [1, 0, 0.5]
    assert rank_differences(p, codes == 0, codes == 7)["difference"].isna().all()
    cover = cover_groups(means, np.ones(3, dtype=bool))
    assert set(cover.drugs[:2]) == {0, 1} or cover.drugs[0] == 1
    assert np.isclose(cover.covered[-1], 0.875) and np.isclose(cover.least[-1], 0.85)
    assert cover_groups(means, np.zeros(3, dtype=bool)).drugs == ()


def test_badges():
    assert [badge_of({"spearman": r}) for r in (0.5, 0.3, 0.1)] == ["better", "some", "none"]
    assert badge_of({}) == "not measured"


def test_the_task_and_the_command_write_the_same_columns(shipped, cells, tmp_path, capsys):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    before = path.read_bytes()
    result = run_task("drug_sensitivity", dataset=str(path), drugs=["erlotinib"])
    assert main(["drugs", "cells", str(path), str(tmp_path / "out.h5ad"), "--drug", "erlotinib", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "sensitivity_Erlotinib" in report["provenance"]["keys"]
    said = " ".join(report["notes"])
    assert "Genes of cell division" in said and "growing cell lines" in said and "never for treatment" in said
    written = ad.read_h5ad(tmp_path / "out.h5ad").obs
    for name in ("sensitivity_Erlotinib", "sensitivity_Erlotinib_confidence"):
        assert np.allclose(written[name], result.cells[name])
    assert path.read_bytes() == before and written["sensitivity_cluster"].nunique() >= 1
    assert result.arrays["probability"].shape == (80, 3) and set(result.tables) == {"drugs", "clusters"}
    assert main(["drugs", "cells", str(path), str(tmp_path / "no.h5ad"), "--drug", "Erlotinip"]) == 2
    assert "Erlotinib" in capsys.readouterr().err


def test_few_and_empty_cells(shipped, cells, tmp_path):
    few = cells[[0, 1, 40, 41, 42]].copy()
    few.X[1] = 0
    few.write_h5ad(tmp_path / "few.h5ad")
    result = run_task("drug_sensitivity", dataset=str(tmp_path / "few.h5ad"))
    assert np.isnan(result.arrays["probability"][1]).all() and np.isfinite(result.arrays["probability"][0]).all()
    assert any("without counts" in note for note in result.notes) and any("Fewer than 30" in n for n in result.notes)


def test_one_empty_cell_among_many_has_no_prediction_and_harms_no_other(shipped, cells, tmp_path):
    """Averages over similar cells were looked for among cells that have no place, and the run failed."""
    holed = cells.copy()
    holed.X[7] = 0
    holed.write_h5ad(tmp_path / "holed.h5ad")
    result = run_task("drug_sensitivity", dataset=str(tmp_path / "holed.h5ad"))
    found = result.arrays["probability"]
    assert np.isnan(found[7]).all() and np.isfinite(np.delete(found, 7, axis=0)).all()
    assert result.tables["drugs"]["explained_by_both"].notna().all()
    assert result.report["provenance"]["is_smoothed"]


def test_bulk_samples_in_place_of_cells_are_noticed_however_many(shipped, symbols, tmp_path):
    names = [*symbols, *(f"OTHER{i}" for i in range(13_000 - len(symbols)))]
    rng = np.random.default_rng(0)
    samples = ad.AnnData(rng.poisson(rng.lognormal(3.0, 2.0, len(names)), (40, len(names))).astype(np.float32))
    samples.var_names, samples.obs_names = names, [f"s{i}" for i in range(40)]
    samples.write_h5ad(tmp_path / "bulk.h5ad")
    notes = run_task("drug_sensitivity", dataset=str(tmp_path / "bulk.h5ad")).notes
    assert any("are these bulk samples" in note for note in notes)


def test_thresholds_that_are_not_published_leave_a_drug_empty(taught, cells, tmp_path):
    counts = counts_of(cells, tmp_path)
    assert np.isnan(predict_sensitivity(counts, predictor=taught[0], threshold="published").probability).all()
    limits = taught[0].threshold.copy()
    limits[2] = [-10, np.nan, 10]
    changed = replace(taught[0], threshold=limits)
    found = predict_sensitivity(counts, predictor=changed, threshold="published").probability
    assert (found[:, 0] < 0.01).all() and np.isnan(found[:, 1]).all() and (found[:, 2] > 0.99).all()


def test_columns_hold_plain_names():
    assert column_of("Nutlin-3a (-)") == "sensitivity_Nutlin-3a_-"
    assert "/" not in column_of("a/b c")


def test_what_ships_reads_breast_lines_better_than_chance(shared, tmp_path):
    path = shared / "data" / "corpus" / "breast_lines_gficf_930.h5ad"
    found = predict_sensitivity(open_dataset(path).counts, ["Lapatinib"])
    lines = open_dataset(path).counts.obs["cell_type"].astype(str)
    mean = pd.Series(found.probability[:, 0]).groupby(lines.to_numpy()).mean()
    assert mean[["AU565", "BT474", "HCC1954"]].min() > mean[["MDAMB436", "HCC38", "BT549"]].max()
