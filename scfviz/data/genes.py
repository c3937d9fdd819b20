"""Match the genes of a file to the genes of the model."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from scfviz.data.features import Features, find_features, kind_words
from scfviz.data.gene_names import MOUSE_PREFIX, RAT_MARK, clean, describe_names, is_row_number
from scfviz.data.naming import INDEX_COLUMN, Naming, name_all
from scfviz.data.vocabulary import GeneVocabulary, load_vocabulary, strip_version
from scfviz.errors import GeneError

MIN_SHARE_KNOWN = 0.20
MIN_MODEL_GENES = 200
PANEL_GENES = 5000
N_EXAMPLES = 8
N_SAMPLED = 1500
MIN_SHARE_FOREIGN = 0.05
GENOME_COLUMN = re.compile(r"^(?:genome|species|organism)$", re.IGNORECASE)
MOUSE_GENOME = re.compile(r"^(?:mm\d+|GRCm\d+|mouse|mus[_ ]musculus)\b", re.IGNORECASE)


@dataclass(frozen=True)
class GeneReport:
    """How the genes of a file met the genes of the model. All `n_*` count rows of the file unless said otherwise."""

    column: str  # the column of `var` that was used
    id_type: str  # "symbol" | "ensembl"
    organism: str  # "human" | "mouse" | "mouse or rat" (symbols that both have)
    n_file: int  # genes in the file (features of other types left out)
    n_model: int  # genes of the model
    n_matched: int  # by the model's own symbol or Ensembl ID
    n_alias: int  # by a previous symbol, alias, damaged date or repaired spelling
    n_ortholog: int  # mouse genes through one-to-one orthologs
    n_summed: int  # rows that were added to another row of the same gene
    n_unknown: int  # rows that are no gene of the model, left out
    n_ambiguous: int  # of the unknown: aliases of several genes, or of one that is there anyway
    n_measured: int  # genes of the model that the file holds
    n_not_measured: int  # genes of the model that the file does not hold
    model_coverage: float  # % of the model's genes that are measured
    counts_coverage: float | None  # % of the file's counts that are on matched genes; None before counts were read
    summed: tuple[str, ...]  # examples of symbols that several rows were added for
    unknown: tuple[str, ...]  # examples
    damaged: tuple[tuple[str, str], ...]  # spreadsheet dates and the gene each one must have been ("" where unclear)
    other_features: dict[str, int]  # rows of other feature types, left out: {"Antibody Capture": 17}
    notices: tuple[str, ...]  # plain sentences
    n_foreign: int = 0  # of the unknown: genes of the mouse beside those of human (a mixture of species)
    n_parts: int = 0  # rows for unspliced and ambiguous molecules of a gene, added to it
    n_identical: int = 0  # rows that repeat a gene with the very same counts, counted once
    antibodies: tuple[str, ...] = ()  # rows with names of genes and sizes of antibodies, left out

    def as_dict(self) -> dict:
        """The report as JSON-able fields."""
        return asdict(self)


@dataclass(frozen=True)
class GeneMatch:
    """Which gene of the model each row of a file is."""

    target: np.ndarray  # int32 (n_vars,): position among the model's genes, -1 is none of them
    is_gene: np.ndarray  # bool (n_vars,): False for rows of other feature types
    genes: tuple[str, ...]
    report: GeneReport
    is_foreign: np.ndarray  # bool (n_vars,): genes of the mouse in a file of human and mouse cells
    refusal: GeneError | None = None  # why the model cannot read them; None where it can


def match_genes(
    var: pd.DataFrame,
    genes: Sequence[str] | None = None,
    *,
    column: str | None = None,
    features: Features | None = None,
    cells: Sequence[str] = (),
    accept_few: bool = False,
) -> GeneMatch:
    """Find the model's gene for each row of `var`.

    The column of names is chosen by content: the one that names the most genes of the model, as human symbols, Ensembl
    IDs (any version), previous symbols and aliases, or as mouse symbols or IDs through one-to-one orthologs.

    Parameters
    ----------
    var
        The genes of the file, one a row.
    genes
        The model's genes in its order; None takes the 19,264 of the vocabulary.
    column
        Name of the column of `var` that holds gene names; None chooses.
    features
        Which rows are genes at all; None finds out by type and name.
    cells
        Names of the cells, which are shown when no gene is known: perhaps the table lies the other way.
    accept_few
        Whether any number of known genes will do: a file of two genes can be looked at, only the model needs more.

    Raises
    ------
    GeneError
        Fewer than 20 % of the file's genes are known, fewer than 200 of the model's genes are in the file, the genes
        are those of a rat, or no row is a gene.
    """
    vocabulary = load_vocabulary()
    genes = vocabulary.symbols if genes is None else tuple(genes)
    features = find_features(var) if features is None else features
    is_gene = features.is_gene
    candidates = name_columns(var, column)
    position = {symbol: i for i, symbol in enumerate(genes)}
    likely = most_likely({label: values[is_gene] for label, values in candidates.items()}, position)
    best = max(
        (name_all(values, label, vocabulary, position) for label, values in likely.items()),
        key=lambda naming: naming.score,
    )
    is_foreign = np.zeros(len(var), dtype=bool)
    if best.organism == "human":
        is_foreign[is_gene] = foreign_rows(best, var[is_gene], vocabulary)
    target = np.full(len(var), -1, dtype=np.int32)
    target[is_gene] = [position.get(symbol, -1) for symbol in best.symbols]
    is_gene = is_gene & ~is_foreign  # what is the mouse's is no gene that the model might have known
    report = make_report(best, target, is_gene, genes, features)
    refusal = None
    try:
        refuse_too_few(report, best, var, len(genes), cells)
    except GeneError as error:
        if not accept_few:
            raise
        refusal = error.with_traceback(None)
    if refusal is None and report.n_measured < PANEL_GENES:
        report = replace(report, notices=(*report.notices, panel_words(report)))
    return GeneMatch(target, is_gene, tuple(genes), report, is_foreign, refusal)


def foreign_rows(naming: Naming, var: pd.DataFrame, vocabulary: GeneVocabulary) -> np.ndarray:
    """Rows that are genes of the mouse, in a file of human and mouse cells; bool, none in a file of one species."""
    foreign = np.zeros(len(var), dtype=bool)
    for column in var.columns:
        if GENOME_COLUMN.match(str(column)):
            foreign |= var[column].astype(str).str.match(MOUSE_GENOME).to_numpy(dtype=bool)
    tables = vocabulary.by_mouse_symbol, vocabulary.by_mouse_ensembl
    for i, symbol in enumerate(naming.symbols):
        if not symbol and not foreign[i]:
            name = naming.names[i]
            foreign[i] = MOUSE_PREFIX.match(name) is not None or any(strip_version(name) in table for table in tables)
    if foreign.sum() < MIN_SHARE_FOREIGN * len(foreign):
        return np.zeros(len(foreign), dtype=bool)
    for i in np.flatnonzero(foreign):  # a few symbols are written alike in both species
        naming.symbols[i], naming.how[i] = "", "unknown"
    return foreign


def name_columns(var: pd.DataFrame, column: str | None) -> dict[str, np.ndarray]:
    """The columns of `var` that may hold names, as arrays of str."""
    if column is not None and column != INDEX_COLUMN:
        if column not in var.columns:
            raise GeneError(
                f"The table of genes has no column '{column}'.",
                "",
                f"Its columns are: {', '.join(map(str, var.columns)) or 'none'}.",
            )
        return {column: as_text(var[column])}
    columns = {INDEX_COLUMN: as_text(var.index)}
    if column is None:
        for name in var.columns:
            values = var[name]
            is_text = values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype)
            # A constant column (genome, feature type) names nothing.
            if is_text and values.nunique() > 1:
                columns[str(name)] = as_text(values)
    return columns


def as_text(values: pd.Series | pd.Index | np.ndarray) -> np.ndarray:
    """Names as an object array of stripped str; missing ones are ""."""
    series = pd.Series(np.asarray(values, dtype=object))
    return series.where(series.notna(), "").map(lambda v: str(v).strip()).to_numpy(dtype=object)


def most_likely(columns: dict[str, np.ndarray], position: dict[str, int]) -> dict[str, np.ndarray]:
    """The two columns with the most known names among a sample of each; to read all of a wide table takes long."""

    def share(label: str) -> float:
        names = columns[label]
        sample = names[np.linspace(0, len(names) - 1, min(len(names), N_SAMPLED)).astype(int)] if len(names) else names
        return max(share_known(sample), sum(n in position for n in sample) / max(len(sample), 1))

    chosen = sorted(columns, key=share, reverse=True)[:2]
    return {label: columns[label] for label in columns if label in chosen}


def make_report(
    naming: Naming, target: np.ndarray, is_gene: np.ndarray, genes: Sequence[str], features: Features
) -> GeneReport:
    """Count what happened to the rows, in numbers and in sentences."""
    known = target >= 0
    rows_per_gene = np.bincount(target[known], minlength=len(genes))
    n_measured = int((rows_per_gene > 0).sum())
    summed = [genes[i] for i in np.flatnonzero(rows_per_gene > 1 + (naming.n_parts > 0) * 2)]
    rows = list(zip(naming.names, naming.symbols, naming.how, is_gene[features.is_gene], strict=True))
    how = Counter(h for _, symbol, h, _ in rows if symbol)
    unknown = [str(name) for name, symbol, _, is_own in rows if is_own and not symbol]
    report = GeneReport(
        column=naming.column,
        id_type=naming.id_type,
        organism=naming.organism,
        n_file=int(is_gene.sum()),
        n_model=len(genes),
        n_matched=how["matched"],
        n_alias=how["alias"] + how["part"],
        n_ortholog=how["ortholog"],
        n_summed=int(known.sum()) - n_measured,
        n_unknown=len(unknown),
        n_ambiguous=sum(h == "ambiguous" for _, _, h, is_own in rows if is_own),
        n_measured=n_measured,
        n_not_measured=len(genes) - n_measured,
        model_coverage=100 * n_measured / max(len(genes), 1),
        counts_coverage=None,
        summed=tuple(summed[:N_EXAMPLES]),
        unknown=tuple(unknown[:N_EXAMPLES]),
        damaged=naming.damaged,
        other_features=features.others,
        notices=(),
        n_foreign=int((features.is_gene & ~is_gene).sum()),
        n_parts=naming.n_parts,
    )
    return GeneReport(**{**vars(report), "notices": tuple(write_notices(report, features))})


def few(texts: Sequence[str], n: int = 4) -> str:
    """The first of some texts; "..." for the others."""
    return ", ".join([*texts[:n], *(["..."] if len(texts) > n else [])])


def panel_words(report: GeneReport) -> str:
    """What few genes mean where the model can still read them."""
    return (
        f"Only {report.n_measured:,} of the model's {report.n_model:,} genes were measured (a targeted panel or a "
        "selection of genes). The model sees each cell through these alone: depth and proportions refer to the "
        "panel, and results are less certain than with all genes."
    )


def summed_words(n: int, genes: Sequence[str]) -> str:
    """That rows were added to those of the same gene."""
    rows = "1 row repeats a gene and is" if n == 1 else f"{n:,} rows repeat a gene and are"
    return f"{rows} added to its counts (for example {', '.join(genes[:3])})."


def write_notices(report: GeneReport, features: Features) -> Iterator[str]:
    """Plain sentences about everything that a reader of the report should know."""
    kind = "Ensembl IDs" if report.id_type == "ensembl" else "symbols"
    yield f"Genes are read from {column_words(report.column)} as {report.organism} {kind}."
    if report.organism != "human":
        are = (
            "These are mouse genes" if report.organism == "mouse" else "The names are written as those of mouse or rat"
        )
        yield (
            f"{are}. Each is taken as the one-to-one human counterpart of the mouse gene; genes without one are left "
            "out. "
            "The model learned from human cells only."
        )
    if report.n_parts:
        yield (
            f"{report.n_parts:,} rows count unspliced and ambiguous molecules of a gene (-U, -A); they are added "
            "to the spliced ones of it."
        )
    if report.n_alias > report.n_parts:
        n_alias = report.n_alias - report.n_parts
        yield f"{n_alias:,} genes are known to the model under another name (previous symbols, aliases)."
    if report.summed:
        yield summed_words(report.n_summed, report.summed)
    if report.n_ambiguous:
        yield (
            f"{report.n_ambiguous:,} names are an alias of several genes, or of a gene that is in the file under its "
            "own name; they are left out rather than guessed."
        )
    repaired = [f"{name} is {symbol}" for name, symbol in report.damaged if symbol]
    unclear = [name for name, symbol in report.damaged if not symbol]
    if repaired:
        yield (f"A spreadsheet turned {len(repaired)} gene names into dates; repaired: {few(repaired)}.")
    if unclear:
        yield (f"A spreadsheet turned gene names into dates that could mean several genes; left out: {few(unclear)}.")
    for kind, n in report.other_features.items():
        yield kind_words(kind, n, features.examples[kind])
    if features.n_untyped and len(report.other_features):
        yield f"{features.n_untyped:,} rows have no feature type; they are taken for genes where their names are genes."
    if report.n_foreign:
        yield f"{report.n_foreign:,} rows are genes of the mouse, beside those of human; they are left out."


def column_words(column: str) -> str:
    """A column of the table of genes, in words."""
    return "the row names of the gene table" if column == INDEX_COLUMN else f"the column '{column}'"


def refuse_too_few(
    report: GeneReport, naming: Naming, var: pd.DataFrame, n_model: int, cells: Sequence[str] = ()
) -> None:
    """Stop when the names are not the model's genes: anything after that would be noise."""
    if report.organism == "rat":
        marked = [str(n) for n in naming.names if RAT_MARK.match(str(n))]
        raise GeneError(
            f"These are genes of the rat ({', '.join(marked[:3])}).",
            "Human genes are needed, or mouse genes, which have a table of one-to-one counterparts here.",
            "Replace each by its human ortholog (Ensembl BioMart, babelgene), then open the file.",
        )
    known = report.n_matched + report.n_alias + report.n_ortholog
    share = known / max(report.n_file, 1)
    needed = min(MIN_MODEL_GENES, -(-n_model // 5))
    if share >= MIN_SHARE_KNOWN and report.n_measured >= needed:
        return
    columns = ", ".join([INDEX_COLUMN, *map(str, var.columns)])
    if naming.column == INDEX_COLUMN and is_row_number([str(n) for n in naming.names]):
        raise GeneError(
            "The genes in this file have no names: they are only numbered.",
            "Gene symbols or Ensembl IDs are needed.",
            f"Add a column with gene names to the table of genes (its columns are: {columns}).",
        )
    found = [
        f"{known:,} of the {report.n_file:,} genes in the file are known to the model ({100 * share:.3g} %), read from "
        f"{column_words(report.column)}."
    ]
    if report.unknown:
        found.append(f"The first unknown names are {', '.join(report.unknown[:3])}.")
    what = describe_names(report.unknown if share >= MIN_SHARE_KNOWN else [str(n) for n in naming.names])
    if what:
        found.append(f"They are {what}.")
    if len(cells) and known == 0 and not what:
        found.append(f"The names of the cells are {', '.join(map(str, cells[:3]))}: no genes that are known, either.")
    if report.other_features:
        found.append(f"Left out: {', '.join(f'{n:,} {kind}' for kind, n in report.other_features.items())}.")
    if share >= MIN_SHARE_KNOWN:
        needs = f"At least {needed} of the model's genes are needed, and {report.n_measured:,} are in the file."
        advice = "Open the full dataset, with all the genes that were measured."
    else:
        needs = f"At least {100 * MIN_SHARE_KNOWN:.0f} % of the file's genes are needed."
        advice = f"Choose the column that holds gene symbols or Ensembl IDs, of human or mouse (columns: {columns})."
        if what:
            advice = "Add a column with gene symbols or Ensembl gene IDs to the table of genes, or use them as names."
    raise GeneError(" ".join(found), needs, advice)


def share_known(names: Iterable[str]) -> float:
    """Share of names (0 to 1) that are genes of the model, human or mouse."""
    vocabulary = load_vocabulary()
    bare = [clean(str(name).strip()) for name in names]
    tables = (
        vocabulary.by_symbol,
        vocabulary.by_ensembl,
        vocabulary.by_alias,
        vocabulary.by_mouse_symbol,
        vocabulary.by_mouse_ensembl,
    )
    return sum(any(name in table for table in tables) for name in bare) / max(len(bare), 1)
