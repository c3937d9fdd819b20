"""Files as other programs, spreadsheets and people write them: the same counts come out, or a true sentence."""

import gzip
import io
import re
import zipfile
from collections.abc import Callable

import anndata as ad
import datasets
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from scfviz.data.align import align_genes
from scfviz.data.features import PEAKS
from scfviz.data.gene_names import clean, parse_date
from scfviz.data.read import read_dataset
from scfviz.data.source import encoding_of
from scfviz.errors import ChoiceError, ScfvizError

GENES = datasets.some_genes(250)
ADATA = datasets.make_adata(60, GENES)
X = ADATA.X.toarray().astype(int)
CELLS = list(ADATA.obs_names)
RNG = np.random.default_rng(4)
BARCODES = ["".join(RNG.choice(list("ACGT"), 16)) + "-1" for _ in CELLS]


def frame(cells=CELLS, genes=GENES, values=X, genes_are_rows: bool = True) -> pd.DataFrame:
    found = pd.DataFrame(values, index=cells, columns=genes)
    return found.T if genes_are_rows else found


def table(path, text: str | bytes):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def h5ad(path, values=X, genes=GENES, **parts):
    obs, var = pd.DataFrame(index=CELLS), pd.DataFrame(index=genes)
    ad.AnnData(sp.csr_matrix(values), obs=obs, var=var, **parts).write_h5ad(path / "a.h5ad")
    return path / "a.h5ad"


def tenx(folder, genes=GENES, values=X, types=None, names=("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")):
    """A folder of matrix, genes and cells."""
    folder.mkdir(parents=True)
    stream = io.BytesIO()
    scipy.io.mmwrite(stream, sp.coo_matrix(values.T), field="integer")
    types = types or ["Gene Expression"] * len(genes)
    features = "".join(f"ENSX{i}\t{g}\t{t}\n" for i, (g, t) in enumerate(zip(genes, types, strict=True)))
    parts = (stream.getvalue(), features.encode(), "".join(f"{b}\n" for b in BARCODES).encode())
    for name, content in zip(names, parts, strict=True):
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def counts_of(path) -> pd.DataFrame:
    """Cells x genes of the model, without genes that have no counts."""
    aligned = align_genes(read_dataset(path))
    found = pd.DataFrame(aligned.rows(0, aligned.n_obs).toarray(), index=aligned.obs.index, columns=aligned.genes)
    return found.loc[:, found.any()]


RIGHT: dict[str, Callable] = {}
REFUSED: dict[str, tuple[Callable, str]] = {}


def right(make: Callable) -> Callable:
    RIGHT[make.__name__] = make
    return make


def refused(said: str) -> Callable:
    def add(make: Callable) -> Callable:
        REFUSED[make.__name__] = (make, said)
        return make

    return add


# --- programs -------------------------------------------------------------------------------------------------------


@right
def cell_ranger_multi(tmp):
    values = np.hstack([X, RNG.poisson(200, (60, 9)), RNG.poisson(3, (60, 5))])
    genes = [*GENES, *(f"CD{i}_TotalC" for i in range(9)), *(f"GAPDH_g{i}" for i in range(5))]
    types = ["Gene Expression"] * len(GENES) + ["Antibody Capture"] * 9 + ["CRISPR Guide Capture"] * 5
    return tenx(tmp / "per_sample_outs/S1/count/sample_filtered_feature_bc_matrix", genes, values, types)


@right
def starsolo_with_shared_reads(tmp):
    folder = tenx(tmp / "Solo.out/GeneFull/raw", names=("matrix.mtx", "features.tsv", "barcodes.tsv"))
    scipy.io.mmwrite(folder / "UniqueAndMult-EM.mtx", sp.coo_matrix(1.3 * X.T))
    return folder


