"""The model: tokens, packed attention and decoder hold what they promise."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from scfviz.errors import DatasetError, OptionError
from scfviz.model.attention import kernel_attention
from scfviz.model.scfoundation import pool_cells
from scfviz.model.tokens import prepare_cells, tokenise


@pytest.fixture
def counts():
    rng = np.random.default_rng(1)
    return csr_matrix(rng.poisson(0.5, size=(7, 64)).astype(np.float32))


def test_tokens_are_expressed_genes_in_order_then_target_then_source(counts, small_model):
    tokens = tokenise(prepare_cells(counts, depth_fold=10), small_model.config)
    start = 0
    for row, length in zip(counts.toarray(), tokens.lengths, strict=True):
        ids, values = tokens.ids_N[start : start + length], tokens.values_N[start : start + length]
        expressed = np.flatnonzero(row)
        assert ids.tolist() == [*expressed, 64, 65]
        np.testing.assert_allclose(values[:-2], np.log1p(1e4 * row[expressed] / row.sum()), rtol=1e-6)
        np.testing.assert_allclose(values[-2:], [np.log10(10 * row.sum()), np.log10(row.sum())], rtol=1e-6)
        start += length


def test_a_cell_with_one_count_keeps_its_depth_token(small_model):
    """The official program drops a depth token of log10(1) = 0."""
    tokens = tokenise(prepare_cells(csr_matrix(([1.0], ([0], [5])), shape=(1, 64))), small_model.config)
    assert tokens.ids_N.tolist() == [5, 64, 65] and tokens.values_N[1:].tolist() == [0.0, 0.0]
    with torch.no_grad():
        assert torch.isfinite(small_model(tokens)).all()


def test_a_cell_without_counts_is_refused_by_name(counts):
    empty = counts.tolil()
    empty[3] = 0
    with pytest.raises(DatasetError, match="Cell AAC-3 has no counts"):
        prepare_cells(empty.tocsr(), names=np.array([f"AAC-{i}" for i in range(7)]))


@pytest.mark.parametrize(
    "options",
    [{"target_depth": 0}, {"target_depth": -5}, {"depth_fold": float("nan")}, {"target_depth": 1e4, "depth_fold": 5}],
)
def test_depths_that_mean_nothing_are_refused(counts, options):
    with pytest.raises(OptionError):
        prepare_cells(counts, **options)


@torch.no_grad()
def test_a_cell_does_not_depend_on_its_batch(counts, small_model):
    tokens = tokenise(prepare_cells(counts), small_model.config)
    hidden = small_model.encode(tokens)
    together = pool_cells(hidden, tokens), small_model.decode(hidden, tokens)
    for i in range(7):
        one = tokenise(prepare_cells(counts[[i]]), small_model.config)
        hidden = small_model.encode(one)
        torch.testing.assert_close(pool_cells(hidden, one)[0], together[0][i], atol=1e-5, rtol=0)
        torch.testing.assert_close(small_model.decode(hidden, one)[0], together[1][i], atol=1e-5, rtol=0)


@torch.no_grad()
def test_encoder_equals_a_stock_transformer(counts, small_model):
    """Against torch's own layers with padding and a mask."""
    layers = [torch.nn.TransformerEncoderLayer(32, 4, 128, batch_first=True).eval() for _ in range(2)]
    pairs = {
        "self_attn.in_proj_weight": "qkv.weight",
        "self_attn.in_proj_bias": "qkv.bias",
        "self_attn.out_proj.weight": "out.weight",
        "self_attn.out_proj.bias": "out.bias",
        "linear1.weight": "expand.weight",
        "linear1.bias": "expand.bias",
        "linear2.weight": "contract.weight",
        "linear2.bias": "contract.bias",
        "norm1.weight": "attention_norm.weight",
        "norm1.bias": "attention_norm.bias",
        "norm2.weight": "feed_forward_norm.weight",
        "norm2.bias": "feed_forward_norm.bias",
    }
    for stock, ours in zip(layers, small_model.encoder, strict=True):
        stock.load_state_dict({name: ours.state_dict()[our_name] for name, our_name in pairs.items()})
    tokens = tokenise(prepare_cells(counts), small_model.config)
    x_ND = small_model.value_embedding(tokens.values_N) + small_model.gene_embedding(tokens.ids_N)
    padded = torch.nn.utils.rnn.pad_sequence(x_ND.split(tokens.lengths), batch_first=True)
    mask = torch.arange(padded.shape[1]) >= torch.tensor(tokens.lengths)[:, None]
    for layer in layers:
        padded = layer(padded, src_key_padding_mask=mask)
    expected = small_model.encoder_norm(padded)[~mask]
    torch.testing.assert_close(small_model.encode(tokens), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_kernel_attention_equals_its_formula_in_double_precision():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 40, 8, dtype=torch.float64)
    projection = torch.randn(16, 8, dtype=torch.float64)

    def features(x, axes):
        x = x * 8**-0.25
        dash = x @ projection.T
        return 16**-0.5 * (
            torch.exp(dash - x.square().sum(-1, keepdim=True) / 2 - dash.amax(axes, keepdim=True)) + 1e-4
        )

    q_, k_ = features(q, (-1,)), features(k, (1, 2, 3))
    scores = q_ @ k_.transpose(-1, -2)
    expected = (scores / scores.sum(-1, keepdim=True)) @ v
    actual = kernel_attention(q.float(), k.float(), v.float(), projection.float())
    torch.testing.assert_close(actual.double(), expected, atol=1e-5, rtol=1e-4)


def test_masked_entries_enter_with_their_own_vector_and_no_value(counts, small_model):
    tokens = tokenise(prepare_cells(counts), small_model.config)
    masked = (torch.tensor([0, 2]), torch.tensor([1, 60]))
    with torch.no_grad():
        hidden = small_model.encode(tokens)
        plain, changed = small_model.decoder_input(hidden, tokens), small_model.decoder_input(hidden, tokens, masked)
    differs = (plain != changed).any(-1)
    assert differs.nonzero().tolist() == [[0, 1], [2, 60]]
    identity = small_model.gene_embedding.weight[60]
    expected = small_model.to_decoder(small_model.value_embedding.masked + identity)
    torch.testing.assert_close(changed[2, 60], expected)


def test_every_parameter_that_computes_gets_a_gradient(counts, small_model):
    tokens = tokenise(prepare_cells(counts), small_model.config)
    small_model.train()(tokens, (torch.tensor([0]), torch.tensor([1]))).square().mean().backward()
    silent = {name for name, p in small_model.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent == {"value_embedding.padded"}
