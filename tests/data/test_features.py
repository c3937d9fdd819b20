"""What is no gene is known by its type, name or values, named, and left out; a file without genes is refused."""

import anndata as ad
import datasets
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfviz.data.align import align_genes
from scfviz.data.check import check_counts
from scfviz.data.features import find_features, kinds_by_name
from scfviz.data.genes import match_genes
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import DatasetError, GeneError


def genes() -> ad.AnnData:
    return datasets.make_adata(names=datasets.some_genes(600))


def with_columns(**columns) -> ad.AnnData:
    """The same cells with more columns among the genes, the new ones first."""
    adata = genes()
    values = np.column_stack([*columns.values(), adata.X.toarray()])
    return ad.AnnData(sp.csr_matrix(values), obs=adata.obs, var=pd.DataFrame(index=[*columns, *adata.var_names]))


def same_counts(one, other) -> bool:
    return (one.rows(0, one.n_obs) != other.rows(0, other.n_obs)).nnz == 0


# --- types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"chr1:{i}00-{i}50" for i in range(300)], "peaks"),
        ([f"chrX-{i}00-{i}50" for i in range(300)], "peaks"),
        ([f"2_{i}00_{i}50" for i in range(300)], "peaks"),
        ([f"CD{i}_TotalSeqB" for i in range(300)], "antibodies"),
        ([f"NegControlProbe_{i:05d}" for i in range(300)], "Negative Control Probe"),
    ],
)
def test_a_file_without_genes_is_refused_by_what_it_holds(names, words):
    var = pd.DataFrame({"nearest_gene": datasets.some_genes(300)}, index=names)
    with pytest.raises(GeneError, match=f"{words}.*not one gene"):
        match_genes(var)


@pytest.mark.parametrize("kind", ["Peaks", "Antibody Capture", "CRISPR Guide Capture"])
def test_names_of_genes_do_not_make_genes_of_other_types(kind):
    var = pd.DataFrame({"feature_types": pd.Categorical([kind] * 300)}, index=datasets.some_genes(300))
    with pytest.raises(GeneError, match="not one gene"):
        match_genes(var)


@pytest.mark.parametrize("missing", [np.nan, None, "", "nan", "NA"])
def test_a_missing_type_is_unknown_and_no_reason_to_leave_a_gene_out(missing):
    names = datasets.some_genes(600)
    types = ["Gene Expression"] * 300 + [missing] * 299 + ["Antibody Capture"]
    report = match_genes(pd.DataFrame({"feature_types": types}, index=names)).report
    assert report.n_measured == 599 and report.other_features == {"Antibody Capture": 1}
    assert "299 rows have no feature type" in " ".join(report.notices)


def test_words_of_other_programs_are_types_as_well():
    names = datasets.some_genes(600)
    var = pd.DataFrame({"modality": ["rna"] * 590 + ["adt"] * 10}, index=names)
    assert match_genes(var).report.other_features == {"Antibody Capture": 10}


def test_biotypes_are_no_feature_types():
    var = pd.DataFrame({"gene_type": ["protein_coding", "lncRNA"] * 300}, index=datasets.some_genes(600))
    assert match_genes(var).report.n_measured == 600


# --- names -----------------------------------------------------------------------------------------------------


def test_no_name_of_a_gene_is_taken_for_something_else():
    vocabulary = load_vocabulary()
    names = [*vocabulary.symbols, *(a for aliases in vocabulary.aliases for a in aliases), *vocabulary.mouse_symbols]
    assert not [(n, kind) for n, kind in zip(names, kinds_by_name(names), strict=True) if kind]
    assert not any(kinds_by_name([i for ids in vocabulary.ensembl for i in ids]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Total", "summary"),
        ("Column sums", "summary"),
        ("nCount_RNA", "metadata"),
        ("nFeature_SCT", "metadata"),
        ("percent.mt", "metadata"),
        ("pct_counts_ribo", "metadata"),
        ("total_counts", "metadata"),
        ("n_genes_by_counts", "metadata"),
        ("log1p_total_counts", "metadata"),
        ("S.Score", "metadata"),
        ("G2M.Score", "metadata"),
        ("seurat_clusters", "metadata"),
        ("RNA_snn_res.0.8", "metadata"),
        ("doublet_score", "metadata"),
        ("UMAP_1", "metadata"),
        ("PC_12", "metadata"),
        ("leiden", "metadata"),
        ("nUMI", "metadata"),
        ("percent_mito", "metadata"),
        ("orig.ident", "metadata"),
        ("size_factors", "metadata"),
        ("chr7:1-200", "Peaks"),
        ("CD4_TotalSeqC", "Antibody"),
        ("ADT_CD8", "Antibody"),
        ("CD3-TSB", "Antibody"),
        ("IgG1-isotype-ctrl", "Antibody"),
        ("CD4:SK3|CD4|AHS0032|pAbO", "Antibody"),
        ("NegControlCodeword_0501", "Control"),
        ("BLANK_0012", "Control"),
        ("NegPrb10", "Control"),
        ("UnassignedCodeword_0031", "Control"),
        ("__no_feature", "summary"),
        ("N_unmapped", "summary"),
    ],
)
def test_columns_that_are_no_genes_are_known_by_name(name, kind):
    assert kind.lower() in kinds_by_name([name])[0].lower()


