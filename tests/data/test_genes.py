"""A gene is found under every name it goes by, and never taken for another."""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from scfviz.data.gene_names import MOUSE_MARK
from scfviz.data.genes import match_genes
from scfviz.data.vocabulary import ASSETS, load_vocabulary
from scfviz.errors import GeneError


@pytest.fixture(scope="module")
def vocabulary():
    return load_vocabulary()


def table(names, **columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(list(names), dtype=object))


def padded(*names: str) -> list[str]:
    """Names of interest, then enough known genes that do not meet them."""
    known = [s for s in datasets.some_genes(600) if not s.startswith(("MARCH", "SEPT", "MT"))]
    return [*names, *known]


def found(*names: str) -> list[str]:
    """The model's symbol of each name in a file of human genes ("" where none)."""
    match = match_genes(table(padded(*names)))
    return [match.genes[t] if t >= 0 else "" for t in match.target[: len(names)]]


# --- the vocabulary --------------------------------------------------------------------------------------------


def test_the_vocabulary_holds_the_models_genes_in_order(vocabulary, shared):
    assert list(vocabulary.symbols) == (shared / "reference" / "genes_19264.txt").read_text().split()


def test_the_vocabulary_is_complete_enough(vocabulary):
    assert len(vocabulary.symbols) == len(set(vocabulary.symbols)) == 19264
    assert sum(map(bool, vocabulary.ensembl)) > 19_000
    assert sum(map(bool, vocabulary.mouse_symbols)) > 15_000
    assert vocabulary.describe("CD3E")["name"].startswith("CD3")


def test_the_assets_are_the_listed_ones():
    with open(ASSETS / "checksums.tsv", newline="") as handle:
        listed = {row["path"]: row["sha256"] for row in csv.DictReader(handle, delimiter="\t")}
    path = ASSETS / "gene_vocabulary.tsv"
    assert listed["gene_vocabulary.tsv"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_name_of_a_gene_is_the_symbol_of_another(vocabulary):
    symbols = set(vocabulary.symbols)
    assert not [a for aliases in vocabulary.aliases for a in aliases if a in symbols]


def test_lookup_is_quiet_about_shared_names(vocabulary):
    shared_names = [name for name, symbol in vocabulary.by_alias.items() if not symbol]
    assert shared_names
    assert all(vocabulary.lookup(name) is None for name in shared_names[:50])
    assert vocabulary.lookup("ENSG00000198851.16") == "CD3E"
    assert vocabulary.lookup("no such gene") is None


def test_an_unknown_symbol_is_refused_with_a_suggestion(vocabulary):
    with pytest.raises(GeneError, match="Did you mean ADGRE5"):
        vocabulary.describe("CD97")


def test_importing_reads_nothing():
    code = (
        "import sys, scfviz.data.read, scfviz.data.vocabulary as v; "
        "print('anndata' in sys.modules, v.load_vocabulary.cache_info().misses)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert output.stdout.split() == ["False", "0"], output.stderr


# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("CD3E", "CD3E"),
        ("ENSG00000198851", "CD3E"),
        ("ENSG00000198851.16", "CD3E"),
        ("SEPT2", "SEPTIN2"),
        ("SEPTIN2", "SEPTIN2"),
        ("MARCH1", "MARCHF1"),
        ("MARCHF1", "MARCHF1"),
        ("HIST1H2AC", "H2AC6"),
        ("H2AC6", "H2AC6"),
        ("BMAL1", "ARNTL"),
        ("CD97", "ADGRE5"),
        ("TAZ", "TAFAZZIN"),
        ("GBA1", "GBA"),
        ("HLA.DRB1", "HLA-DRB1"),
        ("C1ORF43", "C1orf43"),
        ("GRCh38_LYZ", "LYZ"),
        (" LYZ ", "LYZ"),
        ('"LYZ"', "LYZ"),
        ("CD3E_ENSG00000198851", "CD3E"),
        ("ENSG00000198851.16|CD3E", "CD3E"),
    ],
)
def test_a_gene_is_found_under_its_other_names(name, symbol):
    assert found(name) == [symbol]


@pytest.mark.parametrize("name", ["MIR1302-10", "RP11-34P13.7", "ENSG00000000001", "", "nan"])
def test_what_is_no_gene_of_the_model_stays_out(name):
    assert found(name) == [""]