@right
def bd_in_a_zip(tmp):
    folder = tenx(tmp / "MEX")
    with zipfile.ZipFile(tmp / "s_RSEC_MolsPerCell_MEX.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    return tmp / "s_RSEC_MolsPerCell_MEX.zip"


@right
def parse_older(tmp):
    (tmp / "DGE").mkdir()
    scipy.io.mmwrite(tmp / "DGE/DGE.mtx", sp.coo_matrix(X), field="integer")
    rows = "".join(f"ENSX{i},{gene},hg38\n" for i, gene in enumerate(GENES))
    table(tmp / "DGE/genes.csv", "gene_id,gene_name,genome\n" + rows)
    table(tmp / "DGE/cell_metadata.csv", "bc_wells,sample\n" + "".join(f"{i:02d}_01_01,s1\n" for i in range(60)))
    return tmp / "DGE"


@right
def kb_h5ad_of_zeros_with_parts(tmp):
    parts = [X // 4, X // 4, X - 2 * (X // 4)]
    layers = dict(zip(("mature", "nascent", "ambiguous"), map(sp.csr_matrix, parts), strict=True))
    path = h5ad(tmp, np.zeros_like(X), [f"ENSG{i:011d}.{i % 9}" for i in range(len(GENES))], layers=layers)
    with h5py.File(path, "r+") as file:
        file["var/gene_name"] = GENES
        file["var"].attrs["column-order"] = ["gene_name"]
        file["var/gene_name"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    return path


@right
def three_genomes_of_10x_v2(tmp):
    columns = sp.csr_matrix(X).T.tocsc()
    with h5py.File(tmp / "a.h5", "w") as file:
        for genome, names in (("ercc", [f"ERCC-{i:05d}" for i in range(len(GENES))]), ("GRCh38", GENES)):
            group = file.create_group(genome)
            group["data"], group["indices"], group["indptr"] = columns.data, columns.indices, columns.indptr
            group["shape"], group["barcodes"] = columns.shape, np.array(BARCODES, "S")
            group["genes"], group["gene_names"] = np.array(names, "S"), np.array(names, "S")
    return tmp / "a.h5"


@right
def modality_of_another_name(tmp):
    with h5py.File(tmp / "a.h5mu", "w", userblock_size=512) as file:
        proteins = ad.AnnData(sp.csr_matrix(RNG.poisson(50, (60, 8))))
        for key, part in (("Antibody Capture", proteins), ("Gene Expression", ADATA)):
            ad.io.write_elem(file.require_group("mod"), key, part)
    return tmp / "a.h5mu"


@right
def names_of_matrix_of_geo(tmp):
    return tenx(tmp / "f", names=("GSE1_counts.mtx.gz", "GSE1_gene_names.txt.gz", "GSE1_cell_metadata.txt.gz"))


@right
def cel_seq(tmp):
    cells = [str(i + 1) for i in range(60)]
    genes = [f"{gene}__chr7" for gene in GENES]
    return table(tmp / "a.coutt.csv", frame(cells, genes).rename_axis("GENEID").to_csv(sep="\t"))


@right
def cosmx(tmp):
    found = frame(genes_are_rows=False)
    for name, values in {"fov": [i // 30 for i in range(60)], "cell_ID": [i % 30 for i in range(60)]}.items():
        found.insert(0, name, values)
    return table(tmp / "exprMat.csv", found.assign(NegPrb1=1, SystemControl1=2).to_csv(index=False))


# --- tables ---------------------------------------------------------------------------------------------------------


@right
def row_numbers_before_the_cells(tmp):
    return table(tmp / "a.csv", frame(genes_are_rows=False).reset_index(names="cell").to_csv())


@right
def bars_between_fields(tmp):
    return table(tmp / "a.csv", frame().to_csv(sep="|"))


@right
def utf_16_without_a_mark(tmp):
    return table(tmp / "a.tsv", frame().to_csv(sep="\t").encode("utf-16-le"))


@right
def utf_32(tmp):
    return table(tmp / "a.tsv", frame().to_csv(sep="\t").encode("utf-32"))


@right
def packed_twice(tmp):
    return table(tmp / "a.csv.gz", gzip.compress(gzip.compress(frame().to_csv().encode())))


@right
def thousands_with_a_space_of_windows(tmp):
    values = X * 1000 + (X > 0)
    rows = [";".join([gene, *(f"{v:,}".replace(",", "\xa0") for v in row)]) for gene, row in zip(GENES, values.T)]  # noqa: B905
    path = table(tmp / "a.csv", ("\n".join([";".join(["gene", *CELLS]), *rows]) + "\n").encode("latin-1"))
    assert (read_dataset(path).X.toarray() == values).all()
    return h5ad(tmp)


@right
def long_with_names_in_french(tmp):
    rows = [(BARCODES[i], GENES[j], X[i, j]) for i, j in zip(*np.nonzero(X), strict=True)]
    found = pd.DataFrame(rows, columns=["cellule", "gène", "comptage"])
    return table(tmp / "a.tsv", found.to_csv(sep="\t", index=False))


@right
def genes_of_depmap(tmp):
    return table(tmp / "a.csv", frame(genes=[f"{gene} ({i + 1})" for i, gene in enumerate(GENES)]).to_csv())


@right
def genes_of_depmap_through_r(tmp):
    genes = [f"{gene}..{i + 1}." for i, gene in enumerate(GENES)]
    return table(tmp / "a.csv", frame(genes=genes, genes_are_rows=False).to_csv())


@right
def genes_as_bytes_of_python(tmp):
    return h5ad(tmp, genes=[f"b'{gene}'" for gene in GENES])


@right
def equal_rows_of_duplicated_symbols(tmp):
    return h5ad(tmp, np.hstack([X, X[:, :50]]), GENES + [f"{gene}.1" for gene in GENES[:50]])


@right
def hashtags_among_the_genes(tmp):
    values = np.hstack([X, RNG.poisson(100, (60, 3))])
    return h5ad(tmp, values, [*GENES, "HTO_1", "Hashtag2", "CMO301"])


# --- values ---------------------------------------------------------------------------------------------------------


@right
def size_factors_of_scran(tmp):
    return h5ad(tmp, np.log2(X / RNG.lognormal(0, 0.5, (60, 1)) + 1))


@right
def cells_of_two_scales(tmp):
    values = X / X.sum(axis=1, keepdims=True) * np.repeat([1e4, 1e6], 30)[:, None]
    return h5ad(tmp, np.log1p(values))


@refused("no gene of a cell is zero, and the smallest value is common: a constant was added")
def one_added_to_every_count(tmp):
    return h5ad(tmp, X + 1)


@refused("what comes back from it are no counts: .* a constant was added")
def log_cpm_of_edger(tmp):
    return h5ad(tmp, np.log2((X + 0.5) / (X.sum(axis=1, keepdims=True) + 1) * 1e6))


@refused(r"larger than any count .*4.29497e\+09 in the cell 'CELL3'")
def negative_values_without_a_sign(tmp):
    values = X.astype(np.uint32)
    values[3, 7] = 2**32 - 1
    return h5ad(tmp, values)


@refused("do not look like counts.*choose it")
def cells_scaled_by_size_factors_and_rounded(tmp):
    return h5ad(tmp, np.rint(np.repeat(X, 4, axis=1) / RNG.lognormal(0, 0.5, (60, 1))), datasets.some_genes(1000))


@refused("no whole counts come back")
def logarithm_of_logarithms(tmp):
    return h5ad(tmp, np.log1p(np.log1p(X / X.sum(axis=1, keepdims=True) * 1e4)))


# --- what holds no counts of cells ----------------------------------------------------------------------------------


@refused(r"holds one sample: its columns \('eff_length', 'est_counts', 'tpm'\)")
def abundance_of_kallisto(tmp):
    found = {"target_id": GENES, "length": 900, "eff_length": 800.5, "est_counts": X[0], "tpm": X[0] * 1.3}
    return table(tmp / "abundance.tsv", pd.DataFrame(found).to_csv(sep="\t", index=False))


@refused("holds one sample: its columns .*'expected_count', 'TPM', 'FPKM'")
def genes_of_rsem(tmp):
    found = {"gene_id": GENES, "transcript_id(s)": "a,b", "length": 9.5, "effective_length": 8.5}
    found |= {"expected_count": X[0], "TPM": X[0] * 1.3, "FPKM": X[0] * 0.3}
    return table(tmp / "s.genes.results.tsv", pd.DataFrame(found).to_csv(sep="\t", index=False))


@refused("Salmon's quantification of one sample")
def quantity_of_salmon(tmp):
    return table(tmp / "quant.sf", "Name\tLength\tEffectiveLength\tTPM\tNumReads\nA1BG\t1\t1\t1\t1\n")


@refused("counted by STAR in three ways")
def reads_per_gene_of_star(tmp):
    summary = "".join(f"N_{what}\t5\t5\t5\n" for what in ("unmapped", "multimapping", "noFeature", "ambiguous"))
    rows = "".join(f"{gene}\t{n}\t{n // 2}\t{n - n // 2}\n" for gene, n in zip(GENES, X[0], strict=True))
    return table(tmp / "ReadsPerGene.out.tab", summary + rows)


@refused("peaks of open chromatin")
def peaks_with_names_of_genes(tmp):
    return h5ad(tmp, genes=[f"{gene}_chr1:{i * 1000}-{i * 1000 + 500}" for i, gene in enumerate(GENES)])


@refused("in small letters")
def genes_in_small_letters(tmp):
    return h5ad(tmp, genes=[gene.lower() for gene in GENES])


@refused("Open cell_feature_matrix.h5 of the same run")
def matrix_of_xenium_in_zarr(tmp):
    import zarr

    zarr.open_group(tmp / "cell_feature_matrix.zarr", mode="w").create_group("cell_features")
    return tmp / "cell_feature_matrix.zarr"


@pytest.mark.parametrize("name", RIGHT)
def test_the_same_counts_come_out(name, tmp_path):
    found = counts_of(RIGHT[name](tmp_path))
    truth = frame(genes_are_rows=False)
    truth = truth.loc[:, truth.any()]
    assert sorted(found.columns) == sorted(truth.columns)
    assert (found[truth.columns].to_numpy() == truth.to_numpy()).all()
    if not name.startswith(("cosmx", "cel_seq", "parse")):
        assert list(found.index) in (CELLS, BARCODES)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_with_advice(name, tmp_path):
    make, said = REFUSED[name]
    with pytest.raises(ScfvizError) as caught:
        counts_of(make(tmp_path))
    assert re.search(said, str(caught.value)), str(caught.value)
    assert caught.value.advice


def test_filtered_droplets_come_before_all_droplets_wherever_they_lie(tmp_path):
    """The filtered matrices of `cellranger multi` lie deeper than was looked."""
    inside = "per_sample_outs/S1/count/sample_filtered_feature_bc_matrix"
    for folder in ("multi/count/raw_feature_bc_matrix", inside):
        tenx(tmp_path / "outs" / folder)
    with pytest.raises(ChoiceError) as caught:
        read_dataset(tmp_path / "outs")
    assert caught.value.choices == (f"outs/{inside}", "outs/multi/count/raw_feature_bc_matrix")


def test_a_table_as_large_as_a_sheet_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("scfviz.data.read_tables.SHEET_COLUMNS", (61,))
    notes = read_dataset(table(tmp_path / "a.csv", frame().to_csv())).uns["scfviz_source"]["notes"]
    assert "as large as a sheet of Excel can be" in " ".join(notes)


@pytest.mark.parametrize(
    ("name", "date"),
    [
        *((name, ("sep", 2)) for name in ("02-sept", "2-sept.", "02/set", "2-sep", "2-Sep-23", "Sep-02", "2023-09-02")),
        *((name, ("sep", 2)) for name in ("2023-09-02 00:00:00", "9/2/2023", "02.09.2023")),
        *((name, ("mar", 1)) for name in ("01-mars", "1-mrt", "01-mar", "3/1/23")),
        ("9/3/2023", None),  # in March or in September
        ("1/2/2023", None),
        ("1.2.3", None),
    ],
)
def test_dates_of_spreadsheets_in_all_their_ways(name, date):
    assert parse_date(name) == date


def test_what_stands_around_a_name_goes_and_the_name_stays():
    for name in ("TP53 (7157)", "TP53..7157.", "b'TP53'", 'b"TP53"', "TP53|7157", "GRCh38_TP53", "TP53__chr17"):
        assert clean(name) == "TP53"
    for name in ("RP11-34P13.7", "AC000036.1", "HLA-DRA", "H2AC6", "B2M", "KRTAP5-AS1"):
        assert clean(name) == name


def test_encodings_are_told_by_the_bytes():
    text = "gène,Zelle ü\nA1BG,1\n" * 10
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"):
        assert text.encode(encoding).decode(encoding_of(text.encode(encoding))) == text
    assert encoding_of(b"\x89PNG\r\n\x00") == "utf-8"  # letters of Windows would make a text of any bytes
    assert encoding_of(text.encode()[:-1] + "é".encode()[:1]) == "utf-8"  # a letter may be cut at the sample's end


def test_bulk_samples_are_said_by_the_check(tmp_path):
    """`embed` said it, `check` and the app did not."""
    genes = datasets.some_genes(13_000)
    values = np.random.default_rng(0).negative_binomial(2, 0.01, (2, len(genes))) + 1
    values[:, ::5], values[:, 1:20] = 0, 1
    ad.AnnData(sp.csr_matrix(values), var=pd.DataFrame(index=genes)).write_h5ad(tmp_path / "few.h5ad")
    texts = [n.text for n in align_genes(read_dataset(tmp_path / "few.h5ad")).counts_report.notices]
    assert not [text for text in texts if "bulk" in text]
    values[:, ::5] = 7
    ad.AnnData(sp.csr_matrix(values), var=pd.DataFrame(index=genes)).write_h5ad(tmp_path / "bulk.h5ad")
    texts = [n.text for n in align_genes(read_dataset(tmp_path / "bulk.h5ad")).counts_report.notices]
    assert [text for text in texts if "only bulk samples have" in text]


def test_peaks_are_told_from_genes_with_places():
    from scfviz.data.features import kinds_by_name

    assert kinds_by_name(["A1BG_chr1:10-20", "chr1:10-20_A1BG", "chr1-10-20"]) == [PEAKS] * 3
    assert kinds_by_name(["NKX2-5", "RP11-34P13.7", "A1BG__chr19"]) == [""] * 3
