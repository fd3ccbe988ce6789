"""LIMIT: the loss of a step of stage 2, oracle O7 (O1 to O6 and O8: test_set_attention)."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.methods.episodes.fake_sessions import draw_fake_session, fake_classifiers, meta_loss
from cl_suite.models.heads.class_head import CosineHead
from cl_suite.models.heads.set_attention import SetHead
from cl_suite.strategies.limit import scores_of

NUM_CLASSES, DIM = 12, 6


class Step:
    """The tensors of one step of stage 2, drawn at random."""

    def __init__(self, way: int = 3, shot: int = 2) -> None:
        generator = torch.Generator().manual_seed(1)
        self.way, self.shot = way, shot
        labels = torch.arange(NUM_CLASSES).repeat(5)
        drawn = draw_fake_session(
            labels, generator, way=way, shot=shot, num_queries=10, num_tasks=4
        )
        self.order, self.labels = drawn.order, labels[drawn.rows]
        self.pool = labels[drawn.support[:, 0]]
        self.weight, self.features = (
            torch.randn(num, DIM, generator=generator, dtype=torch.float64).requires_grad_()
            for num in (NUM_CLASSES, len(drawn.rows))
        )
        torch.manual_seed(2)
        self.head = SetHead(DIM).double()

    def loss(self, num_phases: int = 1) -> Tensor:
        return meta_loss(
            lambda rows, queries: scores_of(self.head, rows, queries),
            self.weight,
            self.features,
            self.labels,
            self.order,
            way=self.way,
            shot=self.shot,
            num_phases=num_phases,
        )

    def naive_loss(self, num_phases: int = 1) -> Tensor:
        """Return the same, task by task, class by class and query by query."""
        num_support = 2 * self.way * self.shot
        losses = []
        for phase in range(1, num_phases + 1):
            terms = []
            for task in self.order.tolist():
                old, new = task[: -self.way], task[-self.way :]
                classes = old + new[: math.ceil(self.way * phase / num_phases)]
                rows = []
                for c in classes:
                    own = [i for i in range(num_support) if self.labels[i] == c]
                    rows.append(self.features[own].mean(0) if c in new else self.weight[c])
                for i in range(num_support, len(self.features)):
                    if (label := int(self.labels[i])) in classes:
                        logits = self.head.calibrated_scores(
                            torch.stack(rows), self.features[i : i + 1]
                        )
                        terms.append(-logits[0].log_softmax(0)[classes.index(label)])
            losses.append(torch.stack(terms).mean())
        return torch.stack(losses).mean()


@pytest.mark.parametrize("num_phases", [1, 2, 3])
def test_the_loss_equals_the_formula_written_naively(num_phases: int) -> None:
    step = Step()
    torch.testing.assert_close(step.loss(num_phases), step.naive_loss(num_phases))


def test_o7_rows_of_classes_that_stay_old_are_those_of_the_classifier_bit_for_bit() -> None:
    step = Step()
    prototypes = torch.randn(6, DIM, dtype=torch.float64)
    rows = fake_classifiers(step.weight, prototypes, step.pool, step.order, step.way)
    assert rows[:, :-3].equal(step.weight[step.order[:, :-3]])


def test_o7_rows_of_sampled_classes_are_the_means_of_their_support() -> None:
    step = Step()
    support = step.features[:12].detach()
    prototypes = support.view(6, 2, DIM).mean(1)
    rows = fake_classifiers(step.weight, prototypes, step.pool, step.order, step.way)
    for task, classes in enumerate(step.order[:, -3:].tolist()):
        for place, c in enumerate(classes):
            mean = support[step.labels[:12] == c].mean(0)
            torch.testing.assert_close(rows[task, 9 + place], mean)


def test_o7_the_loss_reaches_support_queries_classifier_and_calibration() -> None:
    step = Step()
    step.loss().backward()
    played = torch.isin(step.labels[:12], step.order[:, -3:].reshape(-1))
    gradient = step.features.grad
    assert gradient is not None
    assert (gradient[:12][played].norm(dim=1) > 0).all()
    assert (gradient[12:].norm(dim=1) > 0).all()
    assert step.weight.grad is not None
    assert all(p.grad is not None and p.grad.any() for p in step.head.calibration.parameters())


def test_queries_of_classes_to_come_have_no_part_in_a_phase() -> None:
    step = Step()
    last = step.order[0, -1]  # arrives in the last phase alone
    step.order = step.order[:1]
    one_phase = step.features[12:][step.labels[12:] == last]
    assert len(one_phase) == 0 or one_phase.isfinite().all()
    by_two = step.loss(2)
    # were a query's class its only one, the first phase would have none to average over
    step.labels = torch.cat([step.labels[:12], last.expand(len(step.labels) - 12)])
    assert step.loss(2).isfinite()
    torch.testing.assert_close(step.loss(2), step.loss(1) / 2)
    assert by_two.isfinite()


def test_without_calibration_the_scores_of_stage_2_are_cosines() -> None:
    head = CosineHead(DIM, temperature=3.0)
    rows, queries = torch.randn(2, 5, DIM), torch.randn(4, DIM)
    found = scores_of(head, rows, queries)
    for task in range(2):
        expected = 3 * F.cosine_similarity(queries[:, None], rows[task][None], dim=-1)
        torch.testing.assert_close(found[task], expected)
