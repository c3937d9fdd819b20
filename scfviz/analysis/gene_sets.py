"""Gene sets: read them, and score cells with them."""

import functools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from scfviz.analysis.expression import Expression, Progress, ShouldStop, known_genes
from scfviz.errors import DatasetError, GeneError
from scfviz.places import ASSETS

# A gzip file of a few kilobytes can hold gigabytes; all of MSigDB has about 40 MB.
MAX_CHARACTERS = 200_000_000
MAX_SETS, MAX_GENES_PER_SET, MAX_TEXT = 100_000, 50_000, 400
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
GENE = re.compile(r"[A-Za-z0-9][\w.@+/:-]{0,59}")
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


def mean_expression(
    expression: Expression, *, progress: Progress | None = None, should_stop: ShouldStop | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the measured genes, int64 (k,), and their mean ln(1 + counts per 10,000), float64 (k,)."""
    measured, sums = [np.zeros(0, np.int64)], [np.zeros(0)]
    for positions, values in expression.blocks(progress=progress, should_stop=should_stop):
        measured.append(positions)
        sums.append(np.asarray(values.sum(axis=0, dtype=np.float64)).ravel())
    return np.concatenate(measured), np.concatenate(sums) / max(expression.n_obs, 1)


def score_set(
    expression: Expression,
    genes: Sequence[str],
    *,
    means: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> SetScore:
    """Score cells for a set of genes as `sc.tl.score_genes` does, in two passes instead of on a matrix in memory.

    Parameters
    ----------
    genes
        Symbols, aliases or Ensembl IDs.
    means
        From `mean_expression`; None computes them, which is most of the work.
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
    halves = _two_halves(progress)
    measured, average = means or mean_expression(expression, progress=halves[0], should_stop=should_stop)
    controls = choose_controls(np.asarray(expression.genes)[measured].astype(str), average, measured, used, seed)
    if not len(controls):
        raise GeneError(
            "There are no control genes: all genes of similar expression are in the set.",
            "Some measured genes must lie outside the set.",
            "Use a smaller set.",
        )
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


def _limited_lines(file: TextIO) -> Iterator[str]:
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
