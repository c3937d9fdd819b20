"""Drug response: completion, factors, scales, intervals, structures, a predictor as parameters, the command."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scfviz
from scfviz.__main__ import main
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import CheckpointError, DatasetError, GeneError, OptionError
from scfviz.tasks.drug_response import chemistry, completion, explain, lines, scale, scores, sharing, unseen
from scfviz.tasks.drug_response.compute import predict_ic50, predict_new_drug, responses_table
from scfviz.tasks.drug_response.factors import fit_factors
from scfviz.tasks.drug_response.fit import fit_drug_response
from scfviz.tasks.drug_response.samples import KIND_TITLES, read_samples
from scfviz.tasks.drug_response.store import PREDICTORS, read_drug_predictor, save_drug_predictor
from scfviz.tasks.drug_response.tables import Drug, LineExpression, Responses, read_measured

N_LINES, N_GENES, N_DRUGS = 120, 300, 12
GENES = tuple(load_vocabulary().symbols[:: 19264 // N_GENES][:N_GENES])
SMILES = ("CCO", "CCCO", "CCCCO", "c1ccccc1", "Cc1ccccc1", "CCc1ccccc1", "CC(=O)O", "CCC(=O)O", "CCN", "CCCN", "CCCCN")


@pytest.fixture(scope="module")
def world() -> tuple[LineExpression, Responses, tuple[Drug, ...]]:
    """Lines with five factors that decide expression and response."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(N_LINES, 5))
    level = rng.normal(size=N_GENES)
    values = level + 0.4 * factors @ rng.normal(size=(5, N_GENES)) + 0.3 * rng.normal(size=(N_LINES, N_GENES))
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    truth = (
        rng.normal(0, 2, N_DRUGS) + factors @ rng.normal(size=(5, N_DRUGS)) + 0.5 * rng.normal(size=(N_LINES, N_DRUGS))
    )
    truth[rng.random(truth.shape) < 0.1] = np.nan
    lines = tuple(f"LINE{i}" for i in range(N_LINES))
    drugs = tuple(Drug(f"drug {i}", (*SMILES, "")[i], "EGFR", "EGFR signaling", (f"D-{i}",)) for i in range(N_DRUGS))
    names = tuple(drug.name for drug in drugs)
    return (
        LineExpression(lines, GENES, values.astype(np.float32), "z"),
        Responses(lines, lines, names, truth.astype(np.float32)),
        drugs,
    )


@pytest.fixture(scope="module")
def predictor(world):
    expression, responses, drugs = world
    rng = np.random.default_rng(1)
    counts = np.exp2(expression.values + rng.normal(0, 2, N_GENES)) - 0.01  # another platform
    paired = LineExpression(expression.lines, expression.genes, np.maximum(counts, 0).astype(np.float32), "TPM")
    return fit_drug_response(expression, responses, drugs, paired=paired, n_factors=20)


def table(values: np.ndarray, genes=GENES) -> ad.AnnData:
    names = [f"s{i}" for i in range(len(values))]
    return ad.AnnData(values.astype(np.float32), pd.DataFrame(index=names), pd.DataFrame(index=list(genes)))


def test_completion_finds_what_a_low_rank_table_hides():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 40)) + rng.normal(size=40)
    hidden = rng.random(whole.shape) < 0.2
    values = np.where(hidden, np.nan, whole)
    found = completion.complete(values, rank=3, penalty=0.1)
    assert scores.correlate(found[hidden], whole[hidden]) > 0.95
    filled = completion.fill(values)
    np.testing.assert_array_equal(filled[~hidden], whole[~hidden])


def test_measured_drugs_stay_and_draw_those_whose_errors_go_with_them():
    shared, own = np.array([[1.0], [1.0], [0.0]]), np.full(3, 0.1)
    found, left = completion.condition(np.zeros((1, 3)), np.array([[2.0, np.nan, np.nan]]), shared, own)
    assert found[0, 0] == 2 and 1.5 < found[0, 1] < 2 and found[0, 2] == 0
    assert left[0, 0] == 0 and left[0, 1] < 0.5 and left[0, 2] == pytest.approx(1)


