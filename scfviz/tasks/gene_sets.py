"""Gene sets: read them, score cells with them, and ask which of them a list or a ranking of genes is rich in."""

import functools
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import DatasetError, GeneError, OptionError
from scfviz.tasks.differential_expression import adjust
from scfviz.tasks.expression import Expression, Progress, ShouldStop, known_genes

if TYPE_CHECKING:
    import pandas as pd

ASSETS = Path(__file__).resolve().parents[2] / "assets"
# A gzip file of a few kilobytes can hold gigabytes; all of MSigDB has about 40 MB.
MAX_CHARACTERS = 200_000_000
MAX_SETS, MAX_GENES_PER_SET, MAX_TEXT = 100_000, 50_000, 400
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
GENE = re.compile(r"[A-Za-z0-9][\w.@+/:-]{0,59}")
SMALLEST, LARGEST = 5, 500
# Numbers of scanpy's score_genes (after Seurat).
CONTROL_GENES, EXPRESSION_BINS = 50, 25


@dataclass(frozen=True)
class GeneSet:
    """A named set of genes; `description` may be an identifier, a source or empty."""

    name: str
    description: str
    genes: tuple[str, ...]


@dataclass(frozen=True)
class SetScore:
    """Score of a gene set in every cell.

    Attributes
    ----------
    values
        float64 (n_obs,): mean of ln(1 + counts per 10,000) of the set's genes minus that of control genes of
        similar expression.
    genes
        Genes of the set that were used.
    left_out
        Names that are unknown or were not measured.
    n_controls
        Number of control genes.
    """

    values: np.ndarray
    genes: tuple[str, ...]
    left_out: tuple[str, ...]
    n_controls: int


@functools.lru_cache(maxsize=1)
def load_gene_ontology() -> tuple[GeneSet, ...]:
    """The biological processes of the Gene Ontology that ship with scfviz; source and licence in `assets/README.md`."""
    return read_gmt(ASSETS / "gene_sets" / "go_bp.gmt.gz")


def read_gmt(path: str | Path) -> tuple[GeneSet, ...]:
    """Read gene sets from a GMT file: name, description and genes of one set a line, separated by tabs; plain or gzip.

    Symbols are brought to the model's where the vocabulary knows them under another name (aliases, Ensembl IDs).

    Raises
    ------
    DatasetError
        The file is missing, is no text, or a line is no set; the message names the line.
    GeneError
        None of the names is a gene.
    """
    from scfviz.data.source import open_text, resolve_source
    from scfviz.data.vocabulary import load_vocabulary

    real = resolve_source(path)
    vocabulary = load_vocabulary()
    # a name is in many sets, and is looked at once
    symbol_of = functools.cache(lambda name: (vocabulary.lookup(name) or name) if GENE.fullmatch(name) else None)
    sets, seen, n_read = [], set(), 0
    try:
        with open_text(real) as file:
            for number, line in enumerate(_limited_lines(file), start=1):
                n_read += len(line)
                if not line.strip():
                    continue
                made = _read_line(line, number, real.name, symbol_of)
                if made.name in seen:
                    raise _bad_line(
                        real.name, number, f"repeats the set '{made.name[:60]}'", "Each set needs its own name."
                    )
                seen.add(made.name)
                sets.append(made)
                if n_read > MAX_CHARACTERS or len(sets) > MAX_SETS:
                    raise DatasetError(
                        f"'{real.name}' is too large for gene sets.", f"At most {MAX_SETS:,} sets are read."
                    )
    except (EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"'{real.name}' cannot be unpacked.", "", "Copy or download it again.") from error
    if not sets:
        raise DatasetError(f"'{real.name}' holds no gene sets.", "A GMT file has one set a line.")
    if not any(gene in vocabulary.by_symbol for one in sets for gene in one.genes):
        raise GeneError(
            f"None of the names in '{real.name}' is a known gene, the first is '{sets[0].genes[0]}'.",
            "Human gene symbols or Ensembl IDs are needed.",
            "Entrez numbers and other organisms' genes have to be converted first.",
        )
    return tuple(sets)


