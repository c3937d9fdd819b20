"""Numbers of the official program, and the safe import of its weights."""

import pickle

import numpy as np
import official
import pytest
import torch
from scipy.sparse import csr_matrix

from scfviz.errors import CheckpointError, OptionError
from scfviz.model.checkpoint import checkpoint_info, load_checkpoint
from scfviz.model.official import LICENCE, NAMES, import_official
from scfviz.model.scfoundation import pool_cells
from scfviz.model.tokens import PreparedCells, prepare_cells, prepare_official_input, tokenise

CELLS = csr_matrix(official.cells().astype(np.float32))
BULK = csr_matrix(official.bulk())
TARGETS = {"t4": {"target_depth": 1e4}, "f1": {}, "f2.5": {"depth_fold": 2.5}, "a5": {"depth_fold": 1e5}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    out = tmp_path_factory.mktemp("official")
    torch.save(official.official_file(), out / "models.ckpt")
    return {folder.name: folder for folder in import_official(out / "models.ckpt", out / "imported")}


@pytest.fixture(scope="module")
def models(folders):
    return {name: load_checkpoint(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def recorded():
    return official.recorded()


def embed(model, cells: PreparedCells, pooling: str = "all") -> np.ndarray:
    tokens = tokenise(cells, model.config)
    with torch.no_grad():
        return pool_cells(model.encode(tokens), tokens, pooling).numpy()


def rows(cells: PreparedCells, order) -> PreparedCells:
    return PreparedCells(cells.values[order], cells.target_token[order], cells.source_token[order])


def settings():
    for key, name in (("ce", "cell"), ("rde", "rde")):
        for target, options in TARGETS.items():
            yield f"cell_{key}_{target}_all", name, "all", prepare_cells(CELLS, **options)
    yield "cell_ce_t4_max", "cell", "max", prepare_cells(CELLS, target_depth=1e4)
    logged = prepare_cells(CELLS).values
    lognorm = prepare_official_input(logged, "official log-normalised cells", target_depth=1e4)
    yield "cell_ce_t4_all_lognorm", "cell", "all", lognorm
    yield "bulk_ce_F_all", "cell", "all", prepare_official_input(BULK, "official bulk, normalised")
    as_given = prepare_official_input(BULK, "official bulk, as given")
    yield "bulk_ce_T_all", "cell", "all", as_given
    yield "bulk_ce_T_max", "cell", "max", as_given


@pytest.mark.parametrize("key, name, pooling, cells", list(settings()), ids=lambda x: x if isinstance(x, str) else "")
def test_cell_embeddings_equal_the_official_ones(models, recorded, key, name, pooling, cells):
    np.testing.assert_allclose(embed(models[name], cells, pooling), recorded[key], atol=1e-5, rtol=0)
    order = np.random.default_rng(0).permutation(cells.values.shape[0])
    shuffled = embed(models[name], rows(cells, order), pooling)
    np.testing.assert_allclose(shuffled, recorded[key][order], atol=1e-5, rtol=0)
    alone = np.concatenate([embed(models[name], rows(cells, [i]), pooling) for i in order])
    np.testing.assert_allclose(alone, recorded[key][order], atol=1e-5, rtol=0)


@torch.no_grad()
def test_gene_embeddings_equal_the_official_ones_in_any_batch(models, recorded):
    model, ids = models["gene"], recorded["gene_ids"]
    for batch in ([0, 1, 2], [2, 0], [1]):
        tokens = tokenise(prepare_cells(CELLS[batch]), model.config)
        context = model.decode(model.encode(tokens), tokens)[:, ids].numpy()
        np.testing.assert_allclose(context, recorded["gene_f1"][batch], atol=1e-5, rtol=0)


@torch.no_grad()
def test_official_batch_stabiliser_reproduces_gene_batch(models, recorded):
    model = models["gene"]
    tokens = tokenise(prepare_cells(CELLS[:2]), model.config)
    context = model.decode(model.encode(tokens), tokens, official_batch=True)
    actual = context[:, recorded["gene_ids"]].numpy()
    np.testing.assert_allclose(actual, recorded["gene_batch_f1_A"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_predicted_expression_equals_the_official_one(models, recorded):
    model = models["gene"]
    for batch in ([0, 1, 2], [2, 1], [0]):
        tokens = tokenise(prepare_cells(CELLS[batch], target_depth=1e4), model.config)
        predicted = model(tokens)[:, recorded["gene_ids"]].numpy()
        np.testing.assert_allclose(predicted, recorded["gene_expression_t4"][batch], atol=1e-5, rtol=0)


def test_every_recorded_setting_is_compared(recorded):
    keys = {key for key, *_ in settings()} | {"gene_f1", "gene_batch_f1_A", "gene_expression_t4", "gene_ids"}
    assert set(recorded) == keys


def test_recipe_equals_the_shared_one(shared):
    import json
    import runpy

    recipe = runpy.run_path(str(shared / "reference" / "tiny_reference.py"))
    shapes = json.loads((shared / "reference" / "parameter_shapes.json").read_text())
    for seed in official.SEEDS.values():
        theirs, ours = recipe["tiny_state_dict"](shapes, seed), official.state_dict(seed)
        assert theirs.keys() == ours.keys()
        assert all(np.array_equal(theirs[name], ours[name].numpy()) for name in ours)
    assert np.array_equal(recipe["tiny_cells"](), official.cells())
    assert np.array_equal(recipe["tiny_bulk"](), official.bulk())


def test_official_quirks_need_a_known_name_and_leave_bulk_targets_out():
    with pytest.raises(OptionError, match="Unknown input kind 'F'"):
        prepare_official_input(BULK, "F")
    with pytest.raises(OptionError, match="bulk"):
        prepare_official_input(BULK, "official bulk, as given", target_depth=1e4)


def test_import_carries_the_licence_and_names_the_model(folders):
    for name, folder in folders.items():
        info = checkpoint_info(folder)
        assert info.licence == LICENCE and LICENCE in info.readme and name in info.name
        assert info.is_trained and info.n_parameters == 649699


def test_every_official_name_is_in_the_table_once():
    used = {official_name for official_name in NAMES}
    generic = {name if name in used else _generic(name) for name in official.shapes()}
    assert generic == used
    targets = [name for name in NAMES.values() if name]
    assert len(targets) == len(set(targets))


def _generic(name: str) -> str:
    import re

    return re.sub(r"(?<=\.)\d+(?=\.)", "{i}", name, count=1)


def _write(tmp_path, content):
    torch.save(content, tmp_path / "models.ckpt")
    return tmp_path / "models.ckpt"


def test_leftover_names_on_either_side_are_listed(tmp_path):
    content = official.official_file()
    state = content["rde"]["state_dict"]
    state["module.model.extra.weight"] = state.pop("module.model.norm.bias")
    with pytest.raises(CheckpointError, match=r"'rde'.*unknown names extra\.weight; missing norm\.bias"):
        import_official(_write(tmp_path, content), tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing is written when one model of the file is wrong"


def test_wrong_shapes_are_listed(tmp_path):
    content = official.official_file()
    content["cell"]["state_dict"]["module.model.norm.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"norm\.bias is \(3,\), not \(16,\)"):
        import_official(_write(tmp_path, content), tmp_path / "out")


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (self.target, "w"))


def test_a_file_with_code_is_refused_and_runs_nothing(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"cell": Hostile(str(trap))}, tmp_path / "new.ckpt")
    torch.save({"cell": Hostile(str(trap))}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Hostile(str(trap))))
    for name, reason in (
        ("new", "open' on loading"),
        ("old", "open' on loading"),
        ("plain", "no file of PyTorch weights"),
    ):
        with pytest.raises(CheckpointError, match=f"{reason}.*nothing in a file is ever executed"):
            import_official(tmp_path / f"{name}.ckpt", tmp_path / "out")
    assert not trap.exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ({"weights": 1}, "holds 'weights'"),
        ([1, 2], "holds a list"),
        ({"cell": {"state_dict": {}}}, "configuration lacks"),
        ({"cell": 3}, "configuration lacks"),
    ],
)
def test_other_layouts_are_refused_with_what_was_found(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        import_official(_write(tmp_path, content), tmp_path / "out")


def test_missing_truncated_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        import_official(tmp_path / "none.ckpt", tmp_path / "out")
    whole = _write(tmp_path, {"cell": torch.zeros(1000)}).read_bytes()
    for name, content in (("empty", b""), ("cut", whole[: len(whole) // 2]), ("text", b"hello, world\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            import_official(tmp_path / name, tmp_path / "out")


def test_existing_folders_are_not_overwritten(folders, tmp_path):
    (tmp_path / "out" / "cell").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="already exists"):
        import_official(_write(tmp_path, official.official_file()), tmp_path / "out")
    assert not any((tmp_path / "out" / "cell").iterdir())