def test_measured_drugs_with_expression_are_not_behind_completion_alone():
    """They were, by the benchmark of random pairs: too few factors lost what completion has."""
    rng = np.random.default_rng(0)
    n_lines, n_drugs, rank = 300, 60, 40
    errors = rng.normal(size=(n_lines, rank)) @ rng.normal(size=(rank, n_drugs)) / np.sqrt(rank)
    errors += 0.5 * rng.normal(size=errors.shape)
    expected = rng.normal(size=errors.shape)  # what expression says, and is right about
    train = np.where(rng.random(errors.shape) < 0.1, np.nan, expected + errors)
    hidden = np.isnan(train)
    both, left = completion.condition(expected, train, *sharing.learn_sharing(train - expected))
    alone = completion.complete(train, 30, 8.0)
    truth = expected + errors
    error, of_completion = (np.sqrt(((said - truth)[hidden] ** 2).mean()) for said in (both, alone))
    assert error < 0.9 * of_completion
    spread = (truth - expected).std(axis=0)
    within = np.abs((both - truth) / spread)[hidden] < 1.645 * left[hidden]
    assert 0.8 < within.mean() < 0.97, "the uncertainty that is left is about right"


def test_few_and_many_drugs_are_given_of_each_line():
    values = np.arange(800.0).reshape(8, 100)
    values[0, :] = np.nan
    values[1, 3:] = np.nan
    given = sharing.hide_some(values, np.random.default_rng(0))
    known = np.isfinite(given)
    np.testing.assert_array_equal(given[known], values[known])
    counts = known.sum(axis=1)
    assert counts[0] == 0 and counts[1] == 1 and (counts[2:] >= 5).all() and (counts[2:] <= 90).all()
    one, other = (sharing.learn_sharing(np.random.default_rng(1).normal(size=(50, 6)), seed=2) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])


def test_drugs_that_are_left_out_together_say_nothing_of_each_other():
    cores = ("c1ccncc1", "c1ccoc1", "c1ccsc1", "C1CCNCC1", "C1CCOC1", "N#Cc1ccccc1")
    family = np.repeat(np.arange(len(cores)), 4)
    drugs = tuple(Drug(f"d{i}", "C" * (1 + i % 4) + cores[k]) for i, k in enumerate(family))
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(80, len(cores)))[:, family] + 0.3 * rng.normal(size=(80, len(drugs)))
    apart = family[:, None] == family
    means = truth.mean(axis=0)
    known, unknown = (unseen.fit_unseen(drugs, means, truth, truth, apart=one).scores for one in (None, apart))
    assert known["partial_r"] > 0.5 > 0.2 > unknown["partial_r"]


def test_scores_of_all_genes_are_a_projection_and_of_half_of_them_agree(world):
    values = world[0].values
    factors, found = fit_factors(values, 5)
    standard = factors.standardise(values)
    np.testing.assert_allclose(factors.scores(standard), found, atol=1e-2)
    half = standard.copy()
    half[:, ::2] = np.nan
    assert np.corrcoef(factors.scores(half)[:, 0], found[:, 0])[0, 1] > 0.95


def test_averages_win_pooled_correlations_and_nothing_else():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 3, 20) + rng.normal(0, 1, (60, 20))
    means = np.tile(truth.mean(axis=0), (60, 1))
    found = scores.unseen_lines(truth, means, means)
    assert found["pooled_r"] > 0.8 and found["normalised_r"] == 0 and found["per_drug_r"] == 0
    perfect = scores.unseen_lines(truth, truth, means)
    assert perfect["specific_r"] == pytest.approx(1) and perfect["general_r"] == pytest.approx(1)


def test_unseen_lines_are_predicted_and_intervals_hold_nine_of_ten(world, predictor):
    assert predictor.scores["normalised_r"] > 0.7 and len(predictor.scores["drugs"]) == N_DRUGS
    rng = np.random.default_rng(5)
    chosen = rng.choice(N_LINES, 40, replace=False)
    found = predict_ic50(table(world[0].values[chosen]), predictor=predictor, scale="lines")
    truth = world[1].ln_ic50[chosen]
    covered, _ = scores.coverage(truth, found.low, found.high)
    assert covered > 0.85
    parts = found.level + found.potency + found.general[:, None] + found.specific
    np.testing.assert_allclose(parts, found.ln_ic50, atol=1e-6)
    assert (found.percentile_low <= found.percentile).all() and (found.percentile <= found.percentile_high).all()
    np.testing.assert_allclose(found.specific.mean(axis=1), 0, atol=1e-6)


def test_units_that_keep_the_order_of_genes_give_the_same_numbers(world, predictor):
    values = world[0].values[:6].astype(np.float64)
    one = predict_ic50(table(values), predictor=predictor, scale="lines").ln_ic50
    tpm = np.exp2(3 * values)
    for other in (tpm, np.log2(tpm + 1), 1000 * tpm):
        np.testing.assert_allclose(
            predict_ic50(table(other), predictor=predictor, scale="lines").ln_ic50, one, atol=1e-3
        )
    shuffled = np.random.default_rng(0).permutation(N_GENES)
    again = predict_ic50(table(values[:, shuffled], np.array(GENES)[shuffled]), predictor=predictor, scale="lines")
    np.testing.assert_allclose(again.ln_ic50, one, atol=1e-3)
    alone = predict_ic50(table(values[:1]), predictor=predictor, scale="lines").ln_ic50
    np.testing.assert_allclose(alone, one[:1], atol=1e-3)


