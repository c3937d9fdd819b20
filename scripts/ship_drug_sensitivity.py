"""Fit the predictor of drug sensitivity of cells that ships, and bring checksums up to date.

    python scripts/ship_drug_sensitivity.py DATA [--card]    # the folder with drug_response/ and corpus/

Trust of each drug comes from benchmarks/results/drug_cells.json. Weights, means and numbers only: no cell and no line.
`--card` keeps the parameters and brings trust, card and checksums up to date.
"""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from ship_checkpoint import write_checksums

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from drug_cells_data import fit_on, read_lines  # noqa: E402

from scfviz.tasks.drug_response.tables import read_drugs  # noqa: E402
from scfviz.tasks.drug_sensitivity.card import write_card  # noqa: E402
from scfviz.tasks.drug_sensitivity.predictor import DEFAULT, SHIPPED, read_predictor, save_predictor  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "drug_cells.json"
SOURCE = (
    "ln(IC50) of GDSC2 and basal array expression of the same lines (Iorio et al. 2016, "
    "doi:10.1016/j.cell.2016.06.017; Yang et al. 2013, doi:10.1093/nar/gks1111)"
)
LICENCE = (
    "parameters: Apache-2.0. The data are of the Genomics of Drug Sensitivity in Cancer project "
    "(www.cancerrxgene.org), which are for non-commercial use: whoever uses the predictor commercially must ask its "
    "owners. None of them is in this folder"
)


def main() -> int:
    """Fit, write, update checksums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--card", action="store_true")
    args = parser.parse_args()
    if args.card:
        predictor = read_predictor()
    else:
        lines = read_lines(args.data)
        predictor = fit_on(args.data, lines)
        known = read_drugs(
            lines.drugs, targets=args.data / "drug_response" / "gdsc_drug_targets_2022-08-12_drpreter.csv"
        )
        counted = (lines.ln_ic50 == lines.ln_ic50).sum(axis=0)
        drugs = {
            drug.name: {
                "targets": drug.targets,
                "pathway": drug.pathway,
                "synonyms": list(drug.synonyms),
                "n_trained": int(n),
            }
            for drug, n in zip(known, counted, strict=True)
        }
        about = {"name": DEFAULT, "data": SOURCE, "licence": LICENCE, "n_lines": len(lines.names), "drugs": drugs}
        predictor = replace(predictor, about=about)
    measured = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    scores = measured.get("breast", {}).get("drugs", {})
    drugs = {
        name: {k: v for k, v in one.items() if k not in ("spearman", "low", "high", "n")} | scores.get(name, {})
        for name, one in predictor.about["drugs"].items()
    }
    predictor = replace(predictor, about=dict(predictor.about) | {"drugs": drugs})
    shutil.rmtree(SHIPPED, ignore_errors=True)
    save_predictor(predictor, SHIPPED, card=write_card(predictor, measured.get("breast", {})))
    write_checksums(SHIPPED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
