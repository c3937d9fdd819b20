"""Labels: cells move, every change is told and can be undone, and tables of labels meet cells by barcode."""

import json

import numpy as np
import pandas as pd
import pytest
from effort import sorts

from scfviz.analysis.labels.labels import MAX_CHANGES, read_annotation, save_annotation, start_annotation
from scfviz.analysis.labels.tables import import_labels, labels_to_csv
from scfviz.errors import DatasetError, OptionError, ScfvizError

N = 12
CELLS = pd.Index([f"AAAC{i}-1" for i in range(N)])
OBS = pd.DataFrame(
    {"cell_type": pd.Categorical(["B", "T", None] * 4, categories=["T", "B", "unused"]), "n": range(N)}, index=CELLS
)


def mask_of(*positions):
    mask = np.zeros(N, dtype=bool)
    mask[list(positions)] = True
    return mask


@pytest.fixture
def labelled():
    return start_annotation("mine", OBS, column="cell_type")


def texts(annotation):
    return annotation.column(CELLS).astype(object).where(lambda s: s.notna(), None).tolist()


def test_labels_start_empty_or_as_a_copy(labelled):
    assert start_annotation("mine", OBS).counts() == {}
    assert labelled.counts() == {"T": 4, "B": 4} and texts(labelled) == ["B", "T", None] * 4
    assert labelled.column(CELLS).cat.categories.tolist() == ["T", "B"]
    for name, column in (("", None), ("x", "nope"), ("x", "n")):
        with pytest.raises(OptionError):
            start_annotation(name, OBS, column=column)


def test_cells_move_between_labels_and_nothing_else_changes(labelled):
    moved = labelled.assign(mask_of(0, 1, 2), "NK", how="a lasso", author="Ada")
    assert texts(moved) == ["NK", "NK", "NK", *texts(labelled)[3:]]
    assert texts(labelled) == ["B", "T", None] * 4
    cleared = moved.assign(mask_of(1), None)
    assert cleared.counts() == {"B": 3, "T": 3, "NK": 2}
    said = cleared.history()
    assert [(c["action"], c["how"], c["author"], c["n_cells"]) for c in said] == [
        ("Move cells to 'NK'", "a lasso", "Ada", 3),
        ("Move cells to no label", "", "", 1),
    ]
    assert said[0]["at"].endswith("+00:00") and json.dumps(said)


def test_labels_merge_and_get_other_names(labelled):
    merged = labelled.merge(["B", "T"], "lymphocyte")
    assert merged.counts() == {"lymphocyte": 8}
    assert labelled.merge(["B", "T"], "T").counts() == {"T": 8}
    assert labelled.rename("B", "B cell").counts() == {"T": 4, "B cell": 4}
    for wrong in (
        lambda: labelled.rename("B", "T"),
        lambda: labelled.rename("nope", "x"),
        lambda: labelled.merge(["nope"], "x"),
    ):
        with pytest.raises(OptionError):
            wrong()
    # a name that was given up can be used again
    assert merged.rename("lymphocyte", "B").counts() == {"B": 8}


def test_a_change_that_changes_nothing_is_no_step(labelled):
    assert labelled.assign(mask_of(0), "B") is labelled
    assert labelled.assign(mask_of(), "new") is labelled


def test_every_change_can_be_undone_and_redone(labelled):
    steps = [labelled]
    steps.append(steps[-1].assign(mask_of(0, 5), "NK"))
    steps.append(steps[-1].merge(["NK", "T"], "TNK"))
    steps.append(steps[-1].assign(mask_of(*range(N)), None))
    steps.append(steps[-1].assign(mask_of(3), "B"))
    now = steps[-1]
    for before in reversed(steps[:-1]):
        now = now.undo()
        assert texts(now) == texts(before)
    assert now.undo() is now
    for after in steps[1:]:
        now = now.redo()
        assert texts(now) == texts(after) and now.history() == after.history()
    assert now.redo() is now
    assert now.undo().assign(mask_of(7), "new").redo().counts()["new"] == 1
    assert not now.undo().assign(mask_of(7), "new").undone


def test_the_history_is_bounded(labelled):
    for i in range(MAX_CHANGES + 20):
        labelled = labelled.assign(mask_of(0), "A" if i % 2 else "Z")
    assert len(labelled.changes) == MAX_CHANGES


@pytest.mark.parametrize("label", ["", "   ", "x" * 500, "a\nb", "a\x00"])
def test_labels_are_checked(labelled, label):
    with pytest.raises(OptionError):
        labelled.assign(mask_of(0), label)


def test_a_mask_of_another_dataset_is_refused(labelled):
    for mask in (np.ones(3, dtype=bool), np.arange(N)):
        with pytest.raises(OptionError):
            labelled.assign(mask, "x")


def test_labels_survive_saving_with_their_whole_history(labelled, tmp_path):
    path = tmp_path / "labels.npz"
    annotation = (
        labelled.assign(mask_of(1, 2), 'Ünïcode "x", <b>{}</b>', how="h", author="a").assign(mask_of(4), None).undo()
    )
    save_annotation(annotation, path)
    again = read_annotation(path)
    assert texts(again) == texts(annotation) and again.history() == annotation.history() and again.name == "mine"
    assert texts(again.redo()) == texts(annotation.redo()) and texts(again.undo()) == texts(labelled)
    assert [p.name for p in tmp_path.iterdir()] == ["labels.npz"]


