"""A graph network as an arm of `drug_response.py`: the drug's molecule graph and the line's expression, in torch.

Six settings; setting and number of epochs are chosen on the first of the inner folds of the training lines.

Source: after DeepCDR, Liu et al. 2020, doi:10.1093/bioinformatics/btaa822; graph convolution of Kipf and Welling 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from drug_trees import choose_setting
from torch import nn

from scfviz.tasks.drug_response.factors import fit_factors

SETTINGS = tuple(product((3e-3, 1e-2), (1e-2, 1e-1, 1.0)))  # rate, weight decay
ELEMENTS = (6, 7, 8, 9, 15, 16, 17, 35)
N_COMPONENTS, N_EPOCHS, EVERY, BATCH, WIDTH, DROPOUT = 300, 60, 5, 64, 96, 0.3


@dataclass(frozen=True)
class Graphs:
    """Atoms of all drugs: features, bonds (2, n_bonds) both ways and to itself, and the drug of each atom."""

    atoms: torch.Tensor
    bonds: torch.Tensor
    drug: torch.Tensor
    n_drugs: int

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over each atom's neighbours and itself."""
        total = torch.zeros_like(values).index_add(0, self.bonds[1], values[self.bonds[0]])
        return total / torch.bincount(self.bonds[1], minlength=len(values))[:, None]

    def pool(self, values: torch.Tensor) -> torch.Tensor:
        """The mean and the maximum over each drug's atoms, zeros for a drug without structure."""
        empty = torch.zeros(self.n_drugs, values.shape[1])
        mean = empty.index_add(0, self.drug, values)
        mean = mean / torch.bincount(self.drug, minlength=self.n_drugs).clamp(min=1)[:, None]
        return torch.cat([mean, empty.scatter_reduce(0, self.drug[:, None].expand_as(values), values, "amax")], dim=1)


def read_graphs(smiles: Sequence[str]) -> Graphs:
    """Molecule graphs; a structure that cannot be read has no atoms."""
    from rdkit import Chem

    atoms, bonds, drugs = [], [], []
    for i, text in enumerate(smiles):
        molecule = Chem.MolFromSmiles(text) if text else None
        if molecule is None:
            continue
        first = len(atoms)
        for atom in molecule.GetAtoms():
            kind = [float(atom.GetAtomicNum() == element) for element in ELEMENTS]
            near = [atom.GetDegree() / 4, atom.GetTotalNumHs() / 4, atom.GetFormalCharge()]
            atoms.append([*kind, *near, float(atom.GetIsAromatic()), float(atom.IsInRing())])
            bonds.append((len(atoms) - 1, len(atoms) - 1))
            drugs.append(i)
        for bond in molecule.GetBonds():
            one, other = first + bond.GetBeginAtomIdx(), first + bond.GetEndAtomIdx()
            bonds += [(one, other), (other, one)]
    return Graphs(torch.tensor(atoms), torch.tensor(bonds).T, torch.tensor(drugs), len(smiles))


class Network(nn.Module):
    """What all drugs share in a line, and the product of a line's and a drug's vector."""

    def __init__(self, n_atom: int, n_line: int, width: int):
        super().__init__()
        self.first, self.second = nn.Linear(n_atom, width), nn.Linear(width, width)
        self.drug = nn.Sequential(
            nn.BatchNorm1d(2 * width + 2), nn.Linear(2 * width + 2, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.line = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(n_line, 2 * width), nn.ReLU(), nn.Dropout(DROPOUT))
        self.general, self.specific = nn.Linear(2 * width, 1), nn.Linear(2 * width, width)

    def forward(self, lines: torch.Tensor, graphs: Graphs, of_drug: torch.Tensor) -> torch.Tensor:
        """(n_lines, n_drugs); `of_drug` (n_drugs, 2) holds mean and spread over the training lines."""
        atoms = torch.relu(self.first(graphs.spread(graphs.atoms)))
        atoms = atoms + torch.relu(self.second(graphs.spread(atoms)))
        drugs = self.drug(torch.cat([graphs.pool(atoms), of_drug], dim=1))
        hidden = self.line(lines)
        return self.general(hidden) + self.specific(hidden) @ drugs.T / drugs.shape[1] ** 0.5


class GraphNetwork:
    """The network as an arm: what is learned is the difference to the drug's mean over the training lines.

    Parameters
    ----------
    smiles
        One structure a drug, empty where not known.
    """

    def __init__(self, smiles: Sequence[str]):
        self.graphs = read_graphs(smiles)

    def __call__(self, train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Predictions (n_test, n_drugs)."""
        setting, n_epochs = choose_setting(train, truth, SETTINGS, self._epochs)
        return self._epochs(train, truth, test, setting, n_epochs)[n_epochs]

    def _epochs(
        self,
        train: np.ndarray,
        truth: np.ndarray,
        test: np.ndarray,
        setting: tuple[float, float],
        n_epochs: int = N_EPOCHS,
    ) -> dict[int, np.ndarray]:
        """Predictions after every so many epochs."""
        torch.manual_seed(0)
        rate, decay = setting
        mean, spread = np.nanmean(truth, axis=0), np.nanstd(truth, axis=0)
        factors, known = fit_factors(train, N_COMPONENTS)
        scale = known.std(axis=0).mean()
        known, new = (
            torch.tensor(part / scale, dtype=torch.float32)
            for part in (known, factors.scores(factors.standardise(test)))
        )
        of_drug = torch.tensor(np.stack([mean - mean.mean(), spread - spread.mean()], axis=1), dtype=torch.float32)
        wanted = torch.tensor(np.nan_to_num(truth - mean), dtype=torch.float32)
        is_known = torch.tensor(np.isfinite(truth))
        network = Network(self.graphs.atoms.shape[1], known.shape[1], WIDTH)
        learner = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
        found = {}
        for epoch in range(1, n_epochs + 1):
            network.train()
            for rows in torch.randperm(len(known)).split(BATCH):
                learner.zero_grad()
                said = network(known[rows], self.graphs, of_drug)
                (said - wanted[rows])[is_known[rows]].square().mean().backward()
                learner.step()
            if epoch % EVERY == 0:
                network.eval()
                with torch.no_grad():
                    found[epoch] = mean + network(new, self.graphs, of_drug).numpy()
        return found
