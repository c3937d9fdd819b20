"""The ways in which inference computes the layers give what the trained modules give."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from scfviz.model import packed_linear, prepared_decoder
from scfviz.model.attention import SHORT_CELL, attend_packed
from scfviz.model.packed_linear import PackedLinear
from scfviz.model.prepared import PreparedModel, attend, choose_precision
from scfviz.model.tokens import prepare_cells, tokenise

CPU = torch.device("cpu")


@pytest.fixture
def counts():
    rng = np.random.default_rng(1)
    return csr_matrix(rng.poisson(0.5, size=(5, 64)).astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_packed", [True, False])
def test_packed_products_equal_plain_ones(monkeypatch, dtype, is_packed):
    if is_packed and not packed_linear.can_pack(dtype):
        pytest.skip("this processor has no packed products")
    monkeypatch.setattr(packed_linear, "can_pack", lambda _dtype: is_packed)
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 40) / 6, torch.randn(24)
    linear = PackedLinear(weight, bias, CPU, dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for n in (1, 7, 1500):  # whatever number of rows the weights were laid out for
        x, stream = torch.randn(n, 40).to(dtype), torch.randn(n, 24).to(dtype)
        kept = stream.clone()
        y = F.linear(x.float(), weight.to(dtype).float(), bias.to(dtype).float())
        for found, expected in (
            (linear(x), y),
            (linear(x, "relu"), F.relu(y)),
            (linear(x, "gelu"), F.gelu(y)),
            (linear.add_to(stream, x), y + stream.float()),
        ):
            torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0.02 if tolerance > 1e-3 else 0)
        assert torch.equal(stream, kept)


@pytest.mark.parametrize("length", [3, 255, 256, 700, 5000])  # the last in groups of heads
def test_bf16_attention_is_close_to_exact_attention(length):
    """Also where keys share a large common part, which bf16 scores would otherwise drown in."""
    torch.manual_seed(0)
    qkv = torch.randn(length + 2, 3, 4, 16)
    qkv[:, 1] += 8.0
    lengths = (length, 2)
    exact = attend_packed(*qkv.to(torch.bfloat16).float().unbind(1), lengths)
    found = attend(qkv.to(torch.bfloat16), lengths).float()
    assert (found - exact).norm() < 0.03 * exact.norm()


def test_packed_attention_has_the_gradient_of_a_stock_layer():
    torch.manual_seed(0)
    q, k, v = (torch.randn(9, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda *qkv: attend_packed(*qkv, (4, 5)), (q, k, v))


@pytest.mark.parametrize("lengths", [(5, 300, 40), (SHORT_CELL + 1, 7)])
def test_training_in_bf16_attends_as_in_fp32(lengths):
    """Forth and back, where scores are kept and where the fused kernel takes over; keys share a large part."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, sum(lengths), 4, 16)
    rounded = torch.stack([q, k + 3 * torch.randn(4, 16), v]).to(torch.bfloat16)
    wanted = torch.randn(sum(lengths), 4, 16)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        inputs = rounded.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            attended = attend_packed(*inputs, lengths)
        assert attended.dtype == dtype
        (attended.float() * wanted).sum().backward()
        found.append((attended.float(), *inputs.grad.float()))
    for exact, close in zip(*found, strict=True):
        assert (close - exact).norm() < 0.02 * exact.norm()


