"""A head that calibrates class vectors and query together before it compares them.

One self-attention block `g` (one head, no feed-forward part, no positions) acts on the set of all
class vectors and one query (Ye et al., CVPR 2020; for class-incremental learning LIMIT, Zhou et
al., TPAMI 2023, arXiv 2203.17030). With `X` the class vectors `c_1 .. c_K` and, last, the query:

    g(X) = LayerNorm( X + softmax(Q K^T / sqrt(d)) V + b ),
    Q = X Wq^T,  K = X Wk^T,  V = X Wv^T Wo^T

Only one of the `K + 1` tokens differs from query to query. So attention among class vectors is
computed once, and a query `q` adds one weight to the softmax of class `k`:

    l_k = logsumexp_j(Q_k . K_j / sqrt(d)),   M_k = sum_j exp(Q_k . K_j / sqrt(d) - l_k) V_j
    a_k(q) = sigmoid(Q_k . K_q / sqrt(d) - l_k)
    c'_k(q) = LayerNorm( (c_k + b) + (1 - a_k) M_k + a_k V_q )

The result is the same at `O(K d)` a query instead of `O(K^2 d)`. Scores need only the lengths of
`c'_k(q)` and its products with `q'`. Both are polynomials in `a_k` whose coefficients are matrix
products, so no tensor of size queries x classes x d is ever made.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.models.heads.class_head import CosineHead

Score = Literal["cosine", "semi"]


class _Mixed(NamedTuple):
    """Class vectors that depend on the query: `r_kq = fixed_k + (1 - a_kq) mean_k + a_kq value_q`.

    Attributes:
        fixed, mean: `(..., K, d)`.
        value: `(..., n, d)` of the queries.
        share: `a`, `(..., n, K)`.
    """

    fixed: Tensor
    mean: Tensor
    value: Tensor
    share: Tensor

    def centred(self) -> _Mixed:
        """Return the same with each vector's own mean subtracted; this centres `r` too (linear)."""
        fixed, mean, value = (
            x - x.mean(-1, keepdim=True) for x in (self.fixed, self.mean, self.value)
        )
        return _Mixed(fixed, mean, value, self.share)

    def scaled(self, factors: Tensor) -> _Mixed:
        """Return the same with every vector multiplied by `factors` `(d,)`."""
        return _Mixed(self.fixed * factors, self.mean * factors, self.value * factors, self.share)

    def vectors(self) -> Tensor:
        """Return `r`, `(..., n, K, d)`."""
        a = self.share[..., None]
        rows = self.fixed[..., None, :, :] + (1 - a) * self.mean[..., None, :, :]
        return rows + a * self.value[..., None, :]

    def products(self, w: Tensor) -> Tensor:
        """Return `w_q . r_kq` `(..., n, K)` for `w` `(..., n, d)`, or `(1, d)` for all queries."""
        a, own = self.share, (w * self.value).sum(-1, keepdim=True)
        return w @ self.fixed.mT + (1 - a) * (w @ self.mean.mT) + a * own

    def squares(self) -> Tensor:
        """Return `|r_kq|^2`, `(..., n, K)`."""
        a, b = self.share, 1 - self.share

        def along(x: Tensor, y: Tensor) -> Tensor:
            return (x * y).sum(-1)

        of_class = along(self.fixed, self.fixed)[..., None, :]
        of_class = of_class + 2 * b * along(self.fixed, self.mean)[..., None, :]
        of_class = of_class + b.square() * along(self.mean, self.mean)[..., None, :]
        of_query = a.square() * along(self.value, self.value)[..., None]
        crossed = self.value @ self.fixed.mT + b * (self.value @ self.mean.mT)
        return of_class + of_query + 2 * a * crossed


