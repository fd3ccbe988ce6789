"""The contract for authors of methods: a right method passes, and the first fault is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from helpers.contract_faults import MeanPlugin

from cl_suite.plugin import BatchLayout, Requirements, StrategyPlugin, Template
from cl_suite.testing import CHECKS, check_strategy
from cl_suite.testing.contract import run_check, subject_of


def test_a_right_method_passes_every_check() -> None:
    check_strategy(MeanPlugin, scale=2.0)


def test_the_parameters_given_are_those_that_the_method_is_made_with() -> None:
    assert subject_of(MeanPlugin, scale=2.0).plugin().scale == 2.0


def test_every_check_has_a_sentence_that_says_what_it_asks() -> None:
    assert all((check.__doc__ or "").endswith(".") for check in CHECKS)
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)


def test_the_first_fault_is_raised_by_its_checks_name() -> None:
    @dataclass(kw_only=True, eq=False)
    class Bare(StrategyPlugin):
        """A number without a range.

        Args:
            rate: how fast.
        """

        rate: float = 1.0

    with pytest.raises(AssertionError, match="fails numbers_have_ranges: rate has no range"):
        check_strategy(Bare)


@dataclass(kw_only=True, eq=False)
class Narrow(StrategyPlugin):
    """Needs pairs of sounds whose classes come again, and no labels."""

    seen_: int = field(default=0, init=False)

    requirements = Requirements(
        kinds=("data",),
        modalities=("audio",),
        labels=False,
        classifier=False,
        batch=BatchLayout(views=2, smallest=2),
    )

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        first, second = (template.model.features(x) for x in (template.mb_x, template.mbatch[2]))
        template.loss = ((first - second) ** 2).mean()
        self.seen_ += len(first)


def test_the_streams_suit_what_a_method_requires() -> None:
    stream = subject_of(Narrow).stream()
    assert stream.info.kind == "data"
    assert stream.info.modality == "audio"
    assert stream.info.session_classes[1] == stream.info.session_classes[0]


@pytest.mark.parametrize("name", ["sessions_of_one_image_work", "class_ids_may_come_in_any_order"])
def test_a_method_of_another_kind_passes_too(name: str) -> None:
    (check,) = [check for check in CHECKS if check.__name__ == name]
    assert run_check(check, subject_of(Narrow)) is None