# --- values ----------------------------------------------------------------------------------------------------


def test_metadata_among_the_genes_changes_nothing_and_is_named():
    plain = genes()
    totals = np.asarray(plain.X.sum(axis=1)).ravel()
    share = np.linspace(0.137, 9.77, 60)
    mixed = with_columns(nCount_RNA=totals, **{"percent.mt": share, "S.Score": share - 5, "my_module": share / 7})
    aligned = align_genes(mixed)
    report = aligned.counts_report
    assert (report.kind, report.is_whole) == ("counts", True) and report.max_count == plain.X.max()
    assert not [n for n in report.notices if n.level == "warning"]
    assert same_counts(aligned, align_genes(plain))
    notices = " ".join(aligned.gene_report.notices)
    assert "4 columns are metadata" in notices and "nCount_RNA" in notices
    assert aligned.gene_report.counts_coverage == align_genes(plain).gene_report.counts_coverage


def test_counts_come_back_beside_metadata():
    plain = genes()
    logged = with_columns(nCount_RNA=np.full(60, 800.0), **{"percent.mt": np.linspace(0.0001, 9, 60)})
    values = logged.X.toarray()
    dense = values[:, 2:]
    values[:, 2:] = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)
    logged.X = sp.csr_matrix(values)
    aligned = align_genes(logged)
    assert aligned.counts_report.kind == "recovered"
    assert same_counts(aligned, align_genes(plain))


def test_counts_come_back_beside_metadata_of_unknown_names():
    plain = genes()
    dense = plain.X.toarray()
    logged = with_columns(donor_age=np.linspace(20, 70, 60), module=np.linspace(-1, 2, 60))
    values = logged.X.toarray()
    values[:, 2:] = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)
    logged.X = sp.csr_matrix(values)
    aligned = align_genes(logged)
    assert same_counts(aligned, align_genes(plain))
    assert aligned.gene_report.other_features == {"metadata of cells": 2}


def test_fractions_of_genes_are_no_metadata():
    adata = genes()
    values = adata.X.toarray() * 10.0
    values[:, :5] += 0.37
    features = find_features(adata.var, sp.csr_matrix(values))
    assert features.is_gene.all()


# --- tables about genes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        {"index": np.arange(400)},
        {"anything": np.arange(400)[::-1]},
        {"Length": np.arange(400) * 7 + 500},
        {"entrez": np.arange(400) * 11 + 3, "chromosome_start": np.arange(400) * 1000, "exons": np.arange(400) % 9},
        {"baseMean": np.arange(400) * 1.5, "log2FoldChange": np.linspace(-3, 3, 400), "padj": np.linspace(0, 1, 400)},
        {"p_val": np.linspace(0, 1, 400), "avg_log2FC": np.linspace(-3, 3, 400), "pct.1": np.linspace(0, 1, 400)},
        {
            "scores": np.arange(400) * 0.1,
            "logfoldchanges": np.linspace(-3, 3, 400),
            "pvals_adj": np.linspace(0, 1, 400),
        },
        {"gc_content": np.linspace(30, 60, 400)},
    ],
)
def test_a_table_about_genes_is_refused_by_that_name(columns, tmp_path):
    from scfviz.data.read import read_dataset

    path = tmp_path / "genes.tsv"
    pd.DataFrame(columns, index=pd.Index(datasets.some_genes(400), name="gene")).to_csv(path, sep="\t")
    with pytest.raises(DatasetError, match="table about genes"):
        check_counts(read_dataset(path))


def test_the_genes_of_a_checkpoint_are_no_cell(tmp_path):
    """The official program's own index of genes was embedded as a cell once."""
    from scfviz.data.read import read_dataset

    symbols = load_vocabulary().symbols
    path = tmp_path / "OS_scRNA_gene_index.19264.tsv"
    path.write_text("gene_name\tindex\n" + "".join(f"{s}\t{i}\n" for i, s in enumerate(symbols)))
    with pytest.raises(DatasetError, match="table about genes"):
        check_counts(read_dataset(path))


def test_a_long_table_without_its_cells_is_refused_by_that_name():
    names = np.repeat(datasets.some_genes(300), 12)
    adata = ad.AnnData(
        sp.csr_matrix(np.ones((1, len(names)))), obs=pd.DataFrame(index=["count"]), var=pd.DataFrame(index=names)
    )
    with pytest.raises(DatasetError, match="long table without its cells"):
        check_counts(adata)


@pytest.mark.parametrize("names", [["patient1"], ["T", "B"], ["count"]])
def test_few_columns_of_counts_are_cells(names):
    adata = genes()[: len(names)].copy()
    adata.obs_names = names
    assert check_counts(adata).kind == "counts"
