"""Matrices with files of names, as many programs and archives write them: the same cells and genes from each."""

import gzip
import io
import zipfile

import datasets
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from scfviz.data.check import check_counts
from scfviz.data.mtx_files import find_sets
from scfviz.data.read import read_dataset
from scfviz.errors import ChoiceError, DatasetError


@pytest.fixture(scope="module")
def adata():
    return datasets.make_adata(names=datasets.some_genes(90))


def mtx(matrix, field="integer") -> bytes:
    """A matrix in Matrix Market form."""
    stream = io.BytesIO()
    scipy.io.mmwrite(stream, sp.coo_matrix(matrix), field=field)
    return stream.getvalue()


def lines(*columns, delimiter="\t", header=None) -> bytes:
    """A file of names."""
    rows = [delimiter.join(map(str, row)) for row in zip(*columns, strict=True)]
    return ("\n".join([*([header] if header else []), *rows]) + "\n").encode()


def write(folder, **files):
    """A folder of files; `__` in a keyword stands for a dot, names ending in gz are packed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        name = name.replace("__", ".")
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def same(found, adata) -> bool:
    """Equal counts, names of cells and names of genes."""
    return (
        (found.X != adata.X).nnz == 0
        and list(found.obs_names) == list(adata.obs_names)
        and list(found.var_names) == list(adata.var_names)
    )


def ids(adata) -> list[str]:
    return [f"ENSX{i}" for i in range(adata.n_vars)]


def names_of(adata, kind="features") -> bytes:
    return lines(ids(adata), adata.var_names, ["Gene Expression"] * adata.n_vars)


def quoted(name: str) -> str:
    return f'"{name}"'


def genes_of_parse(a) -> bytes:
    header = "gene_id,gene_name,genome"
    return lines(ids(a), a.var_names, ["hg38"] * a.n_vars, delimiter=",", header=header)


PROGRAMS = {
    "parse": lambda a: dict(
        count_matrix__mtx=mtx(a.X.astype(int)),
        all_genes__csv=genes_of_parse(a),
        cell_metadata__csv=lines(a.obs_names, ["s1"] * a.n_obs, delimiter=",", header="bc_wells,sample"),
    ),
    "parse, older": lambda a: dict(
        DGE__mtx=mtx(a.X.astype(int)),
        all_genes__csv=genes_of_parse(a),
        cell_metadata__csv=lines(a.obs_names, ["s1"] * a.n_obs, delimiter=",", header="bc_wells,sample"),
    ),
    "kb": lambda a: dict(
        cells_x_genes__mtx=mtx(a.X.astype(int)),
        cells_x_genes__barcodes__txt=lines(a.obs_names),
        cells_x_genes__genes__txt=lines(ids(a)),
        cells_x_genes__genes__names__txt=lines(a.var_names),
    ),
    "kb, symbols alone": lambda a: dict(
        cells_x_genes__mtx=mtx(a.X.astype(int)),
        cells_x_genes__barcodes__txt=lines(a.obs_names),
        cells_x_genes__genes__txt=lines(a.var_names),
    ),
    "alevin, dumpMtx": lambda a: dict(
        quants_mat__mtx__gz=mtx(a.X, "real"),
        quants_mat_rows__txt=lines(a.obs_names),
        quants_mat_cols__txt=lines(a.var_names),
    ),
    "starsolo": lambda a: dict(
        matrix__mtx=mtx(a.X.T.astype(int)), features__tsv=names_of(a), barcodes__tsv=lines(a.obs_names)
    ),
    "starsolo, multimappers beside": lambda a: {
        "matrix.mtx": mtx(a.X.T.astype(int)),
        "UniqueAndMult-EM.mtx": mtx(a.X.T * 2, "real"),
        "features.tsv": names_of(a),
        "barcodes.tsv": lines(a.obs_names),
    },
    "GEO prefix": lambda a: dict(
        GSM1_s_matrix__mtx__gz=mtx(a.X.T.astype(int)),
        GSM1_s_features__tsv__gz=names_of(a),
        GSM1_s_barcodes__tsv__gz=lines(a.obs_names),
    ),
    "GEO suffix": lambda a: dict(
        matrix_GSM1_s__mtx__gz=mtx(a.X.T.astype(int)),
        genes_GSM1_s__tsv__gz=names_of(a),
        barcodes_GSM1_s__tsv__gz=lines(a.obs_names),
    ),
    "GEO, genes of the series": lambda a: {
        "GSM1_s-matrix.mtx.gz": mtx(a.X.T.astype(int)),
        "GSM1_s-barcodes.tsv.gz": lines(a.obs_names),
        "GSE161529_features.tsv.gz": names_of(a),
    },
    "macOS": lambda a: {
        "matrix.mtx.gz": mtx(a.X.T.astype(int)),
        "._matrix.mtx.gz": b"\x00\x05\x16\x07",
        "features.tsv.gz": names_of(a),
        "._features.tsv.gz": b"\x00\x05\x16\x07",
        "barcodes.tsv.gz": lines(a.obs_names),
        ".DS_Store": b"x",
    },
    "R, quotes and headers": lambda a: {
        "matrix.mtx": mtx(a.X.T.astype(int)),
        "genes.tsv": lines(map(quoted, ids(a)), map(quoted, a.var_names), header='"gene_id"\t"gene_name"'),
        "barcodes.tsv": lines(map(quoted, a.obs_names), header='"x"'),
    },
    "R, row numbers": lambda a: {
        "counts.mtx": mtx(a.X.T.astype(int)),
        "genes.csv": lines(range(1, a.n_vars + 1), a.var_names, delimiter=",", header='"","gene"'),
        "cells.csv": lines(range(1, a.n_obs + 1), a.obs_names, delimiter=",", header='"","x"'),
    },
    "one column": lambda a: {
        "matrix.mtx": mtx(a.X.T.astype(int)),
        "genes.tsv": lines(a.var_names),
        "barcodes.tsv": lines(a.obs_names),
    },
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_gives_the_same_cells_and_genes(program, adata, tmp_path):
    assert same(read_dataset(write(tmp_path / "s", **PROGRAMS[program](adata))), adata)


@pytest.mark.parametrize("program", ["parse", "kb", "GEO suffix", "macOS"])
def test_they_are_read_from_a_zip_as_well(program, adata, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in PROGRAMS[program](adata).items():
            name = name.replace("__", ".")
            archive.writestr(f"top/{name}", gzip.compress(content) if name.endswith(".gz") else content)
    assert same(read_dataset(tmp_path / "a.zip"), adata)


def test_the_table_of_cells_beside_a_matrix_is_kept(adata, tmp_path):
    found = read_dataset(write(tmp_path / "s", **PROGRAMS["parse"](adata)))
    assert list(found.obs["sample"]) == ["s1"] * 60
    assert list(found.var["gene_ids"]) == ids(adata) and set(found.var["genome"]) == {"hg38"}


def test_a_header_is_only_taken_for_one_where_it_looks_like_one(adata, tmp_path):
    """One name too many is no reason to shift all cells by one."""
    files = PROGRAMS["one column"](adata) | {"barcodes.tsv": lines(["EXTRA", *adata.obs_names])}
    with pytest.raises(DatasetError, match="61 barcodes"):
        read_dataset(write(tmp_path / "s", **files))


def test_a_square_matrix_of_kb_is_cells_by_genes(tmp_path):
    square = datasets.make_adata(names=datasets.some_genes(60))
    assert same(read_dataset(write(tmp_path / "kb", **PROGRAMS["kb"](square))), square)
    assert same(read_dataset(write(tmp_path / "star", **PROGRAMS["starsolo"](square))), square)


# --- parts of the counts -----------------------------------------------------------------------------------------


def layers_equal(found, expected) -> bool:
    return set(found.layers) == set(expected) and all((found.layers[k] != v).nnz == 0 for k, v in expected.items())


def split(adata) -> dict:
    """The counts of a dataset as three parts."""
    rng = np.random.default_rng(0)
    total = adata.X.toarray().astype(int)
    first = rng.binomial(total, 0.5)
    second = rng.binomial(total - first, 0.5)
    return {k: sp.csr_matrix(v) for k, v in zip("abc", (first, second, total - first - second), strict=True)}


def test_the_three_counts_a_gene_of_alevin_fry_are_layers(adata, tmp_path):
    parts = dict(zip(("spliced", "unspliced", "ambiguous"), split(adata).values(), strict=True))
    genes = [*adata.var_names, *(f"{n}-U" for n in adata.var_names), *(f"{n}-A" for n in adata.var_names)]
    folder = write(
        tmp_path / "alevin",
        quants_mat__mtx=mtx(sp.hstack(list(parts.values()))),
        quants_mat_cols__txt=lines(genes),
        quants_mat_rows__txt=lines(adata.obs_names),
    )
    found = read_dataset(folder)
    assert list(found.var_names) == list(adata.var_names) and list(found.obs_names) == list(adata.obs_names)
    assert found.X is None and layers_equal(found, parts)


@pytest.mark.parametrize("with_total", [False, True])
def test_the_parts_that_kb_writes_are_layers(with_total, adata, tmp_path):
    parts = dict(zip(("mature", "nascent", "ambiguous"), split(adata).values(), strict=True))
    files = {f"cells_x_genes.{k}.mtx": mtx(v) for k, v in parts.items()}
    files["cells_x_genes.cell.mtx"] = mtx(parts["mature"] + parts["ambiguous"])
    if with_total:
        files["cells_x_genes.total.mtx"] = mtx(adata.X.astype(int))
    names = {k: v for k, v in PROGRAMS["kb"](adata).items() if not k.endswith("mtx")}
    found = read_dataset(write(tmp_path / "kb", **files, **names))
    assert layers_equal(found, parts)
    assert (found.X != adata.X).nnz == 0 if with_total else found.X is None


def test_parts_with_cells_of_their_own_are_brought_together(adata, tmp_path):
    parts = split(adata)
    files = {
        "spliced.mtx": mtx(parts["a"][:40]),
        "spliced.barcodes.txt": lines(adata.obs_names[:40]),
        "unspliced.mtx": mtx(parts["b"][20:]),
        "unspliced.barcodes.txt": lines(adata.obs_names[20:]),
        "spliced.genes.txt": lines(adata.var_names),
        "unspliced.genes.txt": lines(adata.var_names),
    }
    found = read_dataset(write(tmp_path / "kb", **files))
    assert list(found.obs_names) == list(adata.obs_names)
    assert (found.layers["spliced"][:40] != parts["a"][:40]).nnz == 0 and found.layers["spliced"][40:].nnz == 0
    assert (found.layers["unspliced"][20:] != parts["b"][20:]).nnz == 0 and found.layers["unspliced"][:20].nnz == 0


def test_the_files_of_velocyto_in_starsolo_are_layers(adata, tmp_path):
    parts = dict(zip(("spliced", "unspliced", "ambiguous"), split(adata).values(), strict=True))
    files = {f"{k}.mtx": mtx(v.T) for k, v in parts.items()}
    files |= {"features.tsv": names_of(adata), "barcodes.tsv": lines(adata.obs_names)}
    assert layers_equal(read_dataset(write(tmp_path / "raw", **files)), parts)


def test_three_values_an_entry_are_layers(adata, tmp_path):
    parts = dict(zip(("spliced", "unspliced", "ambiguous"), split(adata).values(), strict=True))
    frame = pd.DataFrame({k: v.T.toarray().ravel() for k, v in parts.items()})
    rows, columns = np.indices((adata.n_vars, adata.n_obs)) + 1
    frame.insert(0, "column", columns.ravel())
    frame.insert(0, "row", rows.ravel())
    frame = frame[frame.iloc[:, 2:].any(axis=1)]
    head = f"%%MatrixMarket matrix coordinate integer general\n%\n{adata.n_vars} {adata.n_obs} {len(frame)}\n"
    body = (head + frame.to_csv(sep=" ", header=False, index=False)).encode()
    files = {"matrix.mtx": body, "features.tsv": names_of(adata), "barcodes.tsv": lines(adata.obs_names)}
    assert layers_equal(read_dataset(write(tmp_path / "raw", **files)), parts)


def test_the_parts_in_a_loom_file_are_layers(adata, tmp_path):
    import h5py

    path = datasets.write_loom(adata, tmp_path / "a.loom")
    parts = dict(zip(("spliced", "unspliced", "ambiguous"), split(adata).values(), strict=True))
    with h5py.File(path, "r+") as file:
        for key, part in parts.items():
            file["layers"][key] = part.T.toarray()
    found = read_dataset(path)
    assert layers_equal(found, parts) and (found.X != adata.X).nnz == 0


def test_a_matrix_of_zeros_beside_the_parts_is_not_the_counts(adata, tmp_path):
    """kb writes the counts into layers and leaves the matrix at zero; the file was said to have no counts."""
    import h5py

    path = datasets.write_loom(adata, tmp_path / "a.loom")
    with h5py.File(path, "r+") as file:
        for key, part in zip(("mature", "nascent", "ambiguous"), split(adata).values(), strict=True):
            file["layers"][key] = part.T.toarray()
        file["matrix"][...] = 0
    found = check_counts(read_dataset(path))
    assert found.location == "layers['mature'] + layers['nascent'] + layers['ambiguous']"
    assert "nothing but zeros" in " ".join(n.text for n in found.notices)


# --- choosing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{s}_{part}", "{part}_{s}", "{s}.{part}", "GSE9_{part}-{s}"])
def test_samples_of_a_folder_are_told_apart(form, adata, tmp_path):
    files = {}
    for sample, cells in (("GSM1_a", adata[:20]), ("GSM2_b", adata[20:])):
        files[form.format(s=sample, part="matrix") + ".mtx.gz"] = mtx(cells.X.T.astype(int))
        files[form.format(s=sample, part="barcodes") + ".tsv.gz"] = lines(cells.obs_names)
    files["GSE9_features.tsv.gz"] = names_of(adata)
    folder = write(tmp_path / "GSE9", **files)
    with pytest.raises(ChoiceError) as caught:
        read_dataset(folder)
    assert len(caught.value.choices) == 2 and all("GSE9/" in choice for choice in caught.value.choices)
    first, second = (read_dataset(tmp_path / choice) for choice in caught.value.choices)
    assert same(first, adata[:20]) and same(second, adata[20:])


def test_folders_inside_a_zip_are_samples(adata, tmp_path):
    with zipfile.ZipFile(tmp_path / "outs.zip", "w") as archive:
        for folder, cells in (("raw_feature_bc_matrix", adata), ("filtered_feature_bc_matrix", adata[:9])):
            for name, content in datasets.mtx_parts(cells, 3).items():
                archive.writestr(f"outs/{folder}/{name}", content)
    with pytest.raises(ChoiceError, match="outs/filtered_feature_bc_matrix, outs/raw_feature_bc_matrix"):
        read_dataset(tmp_path / "outs.zip")
    assert read_dataset(tmp_path / "outs.zip" / "outs" / "filtered_feature_bc_matrix").n_obs == 9


def test_datasets_below_a_folder_are_listed(adata, tmp_path):
    for kind in ("raw", "filtered"):
        write(tmp_path / "Solo.out" / "Gene" / kind, **PROGRAMS["starsolo"](adata))
    (tmp_path / "Solo.out" / "Summary.csv").write_text("x,1\n")
    with pytest.raises(ChoiceError, match="Gene/filtered, Gene/raw") as caught:
        read_dataset(tmp_path / "Solo.out")
    assert same(read_dataset(tmp_path / caught.value.choices[0]), adata) and len(caught.value.choices) == 2


def test_a_matrix_of_another_sample_is_not_given_names(adata, tmp_path):
    files = {"GSM1_matrix.mtx": mtx(adata.X.T.astype(int)), "GSM2_matrix.mtx": mtx(adata.X.T.astype(int))}
    files |= {"GSM1_barcodes.tsv": lines(adata.obs_names), "GSM3_barcodes.tsv": lines(adata.obs_names)}
    folder = write(tmp_path / "GSE", **files, **{"features.tsv": names_of(adata)})
    with pytest.raises(DatasetError, match="no barcodes.tsv"):
        read_dataset(folder / "GSM2")


def test_peaks_are_named_as_such(adata, tmp_path):
    bed = lines(["chr1"] * 90, range(0, 9000, 100), range(50, 9050, 100))
    files = {"matrix.mtx": mtx(adata.X.T.astype(int)), "peaks.bed": bed, "barcodes.tsv": lines(adata.obs_names)}
    found = read_dataset(write(tmp_path / "filtered_peak_bc_matrix", **files))
    assert set(found.var["feature_types"]) == {"Peaks"} and found.var_names[1] == "chr1:100-150"


@pytest.mark.parametrize(
    ("names", "samples"),
    [
        (["matrix.mtx", "barcodes.tsv", "genes.tsv"], [""]),
        (["T_cells_matrix.mtx", "T_cells_barcodes.tsv", "T_cells_genes.tsv"], ["T_cells"]),
        (["GSM1_raw_matrix.mtx", "GSM1_filtered_matrix.mtx"], ["GSM1_filtered", "GSM1_raw"]),
        (["a/matrix.mtx", "b/matrix.mtx", "__MACOSX/a/._matrix.mtx", "a/._matrix.mtx"], ["a", "b"]),
        (["spliced.mtx", "unspliced.mtx", "ambiguous.mtx"], [""]),
        (["S1_feature_bc_matrix_matrix.mtx", "S1_feature_bc_matrix_features.tsv"], ["S1_feature_bc_matrix"]),
    ],
)
def test_samples_by_names(names, samples):
    assert [found.sample for found in find_sets(names)] == samples


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ("%%MatrixMarket matrix array integer general", "not a sparse"),
        ("%%MatrixMarket matrix coordinate pattern general", "pattern"),
        ("%%MatrixMarket matrix coordinate integer symmetric", "symmetric"),
        ("row column value", "does not begin like"),
    ],
)
def test_another_kind_of_matrix_market_is_named(head, word, adata, tmp_path):
    files = PROGRAMS["starsolo"](adata)
    body = files["matrix__mtx"].decode().split("\n", 1)[1]
    files["matrix__mtx"] = f"{head}\n{body}".encode()
    with pytest.raises(DatasetError, match=word):
        read_dataset(write(tmp_path / "s", **files))


@pytest.mark.parametrize(("change", "word"), [(-1, "cut short"), (1, "longer than it says")])
def test_a_matrix_of_another_length_than_it_says_is_refused(change, word, adata, tmp_path):
    files = PROGRAMS["starsolo"](adata)
    rows = files["matrix__mtx"].decode().splitlines()
    rows = rows[:-1] if change < 0 else [*rows, "1 1 1"]
    files["matrix__mtx"] = "\n".join(rows).encode()
    with pytest.raises(DatasetError, match=word):
        read_dataset(write(tmp_path / "s", **files))


def test_the_binary_form_of_alevin_is_named(adata, tmp_path):
    files = {"quants_mat_rows.txt": lines(adata.obs_names), "quants_mat_cols.txt": lines(adata.var_names)}
    folder = write(tmp_path / "alevin", **files)
    (folder / "quants_mat.gz").write_bytes(b"EDS")
    with pytest.raises(DatasetError, match="--dumpMtx"):
        read_dataset(folder)


def test_files_of_names_are_not_listed_as_datasets(adata, tmp_path):
    write(tmp_path / "a", **{"barcodes.tsv": lines(adata.obs_names), "features.tsv": names_of(adata)})
    with pytest.raises(DatasetError, match="neither a .zarr store nor a folder with a matrix"):
        read_dataset(tmp_path / "a")
