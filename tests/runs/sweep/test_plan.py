"""A sweep's plan: which folders, with which settings, and what starts from what."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.sweeps import folders, planned, write_sweep
from helpers.tiny_runs import refused, run

from cl_suite import registry
from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.runs.config import resolve
from cl_suite.runs.sweep.plan import write_plan

GRID = {"grid": {"training.lr": [0.1, 0.2]}, "seeds": [0, 1]}


def test_every_combination_of_values_and_seeds_has_a_folder_with_a_readable_name(
    tmp_path: Path,
) -> None:
    sweep, plan = planned(write_sweep(tmp_path, GRID))
    found = folders(plan, sweep)
    assert len(set(found)) == 4
    assert [name.partition("-")[0] for name in found] == ["lr=0.1", "lr=0.1", "lr=0.2", "lr=0.2"]
    assert {name.partition("/")[2] for name in found} == {
        "omniglot/prototype/seed0",
        "omniglot/prototype/seed1",
    }


def test_a_sweep_that_sets_nothing_has_the_folders_of_plain_runs(tmp_path: Path) -> None:
    sweep, plan = planned(write_sweep(tmp_path, {"set": {}}))
    assert folders(plan, sweep) == ["omniglot/prototype/seed0"]


def test_the_same_file_plans_the_same_folders_and_a_changed_value_others(tmp_path: Path) -> None:
    sweep, plan = planned(write_sweep(tmp_path, GRID))
    again = folders(planned(write_sweep(tmp_path, GRID))[1], sweep)
    changed = {**GRID, "set": {"training.base_epochs": 7}}
    other = folders(planned(write_sweep(tmp_path, changed))[1], sweep)
    assert folders(plan, sweep) == again
    assert not set(again) & set(other)


def test_loggers_of_all_runs_reach_them_and_leave_the_folders_as_they_are(tmp_path: Path) -> None:
    usual = {"training.base_epochs": 7}
    sweep, plan = planned(write_sweep(tmp_path, {**GRID, "set": usual}))
    logged = {**GRID, "set": {**usual, "logging.loggers": ["csv"]}}
    _, other = planned(write_sweep(tmp_path, logged))
    assert folders(other, sweep) == folders(plan, sweep)
    assert {tuple(trial.config.logging.loggers) for trial in other.trials} == {("csv",)}


def test_more_values_leave_the_folders_of_the_others_as_they_are(tmp_path: Path) -> None:
    sweep, plan = planned(write_sweep(tmp_path, GRID))
    more = {"grid": {"training.lr": [0.3, 0.1, 0.2]}, "seeds": [0, 1, 2]}
    _, longer = planned(write_sweep(tmp_path, more))
    assert set(folders(plan, sweep)) < set(folders(longer, sweep))


def test_spellings_of_one_value_have_one_folder(tmp_path: Path) -> None:
    first = write_sweep(tmp_path, {"set": {"training.lr": 0.1}}, "a")
    second = tmp_path / "b.yaml"
    second.write_text(first.read_text().replace("training.lr: 0.1", "training.lr: 1e-1"))
    sweep, plan = planned(first)
    assert folders(planned(second)[1], sweep) == folders(plan, sweep)


def test_a_folder_s_settings_give_the_trial_s_run(tmp_path: Path) -> None:
    _, plan = planned(write_sweep(tmp_path, GRID))
    write_plan(plan.all)
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "prototype")
    for trial in plan.all:
        (config,), _ = resolve(*pair, ["--config", str(trial.folder.config_file)])
        assert config.text == trial.config.text
        assert config.training.lr == trial.varied["training.lr"]


def test_a_planned_folder_is_run_by_the_worker_s_command(tmp_path: Path) -> None:
    content = {"strategies": ["teen"], "device": "auto"}
    _, plan = planned(write_sweep(tmp_path, content))
    write_plan(plan.all)
    (trial,) = plan.all
    config = trial.folder.config_file
    assert yaml.safe_load(config.read_text())["device"] == "auto"
    assert not trial.is_finished
    assert main(["run", "--config", str(config), "--resume", "--out", str(trial.out)]) == 0
    assert trial.is_finished
    # planned again, the run that has begun keeps its settings
    before = config.read_bytes()
    write_plan(planned(write_sweep(tmp_path, content))[1].all)
    assert config.read_bytes() == before


def test_a_planned_folder_refuses_a_run_with_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plan = planned(write_sweep(tmp_path))
    write_plan(plan.all)
    out = str(plan.trials[0].out)
    error = refused(capsys, "run", "omniglot", "prototype", "--out", out, "--device", "cpu")
    assert "holds a run with other settings" in error


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "out")
    _, plan = planned(write_sweep(tmp_path, {"set": {}}))
    with pytest.raises(UserError, match="choose another output_dir"):
        write_plan(plan.all)


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(here, GRID)
    assert main(["sweep", str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "4 runs" in out
    assert out.count(" new") == 4
    assert [each.name for each in here.iterdir()] == ["grid.yaml"]


def test_a_strategy_may_have_values_of_its_own(tmp_path: Path) -> None:
    own = {"grid": {"strategy.shift_weight": [0.2, 0.4, 0.6]}, "training.lr": 0.3}
    _, plan = planned(write_sweep(tmp_path, {"strategies": {"teen": own, "prototype": None}}))
    names = [trial.config.strategy_name for trial in plan.all]
    assert (names.count("teen"), names.count("prototype")) == (3, 1)
    assert {trial.config.training.lr for trial in plan.all} == {0.3, 0.1}


def test_drawn_values_are_the_same_for_every_seed(tmp_path: Path) -> None:
    drawn = {"training.lr": {"log_uniform": [0.001, 0.1]}}
    _, plan = planned(write_sweep(tmp_path, {"random": drawn, "samples": 3, "seeds": "0-1"}))
    rates = [trial.config.training.lr for trial in plan.all]
    assert len(rates) == 6
    assert len(set(rates)) == 3


def test_a_shared_base_session_is_trained_once_a_seed(tmp_path: Path) -> None:
    content = {
        "strategies": ["teen", "finetune"],
        "base": "teen",
        "seeds": [0, 1],
        "grid": {"training.incremental_lr": [0.1, 0.2]},
    }
    _, plan = planned(write_sweep(tmp_path, content))
    assert [trial.config.strategy_name for trial in plan.bases] == ["teen", "teen"]
    assert len(plan.trials) == 8
    for trial in plan.trials:
        (base,) = [b for b in plan.bases if b.config.seed == trial.config.seed]
        assert trial.base == base.folder.path
        assert trial.config.start_from == str(base.folder.path)


def test_a_value_that_the_base_session_depends_on_has_a_base_session_each(tmp_path: Path) -> None:
    content = {"strategies": ["finetune"], "base": "teen", "grid": {"training.lr": [0.1, 0.2]}}
    _, plan = planned(write_sweep(tmp_path, content))
    assert [trial.config.training.lr for trial in plan.bases] == [0.1, 0.2]
    by_rate = {b.config.training.lr: b.folder.path for b in plan.bases}
    assert all(trial.base == by_rate[trial.config.training.lr] for trial in plan.trials)


def test_the_run_that_trains_the_base_session_is_in_the_table_itself(tmp_path: Path) -> None:
    content = {"strategies": ["finetune", "teen"], "base": "teen"}
    _, plan = planned(write_sweep(tmp_path, content))
    assert plan.bases == ()
    finetune, teen = plan.trials
    assert teen.base is None
    assert finetune.base == teen.folder.path
