"""Whether a gene changed in the model's input says anything about the experiment, on screens whose changes are known.

    python benchmarks/perturbation_insilico.py DATA [--only SET ...] [--out FILE]

Control cells of a screen, one gene switched off or on as in the screen, no training: sign (share of clearly changed
genes whose direction is right) and rank (Spearman's r over genes of the size, and of the signed change) against the
measured change. Beside it what knows no model: genes near the perturbed one in the Gene Ontology change, and genes that
go with it over the control cells fall with it. Every single perturbation whose gene the file holds; of a drug or a
cytokine its targets stand in, as written in SETS, each switched off or on alone, with genes drawn at
random beside them: the drug is another experiment.
Results go to benchmarks/results/perturbation_insilico.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.data.open import open_dataset
from scfviz.data.perturbations import read_design
from scfviz.model.checkpoint import SHIPPED, checkpoint_info, load_checkpoint
from scfviz.tasks.perturbation import scores
from scfviz.tasks.perturbation.effects import library_sizes, measure_effects, normalised_blocks, symbols_of
from scfviz.tasks.perturbation.insilico import perturb_in_silico
from scfviz.tasks.perturbation.options import KNOCKOUT, OVEREXPRESS
from scfviz.tasks.perturbation.spaces import go_space

INTERFERON = ("IFNAR1", "IFNAR2", "JAK1", "TYK2", "STAT1", "STAT2", "IRF9")  # from the receptor to its factor
RESULTS = Path(__file__).parent / "results" / "perturbation_insilico.json"
# Folder and file -> what is done, counts over all genes, genes that stand for a condition that is none.
SETS: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    "panels/papalexi_thp1_299genes": (KNOCKOUT, None, ()),
    "panels/perturb_norman19_mini": (OVEREXPRESS, "ncounts", ()),
    "panels/perturb_mcfaline23_mini": (KNOCKOUT, "ncounts", ()),
    "evaluation/kang_ifnb_2800": (OVEREXPRESS, None, ("IFNB1", *INTERFERON)),
    "panels/kang_ifnb_labelled_1975": (OVEREXPRESS, None, ("IFNB1", *INTERFERON)),
    "evaluation/pc9_erlotinib_day11": (KNOCKOUT, None, ("EGFR",)),
    "panels/gbm_panobinostat_300genes": (KNOCKOUT, None, tuple(f"HDAC{i}" for i in range(1, 12))),
}
N_CELLS, CLEAR, N_RANDOM = 16, 4.0, 5


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[Path(path).name for path in SETS])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    info = checkpoint_info(SHIPPED)
    found: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    found["checkpoint"] = {"name": info.name, "hash": info.hash}
    for path, (mode, library, stand_ins) in SETS.items():
        name = Path(path).name
        if name not in args.only:
            continue
        found[name] = measure_set(args.data / f"{path}.h5ad", mode, library, stand_ins)
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps({k: v for k, v in found[name].items() if k != "conditions"}), flush=True)
    return 0


def measure_set(path: Path, mode: str, library: str | None, stand_ins: tuple[str, ...]) -> dict[str, Any]:
    """Every single perturbation whose gene can be changed in the file, on control cells that have counts of it."""
    opened = open_dataset(path)
    counts = opened.counts
    design = read_design(counts.obs, uns=opened.adata.uns)
    effects = measure_effects(counts, design, sizes=library_sizes(counts, library))
    model = load_checkpoint(SHIPPED)
    aligned = opened.align(model.genes)
    controls = np.flatnonzero(design.codes == 0)
    together = correlate(counts.subset(controls[:2_000]), effects.genes)
    z = np.abs(effects.change) / np.sqrt(np.maximum(effects.variance, 1e-12))
    asked = [(i, one[0]) for i, one in enumerate(effects.targets) if len(one) == 1]
    if not design.is_genetic:
        others = sorted(set(effects.genes) - set(stand_ins))
        drawn = np.random.default_rng(1).permutation(others)[:N_RANDOM] if len(others) else []
        asked = [(0, gene) for gene in (*stand_ins, *map(str, drawn))]
    place = {str(gene): i for i, gene in enumerate(aligned.genes) if aligned.is_measured[i]}
    columns = np.array([place.get(gene, -1) for gene in effects.genes])
    rng, rows = np.random.default_rng(0), []
    for i, gene in asked:
        if gene not in place:
            continue
        have = np.asarray(aligned.subset(controls).rows(0, len(controls))[:, place[gene]].todense()).ravel() > 0
        chosen = choose_cells(controls, have, mode, rng)
        if len(chosen) < 10:
            continue
        change = perturb_in_silico(aligned.subset(chosen), model, gene, mode=mode).change
        keep = (columns >= 0) & (np.array(effects.genes) != gene)
        truth, clear = effects.change[i, keep], z[i, keep] > CLEAR
        sign = -1.0 if mode == KNOCKOUT else 1.0
        near = go_space().similarity([gene], [one for one, k in zip(effects.genes, keep, strict=True) if k])[0]
        r = sign * together[effects.genes.index(gene)][keep] if gene in effects.genes else np.zeros(keep.sum())
        said = {"model": change[columns[keep]], "coexpression": r, "gene_ontology": near * sign}
        rows.append(
            {"gene": gene, "is_random": not design.is_genetic and gene not in stand_ins, "n_clear": int(clear.sum())}
            | {name: judge(v, truth, clear) for name, v in said.items()}
        )
        print(rows[-1], flush=True)
    return summarise([row for row in rows if not row["is_random"]]) | {
        "random": summarise([row for row in rows if row["is_random"]]),
        "mode": mode,
        "is_stand_in": not design.is_genetic,
        "n_asked": len(asked if design.is_genetic else stand_ins),
        "conditions": rows,
    }


def choose_cells(cells: np.ndarray, have: np.ndarray, mode: str, rng: np.random.Generator) -> np.ndarray:
    """A sample of control cells: with counts of the gene, or some of them to set the level; none where none has."""
    if mode == KNOCKOUT:
        return np.sort(rng.permutation(cells[have])[:N_CELLS])
    some = rng.permutation(cells[have])[: N_CELLS // 4]
    others = rng.permutation(np.setdiff1d(cells, some))[: N_CELLS - len(some)]
    return np.sort(np.concatenate([some, others])) if len(some) else some


def judge(said: np.ndarray, truth: np.ndarray, clear: np.ndarray) -> dict[str, float | None]:
    """Sign over clearly changed genes; Spearman's r of the signed change, and of its size."""
    from scipy.stats import spearmanr

    def r(a: np.ndarray, b: np.ndarray) -> float | None:
        value = float(spearmanr(a, b).statistic) if a.std() > 0 and b.std() > 0 else float("nan")
        return round(value, 4) if np.isfinite(value) else None

    known = clear & (said != 0)
    sign = float((np.sign(said[known]) == np.sign(truth[known])).mean()) if known.sum() >= 3 else None
    return {"sign": sign, "rank": r(said, truth), "rank_of_size": r(np.abs(said), np.abs(truth))}


def correlate(counts: Any, genes: tuple[str, ...]) -> np.ndarray:
    """Pearson's r over control cells of the genes that are read out."""
    symbols = symbols_of(counts.genes)
    first = {symbol: i for i, symbol in reversed(list(enumerate(symbols)))}
    blocks = [
        block[:, [first[gene] for gene in genes]].toarray()
        for _, block in normalised_blocks(counts, counts.total_counts)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.corrcoef(np.concatenate(blocks).T))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over perturbations with their 95 % intervals."""
    found: dict[str, Any] = {"n": len(rows)}
    for view in ("model", "coexpression", "gene_ontology"):
        found[view] = {}
        for name in ("sign", "rank", "rank_of_size"):
            values = np.array([row[view][name] for row in rows if row[view][name] is not None], dtype=float)
            low, high = scores.interval(values)
            mean = float(values.mean()) if len(values) else float("nan")
            found[view][name] = [None if not np.isfinite(v) else round(v, 3) for v in (mean, low, high)]
    return found


if __name__ == "__main__":
    sys.exit(main())
