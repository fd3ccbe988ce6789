"""The suite's contract, one case for each check, and one fact of this method's own."""

from mean_method import MeanPlugin

from cl_suite.testing import strategy_checks

test_contract = strategy_checks(MeanPlugin)


def test_it_takes_no_shrinkage_at_all() -> None:
    assert MeanPlugin(shrink=0).shrink == 0