@torch.inference_mode()
@pytest.mark.parametrize("rows_per_block", [7, 1000])
def test_prepared_model_equals_the_modules(monkeypatch, small_model, counts, rows_per_block):
    monkeypatch.setattr(prepared_decoder, "_ROWS_PER_BLOCK", rows_per_block)
    prepared = PreparedModel(small_model, CPU, "fp32")
    tokens = tokenise(prepare_cells(counts), small_model.config)
    hidden = small_model.encode(tokens)
    torch.testing.assert_close(prepared.encode(tokens), hidden, atol=1e-5, rtol=0)
    expected = small_model.decode(hidden, tokens)
    parts = zip(hidden.split(tokens.lengths), tokens.ids_N.split(tokens.lengths), strict=True)
    for part, values, exact in zip(parts, expected, small_model(tokens), strict=True):
        found = prepared.decode(*part)
        torch.testing.assert_close(found, values, atol=1e-5, rtol=0)
        torch.testing.assert_close(prepared.to_expression(found, part[0]), exact, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.skipif(not packed_linear.can_pack(torch.float32), reason="this processor has no packed products")
def test_a_cell_has_the_same_bits_in_any_batch(small_model):
    counts = csr_matrix(np.random.default_rng(2).poisson(0.7, size=(40, 64)).astype(np.float32))
    prepared = PreparedModel(small_model, CPU, "fp32")
    tokens = tokenise(prepare_cells(counts), small_model.config)
    whole = prepared.encode(tokens).split(tokens.lengths)
    for first, last in ((0, 40), (3, 4), (7, 30), (39, 40)):
        part = tokenise(prepare_cells(counts[first:last]), small_model.config)
        assert torch.equal(prepared.encode(part), torch.cat(whole[first:last])), (first, last)


@torch.inference_mode()
def test_first_decoder_layer_is_right_when_a_seen_gene_dominated_the_unseen_ones(small_model, counts):
    """Its precomputed sums are corrected by subtraction, which must not lose what remains."""
    cell = counts[0].indices
    small_model.gene_embedding.weight[cell[0]] *= 30.0
    small_model.decoder[0].k.weight[:] *= 6.0
    tokens = tokenise(prepare_cells(counts[0]), small_model.config)
    hidden = small_model.encode(tokens)
    prepared = PreparedModel(small_model, CPU, "fp32")
    decoder = prepared._decoder
    unseen = np.setdiff1d(np.arange(64), cell)
    excess = decoder._unseen_sums.top - decoder._unseen_top_R[torch.from_numpy(unseen)].max()
    assert excess > prepared_decoder._MOST_RESCALING, "the case that this test is about"
    expected = small_model.decode(hidden, tokens)[0]
    torch.testing.assert_close(prepared.decode(hidden, tokens.ids_N), expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_cell_that_expresses_every_gene_is_decoded(small_model):
    tokens = tokenise(prepare_cells(csr_matrix(np.arange(1.0, 65.0)[None])), small_model.config)
    hidden = small_model.encode(tokens)
    found = PreparedModel(small_model, CPU, "fp32").decode(hidden, tokens.ids_N)
    torch.testing.assert_close(found, small_model.decode(hidden, tokens)[0], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_sample_of_keys_stands_for_all_of_them(small_model, counts):
    """Every row is counted once; with all genes drawn nothing changes, with half of them a little."""
    prepared = PreparedModel(small_model, CPU, "fp32")
    tokens = tokenise(prepare_cells(counts[:1]), small_model.config)
    hidden, wanted = prepared.encode(tokens), torch.tensor([5, 2, 40])
    exact = prepared.decode(hidden, tokens.ids_N, wanted)
    torch.testing.assert_close(exact, prepared.decode(hidden, tokens.ids_N)[wanted])
    errors = []
    for n_drawn in (64, 40, 20):
        sample = prepared_decoder.KeySample(64, wanted, n_drawn)
        rows, weights = sample.rows(tokens.ids_N)
        assert weights.sum() == pytest.approx(66)
        assert {*wanted.tolist(), *tokens.ids_N.tolist()} <= {*rows.tolist()}
        found = prepared.decode(hidden, tokens.ids_N, wanted, sample)
        errors.append(float((found - exact).norm() / exact.norm()))
    assert errors[0] < 1e-5 < errors[1] < 0.1 and errors[2] < 0.1, errors


def test_preparing_leaves_the_model_as_it_was(small_model, counts):
    before = {name: tensor.clone() for name, tensor in small_model.state_dict().items()}
    prepared = PreparedModel(small_model, CPU, "bf16")
    with torch.inference_mode():
        tokens = tokenise(prepare_cells(counts), small_model.config)
        prepared.decode(prepared.encode(tokens)[: tokens.lengths[0]], tokens.ids_N[: tokens.lengths[0]])
    for name, tensor in small_model.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype
    assert all(parameter.requires_grad for parameter in small_model.parameters())


@pytest.mark.parametrize(("has_bf16", "has_amx", "chosen"), [(0, 0, "fp32"), (1, 0, "bf16"), (0, 1, "bf16")])
def test_automatic_precision_is_bf16_where_the_processor_has_it(monkeypatch, has_bf16, has_amx, chosen):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(has_bf16))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(has_amx))
    assert choose_precision("auto", CPU) == chosen
    assert choose_precision("fp32", CPU) == "fp32"
