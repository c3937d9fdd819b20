"""Which columns of a file are genes: antibodies, peaks, control probes and metadata of cells are none."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scfviz.errors import GeneError

GENE_EXPRESSION = "Gene Expression"
PEAKS, ANTIBODIES, METADATA, CONTROLS = "Peaks", "Antibody Capture", "metadata of cells", "Negative Control Probe"
SUMMARY = "summary of the counting"
OTHER_TYPES = (
    PEAKS,
    ANTIBODIES,
    CONTROLS,
    "CRISPR Guide Capture",
    "Multiplexing Capture",
    "Custom",
    "Antigen Capture",
    "Genomic Control",
    "Negative Control Codeword",
    "Unassigned Codeword",
    "Deprecated Codeword",
    "Blank Codeword",
    "Protein Expression",
)
TYPE_WORDS = (
    {"gene": GENE_EXPRESSION, "gene expression": GENE_EXPRESSION, "rna": GENE_EXPRESSION}
    | {kind.lower(): kind for kind in OTHER_TYPES}
    | {
        "adt": ANTIBODIES,
        "protein": ANTIBODIES,
        "antibody": ANTIBODIES,
        "antibodies": ANTIBODIES,
        "ab": ANTIBODIES,
        "prot": ANTIBODIES,
        "atac": PEAKS,
        "peak": PEAKS,
        "chromatin accessibility": PEAKS,
        "hto": "Multiplexing Capture",
    }
)
TYPE_COLUMN = re.compile(r"^(?:feature|probe|gene)[_. ]?types?$|^modality$|^assay$", re.IGNORECASE)
MISSING = ("", "nan", "none", "na", "<na>", "unknown")
PEAK_NAME = re.compile(
    r"^(?:chr|GRCh38[_-]+chr|hg19[_-]+chr)?(?:\d{1,2}|[XYM]|MT|[GK]L?[\d.]+)[:_-]\d+[-_]\d+$"
    r"|^[\w.-]+[_|:;-]chr(?:\d{1,2}|[XYM]|MT)[:_-]\d+[-_]\d+$|^chr(?:\d{1,2}|[XYM]|MT)[:_-]\d+[-_]\d+[_|:;-][\w.-]+$",
    re.IGNORECASE,
)
NAMED_KINDS = {
    CONTROLS: re.compile(
        r"^(?:neg(?:ative)?[_. -]?(?:control|prb|probe|ctrl)"
        r"|(?:unassigned|deprecated|intergenic)[_-]?(?:codeword|region)"
        r"|blank[_-]?(?:codeword)?[_-]?\d+$|system[_-]?control|false[_-]?code|negprb)",
        re.IGNORECASE,
    ),
    ANTIBODIES: re.compile(
        r"totalseq|[|_-]pabo$|^(?:adt|ab|prot|antibody|hu|anti)[_.-](?=\w)|[_.-](?:adt|prot|protein|antibody|tsa|tsb|tsc)$"
        r"|^(?:mouse|rat|hamster)?[_. -]?igg[123]?[abcdm]?[_. -]?(?:\w+[_. -])?(?:isotype|ctrl|control)",
        re.IGNORECASE,
    ),
    SUMMARY: re.compile(
        r"^__(?:no_feature|ambiguous|too_low_aqual|not_aligned|alignment_not_unique)$"
        r"|^N_(?:unmapped|multimapping|noFeature|ambiguous)$|^(?i:(?:col(?:umn)?|grand)?[_. ]?(?:totals?|sums?))$"
    ),
    METADATA: re.compile(
        r"^(?:n_?(?:count|feature|umi|gene|molecule|read|cell)s?(?:$|[_.]\w+)"
        r"|(?:total|num|sum)_?(?:count|umi|gene|read|feature)s?(?:$|[_.]\w+)|log1?[0-9p]*_(?:total|n_|pct)\w*"
        r"|(?:percent|pct|perc|frac|fraction|prop|ratio)[_.]\w[\w.]*"
        r"|(?:mito|mt|ribo|rb)[_.]?(?:percent|pct|ratio|frac\w*)"
        r"|(?:s|g2m|g2\.m|cc)[_.]?score|cc[_.]difference|cell_?cycle\w*|phase|orig[_.]ident"
        r"|(?:doublet|scrublet|scdblfinder)[_.]?\w*|pann_\w+|df\.classifications\w*"
        r"|(?:seurat|leiden|louvain|phenograph|kmeans)(?:[_.]\w+)*|(?:w?snn|(?:rna|sct)_snn)[_.]?res[_.]?\d[\d.]*"
        r"|clusters?(?:_?\w*id)?|cell_?types?(?:_\w+)?|cell_?(?:id|name|barcode|area)s?"
        r"|(?:umap|tsne|pca?|x_umap|lsi|harmony|scvi)_\d+|(?:x|y)_?(?:centroid|coord\w*|pos\w*|location)"
        r"|(?:center|centroid)_?[xy]|(?:array|pxl)_?(?:row|col)\w*|nucleus_area"
        r"|size_?factors?|library_?(?:size|id)|batch(?:_?id)?|samples?(?:_?(?:id|name))?|donor(?:_?id)?"
        r"|patient(?:_?id)?|barcodes?|index|pseudotime|dpt_pseudotime|novelty|fov|condition|replicate)$",
        re.IGNORECASE,
    ),
}
# Metadata columns are few; beyond this share, columns with fractions are something else.
MAX_STRANGE = 0.05
N_EXAMPLES = 5


@dataclass(frozen=True)
class Features:
    """What the columns of a matrix are.

    `is_gene` bool (n_vars,); `others` the number of columns of each other kind, `examples` some of their names;
    `is_untyped` whether some columns have no feature type although others do.
    """

    is_gene: np.ndarray
    others: dict[str, int]
    examples: dict[str, tuple[str, ...]]
    n_untyped: int = 0


def find_features(var: pd.DataFrame, sample: sp.csr_matrix | None = None, named: Features | None = None) -> Features:
    """What each column of a matrix is, by its feature type, its name and its values.

    Parameters
    ----------
    var
        The table of genes, one a row.
    sample
        Values of some cells, all columns; None judges by type and name alone.
    named
        What type and name have said already.

    Raises
    ------
    GeneError
        Not one column is a gene: all are peaks, antibodies or of other types.
    """
    if named is None:
        named = features_by_name(var)
    if sample is None or not (strange := is_metadata_by_value(var.index, named.is_gene, sample)).any():
        return named
    return as_metadata(var, strange, named)


def as_metadata(var: pd.DataFrame, strange: np.ndarray, named: Features) -> Features:
    """The same, with some more columns taken for metadata; `strange` is bool (n_vars,)."""
    names = np.array([str(name) for name in var.index[strange]], dtype=object)
    others = named.others | {METADATA: named.others.get(METADATA, 0) + len(names)}
    examples = named.examples | {METADATA: (*named.examples.get(METADATA, ()), *names)[:N_EXAMPLES]}
    return Features(named.is_gene & ~strange, others, examples, named.n_untyped)


def features_by_name(var: pd.DataFrame) -> Features:
    """What each column is by its feature type and name; refuses a table without genes."""
    kinds, n_untyped = kinds_by_type(var)
    names = np.array([str(name) for name in var.index], dtype=object)
    untyped = np.flatnonzero(kinds == "")
    for i, kind in zip(untyped, kinds_by_name(names[untyped]), strict=True):
        kinds[i] = kind
    is_gene = (kinds == "") | (kinds == GENE_EXPRESSION)
    others = dict(sorted(Counter(kinds[~is_gene]).items()))
    if len(names) and not is_gene.any():
        refuse_no_genes(others, names)
    examples = {kind: tuple(names[kinds == kind][:N_EXAMPLES]) for kind in others}
    return Features(is_gene, others, examples, n_untyped)


def kinds_by_type(var: pd.DataFrame) -> tuple[np.ndarray, int]:
    """The feature type of each row ("" where there is none), and how many have none beside others that have one."""
    for column in var.columns:
        values = var[column]
        if values.dtype != object and not isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
            continue
        is_named = TYPE_COLUMN.match(str(column)) is not None
        texts = [str(v).strip() for v in values.unique()]
        known = [t for t in texts if t.lower() in TYPE_WORDS and (is_named or TYPE_WORDS[t.lower()] == t)]
        others = [t for t in texts if t not in known and t.lower() not in MISSING]
        if not known or (others and not is_named and GENE_EXPRESSION not in known):
            continue
        # Biotypes (protein_coding, lncRNA) are kinds of genes; other words are kinds of their own.
        if is_named and others and not {TYPE_WORDS[t.lower()] for t in known} & {GENE_EXPRESSION, *OTHER_TYPES}:
            continue
        table = {t: TYPE_WORDS[t.lower()] for t in known} | {t: t for t in others}
        kinds = np.array([table.get(str(v).strip(), "") for v in values], dtype=object)
        return kinds, int((kinds == "").sum())
    return np.full(len(var), "", dtype=object), 0


def kinds_by_name(names: Sequence[str]) -> list[str]:
    """What names say about columns without a type; "" for anything that may be a gene."""
    from scfviz.data.vocabulary import load_vocabulary

    vocabulary = load_vocabulary()
    by_symbol, by_alias = vocabulary.by_symbol, vocabulary.by_alias
    found = [""] * len(names)
    for i, name in enumerate(names):
        if name in by_symbol or name in by_alias:
            continue
        if PEAK_NAME.match(name):
            found[i] = PEAKS
            continue
        found[i] = next((kind for kind, pattern in NAMED_KINDS.items() if pattern.search(name)), "")
    return found


def is_metadata_by_value(names: pd.Index, is_gene: np.ndarray, sample: sp.csr_matrix) -> np.ndarray:
    """Columns with fractions or negative values where the known genes have whole counts: metadata of cells.

    Returns
    -------
    bool (n_vars,); none when there are many such columns, or when known genes have such values as well.
    """
    from scfviz.data.vocabulary import load_vocabulary

    strange = np.zeros(len(names), dtype=bool)
    if sample.dtype.kind != "f" or not sample.nnz:
        return strange
    with np.errstate(invalid="ignore"):
        odd = (sample.data < 0) | (np.abs(sample.data - np.rint(sample.data)) > 1e-4 + 1e-6 * np.abs(sample.data))
    strange[sample.indices[odd]] = True
    strange &= is_gene
    if not strange.any() or strange.sum() > max(1, MAX_STRANGE * len(names)):
        return np.zeros(len(names), dtype=bool)
    vocabulary = load_vocabulary()
    if any(vocabulary.lookup(str(name)) for name in names[strange]):
        return np.zeros(len(names), dtype=bool)
    return strange


def strangers(var: pd.DataFrame, features: Features) -> np.ndarray:
    """Columns that are no gene of the model, bool (n_vars,); none where they are not few."""
    from scfviz.data.vocabulary import load_vocabulary

    vocabulary = load_vocabulary()
    strange = np.array([not vocabulary.lookup(str(name)) for name in var.index], dtype=bool) & features.is_gene
    return strange if strange.sum() <= max(1, MAX_STRANGE * len(var)) else np.zeros(len(var), dtype=bool)


def refuse_no_genes(others: dict[str, int], names: np.ndarray) -> None:
    """Say what a file without a single gene holds instead."""
    kind = max(others, key=others.get)
    what = {
        PEAKS: "peaks of open chromatin (ATAC)",
        ANTIBODIES: "antibodies (surface proteins)",
        METADATA: "metadata of cells",
    }.get(kind, f"features of the type '{kind}'")
    rest = {k: n for k, n in others.items() if k != kind}
    beside = f" The others: {', '.join(f'{n:,} {k}' for k, n in rest.items())}." if rest else ""
    raise GeneError(
        f"The file holds {what} and not one gene: {others[kind]:,} of {len(names):,} columns, such as "
        f"{', '.join(names[:3])}.{beside}",
        "Counts of genes (RNA) are needed.",
        "Open the gene expression of the same cells, if it was measured.",
    )


def kind_words(kind: str, n: int, examples: Sequence[str]) -> str:
    """One sentence about columns that are no genes."""
    shown = f" ({', '.join(examples[:3])}{', ...' if n > 3 else ''})" if examples else ""
    if kind == METADATA:
        return f"{n:,} columns are metadata of the cells, no genes, and are left out{shown}."
    return f"{n:,} rows of the type '{kind}' are no genes and are left out{shown}."
