"""The order of a sweep's jobs: banks, shared base sessions, then the others."""

from __future__ import annotations

from pathlib import Path

from helpers.sweeps import planned, write_sweep

from cl_suite.runs.sweep.fill_bank import main as fill_bank
from cl_suite.runs.sweep.jobs import jobs_of
from cl_suite.runs.sweep.plan import write_plan


def test_runs_wait_for_the_run_whose_base_session_they_share(tmp_path: Path) -> None:
    sweep, plan = planned(
        write_sweep(tmp_path, {"strategies": ["finetune", "teen"], "base": "teen", "seeds": [0, 1]})
    )
    jobs, done = jobs_of(plan, sweep.out)
    assert done == frozenset()
    assert [job.name.split("/")[-2] for job in jobs] == ["teen", "teen", "finetune", "finetune"]
    assert [job.after for job in jobs] == [(), (), (jobs[0].name,), (jobs[1].name,)]


def test_a_bank_that_several_runs_read_is_filled_once_and_first(tmp_path: Path) -> None:
    content = {
        "strategies": ["prototype", "teen"],
        "set": {"model.frozen": True, "training.base_epochs": 0},
        "seeds": [0, 1],
    }
    sweep, plan = planned(write_sweep(tmp_path, content))
    jobs, _ = jobs_of(plan, sweep.out)
    banks = [job for job in jobs if job.kind == "bank"]
    # the network's weights are drawn by the seed
    assert len(banks) == 2
    assert [job.kind for job in jobs[:2]] == ["bank", "bank"]
    for seed, bank in enumerate(banks):
        waiting = [job.name for job in jobs if bank.name in job.after]
        assert len(waiting) == 2
        assert all(name.endswith(f"seed{seed}") for name in waiting)


def test_a_lone_run_fills_its_bank_itself(tmp_path: Path) -> None:
    content = {"set": {"model.frozen": True, "training.base_epochs": 0}}
    sweep, plan = planned(write_sweep(tmp_path, content))
    assert [job.kind for job in jobs_of(plan, sweep.out)[0]] == ["run"]


def test_the_bank_s_job_computes_what_its_runs_read(
    tmp_path: Path, monkeypatch: object, capsys: object
) -> None:
    content = {"strategies": ["prototype", "simple_cil"], "set": {"model.frozen": True}}
    sweep, plan = planned(write_sweep(tmp_path, content))
    write_plan(plan.all)
    bank = jobs_of(plan, sweep.out)[0][0]
    out = capsys.readouterr  # type: ignore[attr-defined]
    assert fill_bank(bank.arguments[2:]) == 0
    assert "images" in out().out
    # nothing is left to compute
    other = plan.trials[1].folder.config_file
    assert fill_bank(["--config", str(other)]) == 0
    assert out().out == ""