def test_a_symbol_goes_before_an_alias(vocabulary):
    # MT-CO2 is also listed as a name of the pseudogene MTCO2P12.
    assert found("MT-CO2") == ["MT-CO2"]


def test_an_alias_of_several_genes_is_left_out_and_counted(vocabulary):
    name = next(n for n, s in vocabulary.by_alias.items() if not s and n.isupper())
    match = match_genes(table(padded(name)))
    assert match.target[0] == -1
    assert match.report.n_ambiguous == 1 and "rather than guessed" in " ".join(match.report.notices)


def test_an_alias_of_a_gene_that_is_there_anyway_is_left_out():
    match = match_genes(table(padded("TIAF1", "MYO18A")))
    assert match.target[0] == -1 and match.genes[match.target[1]] == "MYO18A"


@pytest.mark.parametrize(
    ("damaged", "symbol"),
    [
        ("2-Sep", "SEPTIN2"),
        ("Sep-02", "SEPTIN2"),
        ("02-Sep", "SEPTIN2"),
        ("7-Mar", "MARCHF7"),
        ("Mar-07", "MARCHF7"),
        ("2019-09-02", "SEPTIN2"),
        ("2019-03-07 00:00:00", "MARCHF7"),
        ("7-Mar-2019", "MARCHF7"),
    ],
)
def test_symbols_that_a_spreadsheet_damaged_are_repaired(damaged, symbol):
    match = match_genes(table(padded(damaged)))
    assert match.genes[match.target[0]] == symbol
    assert match.report.damaged == ((damaged, symbol),)
    assert damaged in " ".join(match.report.notices)


def test_a_damaged_symbol_that_could_be_two_genes_is_left_out_and_said():
    match = match_genes(table(padded("1-Mar")))  # MARCHF1 or MTARC1
    assert match.target[0] == -1 and match.report.damaged == (("1-Mar", ""),)
    assert "could mean several" in " ".join(match.report.notices)


def test_a_damaged_symbol_is_clear_when_the_other_gene_is_there():
    assert found("1-Mar", "MTARC1") == ["MARCHF1", "MTARC1"]


def test_repeated_genes_are_summed_and_reported():
    match = match_genes(table(padded("CD3E", "CD3E", "LYZ", "LYZ-1", "LYZ.2")))
    assert match.report.n_summed == 3
    assert set(match.report.summed) == {"CD3E", "LYZ"}
    assert len(set(match.target[:2])) == 1 and len(set(match.target[2:5])) == 1


# --- columns ---------------------------------------------------------------------------------------------------


def test_the_column_of_names_is_chosen_by_content(vocabulary):
    symbols = datasets.some_genes(500)
    ids = [(vocabulary.ensembl[vocabulary.symbols.index(s)] or ("x",))[0] + ".7" for s in symbols]
    numbers = [str(i) for i in range(500)]
    by_symbol = match_genes(table(numbers, whatever=symbols, noise=[f"n{i}" for i in range(500)]))
    by_id = match_genes(table(numbers, stable=ids))
    assert (by_symbol.report.column, by_symbol.report.id_type) == ("whatever", "symbol")
    assert (by_id.report.column, by_id.report.id_type) == ("stable", "ensembl")
    assert np.mean(by_symbol.target == by_id.target) > 0.98


def test_a_column_can_be_named():
    symbols = datasets.some_genes(500)
    var = table(symbols[::-1], other=symbols)
    assert match_genes(var, column="other").report.column == "other"
    with pytest.raises(GeneError, match="no column 'nothing'.*other"):
        match_genes(var, column="nothing")


def test_shuffled_columns_lead_to_the_same_genes():
    names = np.array(padded("SEPT2", "CD3E"))
    order = np.random.default_rng(0).permutation(len(names))
    straight, shuffled = match_genes(table(names)), match_genes(table(names[order]))
    assert (shuffled.target == straight.target[order]).all()


@pytest.mark.parametrize("kind", ["symbol", "ensembl"])
def test_mouse_genes_are_taken_through_one_to_one_orthologs(kind, vocabulary):
    column = vocabulary.mouse_symbols if kind == "symbol" else [f"{m}.3" if m else "" for m in vocabulary.mouse_ensembl]
    chosen = [i for i, name in enumerate(column) if name][::20]
    match = match_genes(table(column[i] for i in chosen))
    assert (match.report.organism, match.report.id_type) == ("mouse", kind)
    assert list(match.target) == chosen
    assert match.report.n_ortholog == len(chosen)
    assert "mouse" in " ".join(match.report.notices)


