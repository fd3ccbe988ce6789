"""Libraries that Avalanche hardly uses are imported once they are used, and work as ever.

Each test imports Avalanche afresh, so it runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys

from cl_suite.avalanche import quick_import as tested

HELD_BACK = ("wandb", "gdown", "torchmetrics")


def answer(code: str) -> object:
    """Return what a program prints, as JSON."""
    ran = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", f"import json, sys\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_avalanche_is_imported_without_libraries_that_a_run_does_not_use() -> None:
    code = "import cl_suite.avalanche.api\nprint(json.dumps(sorted(sys.modules)))"
    modules = answer(code)
    assert isinstance(modules, list)
    assert "avalanche.training.templates" in modules
    assert [name for name in modules if name.partition(".")[0] in (*HELD_BACK, "bs4")] == []
    assert not {"transformers", "peft", "sklearn", "scipy.signal"} & set(modules)


def test_avalanches_own_accuracy_reaches_torchmetrics() -> None:
    code = """
import cl_suite.avalanche.api, torch
from avalanche.evaluation.metrics.topk_acc import TopkAccuracy
metric = TopkAccuracy(2)
scores = torch.tensor([[.5, .3, .2], [.5, .3, .2], [.5, .3, .2], [.1, .2, .7]])
metric.update(scores, torch.tensor([0, 1, 2, 2]), 0)
import torchmetrics
print(json.dumps([metric.result()[0], "classification" in dir(torchmetrics)]))
"""
    assert answer(code) == [0.75, True]


def test_a_library_held_back_is_itself_for_everybody_else() -> None:
    code = """
import cl_suite.avalanche.api
from avalanche.evaluation.metrics import confusion_matrix
import wandb
print(json.dumps([confusion_matrix.wandb.plot is wandb.plot, wandb.__file__ is not None]))
"""
    assert answer(code) == [True, True]


def test_nothing_is_replaced_once_avalanche_is_there() -> None:
    import avalanche  # noqa: F401

    before = {name: sys.modules.get(name) for name in HELD_BACK}
    with tested.quick_import():
        assert {name: sys.modules.get(name) for name in HELD_BACK} == before


def test_what_is_imported_already_stays() -> None:
    code = """
import wandb
from cl_suite.avalanche.quick_import import quick_import
with quick_import():
    print(json.dumps([sys.modules["wandb"] is wandb, type(sys.modules["gdown"]).__name__]))
"""
    assert answer(code) == [True, "StandIn"]
