"""The calibration over sets: LIMIT's oracles O1 to O6 and O8, and equality with plain attention."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.models.heads.set_attention import Score, SetAttention, SetHead
from cl_suite.storage import checkpoint


def plain_attention(g: SetAttention, rows: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """The block as it is drawn: attention over all K + 1 tokens, for one query after another."""
    class_vectors, calibrated = [], []
    for query in queries:
        x = torch.cat([rows, query[None]])
        scores = g.query(x) @ g.key(x).T / math.sqrt(x.shape[1])
        attended = g.out(torch.softmax(scores, dim=1) @ g.value(x))
        out = F.layer_norm(x + attended, x.shape[1:], g.norm.weight, g.norm.bias, eps=1e-5)
        class_vectors.append(out[:-1])
        calibrated.append(out[-1])
    return torch.stack(class_vectors), torch.stack(calibrated)


def random_attention(dim: int, dropout: float = 0.0) -> SetAttention:
    """Return a block whose every parameter is random, those of the LayerNorm too."""
    torch.manual_seed(3)
    g = SetAttention(dim, dropout).double()
    with torch.no_grad():
        for parameter in g.parameters():
            parameter.normal_(std=0.7)
    return g


def random_set(num_rows: int = 7, dim: int = 5, num_queries: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    rows = torch.randn(num_rows, dim, generator=generator, dtype=torch.float64)
    return rows, torch.randn(num_queries, dim, generator=generator, dtype=torch.float64)


ROWS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
QUERY = torch.tensor([[0.6, 0.8, 0.0]], dtype=torch.float64)


def identity_head(value: float = 1.0) -> SetHead:
    """Return the head of O1: every matrix the identity, no bias, LayerNorm without gain."""
    head = SetHead(3).double()
    with torch.no_grad():
        for layer in (head.calibration.query, head.calibration.key, head.calibration.out):
            layer.weight.copy_(torch.eye(3))
        head.calibration.value.weight.copy_(value * torch.eye(3))
    return head


def close(*values: float) -> object:
    return pytest.approx(values, abs=5e-8)  # the oracles have seven digits


def cosines(head: SetHead) -> list[float]:
    products, rows, query = head.calibration.similarities(ROWS, QUERY)
    return (products / (rows * query))[0].tolist()


def test_o1_weights_of_the_query_worked_by_hand() -> None:
    # the values are the vectors themselves, which what is added mixes by these weights
    added = identity_head().calibration._mixed(ROWS, QUERY)[1][0]
    weights = torch.tensor([0.2956669, 0.3318568, 0.3724763], dtype=torch.float64)
    assert added.tolist() == close(*(weights @ torch.cat([ROWS, QUERY])).tolist())


def test_o1_calibrated_query_and_scores_worked_by_hand() -> None:
    head = identity_head()
    query = head.calibration(ROWS, QUERY)[1][0]
    assert query.tolist() == close(0.4388693, 0.9448272, -1.3836964)
    assert cosines(head) == close(0.5856343, 0.8350747)
    assert head.calibrated_scores(ROWS, QUERY)[0].tolist() == pytest.approx(
        (9.370149, 13.361195), abs=5e-7
    )


def test_o2_without_values_the_layer_norm_alone_acts() -> None:
    head = identity_head(value=0.0)
    first = head.calibration(ROWS, QUERY)[0][0, 0]
    assert first.tolist() == pytest.approx((1.4141818, -0.7070909, -0.7070909), abs=1e-7)
    # it centres, so these are not the raw cosines .6 and .8
    assert cosines(head) == pytest.approx((0.2773501, 0.6933753), abs=1e-7)


@pytest.mark.parametrize(("dim", "expected"), [(64, 16_576), (512, 1_050_112)])
def test_o3_number_of_parameters(dim: int, expected: int) -> None:
    assert (
        sum(p.numel() for p in SetAttention(dim).parameters()) == expected == 4 * dim**2 + 3 * dim
    )


def test_o3_a_calibrated_query_has_the_square_of_its_length_near_its_width() -> None:
    rows, queries = (torch.randn(num, 64) for num in (9, 5))
    lengths = SetHead(64).calibration.similarities(rows, queries)[2]
    torch.testing.assert_close(lengths.square(), torch.full((5, 1), 64.0), rtol=1e-4, atol=0)


def test_initial_spread_of_the_projections() -> None:
    torch.manual_seed(0)
    g = SetAttention(256)
    for layer in (g.query, g.key, g.value):
        assert layer.bias is None
        assert layer.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert g.out.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)


@pytest.mark.parametrize("score", ["cosine", "semi"])
def test_o4_permuting_class_rows_permutes_logits(score: Score) -> None:
    rows, queries = random_set()
    head = SetHead(5, score=score).double()
    head.calibration = random_attention(5)
    order = torch.randperm(7)
    found = head.calibrated_scores(rows[order], queries)
    torch.testing.assert_close(found, head.calibrated_scores(rows, queries)[:, order])


def test_o4_one_more_class_row_changes_all_logits() -> None:
    rows, queries = random_set()
    head = SetHead(5).double()
    head.calibration = random_attention(5)
    fewer = head.calibrated_scores(rows[:-1], queries)
    more = head.calibrated_scores(rows, queries)[:, :-1]
    assert (fewer - more).abs().min() > 1e-6


def test_o5_logits_do_not_depend_on_the_other_queries() -> None:
    rows, queries = random_set()
    head = SetHead(5).double()
    head.calibration = random_attention(5)
    alone = torch.cat([head.calibrated_scores(rows, query[None]) for query in queries])
    torch.testing.assert_close(head.calibrated_scores(rows, queries), alone, rtol=0, atol=1e-13)


def test_o6_the_fast_form_equals_plain_attention() -> None:
    rows, queries = random_set()
    g = random_attention(5)
    expected_rows, expected_queries = plain_attention(g, rows, queries)
    found_rows, found_queries = g(rows, queries)
    assert (found_rows - expected_rows).abs().max() < 1e-12
    assert (found_queries - expected_queries).abs().max() < 1e-12


@pytest.mark.parametrize("score", ["cosine", "semi"])
def test_o6_scores_by_matrix_products_equal_those_of_plain_attention(score: Score) -> None:
    rows, queries = random_set()
    head = SetHead(5, score=score, score_temperature=0.5).double()
    head.calibration = random_attention(5)
    c, q = plain_attention(head.calibration, rows, queries)
    products = (c * q[:, None]).sum(-1)
    expected = {
        "cosine": 0.5 * products / (c.norm(dim=-1) * q.norm(dim=-1, keepdim=True)),
        "semi": products / c.norm(dim=-1) / 0.5,
    }[score]
    assert (head.calibrated_scores(rows, queries) - expected).abs().max() < 1e-11


def test_o6_gradients_equal_those_of_plain_attention() -> None:
    rows, queries = (x.requires_grad_() for x in random_set())
    g = random_attention(5)
    inputs = [rows, queries, *g.parameters()]
    c, q = plain_attention(g, rows, queries)
    plain = torch.cosine_similarity(c, q[:, None], dim=-1).square().sum()
    products, row_lengths, query_lengths = g.similarities(rows, queries)
    fast = (products / (row_lengths * query_lengths)).square().sum()
    for found, expected in zip(
        torch.autograd.grad(fast, inputs), torch.autograd.grad(plain, inputs), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_several_sets_at_once_equal_each_by_itself() -> None:
    rows, queries = random_set()
    g = random_attention(5)
    sets = torch.stack([rows, rows.flip(1), 2 * rows])
    together = g.similarities(sets, queries)
    for position, one in enumerate(sets):
        for found, expected in zip(together, g.similarities(one, queries), strict=True):
            part = found[position] if found.dim() == 3 and len(found) == 3 else found
            torch.testing.assert_close(part, expected)


def test_single_precision_keeps_the_digits_of_a_cosine() -> None:
    torch.manual_seed(5)
    # features of a ReLU network: not centred, and much alike
    rows, queries = 3 + torch.rand(50, 64), 3 + torch.rand(20, 64)
    head = SetHead(64, score_temperature=1.0)
    single = head.calibrated_scores(rows, queries)
    double = head.double().calibrated_scores(rows.double(), queries.double())
    assert (single - double).abs().max() < 2e-5


def test_o8_floor_of_the_loss_at_the_scale_of_the_cub_recipe() -> None:
    # semi divides by T = 16: with |q'| = sqrt(512) the scale is 1.414, so that even the largest
    # gap, cosine 1 against -1/99, leaves a cross-entropy of 3.208 over 100 classes
    head = SetHead(512, score="semi", score_temperature=16.0).double()
    nn.init.zeros_(head.calibration.value.weight)  # the LayerNorm alone acts
    corners = torch.zeros(100, 512, dtype=torch.float64)  # of a simplex about 0
    corners[:, :100] = 100 * torch.eye(100) - 1
    logits = head.calibrated_scores(corners, corners[:1])
    loss = F.cross_entropy(logits, torch.tensor([0])).item()
    assert loss == pytest.approx(math.log(1 + 99 * math.exp(-1.4285)), abs=1e-4)
    assert loss == pytest.approx(3.208, abs=5e-4)


def test_semi_is_a_cosine_times_the_length_of_the_query() -> None:
    rows, queries = random_set()
    semi, cosine = (SetHead(5, score=s, score_temperature=1.0).double() for s in ("semi", "cosine"))
    semi.calibration = cosine.calibration = random_attention(5)
    lengths = cosine.calibration.similarities(rows, queries)[2]
    torch.testing.assert_close(
        semi.calibrated_scores(rows, queries), lengths * cosine.calibrated_scores(rows, queries)
    )


def test_dropout_acts_in_training_alone_and_on_what_attention_adds() -> None:
    rows, queries = random_set()
    head = SetHead(5, dropout=0.5).double()
    head.calibration = random_attention(5, dropout=0.5)
    torch.manual_seed(0)
    first = head.calibrated_scores(rows, queries)
    assert not head.calibrated_scores(rows, queries).equal(first)
    head.eval()
    still = head.calibrated_scores(rows, queries)
    assert head.calibrated_scores(rows, queries).equal(still)
    head.train()
    head.calibration.dropout = 1.0  # nothing is added
    found = head.calibration(rows, queries)[0]
    expected = head.calibration.norm(rows).expand_as(found)
    torch.testing.assert_close(found, expected)


def test_the_head_scores_plain_cosines_until_it_calibrates() -> None:
    rows, queries = random_set()
    head = SetHead(5, 9, temperature=2.0).double()
    head.set_rows(range(7), rows)
    plain = 2 * F.normalize(queries) @ F.normalize(rows).T
    torch.testing.assert_close(head(queries)[:, :7], plain)
    head.calibrate()
    torch.testing.assert_close(head(queries)[:, :7], head.calibrated_scores(rows, queries))
    assert (head(queries)[:, 7:] == -math.inf).all()


def test_a_saved_head_still_calibrates(tmp_path: Path) -> None:
    rows, queries = random_set()
    head = SetHead(5)
    head.set_rows([4, 0, 2], rows[:3])
    head.calibrate()
    checkpoint.save(tmp_path / "head.safetensors", dict(head.state_dict()))
    loaded = SetHead(5)
    loaded.load_state_dict(checkpoint.load(tmp_path / "head.safetensors"))
    assert loaded.calibrates
    assert loaded(queries.float()).equal(head(queries.float()))