def test_another_platform_is_read_by_lines_measured_both_ways(world, predictor):
    """Without it every sample of RNA-seq had the same few drugs at the top."""
    rng = np.random.default_rng(1)
    values = np.exp2(world[0].values + rng.normal(0, 2, N_GENES))[:30]
    arrays = predict_ic50(table(world[0].values[:30]), predictor=predictor, scale="lines")
    found = predict_ic50(table(values), predictor=predictor, scale="rnaseq")
    straight = predict_ic50(table(values), predictor=predictor, scale="lines")
    off, off_straight = (np.abs(one.ln_ic50 - arrays.ln_ic50).mean() for one in (found, straight))
    assert off < 0.5 * off_straight
    assert predict_ic50(table(values), predictor=predictor).scale == "rnaseq"
    within = predict_ic50(table(values), predictor=predictor, scale="table")
    np.testing.assert_allclose(within.general.mean(), 0, atol=0.05)
    assert "compared with each other" in " ".join(within.notes)


def test_genes_add_up_to_the_prediction(world, predictor):
    samples = read_samples(table(np.exp2(world[0].values[:3])[:, :150], GENES[:150]))
    scaled = scale.scale_samples(samples, predictor.genes, predictor.factors, predictor.calibration, "lines")
    found = predict_ic50(samples, predictor=predictor, scale="lines")
    genes = explain.gene_contributions(predictor, scaled, 1, 4)
    total = genes["contribution"].sum() + predictor.regression.drug_mean[4]
    assert len(genes) == 150 and total == pytest.approx(found.ln_ic50[1, 4], abs=1e-3)


def test_groups_that_are_the_same_do_not_differ(world, predictor):
    found = predict_ic50(table(world[0].values[:20]), predictor=predictor, scale="lines")
    side = np.arange(20) < 10
    assert (explain.compare_groups(found, side, side)["difference"] == 0).all()
    compared = explain.compare_groups(found, side, ~side)
    assert (compared["low"] <= compared["difference"]).all() and compared["difference"].is_monotonic_increasing


