"""The contract for authors of methods: a right method passes, and each kind of fault is named."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from cl_suite import testing
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.plugin import (
    BatchLayout,
    Requirements,
    StrategyPlugin,
    Template,
    Within,
    session_stats,
)
from cl_suite.testing import CHECKS, check_strategy, make_stream
from cl_suite.testing.contract import run_check, subject_of


@dataclass(kw_only=True, eq=False)
class MeanPlugin(HeadPlugin):
    """Class means as prototypes.

    Args:
        scale: factor on the prototypes.
    """

    scale: Annotated[float, Within(0)] = 1.0

    requirements = Requirements(head="cosine", kinds=("class",))
    default_config: ClassVar[dict[str, Any]] = {"training": {"incremental_epochs": 0}}

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        stats = session_stats(template)
        head.set_rows(stats.classes, self.scale * stats.mean)
        return stats.classes


def fault_of(strategy: type, name: str, **parameters: Any) -> str:
    """Run the check of this name, which must fail; return its message."""
    (check,) = [check for check in CHECKS if check.__name__ == name]
    with pytest.raises(AssertionError, match=f"^{strategy.__name__} fails {name}: ") as caught:
        run_check(check, subject_of(strategy, **parameters))
    return str(caught.value)


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


def test_a_parameter_that_is_not_stored_is_found() -> None:
    class Doubling(StrategyPlugin):
        def __init__(self, *, rate: Annotated[float, Within(0)] = 1.5) -> None:
            self.rate = 2 * rate
            super().__init__()

    assert "rate is not stored" in fault_of(Doubling, "constructor_stores_its_parameters")


def test_a_positional_parameter_is_found() -> None:
    @dataclass(eq=False)
    class Positional(StrategyPlugin):
        rate: Annotated[float, Within(0)] = 1.0

    assert "kw_only=True" in fault_of(Positional, "constructor_stores_its_parameters")


def test_a_constructor_that_takes_anything_is_found() -> None:
    class Lenient(StrategyPlugin):
        def __init__(self, **anything: Any) -> None: ...

    assert "**kwargs" in fault_of(Lenient, "unknown_parameter_is_refused")


@dataclass(kw_only=True, eq=False)
class Unchecked(StrategyPlugin):
    """A constructor that leaves its base class's check out."""

    rate: Annotated[float, Within(0)] = 1.0
    mode: Literal["up", "down"] = "up"

    def __post_init__(self) -> None: ...


def test_parameters_that_nobody_checks_are_found() -> None:
    assert "rate=nan was taken" in fault_of(Unchecked, "numbers_out_of_range_are_refused")
    assert "mode='nonsense' was taken" in fault_of(Unchecked, "unknown_choices_are_refused")


def test_a_parameter_without_a_word_about_it_is_found() -> None:
    assert "rate, mode" in fault_of(Unchecked, "parameters_are_explained")


def test_requirements_that_are_no_record_are_found() -> None:
    class Dictionary(StrategyPlugin):
        requirements = {"head": "cosine"}  # type: ignore[assignment]  # noqa: RUF012

    assert "is a dict" in fault_of(Dictionary, "requirements_are_a_record")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"trainig": {"lr": 1}},
            "section 'trainig', which does not exist; did you mean 'training'",
        ),
        ({"training": {"epochs": 3}}, "'training.epochs', which does not exist"),
        ({"params": {"scael": 3}}, "'params.scael', which does not exist; did you mean 'scale'"),
        ({"training": 3}, r"\['training'\] must be a mapping"),
        (["training"], "must be a mapping of sections"),
        (
            {"for_scenario": {"omniglot": {"params": {"scale": 3}}}},
            r"\['omniglot'\] has a section 'params', which does not exist",
        ),
        (
            {"for_scenario": {"omniglot": {"strategy": {"scael": 3}}}},
            r"\['omniglot'\] sets 'strategy.scael', which does not exist; did you mean 'scale'",
        ),
        ({"tiny": {"scael": 3}}, "'tiny.scael', which does not exist; did you mean 'scale'"),
    ],
)
def test_a_recipe_that_sets_nothing_is_found(recipe: Any, message: str) -> None:
    class Misspelt(MeanPlugin):
        default_config = recipe

    assert re.search(message, fault_of(Misspelt, "recipe_names_known_settings"))