def test_damaged_saved_labels_are_refused(labelled, tmp_path):
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    save_annotation(labelled.assign(mask_of(0), "x"), good)
    content = dict(np.load(good))
    damages = [
        {"codes": np.full(N, 99, dtype=np.int32)},
        {"codes": np.zeros((2, 2), dtype=np.int32)},
        {"gaps_0": np.array([500], dtype=np.int32)},
        {"gaps_0": np.array([-5], dtype=np.int32)},
        {"after_0": np.array([77], dtype=np.int32)},
        {"before_0": np.zeros(5, dtype=np.int32)},
        {"about": np.frombuffer(b"{}", dtype=np.uint8)},
        {"about": np.frombuffer(b"\xff", dtype=np.uint8)},
        {"codes": np.array([object()] * N, dtype=object)},
    ]
    for damage in damages:
        np.savez(bad, **(content | damage))
        with pytest.raises(DatasetError):
            read_annotation(bad)
    bad.write_bytes(good.read_bytes()[:100])
    for path in (bad, tmp_path / "nothing.npz"):
        with pytest.raises(DatasetError):
            read_annotation(path)


def test_labels_go_out_and_come_back(labelled):
    annotation = (
        labelled.assign(mask_of(0), 'with "quotes", commas').assign(mask_of(1), "=SUM(A1)").assign(mask_of(2), "-x")
    )
    text = labels_to_csv(annotation, CELLS)
    assert "\n" + CELLS[1] + ",'=SUM(A1)\n" in text
    back, report = import_labels(start_annotation("again", OBS), CELLS, text.encode())
    assert texts(back) == texts(annotation)
    assert (report.n_matched, report.n_unmatched_cells, report.n_unmatched_rows) == (N, 0, 0)
    assert report.n_changed == N - texts(annotation).count(None)
    assert back.history()[0]["action"] == "Import labels"
    assert texts(back.undo()) == [None] * N


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_an_import_reports_what_met_and_what_did_not(labelled, separator):
    rows = [
        ["cell", "score", "type"],
        [CELLS[3], "1", "NK"],
        ["UNKNOWN-1", "2", "NK"],
        [CELLS[4], "3", ""],
        [CELLS[1], "1", "T"],
    ]
    content = "\r\n".join(separator.join(row) for row in rows).encode("utf-8-sig")
    back, report = import_labels(labelled, CELLS, content, column="type", file="labels.csv", author="Ada")
    expected = ["B", "T", None] * 4
    expected[3], expected[4] = "NK", None
    assert texts(back) == expected
    assert (report.n_matched, report.n_unmatched_cells, report.n_unmatched_rows, report.n_changed) == (3, N - 3, 1, 2)
    assert report.examples == ("UNKNOWN-1",) and "UNKNOWN-1" in report.describe()
    assert back.history()[0]["how"] == "labels.csv, column type"


def test_barcodes_without_their_ending_are_matched_and_reported(labelled):
    content = b"barcode,label\nAAAC0,NK\nAAAC1,NK\n"
    back, report = import_labels(labelled, CELLS, content)
    assert back.counts()["NK"] == 2 and "without their endings" in report.note
    # two lanes share the barcode: nothing is guessed
    lanes = pd.Index([f"AAAC{i // 2}-{i % 2 + 1}" for i in range(N)])
    with pytest.raises(DatasetError, match="None of the 2 barcodes"):
        import_labels(labelled, lanes, content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"barcode\nAAAC0-1\n",
        b"barcode,label\n",
        b"barcode,label\nAAAC0-1\n",
        b"barcode,label\nAAAC0-1,a\nAAAC0-1,b\n",
        b"barcode,label\nXXX,a\n",
        b"\x89PNG\xff\xfe",
        b"barcode,label\nAAAC0-1," + b"x" * 500 + b"\n",
        b'barcode,label\nAAAC0-1,"' + b"x" * 200_000 + b'"\n',
        b"barcode,label\nAAAC0-1,a\x00b\n",
    ],
)
def test_tables_that_are_none_are_refused(labelled, content):
    with pytest.raises(ScfvizError):
        import_labels(labelled, CELLS, content)


def test_a_column_that_is_not_there_is_refused(labelled):
    with pytest.raises(OptionError, match="type"):
        import_labels(labelled, CELLS, b"barcode,label\nAAAC0-1,a\n", column="type")


def test_many_cells_are_labelled_and_exported_quickly():
    n = 100_000
    cells = pd.Index([f"CELL{i}" for i in range(n)])

    def there_and_back():
        annotation = start_annotation("a", pd.DataFrame(index=cells)).assign(np.arange(n) % 2 == 0, "even")
        text = labels_to_csv(annotation, cells).encode()
        back, report = import_labels(start_annotation("b", pd.DataFrame(index=cells)), cells, text)
        assert report.n_matched == n and back.counts() == {"even": n // 2}

    assert sorts(there_and_back) < 10


def test_a_label_keeps_its_colour_whatever_happens_to_others(tmp_path):
    colors = {"T": "#111111", "B": "#222222"}
    labelled = start_annotation("mine", OBS, column="cell_type", colors=colors).paint(["#aaaaaa", "#bbbbbb"])
    assert labelled.colors == colors
    renamed = labelled.rename("B", "B cell").assign(mask_of(1), "NK").paint(["#111111", "#aaaaaa", "#bbbbbb"])
    assert renamed.colors == {**colors, "B cell": "#222222", "NK": "#aaaaaa"}
    path = tmp_path / "labels.npz"
    save_annotation(renamed, path)
    assert read_annotation(path).colors == renamed.colors
    # more labels than colours: the palette begins again
    many = start_annotation("many", OBS)
    for i in range(3):
        many = many.assign(mask_of(i), f"label {i}")
    assert set(many.paint(["#aaaaaa", "#bbbbbb"]).colors.values()) == {"#aaaaaa", "#bbbbbb"}