def test_a_saved_predictor_answers_alike_and_holds_no_line(world, predictor, tmp_path):
    folder = save_drug_predictor(predictor, tmp_path / "mine", card="# mine")
    again = read_drug_predictor(folder)
    samples = table(world[0].values[:4])
    one, other = (predict_ic50(samples, predictor=model, scale="lines") for model in (predictor, folder))
    np.testing.assert_allclose(one.ln_ic50, other.ln_ic50, atol=0.05)
    assert again.drugs == predictor.drugs and again.calibration.wider == predictor.calibration.wider
    text = "".join(path.read_text(errors="ignore") for path in folder.iterdir())
    assert "LINE7" not in text
    (folder / "parameters.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="damaged"):
        read_drug_predictor(folder)


def test_lines_that_were_kept_are_shown_with_what_was_measured_on_them(world, predictor, tmp_path):
    expression, responses, drugs = world
    mine = fit_drug_response(expression, responses, drugs, n_factors=20, keep_lines=True)
    again = read_drug_predictor(save_drug_predictor(mine, tmp_path / "mine", card="# mine"))
    rng = np.random.default_rng(3)
    samples = read_samples(table(expression.values[:6] + 0.1 * rng.normal(size=(6, N_GENES))))
    nearest = lines.find_nearest_lines(again, samples, "lines")
    assert [again.lines.names[row] for row in nearest.rows[:, 0]] == list(expression.lines[:6])
    assert (np.diff(nearest.similarity, axis=1) <= 0).all() and (nearest.similarity <= 1 + 1e-9).all()
    one = lines.find_nearest_lines(again, samples, "lines", rows=[4], n_nearest=3)
    np.testing.assert_array_equal(one.rows, nearest.rows[4:5, :3])
    found = lines.nearest_lines_table(again, nearest).set_index(["sample", "line", "drug"])
    assert found["percentile"].between(0, 100).all()
    measured = [j for j in range(N_DRUGS) if np.isfinite(responses.ln_ic50[2, j])]
    for j in measured:
        assert found.loc[("s2", "LINE2", drugs[j].name), "ln_ic50"] == pytest.approx(responses.ln_ic50[2, j])
    assert len(found.loc["s2"].loc["LINE2"]) == len(measured), "what was not measured has no row"
    with pytest.raises(OptionError, match="keep-lines"):
        lines.find_nearest_lines(predictor, samples, "lines")


def test_what_ships_holds_no_line():
    assert all(read_drug_predictor(folder).lines is None for folder in PREDICTORS.shipped().values())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda v: v - v.mean(axis=0), DatasetError, "centred gene by gene"),
        (lambda v: np.where(np.arange(N_GENES) == 5, np.nan, v), DatasetError, "missing"),
        (lambda v: np.vstack([v[:3], np.ones(N_GENES)]), DatasetError, "same value for all genes"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_in_words(world, change, error, words):
    with pytest.raises(error, match=words):
        read_samples(table(change(np.exp2(world[0].values[:8].astype(np.float64)))))


def test_bad_input_is_answered_in_sentences(world, predictor):
    values = np.exp2(world[0].values[:8])
    with pytest.raises(GeneError, match="At least 100"):
        read_samples(table(values[:, :50], GENES[:50]))
    with pytest.raises(OptionError, match="nearest names are: drug 1"):
        predict_ic50(table(values), predictor=predictor, drugs=["drug 1b"])
    assert predict_ic50(table(values), predictor=predictor, drugs=["d-3"], scale="lines").drugs == ("drug 3",)
    with pytest.raises(OptionError, match="no such sample"):
        predict_ic50(table(values), predictor=predictor, measured={("nobody", "drug 1"): 1.0})
    with pytest.raises(DatasetError, match="There is no file"):
        read_measured("absent.csv")
    logs = read_samples(table(np.log(values)))
    assert "negative" in KIND_TITLES[logs.kind]
    with pytest.raises(OptionError, match="centred over at least 5"):
        predict_ic50(table(values[:2]), predictor=predictor, scale="table")
    twins = read_samples(table(values[[0, 1, 0]]))
    assert "1 sample repeats another one exactly" in " ".join(twins.notes)
    cells = np.random.default_rng(0).poisson(0.2, (50, 3000))
    with pytest.raises(DatasetError, match="look like single cells"):
        read_samples(table(cells, load_vocabulary().symbols[:3000]))


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("not a drug", "no SMILES"),
        ("", "letters"),
        ("N[Pt](N)(Cl)Cl", "Metal complexes"),
        ("C1CC(C1)(C(=O)[O-])C(=O)[O-].N.N.[Pt+2]", "Metal complexes"),
        ("CC(C)C*", "open place"),
        ("c1ccccc1CCCCCCCCC.CCOC(=O)c1ccc(N)cc1CC", "parts of like size"),
        ("C" * 300, "atoms beside hydrogen"),
    ],
)
def test_structures_that_are_no_drug_are_refused(smiles, words):
    with pytest.raises(OptionError, match=words):
        chemistry.read_structure(smiles)


def test_a_salt_is_read_by_its_drug_and_a_structure_is_drawn():
    salt = chemistry.read_structure("CCN(CC)CCNC(=O)c1ccc(N)cc1.Cl")
    assert salt.formula == "C13H21N3O" and "salt" in salt.notes[0] and "not used: Cl" in salt.notes[0]
    assert chemistry.read_structure("CC(=O)Oc1ccccc1C(=O)[O-].[Na+]").formula == "C9H7O4-"
    assert chemistry.similarity(salt.fingerprint, salt.fingerprint[None])[0] == 1
    assert chemistry.draw_structure("CCO").lstrip().startswith("<?xml") and chemistry.draw_structure("(((") == ""
    assert chemistry.scaffold("CCc1ccccc1") == "c1ccccc1"


def test_a_new_drug_is_predicted_with_its_nearest_and_what_that_is_worth(world, predictor):
    found = predict_ic50(table(world[0].values[:5]), predictor=predictor, scale="lines")
    new = predict_new_drug(found, predictor, "CCCCCO")
    assert new.nearest[0][0] == "drug 2" and (new.low < new.ln_ic50).all() and (new.ln_ic50 < new.high).all()
    assert "left out of training" in new.notes[-1]
    known = predict_new_drug(found, predictor, SMILES[4])
    assert "choose it among the drugs" in known.notes[0]


