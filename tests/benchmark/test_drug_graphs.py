"""The graph network of the drug benchmark reads a molecule, not the order in which its atoms are written."""

import sys

import numpy as np
import pytest
import torch
from visitors import ROOT


@pytest.fixture(scope="module")
def drug_graphs():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import drug_graphs

        yield drug_graphs
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_the_order_of_atoms_and_the_other_drugs_change_nothing(drug_graphs):
    torch.manual_seed(0)
    one = drug_graphs.read_graphs(["OCC(N)=O", "", "c1ccccc1Cl"])
    other = drug_graphs.read_graphs(["NC(=O)CO", "no drug", "Clc1ccccc1"])
    network = drug_graphs.Network(one.atoms.shape[1], 4, 8).eval()
    lines, of_drug = torch.randn(5, 4), torch.randn(3, 2)
    with torch.no_grad():
        said = network(lines, one, of_drug)
        torch.testing.assert_close(network(lines, other, of_drug), said)
        alone = network(lines, drug_graphs.read_graphs(["NC(=O)CO"]), of_drug[:1])
    torch.testing.assert_close(alone[:, 0], said[:, 0])
    assert said.isfinite().all() and not torch.allclose(said[:, 0], said[:, 2])


def test_what_some_drugs_share_over_lines_is_learned(drug_graphs, monkeypatch):
    monkeypatch.setattr(drug_graphs, "N_EPOCHS", 40)
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(120, 2))
    lines = hidden @ rng.normal(size=(2, 30)) + 0.1 * rng.normal(size=(120, 30))
    smiles = ["CCO", "CCCO", "CCCCO", "c1ccccc1", "Cc1ccccc1", "CCc1ccccc1"]
    truth = np.repeat(hidden, 3, axis=1) + 0.1 * rng.normal(size=(120, 6))  # alcohols follow one, rings the other
    said = drug_graphs.GraphNetwork(smiles)(lines[:90], truth[:90], lines[90:])
    assert min(np.corrcoef(said[:, j], truth[90:, j])[0, 1] for j in range(6)) > 0.8
