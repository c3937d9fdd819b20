"""Tables as people have them: comments, no header, marks in numbers, columns of text, long ones, both orientations."""

import gzip
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scfviz.data import matrix as mx
from scfviz.data.check import check_counts
from scfviz.data.read import read_dataset
from scfviz.errors import DatasetError, GeneError, ScfvizError


@pytest.fixture(scope="module")
def adata():
    return datasets.make_adata(names=datasets.some_genes(90))


def frame_of(adata) -> pd.DataFrame:
    """Genes x cells."""
    return pd.DataFrame(adata.X.toarray().astype(int).T, index=adata.var_names, columns=adata.obs_names)


def same(found, adata, times: float = 1) -> bool:
    return (
        abs(found.X - times * adata.X).max() < 1e-4
        and list(found.obs_names) == list(adata.obs_names)
        and list(found.var_names) == list(adata.var_names)
    )


def notes(found) -> str:
    return " ".join(found.uns["scfviz_source"]["notes"])


def read_text(folder: Path, text: str, name: str = "a.tsv"):
    (folder / name).write_text(text, encoding="utf-8")
    return read_dataset(folder / name)


def refuse(folder: Path, text: str, *words: str, name: str = "a.tsv") -> str:
    with pytest.raises(ScfvizError) as caught:
        read_text(folder, text, name)
    for word in words:
        assert word.lower() in str(caught.value).lower(), str(caught.value)
    return str(caught.value)


# --- headers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["#gene", "# gene", "#"])
@pytest.mark.parametrize("above", ["", "## made by a program\n", "#\n\n"])
def test_a_header_behind_a_comment_mark_is_the_header(first, above, adata, tmp_path):
    """Its names were lost and the first gene named the cells."""
    frame = frame_of(adata)
    frame.index.name = first
    assert same(read_text(tmp_path, above + frame.to_csv(sep="\t")), adata)


@pytest.mark.parametrize("genes_are_rows", [True, False])
def test_comments_above_a_plain_header_are_passed_over(genes_are_rows, adata, tmp_path):
    frame = frame_of(adata) if genes_are_rows else frame_of(adata).T
    comments = '# Program:featureCounts v2.0.1; Command:"featureCounts" "-T" "8"\n## a\tb\n'
    assert same(read_text(tmp_path, comments + frame.to_csv(sep="\t")), adata)


def test_a_table_without_a_header_numbers_its_cells(adata, tmp_path):
    found = read_text(tmp_path, frame_of(adata).to_csv(sep="\t", header=False))
    assert (found.X != adata.X).nnz == 0 and list(found.var_names) == list(adata.var_names)
    assert found.obs_names[0] == "cell1" and "cells were numbered" in notes(found)


def test_a_first_gene_that_is_unknown_is_no_header(adata, tmp_path):
    frame = frame_of(adata)[["CELL0", "CELL1"]]
    first = pd.DataFrame([[7, 3]], index=["RP11-34P13.7"], columns=frame.columns)
    found = read_text(tmp_path, pd.concat([first, frame]).to_csv(sep="\t", header=False))
    assert found.shape == (2, 91) and found.X[:, 0].toarray().ravel().tolist() == [7, 3]


def test_numbered_cells_are_a_header(adata, tmp_path):
    frame = frame_of(adata)
    frame.columns = range(60)
    for corner in ("", "gene"):
        frame.index.name = corner
        assert list(read_text(tmp_path, frame.to_csv(sep="\t")).obs_names) == [str(i) for i in range(60)]


@pytest.mark.parametrize("first", [0, 1, 7])
def test_counts_of_htseq_have_no_header(first, adata, tmp_path):
    rows = [(n, first if i == 0 else i % 5) for i, n in enumerate(adata.var_names)]
    found = read_text(tmp_path, "".join(f"{n}\t{v}\n" for n, v in [*rows, ("__no_feature", 9)]))
    assert found.shape == (1, 91) and found.X.toarray()[0, 0] == first


def test_the_separator_that_excel_states_is_taken(adata, tmp_path):
    assert same(read_text(tmp_path, "sep=;\n" + frame_of(adata).to_csv(sep=";"), "a.csv"), adata)


def test_an_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("scfviz.data.table_layout.MAX_LINE", 1000)
    refuse(tmp_path, "gene\ta\n" + "CD3E\t1" * 1000, "Line 2 is longer")


def test_a_gct_file_is_read(adata, tmp_path):
    frame = frame_of(adata)
    frame.insert(0, "Description", "na")
    frame.index.name = "Name"
    assert same(read_text(tmp_path, "#1.2\n90\t60\n" + frame.to_csv(sep="\t"), "a.txt"), adata)