def test_the_command_writes_what_python_says(tmp_path, capsys):
    model = scfviz.read_drug_predictor()
    values = np.exp2(np.random.default_rng(0).normal(3, 2, (6, len(model.genes[::12]))))
    frame = pd.DataFrame(values.T, index=list(model.genes[::12]), columns=[f"s{i}" for i in range(6)])
    frame.to_csv(tmp_path / "samples.csv")  # genes as rows
    out = tmp_path / "out.csv"
    wanted = ["Erlotinib", "Nutlin-3a (-)"]
    assert (
        main(["drugs", "predict", str(tmp_path / "samples.csv"), "--out", str(out), "--drugs", *wanted, "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert report["n_drugs"] == 2 and len(report["samples"]) == 6
    found = responses_table(scfviz.predict_ic50(tmp_path / "samples.csv", predictor=model, drugs=wanted), model)
    written = pd.read_csv(out)
    np.testing.assert_allclose(written["percentile"], found["percentile"], rtol=1e-4)
    assert list(written["drug"]) == list(found["drug"])
    assert main(["drugs", "predict", str(tmp_path / "samples.csv"), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    other = tmp_path / "new.csv"
    assert main(["drugs", "predict", str(tmp_path / "samples.csv"), "--out", str(other), "--smiles", "CCO"]) == 0
    assert list(pd.read_csv(other)["drug"]) == ["CCO"] * 6
    said = capsys.readouterr().out
    assert "CCO: The nearest measured drug is" in said and "Lowest percentile" not in said
    absent = ["drugs", "predict", str(tmp_path / "absent.csv"), "--out", str(tmp_path / "x.csv"), "--smiles", "C1CC"]
    assert main(absent) == 2 and "no SMILES" in capsys.readouterr().err
    assert main(["drugs", "list"]) == 0 and "Erlotinib" in capsys.readouterr().out
    bad = ["drugs", "predict", str(tmp_path / "samples.csv"), "--out", str(tmp_path / "x.csv"), "--drugs", "Erlotinob"]
    assert main(bad) == 2 and "Erlotinib" in capsys.readouterr().err


def test_the_command_fits_a_predictor_that_predicts(world, tmp_path, capsys):
    expression, responses, _ = world
    pd.DataFrame(np.exp2(expression.values), index=expression.lines, columns=GENES).to_csv(tmp_path / "lines.csv")
    rows = [
        f"{line},{drug},{responses.ln_ic50[i, j]:.3f}"
        for i, line in enumerate(responses.lines)
        for j, drug in enumerate(responses.drugs)
        if np.isfinite(responses.ln_ic50[i, j])
    ]
    rows += [f"{line},seldom measured,1.0" for line in responses.lines[:3]]
    (tmp_path / "ic50.csv").write_text("\n".join(["CELL_LINE_NAME,DRUG_NAME,LN_IC50", *rows]))
    files = ["--responses", str(tmp_path / "ic50.csv"), "--expression", str(tmp_path / "lines.csv")]
    assert main(["drugs", "fit", *files, "--out", str(tmp_path / "mine")]) == 0
    said = capsys.readouterr().out
    assert "agree with measurements" in said and "fewer than 30 of these lines: seldom measured." in said
    out = ["--out", str(tmp_path / "p.csv"), "--predictor", str(tmp_path / "mine")]
    near = ["--lines", str(tmp_path / "near.csv")]
    assert main(["drugs", "predict", str(tmp_path / "lines.csv"), *out, *near]) == 2, "no lines were kept"
    assert "--keep-lines" in capsys.readouterr().err and not (tmp_path / "p.csv").exists()
    assert main(["drugs", "fit", *files, "--out", str(tmp_path / "kept"), "--keep-lines"]) == 0
    assert "pass the folder on only" in (tmp_path / "kept" / "README.md").read_text()
    kept = ["--out", str(tmp_path / "k.csv"), "--predictor", str(tmp_path / "kept"), *near]
    assert main(["drugs", "predict", str(tmp_path / "lines.csv"), *kept]) == 0
    first = pd.read_csv(tmp_path / "near.csv").query("sample == 'LINE5'").iloc[0]
    assert first["line"] == "LINE5" and first["similarity"] > 0.99
    assert main(["drugs", "predict", str(tmp_path / "lines.csv"), *out]) == 0
    assert pd.read_csv(tmp_path / "p.csv")["drug"].nunique() == N_DRUGS


def test_what_ships_reads_rna_seq_and_knows_normal_tissue(shared):
    """Islets are no tumours; lines by RNA-seq are what was learned from."""
    model = scfviz.read_drug_predictor()
    islets = predict_ic50(shared / "data" / "bulk" / "bulk_human_islets_fadista_77_counts.csv.gz", predictor=model)
    assert islets.is_far.mean() > 0.5 and islets.scale == "table"
    demo = predict_ic50(shared / "data" / "bulk" / "bulk_demo_10samples_19264genes.csv.gz", predictor=model)
    assert demo.is_far.all() and demo.scale == "rnaseq"
