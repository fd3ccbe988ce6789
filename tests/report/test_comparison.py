"""Tables that compare several finished runs."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.shown_runs import row, shown, write_run

# several runs


def test_seeds_are_averaged_with_an_interval(tmp_path: Path) -> None:
    for seed, rate in enumerate((0.90, 0.92, 0.94)):
        write_run(tmp_path, seed=seed, base_rate=rate)
    # last accuracy: 188/300, 190/300, 192/300; t(0.975, 2) = 4.3027
    cells = row(shown(tmp_path), "teen", "3")
    assert cells[4:6] == ["63.33", "±1.66"]


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    for strategy in ("teen", "joint"):
        write_run(tmp_path, strategy)
    assert row(shown(tmp_path), "teen") == ["teen", "1", "74.06", "62.67", "27.33", "63.77", "1.00"]


def test_strategies_are_compared_by_seed_with_the_best(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "teen", seed, base_rate=0.90 - 0.1 * seed)
        write_run(tmp_path, "joint", seed, base_rate=0.93 - 0.1 * seed)
    text = shown(tmp_path)
    difference = text[text.index("difference to joint") :]
    # three points of 100 out of 300 images after the last session, whatever the seed
    assert row(difference, "teen")[4:6] == ["-1.00", "±0.00"]
    assert "joint" not in difference.splitlines()[2]


def test_only_seeds_that_both_have_are_paired(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "joint", seed, base_rate=0.95)
    write_run(tmp_path, "teen", 2)
    write_run(tmp_path, "finetune", 7)
    text = shown(tmp_path)
    difference = text[text.index("difference to joint") :]
    assert row(difference, "teen")[1] == "1"
    assert row(difference, "finetune") == ["finetune", "0", "-", "-", "-", "-", "-"]


def test_streams_of_other_parameters_never_share_a_table(tmp_path: Path) -> None:
    write_run(tmp_path / "a", scenario={"shots": "published", "way": 5})
    write_run(tmp_path / "b", scenario={"shots": "random", "way": 5})
    text = shown(tmp_path)
    assert "demo (shots=published)" in text
    assert "demo (shots=random)" in text
    assert text.count("strategy seeds") == 2
    assert "difference" not in text


def test_streams_of_other_data_never_share_a_table(tmp_path: Path) -> None:
    write_run(tmp_path / "a", fingerprint="a1")
    write_run(tmp_path / "b", fingerprint="b2")
    text = shown(tmp_path)
    assert "demo (data=a1)" in text
    assert "demo (data=b2)" in text


def test_other_backbones_share_a_table_and_are_told(tmp_path: Path) -> None:
    write_run(tmp_path, "teen")
    write_run(tmp_path, "joint", model={"backbone": "resnet18"})
    text = shown(tmp_path)
    assert text.count("strategy seeds") == 1
    assert "joint: model.backbone=resnet18" in text
    assert "teen: model.backbone=conv4" in text


def test_other_settings_of_a_strategy_are_never_averaged(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "teen", 0, settings={"temperature": 16})
    write_run(tmp_path / "b", "teen", 1, settings={"temperature": 32})
    text = shown(tmp_path)
    assert row(text, "teen", "#1")[2] == "1"
    assert "teen #1: strategy.temperature=16" in text
    assert "teen #2: strategy.temperature=32" in text


def test_a_repeated_run_is_counted_once_and_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    text = " ".join(shown(tmp_path).split())
    assert "left out:" in text
    assert "repeats" in text
    assert row(shown(tmp_path), "teen")[1] == "1"


def test_an_unfinished_run_is_left_out_and_told(tmp_path: Path) -> None:
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, finished=False)
    text = shown(tmp_path)
    assert "is unfinished" in " ".join(text.split())
    assert row(text, "teen")[1] == "1"


def test_a_comparison_fits_into_eighty_columns(tmp_path: Path) -> None:
    for seed in range(3):
        for strategy in ("teen", "a_strategy_of_a_long_name"):
            write_run(tmp_path, strategy, seed, base_rate=0.5 + 0.2 * seed)
    assert max(map(len, shown(tmp_path).splitlines())) <= 80


def test_a_terminal_without_unicode_is_served(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, seed=seed, base_rate=0.9 + 0.01 * seed)
    assert "+-" in shown(tmp_path, encoding="ascii")


def test_names_are_no_markup(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "[red]x[/blue]", seed)
    assert "[red]x[/blue]" in shown(tmp_path)


def test_costs_are_shown_on_request(tmp_path: Path) -> None:
    paths = [write_run(tmp_path, strategy) for strategy in ("teen", "er")]
    for path, kept in zip(paths, (0, 2_500_000), strict=True):
        file = path / "run.json"
        info = json.loads(file.read_text())
        file.write_text(json.dumps({**info, "kept_bytes": kept, "seconds_train": 1234.4}))
    assert "kept MB" not in shown(*paths)
    text = shown(*paths, everything=True)
    assert row(text, "strategy", "trained")[2:5] == ["k", "kept", "MB"]
    assert row(text, "er", "-") == ["er", "-", "2.5", "-", "1,234", "-", "-"]
    assert row(text, "teen", "-") == ["teen", "-", "0.0", "-", "1,234", "-", "-"]
