"""A stopped run on stored features goes on and ends as one that was never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_runs import assert_equal_runs, interrupt_after, run

FROZEN = {"model.frozen": True}


@pytest.mark.parametrize("strategy", ["finetune", "joint"])
def test_a_stopped_run_on_stored_features_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    whole = run(tmp_path / "whole", strategy, **FROZEN)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", strategy, **FROZEN)
    resumed = run(tmp_path / "stopped", strategy, resume=True, **FROZEN)
    assert_equal_runs(resumed, whole)
