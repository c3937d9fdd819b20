"""Fit the classifier of blood cells that ships, from sorted cells of the corpus, and bring its checksums up to date.

    python scripts/ship_classifier.py CORPUS        # the folder with mudan_sorted_reference.h5ad

Everything lands in assets/classifiers/blood: parameters only. The sets of `evaluation` take no part.
"""

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from ship_checkpoint import ASSETS, write_checksums

from scfviz.model.checkpoint import checkpoint_info, default_checkpoint, load_checkpoint
from scfviz.tasks.annotation.card import write_card
from scfviz.tasks.annotation.classifier import CLASSIFIERS, save_classifier
from scfviz.tasks.annotation.compute import fit_classifier
from scfviz.tasks.annotation.reference import from_labels, open_reference

NAME, FILE = "blood", "mudan_sorted_reference.h5ad"
# Label of the source: name and ID of the Cell Ontology.
TYPES = {
    "bcells": ("B cell", "CL:0000236"),
    "nk": ("natural killer cell", "CL:0000623"),
    "monocytes": ("monocyte", "CL:0000576"),
    "thelper": ("helper T cell", "CL:0000912"),
    "memoryt": ("CD4-positive memory T cell", "CL:0000897"),
    "regulatoryt": ("regulatory T cell", "CL:0000815"),
    "naivet": ("naive CD4-positive T cell", "CL:0000895"),
    "cytotoxict": ("cytotoxic T cell", "CL:0000910"),
    "naivecytotoxic": ("naive CD8-positive T cell", "CL:0000900"),
}
SOURCE = (
    "2,013 blood cells sorted by surface markers before sequencing (10x Genomics 3' v1; Zheng et al. 2017, "
    "doi:10.1038/ncomms14049), as the R package MUDAN carries them"
)
LICENCE = (
    "data: 10x Genomics, CC BY 4.0 (the package: GPL-3; none of its code is here). Parameters: Apache-2.0. "
    "Attribution: 10x Genomics, Zheng et al. 2017."
)
LIMITS = (
    "What it does not know: dendritic cells, platelets, progenitors, plasma cells, gamma-delta T cells, any "
    "type outside blood, and any state of disease. All cells are of one laboratory and one chemistry, so that "
    "its scores hold for cells like these, and are lower elsewhere: see `benchmarks/NOTES.md`. Sub-types of T "
    "cells were sorted by proteins that RNA shows only in part; where the set of a cell holds several of them, "
    "believe the set and not the label. The model has seen the same cells in its pretraining, without labels. "
    "The names are those of the Cell Ontology that fit the sorted markers; the source has no IDs."
)


def main() -> int:
    """Fit, write, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    args = parser.parse_args()
    folder = default_checkpoint()
    info, model = checkpoint_info(folder), load_checkpoint(folder)
    counts = open_reference(args.corpus / FILE, model.genes)
    names = np.array([TYPES[name][0] for name in counts.obs["cell_type"].astype(str)], dtype=object)
    labelled = from_labels(counts.obs, names, "cell_type")
    labelled = replace(labelled, ontology=dict(TYPES.values()))
    classifier = fit_classifier(
        counts, model, labelled, checkpoint=info, portable=True, method="auto", with_curve=False
    )
    classifier = replace(classifier, about=dict(classifier.about) | {"source": SOURCE, "licence": LICENCE})
    shutil.rmtree(CLASSIFIERS.assets / NAME, ignore_errors=True)
    card = write_card(classifier, NAME, source=SOURCE, licence=LICENCE, more=LIMITS)
    save_classifier(classifier, CLASSIFIERS.assets / NAME, name=NAME, card=card)
    write_checksums(ASSETS / "classifiers" / NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main())
