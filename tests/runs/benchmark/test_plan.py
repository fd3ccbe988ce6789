"""A protocol becomes runs: each row on each draw, with shared base sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cl_suite.errors import UserError
from cl_suite.runs.benchmark.plan import (
    Cell,
    Wanted,
    cells_of,
    check_settings,
    plain_draws,
    plan_of,
    similar_draws,
)
from cl_suite.runs.benchmark.protocol import Draws, Protocol, names, read_protocol
from cl_suite.runs.sweep.jobs import jobs_of
from cl_suite.runs.sweep.needs import Needs

DRAWS = {
    "published": Draws(),
    "drawn": Draws(
        {"scenario.shot_selection": "random"},
        {"scenario.class_order": ["published", 1], "scenario.shot_seed": [0, 1]},
    ),
    "apart": Draws({"scenario.shot_selection": "random"}, {}, "apart"),
}


def wanted(out: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Wanted:
    protocol = Protocol(
        **{
            "name": "small",
            "summary": "",
            "scenarios": ("omniglot",),
            "reference": "prototype",
            "strategies": ("teen", "finetune"),
            "draws": DRAWS,
            "rows": {"joint": {"strategy.balanced": True}},
            "share_base": frozenset({"teen"}),
            "only": {"joint": ("published",)},
        }
        | changes
    )
    return Wanted(
        protocol, "omniglot", protocol.strategies, settings or {}, out, Needs(device="cpu")
    )


def base_of(cell: Cell) -> str:
    return "" if cell.trial.base is None else cell.trial.base.as_posix()


def test_every_row_runs_on_every_draw_but_where_it_is_limited(tmp_path: Path) -> None:
    asked = wanted(tmp_path)
    cells = cells_of(asked, plain_draws(asked.protocol))
    numbers = {name: sum(c.strategy == name for c in cells) for name in asked.rows}
    assert numbers == {"prototype": 5, "teen": 5, "finetune": 5, "joint": 1}
    assert next(iter(asked.rows)) == "prototype"


def test_a_class_order_is_trained_once_whatever_the_shots(tmp_path: Path) -> None:
    asked = wanted(tmp_path)
    cells = cells_of(asked, plain_draws(asked.protocol))
    bases = {base_of(c) for c in cells if c.strategy in ("prototype", "teen")} - {""}
    # the published order's, and that of order 1
    assert len(bases) == 2
    trained = [c for c in cells if c.strategy == "prototype" and not base_of(c)]
    assert [c.draw.group for c in trained] == ["published", "drawn"]
    assert trained[1].draw.varied["scenario.class_order"] == 1


def test_a_row_that_may_not_share_trains_its_own_base_session(tmp_path: Path) -> None:
    asked = wanted(tmp_path)
    cells = cells_of(asked, plain_draws(asked.protocol))
    assert not any(base_of(c) for c in cells if c.strategy in ("finetune", "joint"))


def test_without_rows_that_share_the_reference_trains_on_each_draw(tmp_path: Path) -> None:
    asked = wanted(tmp_path, share_base=frozenset())
    assert not any(base_of(c) for c in cells_of(asked, plain_draws(asked.protocol)))


def test_a_frozen_network_has_no_base_session_to_share(tmp_path: Path) -> None:
    asked = wanted(tmp_path, {"model.frozen": "true"})
    assert not any(base_of(c) for c in cells_of(asked, plain_draws(asked.protocol)))


def test_runs_wait_for_the_base_session_that_they_start_from(tmp_path: Path) -> None:
    asked = wanted(tmp_path)
    plan = plan_of(cells_of(asked, plain_draws(asked.protocol)))
    jobs, _ = jobs_of(plan, tmp_path)
    place = {job.name: number for number, job in enumerate(jobs)}
    assert all(place[name] < place[job.name] for job in jobs for name in job.after)
    assert any(job.after for job in jobs)


def test_orders_of_similar_classes_become_settings(tmp_path: Path) -> None:
    asked = wanted(tmp_path)
    order = list(range(241, -1, -1))
    draws = similar_draws(asked.protocol, {"apart": order, "together": []})
    assert [(d.group, d.settings["scenario.class_order"]) for d in draws] == [("apart", order)]
    cells = cells_of(asked, draws)
    assert cells[0].trial.config.scenario.class_order == order


def test_settings_of_the_user_win_over_the_protocols(tmp_path: Path) -> None:
    asked = wanted(tmp_path, {"training.base_epochs": "3"})
    asked = replace(asked, protocol=replace(asked.protocol, settings={"training.base_epochs": 9}))
    (cell, *_) = cells_of(asked, plain_draws(asked.protocol))
    assert cell.trial.config.training.base_epochs == 3


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("scenario.shot_seed", "is what benchmark 'small' varies"),
        ("scenario.class_order", "is what benchmark 'small' varies"),
        ("strategy.shift_weight", "would be set for every strategy"),
    ],
)
def test_what_the_protocol_varies_cannot_be_given(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_settings(wanted(tmp_path, {name: "1"}))


@pytest.mark.parametrize("name", sorted(names()))
def test_every_built_in_protocol_can_be_planned(name: str, tmp_path: Path) -> None:
    protocol = read_protocol(name)
    few = {  # of each group one draw suffices to see that its settings and pairs fit
        group: replace(draws, grid={key: values[:1] for key, values in draws.grid.items()})
        for group, draws in protocol.draws.items()
    }
    scenario = protocol.scenarios[0]
    needs_root = scenario.startswith("fscit") or scenario == "mini_imagenet"
    settings = {"scenario.root": str(tmp_path)} if needs_root else {}
    asked = Wanted(
        replace(protocol, draws=few),
        scenario,
        protocol.strategies,
        settings,
        tmp_path,
        Needs(device="cpu"),
    )
    draws = plain_draws(asked.protocol)
    draws += similar_draws(asked.protocol, {"apart": [0, 1], "together": [1, 0]})
    cells = cells_of(asked, draws)
    assert {cell.strategy for cell in cells} == set(asked.rows)
    assert {cell.draw.group for cell in cells} == set(protocol.draws)