class Unsure(StrategyPlugin):
    """Draws from a generator of its own, which no seed reaches."""

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        generator = torch.Generator()
        generator.seed()
        template.loss = template.loss * torch.rand(1, generator=generator).item()


def test_a_method_that_no_seed_determines_is_found() -> None:
    assert "other values" in fault_of(Unsure, "same_seed_gives_the_same_bits")


class Forgetful(StrategyPlugin):
    """Counts steps under a name that no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        self._steps += 1
        template.loss = template.loss * self._steps


def test_state_that_is_not_saved_is_found() -> None:
    assert "resumed from save 0" in fault_of(Forgetful, "going_on_equals_never_having_stopped")


class Unnamed(StrategyPlugin):
    """Learns under a name that ends in nothing."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.means = 1


def test_learned_state_by_another_name_is_found() -> None:
    message = fault_of(Unnamed, "learned_state_ends_in_an_underscore")
    assert "means after training is neither a parameter nor learned" in message


class Unsaveable(StrategyPlugin):
    """Learns what no checkpoint can hold."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.rule_ = lambda x: x


def test_learned_state_that_cannot_be_saved_is_found() -> None:
    assert "cannot be saved" in fault_of(Unsaveable, "learned_state_ends_in_an_underscore")


class Asleep(StrategyPlugin):
    """Leaves the network in eval mode."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        template.model.eval()


def test_a_mode_that_is_not_restored_is_found() -> None:
    assert "in eval mode" in fault_of(Asleep, "train_mode_is_restored")


class BatchMean(nn.Module):
    """Takes the mean of its batch away."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Transductive(StrategyPlugin):
    """Predicts relative to the batch."""

    def prepare_model(self, model: nn.Module) -> None:
        if not model.backbone._forward_hooks:
            model.backbone.register_forward_hook(lambda module, args, out: BatchMean()(out))


def test_a_prediction_by_the_rest_of_the_batch_is_found() -> None:
    fault_of(Transductive, "predictions_do_not_depend_on_the_batch")


def test_a_head_that_grows_while_evaluating_is_found() -> None:
    class Early(StrategyPlugin):
        def before_training_exp(self, template: Template, **kwargs: Any) -> None:
            template.model.head.grow(range(8))

    assert "session 0 has" in fault_of(Early, "evaluation_changes_nothing_learned")


class Peeking:
    """Opens what is never handed over: every set of samples in the process."""

    def __init__(self) -> None:
        self.stolen = STOLEN


STOLEN: list[Any] = []


def test_later_sessions_within_reach_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_suite.testing.subject import Subject

    stream = make_stream()
    monkeypatch.setattr(Subject, "stream", lambda self, *a, **k: stream)
    monkeypatch.setattr(sys.modules[__name__], "STOLEN", [stream.train[2]])
    assert "('train', 2)" in fault_of(Peeking, "later_sessions_are_out_of_reach")


def test_test_data_read_while_training_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_suite.testing.subject import Subject

    engine = Subject.engine

    def leaking(self: Subject, stream: Any = None, **training: Any) -> Any:
        made = engine(self, stream, **training)
        made.plugin.after_training_exp = lambda template, **kwargs: stream.test[0].inputs
        return made

    monkeypatch.setattr(Subject, "engine", leaking)
    message = fault_of(Asleep, "no_test_data_is_read_while_training")
    assert "test data was read" in message


class Ours(StrategyPlugin):
    """Reaches into the suite's own classifier."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        template.model.head.grow([0])


def test_a_method_that_needs_our_classifier_is_found() -> None:
    assert "has no attribute 'head'" in fault_of(Ours, "works_with_a_foreign_network")


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


def test_importing_the_package_imports_neither_torch_nor_pytest() -> None:
    code = "import sys, cl_suite.testing as t; dir(t)\n"
    code += "print({'torch', 'pytest', 'avalanche', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_the_checks_need_no_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None\n"
    code += (
        "from cl_suite.testing import check_strategy, make_stream; print(make_stream().info.name)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "patterns", result.stderr


def test_any_other_name_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"'cl_suite\.testing' has no attribute 'nonsense'"):
        _ = testing.nonsense


def test_a_mixed_stream_brings_new_classes_and_more_of_an_earlier_one() -> None:
    sessions = make_stream(kind="mixed").info.session_classes
    assert sessions == ((7, 2, 5, 0), (6, 1, 7), (3, 4, 7))