def score_set(
    expression: Expression,
    genes: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> SetScore:
    """Score cells for a set of genes as `sc.tl.score_genes` does, in two passes instead of on a matrix in memory.

    Parameters
    ----------
    genes
        Symbols, aliases or Ensembl IDs.
    seed
        Of the choice of control genes: 50 from each expression bin (of 25) that the set's genes fall into.

    Raises
    ------
    GeneError
        No gene of the set was measured, or all control genes are in the set.

    Source: Satija et al. 2015, doi:10.1038/nbt.3192; scanpy (Wolf et al. 2018, doi:10.1186/s13059-017-1382-0).
    """
    used, left_out = known_genes(expression, genes)
    if not len(used):
        raise GeneError(
            f"None of the {len(genes):,} genes of the set was measured in this dataset.",
            "At least one is needed.",
            f"The first are {', '.join(map(str, genes[:3]))}.",
        )
    measured, sums = [], []
    halves = _two_halves(progress)
    for positions, values in expression.blocks(progress=halves[0], should_stop=should_stop):
        measured.append(positions)
        sums.append(np.asarray(values.sum(axis=0, dtype=np.float64)).ravel())
    measured = np.concatenate(measured)
    means = np.concatenate(sums) / expression.n_obs
    controls = choose_controls(np.asarray(expression.genes)[measured].astype(str), means, measured, used, seed)
    if not len(controls):
        raise GeneError("There are no control genes: all genes of similar expression are in the set.",
                        "Some measured genes must lie outside the set.", "Use a smaller set.")  # fmt: skip
    total = {"set": np.zeros(expression.n_obs), "controls": np.zeros(expression.n_obs)}
    wanted = np.union1d(used, controls)
    for positions, values in expression.blocks(wanted, progress=halves[1], should_stop=should_stop):
        for name, members in (("set", used), ("controls", controls)):
            total[name] += values @ np.isin(positions, members).astype(np.float64)
    score = total["set"] / len(used) - total["controls"] / len(controls)
    symbols = np.asarray(expression.genes)[used].astype(str)
    return SetScore(score, tuple(symbols), tuple(map(str, left_out)), len(controls))


def choose_controls(
    names: np.ndarray, means: np.ndarray, positions: np.ndarray, used: np.ndarray, seed: int
) -> np.ndarray:
    """Positions of control genes: scanpy's choice, draw by draw.

    Parameters
    ----------
    names, means, positions
        Of every measured gene, (n_measured,).
    used
        Positions of the set's genes.
    """
    import pandas as pd

    average = pd.Series(means, index=pd.Index(positions))
    per_bin = max(int(np.round(len(average) / (EXPRESSION_BINS - 1))), 1)
    bins = average.rank(method="min") // per_bin
    draws = np.random.RandomState(seed)
    chosen: set[int] = set()
    for number in np.unique(bins.loc[used]):
        same = bins.index[bins == number]
        if CONTROL_GENES < len(same):
            same = same.to_series().sample(CONTROL_GENES, random_state=draws).index
        chosen |= set(same.difference(used))
    return np.array(sorted(chosen), dtype=np.int64)


def enrich_list(
    genes: Sequence[str],
    sets: Sequence[GeneSet],
    background: Sequence[str],
    *,
    smallest: int = SMALLEST,
    largest: int = LARGEST,
) -> "pd.DataFrame":
    """Over-representation of a list of genes in gene sets (hypergeometric test).

    Parameters
    ----------
    genes
        The list, for example the genes that are higher in a selection.
    background
        Every gene that could have been on the list: the tested, measured ones. Sets are cut down to it.
    smallest, largest
        Sets with fewer or more genes of the background are left out.

    Returns
    -------
    DataFrame, the smallest p first: `name`, `description`, `n_overlap`, `n_set`, `n_list`, `n_background`, `fold`
    (overlap over what chance gives), `pvals`, `pvals_adj` (Benjamini-Hochberg over the sets that remain), `genes`
    (the overlap, with commas).

    Raises
    ------
    GeneError
        No gene of the list is in the background.
    OptionError
        No set remains.
    """
    import pandas as pd
    from scipy.stats import hypergeom

    universe = set(map(str, background))
    chosen = set(map(str, genes)) & universe
    if not chosen:
        raise GeneError("None of the genes of the list is among the tested ones.", "At least one is needed.")
    rows = []
    for one, members in _cut_down(sets, universe, smallest, largest):
        overlap = sorted(members & chosen)
        expected = len(members) * len(chosen) / len(universe)
        p = hypergeom.sf(len(overlap) - 1, len(universe), len(members), len(chosen)) if overlap else 1.0
        fold = len(overlap) / expected
        counts = (len(overlap), len(members), len(chosen), len(universe))
        rows.append((one.name, one.description, *counts, fold, p, ", ".join(overlap)))
    names = ["name", "description", "n_overlap", "n_set", "n_list", "n_background", "fold", "pvals", "genes"]
    table = pd.DataFrame(rows, columns=names)
    table.insert(8, "pvals_adj", adjust(table["pvals"].to_numpy()))
    return table.sort_values(["pvals", "fold"], ascending=[True, False], kind="stable", ignore_index=True)


def enrich_ranking(
    names: Sequence[str],
    scores: Sequence[float],
    sets: Sequence[GeneSet],
    *,
    smallest: int = 15,
    largest: int = LARGEST,
    n_permutations: int = 1000,
    seed: int = 0,
) -> "pd.DataFrame":
    """Gene set enrichment analysis of a ranking of genes (preranked, with gseapy).

    Parameters
    ----------
    names, scores
        Genes and the value they are ranked by, for example `scores` of a differential expression.
    smallest, largest
        Sets with fewer or more genes of the ranking are left out.
    n_permutations
        Shuffles of the genes; the smallest p value that can be seen is 1 / n_permutations.

    Returns
    -------
    DataFrame, the largest normalised score first: `name`, `description`, `es`, `nes` (above zero: at the top of the
    ranking), `pvals`, `fdr` (false discovery rate), `n_set`, `n_leading`, `genes` (leading edge, with commas).

    Raises
    ------
    OptionError
        Names and scores do not fit together, or no set remains.

    Source: Subramanian et al. 2005, doi:10.1073/pnas.0506580102; Fang et al. 2023,
    doi:10.1093/bioinformatics/btac757 (gseapy).
    """
    import gseapy
    import pandas as pd

    ranking = pd.Series(np.asarray(scores, dtype=np.float64), index=[str(name) for name in names])
    ranking = ranking[np.isfinite(ranking.to_numpy())]
    if len(ranking) != len(names) or not ranking.index.is_unique:
        ranking = ranking[~ranking.index.duplicated()]
    if len(ranking) < 2 or ranking.nunique() < 2:
        raise OptionError("The ranking has no two different scores.", "Genes need scores to be ranked by.")
    cut = list(_cut_down(sets, set(ranking.index), smallest, largest))
    found = gseapy.prerank(
        rnk=ranking.sort_values(ascending=False, kind="stable"),
        gene_sets={one.name: sorted(members) for one, members in cut},
        min_size=smallest,
        max_size=largest,
        permutation_num=n_permutations,
        threads=1,
        seed=seed,
        outdir=None,
        no_plot=True,
    ).res2d
    about = {one.name: (one.description, len(members)) for one, members in cut}
    leading = found["Lead_genes"].astype(str).str.split(";")
    table = pd.DataFrame(
        {
            "name": found["Term"].astype(str),
            "description": [about[name][0] for name in found["Term"]],
            "es": found["ES"].astype(float),
            "nes": found["NES"].astype(float),
            "pvals": found["NOM p-val"].astype(float),
            "fdr": found["FDR q-val"].astype(float),
            "n_set": [about[name][1] for name in found["Term"]],
            "n_leading": leading.map(len),
            "genes": leading.map(", ".join),
        }
    )
    return table.sort_values("nes", ascending=False, kind="stable", ignore_index=True)


def _cut_down(
    sets: Sequence[GeneSet], universe: set[str], smallest: int, largest: int
) -> list[tuple[GeneSet, set[str]]]:
    cut = [(one, members) for one in sets if smallest <= len(members := universe.intersection(one.genes)) <= largest]
    if not cut:
        raise OptionError(
            f"None of the {len(sets):,} gene sets has {smallest} to {largest} of the {len(universe):,} genes.",
            "At least one set must fit.",
            "Change the limits, or check that the sets are of human genes.",
        )
    return cut


def _limited_lines(file):
    """Lines of a text file, none of which can fill the memory."""
    while line := file.readline(MAX_TEXT + MAX_GENES_PER_SET * 61):
        yield line


def _read_line(line: str, number: int, file: str, symbol_of: Callable[[str], str | None]) -> GeneSet:
    fields = [field.strip() for field in line.rstrip("\r\n").split("\t")]
    if NO_TEXT.search(line):
        raise _bad_line(file, number, "is no plain text", "GMT files are text: save the sets as tab-separated text.")
    if len(fields) < 3:
        raise _bad_line(
            file,
            number,
            f"has {len(fields)} field(s)",
            "A name, a description and genes, separated by tabs, are needed.",
        )
    name, description = fields[:2]
    if not name or max(len(name), len(description)) > MAX_TEXT:
        raise _bad_line(
            file, number, "has an empty or overlong name or description", f"At most {MAX_TEXT} characters are read."
        )
    genes = [field for field in fields[2:] if field]
    symbols = [symbol_of(gene) for gene in genes]
    if None in symbols:
        odd = genes[symbols.index(None)]
        raise _bad_line(
            file, number, f"holds '{odd[:40]}', which cannot be a gene", "One gene in each field is needed."
        )
    if not genes or len(genes) > MAX_GENES_PER_SET:
        raise _bad_line(file, number, f"has {len(genes):,} genes", f"1 to {MAX_GENES_PER_SET:,} are needed.")
    return GeneSet(name, description, tuple(dict.fromkeys(symbols)))


def _bad_line(file: str, number: int, what: str, needed: str) -> DatasetError:
    return DatasetError(f"Line {number:,} of '{file}' {what}.", needed, "Correct the line, or choose a GMT file.")


def _two_halves(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    if progress is None:
        return None, None
    return (lambda share: progress(share / 2)), (lambda share: progress(0.5 + share / 2))
