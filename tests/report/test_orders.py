"""The command `cl-suite orders`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.tiny_runs import refused, run

from cl_suite.cli import main
from cl_suite.runs.benchmark.orders import class_means
from cl_suite.runs.folder import RunFolder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("orders"), "prototype")


def test_both_orders_are_printed_as_options(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["orders", str(finished)]) == 0
    lines = capsys.readouterr().out.splitlines()
    options = [line for line in lines if line.startswith("--scenario.class_order=")]
    orders = [yaml.safe_load(line.partition("=")[2]) for line in options]
    assert [sorted(order) for order in orders] == [list(range(242))] * 2
    cosine = {line.split()[0]: float(line.split()[-1]) for line in lines[2:4]}
    assert cosine["apart"] < cosine["together"]


def test_class_means_are_by_class_id(finished: Path) -> None:
    from cl_suite.runs.saved_model import load_model

    head = load_model(finished).classifier.head
    means = class_means(RunFolder(finished))
    for class_id in (0, 17, 241):
        assert means.rows[class_id] == pytest.approx(head.rows([class_id])[0].numpy(), rel=1e-5)


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "run" in refused(capsys, "orders", str(tmp_path))