@pytest.mark.parametrize("where", ["both", "header", "body"])
def test_a_mark_at_the_end_of_lines_shifts_nothing(where, adata, tmp_path):
    head, *body = frame_of(adata).to_csv(sep="\t").splitlines()
    text = [head + "\t" * (where != "body"), *(line + "\t" * (where != "header") for line in body)]
    assert same(read_text(tmp_path, "\n".join(text)), adata)


# --- numbers -------------------------------------------------------------------------------------------------------


def grouped(value: int, mark: str) -> str:
    return f"{value:,}".replace(",", mark)


@pytest.mark.parametrize(
    ("delimiter", "mark", "quote"),
    [
        (",", ",", '"'),
        ("\t", ",", ""),
        (";", ",", ""),
        (";", ".", ""),
        ("\t", ".", ""),
        ("\t", " ", ""),
        (",", "'", ""),
        ("\t", "\u00a0", ""),
        ("\t", "\u202f", ""),
    ],
)
def test_thousands_separators_are_understood(delimiter, mark, quote, adata, tmp_path):
    """2,250 is two thousand, never 2.25."""
    frame = (frame_of(adata) * 321).map(lambda v: f"{quote}{grouped(v, mark)}{quote}" if v > 999 else str(v))
    lines = [delimiter.join(["gene", *frame.columns])]
    lines += [delimiter.join([name, *row]) for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    found = read_text(tmp_path, "\n".join(lines))
    assert same(found, adata, 321)
    if mark in ",.":
        assert "thousands separators" in notes(found)


def test_millions_and_fractions_behind_groups_are_understood(tmp_path):
    found = read_text(tmp_path, "gene\ta\tb\nCD3E\t1,234,567\t1,234.5\nLYZ\t7\t2,000\n")
    assert found.X.toarray().tolist() == [[1234567, 7], [1234.5, 2000]]
    german = read_text(tmp_path, "gene;a;b\nCD3E;1.234.567;1.234,5\nLYZ;7;2.000\n", "b.csv")
    assert german.X.toarray().tolist() == [[1234567, 7], [1234.5, 2000]]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_understood_also_with_three_digits(delimiter, tmp_path):
    text = "gene;a;b\nCD3E;1,386;0,693\nLYZ;0;2,5\n".replace(";", delimiter)
    assert np.allclose(read_text(tmp_path, text).X.toarray(), [[1.386, 0], [0.693, 2.5]])


def test_a_quoted_decimal_comma_between_commas_is_understood(tmp_path):
    found = read_text(tmp_path, 'gene,a,b\nCD3E,"1,5",2\nLYZ,"0,25",0\n', "a.csv")
    assert found.X.toarray().tolist() == [[1.5, 0.25], [2, 0]]


def test_what_can_be_read_in_two_ways_is_asked(tmp_path):
    said = refuse(
        tmp_path, "gene\ta\tb\nCD3E\t2,250\t1,386\nLYZ\t0\t1,099\n", "two ways", "2250", "thousands separators"
    )
    assert "decimal point, not a comma" not in said


def test_points_between_commas_are_decimals(tmp_path):
    assert read_text(tmp_path, "gene,a,b\nCD3E,1.234,5\nLYZ,0,2\n", "a.csv").X.toarray()[0, 0] == 1.234


# --- columns of text and about genes -------------------------------------------------------------------------------


def test_columns_about_cells_are_kept_apart(adata, tmp_path):
    frame = frame_of(adata).T
    frame.insert(0, "library_id", "na")
    frame.insert(3, "cell type, coarse", ["T"] * 60)  # T is also a gene
    found = read_text(tmp_path, frame.to_csv(), "a.csv")
    assert same(found, adata) and list(found.obs["cell type, coarse"]) == ["T"] * 60
    assert "'library_id'" in notes(found) and "cell type, coarse" in notes(found)


@pytest.mark.parametrize("with_text", [True, False])
def test_the_columns_of_featurecounts_are_no_cells(with_text, adata, tmp_path):
    frame = frame_of(adata)
    frame.index.name = "Geneid"
    columns = {"Chr": "chr1;chr1", "Start": "1;50", "End": "20;80", "Strand": "+;+"} if with_text else {}
    for key, value in reversed((columns | {"Length": range(500, 590)}).items()):
        frame.insert(0, key, value)
    packed = gzip.compress(("# Program:featureCounts v2.0.1\n" + frame.to_csv(sep="\t")).encode())
    (tmp_path / "counts.txt.gz").write_bytes(packed)
    found = read_dataset(tmp_path / "counts.txt.gz")
    assert same(found, adata) and "'Length'" in notes(found)
    assert list(found.var["Length"]) == list(range(500, 590))


def test_symbols_in_a_second_column_are_kept_for_the_genes(adata, tmp_path):
    frame = frame_of(adata)
    frame.insert(0, "gene_name", adata.var_names)
    frame.insert(1, "gene_biotype", "protein_coding")
    frame.index = pd.Index([f"XLOC_{i}" for i in range(90)], name="gene_id")
    found = read_text(tmp_path, frame.to_csv(sep="\t"))
    assert (found.X != adata.X).nnz == 0 and list(found.var["gene_name"]) == list(adata.var_names)


def test_row_numbers_before_the_genes_are_understood(adata, tmp_path):
    frame = frame_of(adata).reset_index(names="gene")
    found = read_text(tmp_path, frame.to_csv(), "a.csv")
    assert (found.X != adata.X).nnz == 0 and list(found.var["gene"]) == list(adata.var_names)


def test_rows_about_cells_above_the_counts_are_kept_apart(adata, tmp_path):
    frame = frame_of(adata).astype(object)
    types, samples = ["T", "B"] * 30, ["s1"] * 59 + ["NA"]
    head = pd.DataFrame([types, samples], index=["cell type", "sample"], columns=frame.columns)
    found = read_text(tmp_path, pd.concat([head, frame]).to_csv(sep="\t"))
    assert same(found, adata) and list(found.obs["cell type"]) == types and "'sample'" in notes(found)


def test_a_block_about_cells_with_labels_of_its_own_is_kept_apart(adata, tmp_path):
    """As in the table of mouse cortex (GSE60361): groups above, cell names among them, clusters beside."""
    cells = list(adata.obs_names)
    top = [["", "tissue", *(["cortex"] * 60)], ["", "group #", *map(str, [1, 2] * 30)], ["", "cell_id", *cells]]
    body = [[n, "3", *map(str, row)] for n, row in zip(adata.var_names, frame_of(adata).to_numpy(), strict=True)]
    text = "\n".join("\t".join(row) for row in [*top, [""] * 62, *body])
    found = read_text(tmp_path, text)
    assert same(found, adata) and list(found.obs["group #"]) == [1, 2] * 30 and set(found.obs["column"]) == {"cortex"}


def test_symbols_below_the_ids_of_the_columns_are_kept_for_the_genes(adata, tmp_path):
    frame = frame_of(adata).T.astype(object)
    symbols = pd.DataFrame([list(adata.var_names)], index=[""])
    symbols.columns = frame.columns = [f"XLOC_{i}" for i in range(90)]
    found = read_text(tmp_path, pd.concat([symbols, frame]).to_csv(), "a.csv")
    assert (found.X != adata.X).nnz == 0 and list(found.obs_names) == list(adata.obs_names)
    assert any(list(found.var[c]) == list(adata.var_names) for c in found.var)


def test_a_column_of_a_gene_without_values_is_no_metadata(adata, tmp_path):
    frame = frame_of(adata).T.astype(object)
    frame.iloc[:, 3] = "NA"
    refuse(tmp_path, frame.to_csv(), "no value", adata.var_names[3], name="a.csv")


@pytest.mark.parametrize("genes_are_rows", [True, False])
def test_a_column_without_a_value_is_left_out_and_not_called_annotation(genes_are_rows, adata, tmp_path):
    frame = pd.DataFrame(adata.X.toarray().astype(int), index=adata.obs_names, columns=adata.var_names)
    frame = frame.T if genes_are_rows else frame
    frame.insert(3, "CELL_X", "")
    frame.to_csv(tmp_path / "a.csv")
    found = read_dataset(tmp_path / "a.csv")
    assert (found.X != adata.X).nnz == 0 and found.var.shape[1] == found.obs.shape[1] == 0
    notes = " ".join(found.uns["scfviz_source"]["notes"])
    assert "without a single value were left out: 'CELL_X'" in notes and "about the" not in notes
    if genes_are_rows:
        frame.loc[frame.index[60:], "CELL_X"] = 3
        frame.to_csv(tmp_path / "b.csv")
        with pytest.raises(DatasetError, match=f"{frame.index[0]}.* has no value in the column 'CELL_X'"):
            read_dataset(tmp_path / "b.csv")


def test_one_word_among_numbers_is_an_error_with_its_place(adata, tmp_path):
    frame = frame_of(adata).astype(object)
    frame.iloc[40, 5] = "T cell"
    refuse(tmp_path, frame.to_csv(), "Line 42", "T cell", "CELL5", name="a.csv")


def test_a_list_of_names_is_no_table_of_counts(adata, tmp_path):
    text = "".join(f"ENSG{i:011d}\t{n}\tGene Expression\n" for i, n in enumerate(adata.var_names))
    refuse(tmp_path, text, "no numbers", "open the folder", name="features.tsv")


@pytest.mark.parametrize("header", [("fov", "cell_ID"), ("fov", "cell_id"), ("cell_ID", "fov")])
def test_cells_named_by_field_of_view_are_named_by_both(header, adata, tmp_path):
    frame = frame_of(adata).T.reset_index(drop=True)
    values = {"fov": [1] * 30 + [2] * 30, "cell": [*range(1, 31)] * 2}
    for place, label in enumerate(header):
        frame.insert(place, label, values["fov" if label == "fov" else "cell"])
    found = read_text(tmp_path, frame.to_csv(index=False), "exprMat_file.csv")
    assert (found.X != adata.X).nnz == 0 and list(found.var_names) == list(adata.var_names)
    assert found.obs_names.is_unique and set(found.obs_names[[0, 59]]) in ({"1_1", "2_30"}, {"1_1", "30_2"})


# --- orientation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("genes_are_rows", [True, False])
@pytest.mark.parametrize("cells", ["ACGTACGTACGTACG{}-1", "Barcode{}", "s1:ACGTACGTAACC{}x"])
def test_genes_of_no_known_name_are_told_from_cells(genes_are_rows, cells, adata, tmp_path):
    """Barcodes were called genes."""
    letters = ["".join("ACGT"[int(d)] for d in np.base_repr(i, 4).zfill(4)) for i in range(60)]
    names = [cells.format(letters[i] if "ACG" in cells else i) for i in range(60)]
    frame = pd.DataFrame(frame_of(adata).to_numpy(), index=[f"AT1X{i}Z" for i in range(90)], columns=names)
    found = read_text(tmp_path, (frame if genes_are_rows else frame.T).to_csv(), "a.csv")
    assert list(found.obs_names) == names and "Neither side" in notes(found)


def test_genes_are_told_by_the_word_above_them(adata, tmp_path):
    frame = pd.DataFrame(
        frame_of(adata).to_numpy(), index=[f"a{i}" for i in range(90)], columns=[f"b{i}" for i in range(60)]
    )
    frame.index.name = "gene_id"
    assert read_text(tmp_path, frame.to_csv(), "a.csv").n_vars == 90
    frame = frame.T
    frame.index.name = "cell"
    assert read_text(tmp_path, frame.to_csv(), "a.csv").n_vars == 90


def test_samples_that_are_named_like_genes_by_chance_are_none(adata, tmp_path):
    frame = pd.DataFrame(frame_of(adata).to_numpy(), columns=[f"S{i}" for i in range(60)])
    frame.index = pd.Index(np.random.default_rng(0).permutation(9000)[:90], name="GeneID")
    assert list(read_text(tmp_path, frame.to_csv(), "a.csv").obs_names) == list(frame.columns)


def test_where_nothing_tells_the_genes_both_sides_are_shown(tmp_path):
    with pytest.raises(GeneError, match="rows are xx1, xx2, the columns yy1, yy2"):
        read_text(tmp_path, ",yy1,yy2\nxx1,1,0\nxx2,0,2\n", "a.csv")


# --- long tables ---------------------------------------------------------------------------------------------------


def long_frame(adata) -> pd.DataFrame:
    """One line for each count, cells in order."""
    found = adata.X.tocoo()
    order = np.lexsort((found.col, found.row))
    genes, cells = np.array(adata.var_names)[found.col[order]], np.array(adata.obs_names)[found.row[order]]
    return pd.DataFrame({"gene": genes, "cell": cells, "count": found.data[order].astype(int)})


def same_by_name(found, adata) -> bool:
    expected = frame_of(adata).loc[list(found.var_names), list(found.obs_names)]
    left = adata.X.sum() - found.X.sum()
    return left == 0 and (found.X.toarray().T == expected.to_numpy()).all()


@pytest.mark.parametrize("names", [("gene", "cell", "count"), ("cell_barcode", "gene_name", "umi_count"), None])
@pytest.mark.parametrize("limit", [2**30, 1000])
def test_a_long_table_becomes_a_matrix(names, limit, adata, tmp_path, monkeypatch):
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", limit)
    frame = long_frame(adata)
    if names and "cell" in names[0]:
        frame = frame[["cell", "gene", "count"]]
    text = frame.to_csv(sep="\t", index=False, header=names or False)
    found = read_text(tmp_path, text)
    found.X = sp.vstack([block for _, block in mx.row_blocks(found.X)])
    assert same_by_name(found, adata) and "table is long" in notes(found)


def test_lines_of_the_same_gene_and_cell_are_added(tmp_path):
    body = "".join(f"{g}\tACGTACGT{c}\t2\n" for c in "ACGT" for g in ("CD3E", "LYZ"))
    found = read_text(tmp_path, "gene\tcell\tcount\n" + body + "LYZ\tACGTACGTT\t5\n")
    assert found.X.toarray().tolist() == [[2, 2]] * 3 + [[2, 7]]


def test_the_long_table_of_bd_rhapsody_gives_corrected_molecules(adata, tmp_path):
    frame = long_frame(adata)
    cells = frame["cell"].str.removeprefix("CELL").astype(int) + 1000
    bd = pd.DataFrame(
        {
            "Cell_Index": cells,
            "Gene": frame["gene"],
            "RSEC_Reads": 99,
            "Raw_Molecules": frame["count"] + 1,
            "RSEC_Adjusted_Molecules": frame["count"],
        }
    )
    text = "####################\n## BD Targeted Multiplex Rhapsody Analysis Pipeline\n" + bd.to_csv(
        sep="\t", index=False
    )
    found = read_text(tmp_path, text, "s_Expression_Data.st")
    found.obs_names = [f"CELL{int(n) - 1000}" for n in found.obs_names]
    assert same_by_name(found, adata) and "RSEC_Adjusted_Molecules" in notes(found)


def test_a_long_table_with_several_numbers_asks_for_the_counts(adata, tmp_path):
    frame = long_frame(adata).rename(columns={"count": "first"})
    frame["second"] = 1
    said = refuse(tmp_path, frame.to_csv(sep="\t", index=False), "long table", "'first', 'second'")
    assert "Remove columns of text" not in said


@pytest.mark.parametrize("label", ["Total", "Sum", "row_sums"])
def test_a_column_and_a_row_of_totals_are_no_cell_and_no_gene(label, adata, tmp_path):
    """A spreadsheet's sums became one more cell with the counts of all, and doubled the depth of each."""
    frame = pd.DataFrame(adata.X.toarray().T.astype(int), index=adata.var_names, columns=adata.obs_names)
    frame[label] = frame.sum(axis=1)
    frame.loc["Total"] = frame.sum()
    found = read_text(tmp_path, frame.to_csv(), "a.csv")
    assert list(found.obs_names) == list(adata.obs_names) and f"'{label}'" in notes(found)
    assert check_counts(found).gene_totals.sum() == adata.X.sum()


@pytest.mark.parametrize("names", [("i", "j", "x"), ("gene_index", "cell_index", "count")])
def test_entries_by_number_without_names_are_named(names, adata, tmp_path):
    """What summary() of a sparse matrix in R writes was said to have cells called 1, 1, 1."""
    entries = adata.X.tocoo()
    frame = pd.DataFrame(dict(zip(names, (entries.col + 1, entries.row + 1, entries.data.astype(int)), strict=True)))
    refuse(tmp_path, frame.to_csv(index=False), "numbers of row and column", "matrix.mtx", name="a.csv")


def test_a_list_of_molecules_is_named(adata, tmp_path):
    frame = long_frame(adata).drop(columns="count")
    frame["x_location"], frame["y_location"], frame["qv"] = 1.5, 2.5, 40.0
    refuse(tmp_path, frame.to_csv(index=False), "single molecules", "cell_by_gene", name="transcripts.csv")


def test_a_cut_long_table_is_refused_with_its_line(adata, tmp_path):
    text = long_frame(adata).to_csv(sep="\t", index=False).rstrip()
    with pytest.raises(DatasetError, match=f"Line {len(text.splitlines()):,}"):
        read_text(tmp_path, text[: text.rindex("\t")])


def test_a_table_of_a_few_genes_is_not_called_long(tmp_path):
    found = read_text(tmp_path, "cell,type,CD3E\na1,T,5\na2,B,0\na3,T,3\n", "a.csv")
    assert found.X.toarray().ravel().tolist() == [5, 0, 3] and list(found.obs["type"]) == ["T", "B", "T"]
