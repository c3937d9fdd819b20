"""Gene sets: the asset is what it says, bad files are refused, scores and enrichments are the references' numbers."""

import gzip
import hashlib
import os

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from datasets import make_adata, some_genes

from scfviz.analysis import expression as ex
from scfviz.analysis import gene_sets as gs
from scfviz.analysis.enrichment import enrich_list, enrich_ranking
from scfviz.analysis.gene_sets import GeneSet, load_gene_ontology, read_gmt, score_set
from scfviz.data.align import align_genes
from scfviz.data.normalise import log_normalise
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import DatasetError, GeneError, OptionError, ScfvizError


@pytest.fixture(scope="module")
def counts():
    return align_genes(make_adata(150, seed=1))


@pytest.fixture(scope="module")
def ontology():
    return load_gene_ontology()


def test_the_ontology_holds_known_biology(ontology):
    by_id = {one.description: one for one in ontology}
    assert len(ontology) == len(by_id) == 9373
    activation = by_id["GO:0042110"]
    assert activation.name == "T cell activation" and {"CD3E", "CD28", "LCK"} <= set(activation.genes)
    # a gene of a term is one of the broader term
    assert set(by_id["GO:0050852"].genes) <= set(by_id["GO:0050851"].genes)
    assert "MS4A1" in by_id["GO:0042113"].genes
    sizes = np.array([len(one.genes) for one in ontology])
    assert sizes.min() >= 5 and sizes.max() <= 2000


def test_the_ontology_speaks_the_models_symbols(ontology):
    vocabulary = load_vocabulary()
    genes = set().union(*(one.genes for one in ontology))
    # the others are small RNAs and segments of immunoglobulins and T cell receptors
    assert sum(gene in vocabulary.by_symbol for gene in genes) / len(genes) > 0.9
    assert not [gene for gene in genes if vocabulary.lookup(gene) not in (None, gene)]


def test_the_ontology_file_is_the_one_that_is_listed():
    listed = dict(line.split("\t") for line in (gs.ASSETS / "checksums.tsv").read_text().splitlines())
    actual = hashlib.sha256((gs.ASSETS / "gene_sets" / "go_bp.gmt.gz").read_bytes()).hexdigest()
    assert listed["gene_sets/go_bp.gmt.gz"] == actual


@pytest.mark.parametrize("packed", [False, True])
def test_gmt_files_are_read(tmp_path, packed):
    text = "one\thttps://example.org/1\tCD3E\tTP53\tP53\n\ntwo sets\t\tENSG00000198851\tNOVEL1\t\n"
    path = tmp_path / "sets.gmt"
    path.write_bytes(gzip.compress(text.encode()) if packed else b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    # P53 is TP53, and the Ensembl ID is CD3E
    assert read_gmt(path) == (
        GeneSet("one", "https://example.org/1", ("CD3E", "TP53")),
        GeneSet("two sets", "", ("CD3E", "NOVEL1")),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "no gene sets"),
        (b"one\tdescription\n", "Line 1"),
        (b"fine\td\tCD3E\nonly a name\n", "Line 2"),
        (b"fine\td\tCD3E\nfine\td\tCD4\n", "repeats"),
        (b"\td\tCD3E\n", "Line 1"),
        (b"one\td\t\t\t\n", "Line 1"),
        (b"one\td\tCD3E, CD4\n", "cannot be a gene"),
        (b"one\td\t<script>\n", "cannot be a gene"),
        (b"one\td\t=HYPERLINK(1)\n", "cannot be a gene"),
        (b"one\td\t../../etc/passwd\n", "cannot be a gene"),
        (b"x" * 1000 + b"\td\tCD3E\n", "overlong"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "no plain text"),
        (b"one\td\tCD3\xff\n", "no plain text"),
        (b"PK\x03\x04\x00", "no plain text"),
        (b"one\td\t1017\t7157\n", "None of the names"),
        (b"one\td\tCdk2zz\tTrp53zz\n", "None of the names"),
        (gzip.compress(b"one\td\tCD3E\n" * 100, mtime=0)[:-20], "unpacked"),
        (b"\x1f\x8b" + b"junk" * 20, "unpacked"),
        (b"a,b,CD3E\n", "Line 1"),
    ],
)
def test_files_that_are_no_gene_sets_are_refused(tmp_path, content, words):
    path = tmp_path / "sets.gmt"
    path.write_bytes(content)
    with pytest.raises((DatasetError, GeneError)) as caught:
        read_gmt(path)
    assert words in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nothing.gmt", tmp_path):
        with pytest.raises(DatasetError):
            read_gmt(path)


def test_a_small_file_that_unpacks_to_gigabytes_is_stopped_early(tmp_path, monkeypatch):
    monkeypatch.setattr(gs, "MAX_CHARACTERS", 5_000_000)
    one_line, many = tmp_path / "line.gmt", tmp_path / "many.gmt"
    one_line.write_bytes(gzip.compress(b"a" * 10_000_000))
    many.write_bytes(gzip.compress("".join(f"s{i}\td\t{'CD3E' + chr(9) * 100}\n" for i in range(60_000)).encode()))
    assert one_line.stat().st_size < 50_000
    for path in (one_line, many):
        with pytest.raises(ScfvizError):
            read_gmt(path)