def test_antibodies_and_peaks_stay_out_and_are_said():
    symbols = datasets.some_genes(500)
    var = table(
        [*symbols, "CD3E", "CD4", "chr1:10-20"],
        feature_types=["Gene Expression"] * 500 + ["Antibody Capture"] * 2 + ["Peaks"],
    )
    match = match_genes(var)
    assert (match.target[500:] == -1).all()
    assert match.report.other_features == {"Antibody Capture": 2, "Peaks": 1}
    assert match.report.n_file == 500
    assert "2 rows of the type 'Antibody Capture'" in " ".join(match.report.notices)


def test_a_file_of_almost_only_antibodies_is_refused():
    names = datasets.some_genes(500)
    with pytest.raises(GeneError, match="1 of the 1 genes .*29 Antibody Capture.*At least 200"):
        match_genes(table(names[:30], feature_types=["Gene Expression"] + ["Antibody Capture"] * 29))


# --- too few, and other models ---------------------------------------------------------------------------------


def test_too_few_known_genes_are_refused_with_the_first_names():
    names = [f"BC_{i:04d}" for i in range(5000)] + datasets.some_genes(300)
    with pytest.raises(GeneError) as caught:
        match_genes(table(names))
    for words in ("300 of the 5,300 genes", "BC_0001", "20 %", "Choose the column"):
        assert words in str(caught.value)


def test_fewer_than_200_genes_of_the_model_are_refused():
    with pytest.raises(GeneError, match="At least 200.*Open the full dataset"):
        match_genes(table(datasets.some_genes(150)))


def test_a_targeted_panel_is_taken_with_a_plain_warning():
    match = match_genes(table(datasets.some_genes(300)))
    assert match.report.n_measured == 300 and match.report.n_not_measured == 19264 - 300
    assert "panel" in " ".join(match.report.notices)


@pytest.mark.parametrize("names", [[str(i) for i in range(800)], [f"Unnamed: {i}" for i in range(800)]])
def test_unnamed_genes_are_refused(names):
    with pytest.raises(GeneError, match="no names"):
        match_genes(table(names))


def test_more_genes_than_the_model_has_are_no_problem(vocabulary):
    names = [*vocabulary.symbols, *(f"LNC{i}" for i in range(14_000))]
    match = match_genes(table(names))
    assert (match.target[:19264] == np.arange(19264)).all() and (match.target[19264:] == -1).all()
    assert match.report.n_unknown == 14_000 and match.report.model_coverage == 100


def test_a_model_may_have_genes_of_its_own(genes):
    match = match_genes(table([*genes[::-1], "other"]), genes)
    assert list(match.target) == [*range(63, -1, -1), -1]


def test_the_report_is_json():
    fields = json.loads(json.dumps(match_genes(table(padded("2-Sep", "x"))).report.as_dict()))
    assert fields["n_file"] == fields["n_matched"] + fields["n_alias"] + fields["n_ortholog"] + fields["n_unknown"]


def test_real_gene_lists_are_covered(shared):
    import h5py
    from anndata.io import read_elem

    least = {"corpus": 99.0, "evaluation": 50.0}  # % of the file's genes; evaluation files hold non-coding genes too
    for folder, share in least.items():
        files = sorted((shared / "data" / folder).glob("*.h5ad"))
        assert files
        for file in files:
            with h5py.File(file) as handle:
                report = match_genes(read_elem(handle["var"])).report
            assert 100 * (1 - report.n_unknown / report.n_file) >= share, file.name


def test_damaged_names_of_a_real_file_are_repaired(shared):
    import h5py
    from anndata.io import read_elem

    with h5py.File(shared / "data" / "panels" / "pdac_pancreas_1926.h5ad") as handle:
        report = match_genes(read_elem(handle["var"])).report
    assert dict(report.damaged)["14-Sep"] == "SEPTIN14"


# --- other names, other species ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        "GRCh38_",
        "GRCh38-",
        "GRCh38---",
        "GRCh38___",
        "GRCh38:",
        "hg19_",
        "hg19-",
        "hg38.",
        "HUMAN_",
        "human-",
        "Human:",
        "homo_sapiens_",
        "GRCh37_",
        "GRCh38.p13_",
        "hs_",
        "CHM13v2_",
        "gene-",
        "gene:",
    ],
)
def test_a_genome_before_the_name_does_not_matter_whatever_separates_them(prefix):
    names = padded("CD3E", "HLA-DRB1", "ENSG00000010610")
    assert (match_genes(table(prefix + n for n in names)).target == match_genes(table(names)).target).all()


