"""Tables about genes (lists, lengths, annotation, results of tests) are no cells, and a long table is no matrix."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scfviz.data import matrix as mx
from scfviz.errors import DatasetError

if TYPE_CHECKING:
    from anndata import AnnData

# Names of columns that describe genes: featureCounts, annotation, statistics of genes, results of tests.
ANNOTATION = re.compile(
    r"""^(?:
    (?:gene|transcript|exon|exonic|effective|cds|tx|total|merged|union)?[_. ]?(?:length|len|size|width)(?:[_. ]?k?bp?)?
    |(?:gene|transcript|chromosome|chrom|chr|exon)?[_. ]?(?:start|end|stop|begin|strand|position|pos|tss)(?:[_. ]?bp)?
    |chr|chrom|chromosome|seqnames?|(?:n|num|number)?[_. ]?(?:of)?[_. ]?(?:exons?|transcripts?|isoforms?)
    |(?:exon|transcript)[_. ]?count|gc%|(?:gc|percent(?:age)?[_. ]gc)(?:[_. ]?(?:content|percent|ratio|fraction))*
    |(?:entrez|ncbi|hgnc|refseq|ensembl|uniprot|taxonomy|tax|omim)[_. ]?(?:gene)?[_. ]?(?:id)?
    |gene[_. ]?(?:id|index|number|idx|no|rank)|index|idx|rows?|nr|rank|order|unnamed:?[_. ]?\d*
    |highly[_. ]variable(?:[_. ]\w+)?|(?:in[_. ])?scfoundation\w*
    |(?:avg|mean|average)?[_. ]?log2?[_. ]?f(?:old)?[_. ]?c(?:hanges?)?|basemean|lfcse|stat|statistic|aveexpr|logcpm
    |p[_. ]?val(?:ue)?s?(?:[_. ]?adj\w*)?|adj[_. ]p[_. ]val(?:ue)?|p?adj|fdr|q[_. ]?val(?:ue)?s?
    |pct[_. ]?(?:[12]|diff|nz[_. ]\w+)|bonferroni|(?:my)?auc|avg_diff|power|group|names?
    |(?:vst|sct|mvp)[_. ]\w[\w.]*|means?|variances?(?:[_. ]standardi[sz]ed)?|dispersions?(?:[_. ]norm\w*)?
    |n_cells(?:_by_counts)?|(?:mean|total)_counts|pct_dropout_by_counts|loadings?|weights?|importance
    |(?:row|grand)?[_. ]?(?:sums?|totals?)
    |(?:z[_. ]?)?scores?|is_\w+|clusters?
    )$""",
    re.IGNORECASE | re.VERBOSE,
)
# What programs say about each gene (or transcript) of one sample: kallisto, Salmon, RSEM, StringTie, Cufflinks.
QUANTITY = re.compile(
    r"(?:est|expected|num|effective|posterior[_. ]mean)[_. ]?(?:counts?|reads?)|numreads|eff(?:ective)?[_. ]?length"
    r"|iso_?pct|(?:pme[_. ])?(?:tpm|fpkm|rpkm|cpm)(?:[_. ](?:conf[_. ](?:lo|hi)|lo|hi))?|coverage"
    r"|(?:raw|read|gene|umi)?[_. ]?counts?",
    re.IGNORECASE,
)
# STAR's ReadsPerGene.out.tab: one sample, counted without regard to strands, in sense, in antisense.
STAR_ROWS, STAR_COLUMNS = {"N_unmapped", "N_noFeature", "N_ambiguous"}, 3
MAX_COLUMNS = 40
MIN_GENES = 20
# In a long table each gene has a row for every cell that has it.
MAX_DISTINCT_OF_LONG = 0.5
MAX_COLUMNS_OF_LONG = 3


def describes_genes(names: Sequence[str]) -> np.ndarray:
    """Which names are those of columns about genes (`Length`, `Start`, `padj`), bool (n_names,)."""
    return np.array([ANNOTATION.match(str(name).strip()) is not None for name in names], dtype=bool)


def refuse_gene_table(adata: "AnnData", name: str) -> None:
    """Refuse a dataset whose few "cells" are columns about genes.

    Raises
    ------
    DatasetError
        All rows are named like annotation, or number the genes; they are the units of one sample; or it is a long table
        that has lost its cells.
    """
    if adata.n_obs > MAX_COLUMNS or adata.n_vars < MIN_GENES:
        return
    columns = [str(c) for c in adata.obs_names]
    if describes_genes(columns).all() or numbers_genes(adata):
        shown = ", ".join(f"'{c}'" for c in columns[:6])
        raise DatasetError(
            f"{name[0].upper() + name[1:]} is a table about genes, without expression: for {adata.n_vars:,} genes it "
            f"holds {shown}.",
            "Counts of cells are needed: one column or row per cell.",
            "Open the table of counts itself.",
        )
    is_quantity = np.array([QUANTITY.fullmatch(c) is not None for c in columns])
    if adata.n_obs > 1 and (is_quantity | describes_genes(columns)).all():
        shown = ", ".join(f"'{c}'" for c in columns[:6])
        raise DatasetError(
            f"{name[0].upper() + name[1:]} holds one sample: its columns ({shown}) are counts of its genes in several "
            "units, and what they were computed from. They are no cells.",
            "Counts of cells or samples are needed: one column or row for each.",
            "Put the counts of all samples into one table, genes x samples (tximport, or paste their columns).",
        )
    if adata.n_obs == STAR_COLUMNS and set(map(str, adata.var_names)) >= STAR_ROWS:
        raise DatasetError(
            f"{name[0].upper() + name[1:]} holds one sample, counted by STAR in three ways (without regard to strands, "
            "in sense, in antisense): its three columns are no cells.",
            "Counts of cells or samples are needed: one column or row for each.",
            "Take the column that fits the library from the files of all samples, and put them into one table.",
        )
    if adata.n_obs <= MAX_COLUMNS_OF_LONG:
        n_distinct = len(set(map(str, adata.var_names)))
        if n_distinct < MAX_DISTINCT_OF_LONG * adata.n_vars:
            raise DatasetError(
                f"{name[0].upper() + name[1:]} is a long table without its cells: {adata.n_vars:,} rows name "
                f"{n_distinct:,} genes, most of them many times.",
                "A long table needs three columns: gene, cell, count.",
                "Export it again with the column of cells, or as a matrix of genes and cells.",
            )


def numbers_genes(adata: "AnnData") -> bool:
    """Whether the only row counts the genes: 0, 1, 2, ... in their order, or the other way round."""
    if adata.n_obs != 1 or adata.X is None or np.dtype(adata.X.dtype).kind not in "biuf":
        return False
    values = mx.read_rows(adata.X, 0, 1).toarray().ravel().astype(np.float64)
    steps = np.diff(values)
    return bool((steps == 1).all() or (steps == -1).all())