class SetAttention(nn.Module):
    """The calibration `g` of class vectors and one query at a time.

    Leading dimensions of class vectors and queries, such as tasks, are broadcast.

    Args:
        dim: width of a vector.
        dropout: rate on attention's addition to a token, while training.
    """

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        for layer in (self.query, self.key, self.value):
            nn.init.normal_(layer.weight, std=dim**-0.5)
        nn.init.xavier_normal_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def drops(self) -> bool:
        """Whether dropout acts."""
        return self.training and self.dropout > 0

    def forward(self, rows: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return calibrated class vectors and queries.

        Args:
            rows: class vectors `(..., K, d)`.
            queries: `(..., n, d)`, each calibrated independently of the others.

        Returns:
            Class vectors `(..., n, K, d)` as each query sees them, and queries `(..., n, d)`.
        """
        mixed, attended = self._mixed(rows, queries)
        added = F.dropout(mixed.vectors(), self.dropout, self.drops)
        own = F.dropout(attended, self.dropout, self.drops)
        return self.norm(rows[..., None, :, :] + added), self.norm(queries + own)

    def similarities(self, rows: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return products of calibrated queries and class vectors, and the lengths of both.

        Args:
            rows, queries: as in `forward`.

        Returns:
            Products `(..., n, K)`, lengths of class vectors `(..., n, K)` and of queries
            `(..., n, 1)`.
        """
        if self.drops:
            c, q = self(rows, queries)
            products = (c @ q[..., None])[..., 0]
            return products, c.norm(dim=-1), q.norm(dim=-1, keepdim=True)
        mixed, attended = self._mixed(rows, queries)
        query: Tensor = self.norm(queries + attended)
        r = mixed._replace(fixed=mixed.fixed + rows).centred()
        # LayerNorm: c' = gain r / spread + shift
        gain, shift = self.norm.weight, self.norm.bias
        spread = (r.squares() / rows.shape[-1] + self.norm.eps).sqrt()
        products = r.products(query * gain) / spread + (query @ shift)[..., None]
        squares = r.scaled(gain).squares() / spread.square()
        squares = squares + 2 * r.products((gain * shift)[None]) / spread + shift.square().sum()
        return products, squares.clamp(min=1e-24).sqrt(), query.norm(dim=-1, keepdim=True)

    def _mixed(self, rows: Tensor, queries: Tensor) -> tuple[_Mixed, Tensor]:
        """Return attention's additions to class vectors, and to queries `(..., n, d)`."""
        scale = rows.shape[-1] ** -0.5
        wanted, offered = self.query(rows) * scale, self.key(rows)
        own_wanted, own_offered = self.query(queries) * scale, self.key(queries)
        # apply the output layer to the values once, not to every mixture of them
        value, own_value = (F.linear(self.value(x), self.out.weight) for x in (rows, queries))
        among = wanted @ offered.mT  # (..., K, K)
        mean = among.softmax(-1) @ value
        share = torch.sigmoid(own_offered @ wanted.mT - among.logsumexp(-1)[..., None, :])
        own = (own_wanted * own_offered).sum(-1, keepdim=True)
        others = own_wanted @ offered.mT  # (..., n, K)
        weights = torch.cat([others, own.expand_as(others[..., :1])], dim=-1).softmax(-1)
        attended = weights[..., :-1] @ value + weights[..., -1:] * own_value + self.out.bias
        fixed = self.out.bias.expand_as(mean)
        return _Mixed(fixed, mean, own_value, share), attended


class SetHead(CosineHead):
    """Scores of calibrated class vectors and queries; plain cosines until `calibrates` is set.

        cosine:  T q' . c'_k / (|q'| |c'_k|)
        semi:    q' . c'_k / (|c'_k| T)

    LayerNorm gives `q'` a length near `sqrt(d)`, so semi is a cosine at scale `sqrt(d) / T`.

    Args:
        temperature: factor on plain cosines.
        score: which of the two scores to use.
        score_temperature: `T`.
        dropout: see `SetAttention`.
    """

    is_set: Tensor

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        temperature: float = 16.0,
        score: Score = "cosine",
        score_temperature: float = 16.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, num_classes, temperature)
        self.score = score
        self.score_temperature = score_temperature
        self.calibration = SetAttention(dim, dropout)
        # the mark is a tensor, so it is saved with the weights
        self.register_buffer("is_set", torch.zeros(0))

    @property
    def calibrates(self) -> bool:
        """Whether scores use calibrated vectors."""
        return bool(self.is_set.numel())

    def calibrate(self) -> None:
        """Use calibrated vectors for scores from now on."""
        self.is_set = self.is_set.new_ones(1)

    def scores(self, features: Tensor) -> Tensor:
        if not self.calibrates:
            return super().scores(features)
        return self.calibrated_scores(self.weight, features)

    def calibrated_scores(self, rows: Tensor, queries: Tensor) -> Tensor:
        """Return scores `(..., n, K)` of queries `(..., n, d)` for class vectors `(..., K, d)`."""
        products, row_lengths, query_lengths = self.calibration.similarities(rows, queries)
        if self.score == "semi":
            return products / (row_lengths * self.score_temperature)
        return self.score_temperature * products / (row_lengths * query_lengths).clamp(min=1e-12)