@pytest.mark.parametrize("suffix", ["__chr7", "__chrX", "|7157", "__chrMT"])
def test_what_files_write_behind_a_name_does_not_matter(suffix):
    names = padded("CD3E", "HLA-DRB1")
    assert (match_genes(table(n + suffix for n in names)).target == match_genes(table(names)).target).all()


def test_no_symbol_of_the_model_looks_like_a_prefixed_one(vocabulary):
    assert (match_genes(table(vocabulary.symbols)).target == np.arange(19264)).all()


@pytest.mark.parametrize(
    ("damaged", "symbol"),
    [
        ("02. Sep", "SEPTIN2"),
        ("2. Sep", "SEPTIN2"),
        ("02.Sep", "SEPTIN2"),
        ("07. Mrz", "MARCHF7"),
        ("7. März", "MARCHF7"),
        ("07-mars", "MARCHF7"),
        ("02-sept", "SEPTIN2"),
        ("7-mrt", "MARCHF7"),
        ("Sep. 02", "SEPTIN2"),
        ("02. Sep. 19", "SEPTIN2"),
        ("2-Sep-19", "SEPTIN2"),
    ],
)
def test_symbols_that_a_spreadsheet_of_another_language_damaged_are_repaired(damaged, symbol):
    match = match_genes(table(padded(damaged)))
    assert match.genes[match.target[0]] == symbol and match.report.damaged == ((damaged, symbol),)


def rodent_symbols(vocabulary) -> list[str]:
    return [m for m in vocabulary.mouse_symbols if m and not MOUSE_MARK.match(m)][::20]


def test_rat_genes_are_not_called_mouse_genes(vocabulary):
    names = [*rodent_symbols(vocabulary), "RGD1305587", "RGD1311899", "RT1-Da", "AABR07000398.1", "Mt-co1"]
    with pytest.raises(GeneError, match="genes of the rat .*RGD1305587") as caught:
        match_genes(table(names))
    assert "human ortholog" in str(caught.value)


def test_symbols_of_mouse_and_rat_alike_are_said_to_be_either(vocabulary):
    report = match_genes(table(rodent_symbols(vocabulary))).report
    assert report.organism == "mouse or rat" and "mouse or rat" in report.notices[0]


def test_mouse_genes_are_known_by_names_that_only_the_mouse_has(vocabulary):
    names = [*rodent_symbols(vocabulary), "Gm12345", "1700001A01Rik", "mt-Nd1", "H2-Aa"]
    assert match_genes(table(names)).report.organism == "mouse"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (lambda i: f"ENSRNOG{i:011d}", "Ensembl IDs of the rat"),
        (lambda i: f"ENSDARG{i:011d}", "zebrafish"),
        (lambda i: f"ENSMMUG{i:011d}", "macaque"),
        (lambda i: f"FBgn{i:07d}", "fruit fly"),
        (lambda i: f"ENST{i:011d}.3", "transcripts"),
        (lambda i: f"NM_{i:06d}", "transcripts"),
        (lambda i: f"{(i * 7919) % 100000 + 11}", "Entrez"),
        (lambda i: f"{(i * 7919) % 100000 + 11}.0", "Entrez"),
    ],
)
def test_names_of_another_kind_are_called_what_they_are(name, what):
    with pytest.raises(GeneError, match=what):
        match_genes(table(name(i) for i in range(1, 900)))


def test_a_column_of_names_is_shown_where_the_rows_are_only_numbered():
    var = table([str(i) for i in range(800)], feature_name=[f"LOC{i}x" for i in range(800)])
    with pytest.raises(GeneError, match="column 'feature_name'.*LOC0x"):
        match_genes(var)


def test_names_of_both_sides_are_shown_when_neither_is_known():
    import anndata as ad
    import scipy.sparse as sp

    from scfviz.data.align import align_genes

    counts = datasets.make_counts(300, 80)
    var, obs = table(f"sample_{i}" for i in range(80)), table(f"BC_{i:04d}" for i in range(300))
    with pytest.raises(GeneError, match="sample_0.*names of the cells are BC_0000"):
        align_genes(ad.AnnData(sp.csr_matrix(counts), obs=obs, var=var))
