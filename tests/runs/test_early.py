"""What a run is refused for before its classes are imported agrees with the classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.runs.arguments import SECTIONS
from cl_suite.runs.config import build_parser
from cl_suite.runs.early import known_options, refuse_early

PAIRS = [("omniglot", name) for name in sorted(registry.entries("strategy"))]
PAIRS += [(name, "teen") for name in sorted(registry.entries("scenario")) if name != "omniglot"]


def refuse(scenario: str, strategy: str, *arguments: str) -> None:
    refuse_early(registry.get("scenario", scenario), registry.get("strategy", strategy), arguments)


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_the_options_that_are_known_early_are_those_of_the_parser(names: tuple[str, str]) -> None:
    pair = registry.get("scenario", names[0]), registry.get("strategy", names[1])
    parsed = set(build_parser(*pair).get_defaults().keys(branches=True))
    assert known_options(*pair) == parsed - set(SECTIONS)


def test_a_third_partys_options_are_left_to_its_class() -> None:
    own = registry.Entry("strategy", "own", "own.Own", "", "a-package")
    assert known_options(registry.get("scenario", "omniglot"), own) is None
    refuse_early(registry.get("scenario", "omniglot"), own, ["--strategy.anything", "1"])


@pytest.mark.parametrize(
    "names",
    [
        ("data_incremental", "teen"),
        ("data_incremental", "teen", "--strategy.shift_weight", "0.3"),
        ("spoken_digits", "picle", "--scenario.root", "nowhere", "--strategy.maps", "4"),
        ("cfsl", "knn", "--training.base_epochs", "1"),
        ("data_incremental", "teen", "--config", "c.yaml"),
    ],
)
def test_a_pair_that_nothing_makes_fit_is_refused(names: tuple[str, ...], here: Path) -> None:
    (here / "c.yaml").write_text("strategy: {shift_weight: 0.3}\n")
    with pytest.raises(UserError, match=rf"'{names[1]}' does not run on scenario '{names[0]}': it"):
        refuse(*names)


@pytest.mark.parametrize(
    "names",
    [
        # its parameters decide the kind of its stream
        ("cfsl", "knn", "--scenario.class_change", "1"),
        ("cfsl", "knn", "--config", "c.yaml"),
        # nothing is run
        ("data_incremental", "teen", "--help"),
        ("data_incremental", "teen", "--print_config"),
    ],
)
def test_what_parameters_decide_is_left_to_the_classes(names: tuple[str, ...], here: Path) -> None:
    (here / "c.yaml").write_text("scenario: {class_change: 1}\n")
    refuse(*names)


def test_an_unknown_option_is_refused_on_the_line_and_in_a_file(here: Path) -> None:
    (here / "c.yaml").write_text("model: {frozn: true}\n")
    with pytest.raises(UserError, match=r"--strategy\.shift_wait is unknown; did you mean 'shift"):
        refuse("omniglot", "teen", "--strategy.shift_wait", "1")
    with pytest.raises(UserError, match=r"'model\.frozn' in the file is unknown; did you mean 'fr"):
        refuse("omniglot", "teen", "--config", "c.yaml")
    # below a mapping the parser itself decides
    refuse("omniglot", "teen", "--model.backbone_args.depth", "3")
