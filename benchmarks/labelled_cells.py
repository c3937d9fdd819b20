"""Labelled cells of the benchmark of the annotation: a fixed sample of each set with its embedding, which is kept."""

from pathlib import Path

import numpy as np

from scfviz.data.open import open_dataset
from scfviz.model.infer import embed_cells

MOST_OF_TYPE = 75
_NO_TYPE = ("unlabelled", "nan", "group_nan", "hybrid")  # hybrid: cells with signs of two types (Darmanis 2015)
# name: column within whose values at most MOST_OF_TYPE cells of a type are taken, or fewer as `_FEWER` says
_ALSO = ("also_in_kang_ifnb_2k", "also_in_kang_ifnb_labelled_1975")
_WITHIN = {"kang_ifnb_2800": "condition", "scmix_singlecell": "platform", "pancreas8_hvg2000_500": "tech"}
_FEWER = {"kang_ifnb_2800": 40, "geact_fetal_organs": 20, "scmix_singlecell": 30,
          "geact_fetal_bronchus_marrow": 30, "darmanis_brain_466": 30}  # fmt: skip
_SINGLETS = ("demuxlet_cls", "SNG")


class Cells:
    """Some cells of a file: counts in the model's gene order, their types, and the embedding.

    Parameters
    ----------
    path
        Of the file.
    model
        Whose gene order and embedding.
    kept
        Folder in which embeddings are kept between runs.
    """

    def __init__(self, path: Path, model: object, kept: Path):
        counts = open_dataset(path).align(model.genes)
        rows = choose_rows(path.stem, counts.obs)
        self.name, self.counts, self.n_in_file = path.stem, counts.subset(rows), counts.n_obs
        self.labels = self.counts.obs["cell_type"].astype(str).to_numpy(object)
        self.embedding = _embed(kept / path.stem, rows, self.counts, model)

    def take(self, mask: np.ndarray) -> "Cells":
        """Only some of the cells."""
        part = object.__new__(Cells)
        part.name, part.n_in_file = self.name, self.n_in_file
        part.counts, part.labels, part.embedding = self.counts.subset(mask), self.labels[mask], self.embedding[mask]
        return part


def choose_rows(name: str, obs) -> np.ndarray:
    """int64, sorted: labelled cells, at most so many of a type (and condition or platform), by a fixed draw."""
    types = obs["cell_type"].astype(str).to_numpy()
    known = obs["cell_type"].notna().to_numpy() & ~np.isin(types, _NO_TYPE)
    for column in _ALSO:
        if column in obs:
            known &= ~obs[column].astype(bool).to_numpy()
    if _SINGLETS[0] in obs:
        known &= (obs[_SINGLETS[0]].astype(str) == _SINGLETS[1]).to_numpy()
    parts = obs[_WITHIN[name]].astype(str).to_numpy() if name in _WITHIN else np.full(len(obs), "")
    most, rng, chosen = _FEWER.get(name, MOST_OF_TYPE), np.random.default_rng(0), []
    for part, kind in sorted(set(zip(parts[known], types[known], strict=True))):
        mine = np.flatnonzero(known & (parts == part) & (types == kind))
        chosen.append(mine if len(mine) <= most else rng.choice(mine, most, replace=False))
    return np.sort(np.concatenate(chosen))


def _embed(folder: Path, rows: np.ndarray, counts, model) -> np.ndarray:
    """The kept embedding, if it is of these rows, else a new one; an interrupted one goes on."""
    file = folder.with_suffix(".npz")
    if file.exists():
        with np.load(file) as stored:
            if np.array_equal(stored["rows"], rows):
                return stored["values"]
    values = embed_cells(counts, model, out=folder, resume=True).values
    np.savez(file, rows=rows, values=values)
    return values