@pytest.mark.parametrize("n_genes", [1, 12, 60])
def test_the_score_is_scanpys(counts, n_genes, monkeypatch):
    monkeypatch.setattr(ex, "ENTRIES_PER_CHUNK", 1_000)
    measured = counts.is_measured
    matrix = log_normalise(counts.rows(0, counts.n_obs))[:, measured].astype(np.float64)
    adata = ad.AnnData(matrix, obs=counts.obs.copy(), var=pd.DataFrame(index=counts.genes[measured].astype(str)))
    chosen = some_genes()[3 : 3 + n_genes]
    sc.tl.score_genes(adata, chosen, score_name="score", random_state=7)
    found = score_set(ex.AlignedExpression(counts), [*chosen, "NOT_A_GENE"], seed=7)
    np.testing.assert_allclose(found.values, adata.obs["score"], atol=1e-6)
    assert set(found.genes) == set(chosen) and found.left_out == ("NOT_A_GENE",)


def test_a_set_without_a_measured_gene_cannot_be_scored(counts):
    with pytest.raises(GeneError):
        score_set(ex.AlignedExpression(counts), [str(counts.genes[~counts.is_measured][0])])


def test_over_representation_is_fishers_exact_test():
    from scipy.stats import false_discovery_control, fisher_exact

    background = [f"G{i}" for i in range(300)]
    rng = np.random.default_rng(0)
    sets = [
        GeneSet(f"s{i}", f"id{i}", tuple(rng.choice(background, rng.integers(5, 60), replace=False))) for i in range(40)
    ]
    chosen = list(rng.choice(background, 40, replace=False))
    table = enrich_list([*chosen, "OUTSIDE"], sets, background)
    assert len(table) == 40 and table["pvals"].is_monotonic_increasing
    for row in table.itertuples():
        members, hits = set(next(s.genes for s in sets if s.name == row.name)), set(row.genes.split(", ")) - {""}
        assert hits == members & set(chosen) and row.n_overlap == len(hits)
        a, b, c = len(hits), len(members) - len(hits), 40 - len(hits)
        assert row.pvals == pytest.approx(fisher_exact([[a, b], [c, 300 - a - b - c]], "greater").pvalue, rel=1e-9)
        assert row.fold == pytest.approx(a / (len(members) * 40 / 300))
    np.testing.assert_allclose(table["pvals_adj"], false_discovery_control(table["pvals"]))


def test_sets_are_cut_down_to_the_background():
    sets = [
        GeneSet("half", "", tuple(f"G{i}" for i in range(20))),
        GeneSet("outside", "", tuple(f"X{i}" for i in range(20))),
    ]
    table = enrich_list(["G1"], sets, [f"G{i}" for i in range(10, 100)] + ["G1"])
    assert table["name"].tolist() == ["half"] and table["n_set"].tolist() == [11]
    with pytest.raises(GeneError):
        enrich_list(["X1"], sets, ["G1", "G2"])
    with pytest.raises(OptionError):
        enrich_list(["G1"], sets, ["G1", "G2"])


def test_lists_find_their_own_process(ontology):
    genes = load_vocabulary().symbols
    target = next(one for one in ontology if one.description == "GO:0042110")
    rng = np.random.default_rng(0)
    chosen = [*rng.choice(target.genes, 60, replace=False), *rng.choice(genes, 40, replace=False)]
    # the term is wider than 500 genes: it is only there when asked for
    table = enrich_list(chosen, ontology, genes, largest=1000)
    assert "GO:0042110" in table["description"][:10].tolist()
    assert table["pvals_adj"][0] < 1e-10
    assert "GO:0042110" not in enrich_list(chosen, ontology, genes)["description"].tolist()
    random = enrich_list(list(rng.choice(genes, 100, replace=False)), ontology, genes)
    assert (random["pvals_adj"] < 0.05).sum() <= 3


def test_rankings_find_sets_at_both_ends():
    rng = np.random.default_rng(0)
    names = [f"G{i}" for i in range(500)]
    scores = rng.normal(size=500)
    scores[:25] += 2
    scores[25:50] -= 2
    sets = [GeneSet("up", "u", tuple(names[:25])), GeneSet("down", "d", tuple(names[25:50]))]
    sets += [GeneSet(f"random{i}", "", tuple(rng.choice(names[50:], 25, replace=False))) for i in range(15)]
    table = enrich_ranking([*names, "G0", "BROKEN"], [*scores, 9.0, np.nan], sets, n_permutations=200)
    assert (table["name"].iloc[0], table["name"].iloc[-1]) == ("up", "down")
    by_name = table.set_index("name")
    assert by_name.loc["up", "nes"] > 1.5 and by_name.loc["down", "nes"] < -1.5
    assert (by_name.loc[["up", "down"], "fdr"] < 0.05).all() and by_name.loc["up", "description"] == "u"
    assert set(by_name.loc["up", "genes"].split(", ")) <= set(names[:25])
    assert (by_name["n_set"] == 25).all()
    pd.testing.assert_frame_equal(
        table, enrich_ranking([*names, "G0", "BROKEN"], [*scores, 9.0, np.nan], sets, n_permutations=200)
    )


def test_a_ranking_needs_different_scores_and_a_fitting_set():
    sets = [GeneSet("a", "", ("G1", "G2"))]
    with pytest.raises(OptionError):
        enrich_ranking(["G1", "G2"], [1.0, 1.0], sets, smallest=1)
    with pytest.raises(OptionError):
        enrich_ranking(["G1", "G2"], [1.0, 2.0], sets, smallest=3)


def test_nothing_is_written_where_the_enrichment_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"G{i}" for i in range(100)]
    enrich_ranking(names, np.arange(100.0), [GeneSet("a", "", tuple(names[:20]))], n_permutations=20)
    assert os.listdir(tmp_path) == []
