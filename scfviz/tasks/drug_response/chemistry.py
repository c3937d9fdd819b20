"""Structures of drugs: read from SMILES, checked, compared and drawn. RDKit is imported when a structure is needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import OptionError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

N_BITS, RADIUS = 2048, 2
_LONGEST = 2_000  # letters of a SMILES
_ATOMS = (3, 120)  # heavy atoms of a drug
_ORGANIC = {1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53}  # elements; the others are metals and what is no drug here
_OF_SALTS = {3, 11, 12, 19, 20}  # Li, Na, K, Mg, Ca: beside a drug they change nothing


@dataclass(frozen=True)
class Structure:
    """A molecule.

    Attributes
    ----------
    smiles
        Canonical, of the largest organic part.
    fingerprint
        bool (2048,): which circular substructures (Morgan, radius 2) it has.
    formula, weight
        For example "C22H23N3O4" and its mass in Da.
    notes
        What was changed or should be known, in sentences.
    """

    smiles: str
    fingerprint: np.ndarray
    formula: str
    weight: float
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=2_000)
def read_structure(smiles: str) -> Structure:
    """Read and check a structure.

    Parameters
    ----------
    smiles
        For example "CC(=O)Oc1ccccc1C(=O)O". Of a salt or mixture the largest organic part is taken, and that is noted.

    Raises
    ------
    OptionError
        It is no SMILES, not a whole molecule, a metal complex, a mixture of drugs, or of a size that no drug has.
    """
    from rdkit.Chem.Descriptors import MolWt
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    text = smiles.strip()
    if not text or len(text) > _LONGEST:
        raise OptionError(
            f"The SMILES has {len(text):,} letters.", f"1 to {_LONGEST:,} are needed.", "Paste one structure."
        )
    found = _parse(text)
    if found is None:
        raise OptionError(
            f"'{text[:60]}' is no SMILES.",
            "A structure as text is needed, for example CC(=O)Oc1ccccc1C(=O)O for aspirin.",
            "Copy the canonical or isomeric SMILES, for instance from PubChem.",
        )
    if any(atom.GetAtomicNum() == 0 for atom in found.GetAtoms()):
        raise OptionError(
            f"'{text[:60]}' has an open place (*).", "A whole molecule is needed.", "Put an atom or a group there."
        )
    molecule, notes = _main_part(found)
    strange = {a.GetSymbol() for a in molecule.GetAtoms() if a.GetAtomicNum() not in _ORGANIC}
    strange |= {a.GetSymbol() for a in found.GetAtoms() if a.GetAtomicNum() not in _ORGANIC | _OF_SALTS}
    if strange:
        raise OptionError(
            f"The structure holds {', '.join(sorted(strange))}.",
            "Metal complexes are outside of what was learned: nearly all drugs of the screen are organic molecules.",
            "Measured drugs such as cisplatin can be chosen by name.",
        )
    low, high = _ATOMS
    if not low <= molecule.GetNumHeavyAtoms() <= high:
        raise OptionError(
            f"The structure has {molecule.GetNumHeavyAtoms():,} atoms beside hydrogen.",
            f"Small molecules of {low} to {high} are compared.",
            "Antibodies, peptides and polymers cannot be asked for.",
        )
    return Structure(
        _canonical(molecule), _fingerprint(molecule), CalcMolFormula(molecule), float(MolWt(molecule)), tuple(notes)
    )


def similarity(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Tanimoto similarity of a fingerprint to others: float64 (n,), 1 is the same.

    Parameters
    ----------
    one
        bool (n_bits,).
    others
        bool (n, n_bits).
    """
    both = (others & one).sum(axis=1)
    return both / np.maximum(others.sum(axis=1) + one.sum() - both, 1)


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """Fingerprints bool (n, 2048); a row of zeros where there is no structure that can be read."""
    rows = np.zeros((len(smiles), N_BITS), dtype=bool)
    for i, text in enumerate(smiles):
        molecule = _parse(text) if text else None
        if molecule is not None:
            rows[i] = _fingerprint(molecule)
    return rows


def scaffold(smiles: str) -> str:
    """The ring systems of a structure and what joins them, as SMILES; empty where it has none or cannot be read."""
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    return MurckoScaffoldSmiles(smiles=smiles) if smiles and _parse(smiles) is not None else ""


def draw_structure(smiles: str, width: int = 320, height: int = 220) -> str:
    """The structure as SVG on a white ground; empty where it cannot be read."""
    from rdkit.Chem.Draw.rdMolDraw2D import MolDraw2DSVG, PrepareAndDrawMolecule

    molecule = _parse(smiles) if smiles else None
    if molecule is None:
        return ""
    canvas = MolDraw2DSVG(width, height)
    options: Any = canvas.drawOptions()
    options.clearBackground = True
    options.bondLineWidth = 1.4
    PrepareAndDrawMolecule(canvas, molecule)
    canvas.FinishDrawing()
    return canvas.GetDrawingText()


def _main_part(molecule: "Mol") -> tuple["Mol", list[str]]:
    """The largest organic part of a salt or solvate; a mixture of two molecules of like size is refused."""
    from rdkit.Chem import GetMolFrags

    parts = sorted(GetMolFrags(molecule, asMols=True), key=lambda part: -part.GetNumHeavyAtoms())
    if len(parts) == 1:
        return parts[0], []
    main, rest = parts[0], parts[1:]
    others = {_canonical(part) for part in rest} - {_canonical(main)}
    if any(
        part.GetNumHeavyAtoms() >= max(0.6 * main.GetNumHeavyAtoms(), 12) for part in rest if _canonical(part) in others
    ):
        raise OptionError(
            f"The structure has {len(parts)} parts of like size.",
            "One molecule is needed; mixtures were not measured.",
            "Ask for each part by itself.",
        )
    left = ", ".join(sorted(others)) or "the same again"
    return main, [f"Of a salt, solvate or mixture the largest part was taken ({_canonical(main)}); not used: {left}."]


def _parse(text: str) -> "Mol | None":
    from rdkit import RDLogger
    from rdkit.Chem import MolFromSmiles

    RDLogger.DisableLog("rdApp.*")
    molecule = MolFromSmiles(text)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def _canonical(molecule: "Mol") -> str:
    from rdkit.Chem import MolToSmiles

    return MolToSmiles(molecule)


def _fingerprint(molecule: "Mol") -> np.ndarray:
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=RADIUS, fpSize=N_BITS)
    return generator.GetFingerprintAsNumPy(molecule).astype(bool)
