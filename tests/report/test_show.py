"""Tables of finished runs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.records import session_record
from rich.console import Console

from cl_suite.errors import UserError
from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.report.show import print_runs
from cl_suite.runs.folder import RunFolder


def write_run(
    root: Path,
    strategy: str = "teen",
    seed: int = 0,
    *,
    base_rate: float = 0.9,
    num_sessions: int = 3,
    scenario: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    fingerprint: str = "",
    finished: bool = True,
    num_base_images: int = 100,
) -> Path:
    """Write a run whose base accuracy falls by a point a session and whose new one is 0.5."""
    folder = RunFolder(root / "demo" / strategy / f"seed{seed}")
    folder.path.mkdir(parents=True)
    counts = np.array([num_base_images] + [100] * (num_sessions - 1))
    hits = np.zeros((num_sessions, num_sessions), dtype=np.int64)
    for session in range(num_sessions):
        hits[session, 0] = round(num_base_images * (base_rate - 0.01 * session))
        hits[session, 1 : session + 1] = 50
    figures = Hits(hits, counts, np.arange(num_sessions))
    folder.write_hits(figures)
    folder.write_metrics(
        [
            session_record(figures, i, seconds_train=1.5, seconds_eval=0.25, seen_classes=i + 1)
            for i in range(num_sessions)
        ]
    )
    config = {
        "scenario_name": "demo",
        "strategy_name": strategy,
        "seed": seed,
        "scenario": scenario or {"shots": 5},
        "strategy": settings or {},
        "model": model or {"backbone": "conv4"},
        "training": {"epochs": 3},
    }
    folder.config_file.write_text(yaml.safe_dump(config))
    info = {"finished": finished, "stream": {"fingerprint": fingerprint}}
    folder.run_info_file.write_text(json.dumps(info))
    return folder.path


def shown(*paths: Path, encoding: str = "utf-8", everything: bool = False) -> str:
    """Return what is printed into a pipe."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as file:
        print_runs(list(paths), Console(file=file, width=80), everything=everything)
        file.flush()
        return raw.getvalue().decode(encoding)


def row(text: str, *start: str) -> list[str]:
    """Return the cells of the first line that begins with these words."""
    lines = (line.split() for line in text.splitlines())
    return next(cells for cells in lines if cells[: len(start)] == list(start))


# one run


def test_a_run_is_shown_session_by_session(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path))
    assert "demo / teen, seed 0" in text
    assert row(text, "0", "1") == ["0", "1", "90.00", "90.00", "-", "-", "-", "1.5", "0.2"]
    assert row(text, "2", "3")[2:7] == ["62.67", "88.00", "50.00", "63.77", "1.00"]


def test_a_run_is_shown_with_its_accuracy_matrix(tmp_path: Path) -> None:
    assert row(shown(write_run(tmp_path)), "2", "88.0") == ["2", "88.0", "50.0", "50.0"]


def test_a_run_is_shown_with_what_it_comes_to(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path))
    assert "average accuracy 74.06 %" in text
    assert "last accuracy    62.67 %" in text
    assert "performance drop 27.33 points" in text
    assert "harmonic mean    63.77 %" in text
    assert "forgetting        1.00 points" in text


def test_the_less_common_figures_are_shown_on_request(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    assert not any(name in shown(path) for name in ("gAcc", "retention", "BWT"))
    text = shown(path, everything=True)
    assert row(text, "retention")[1] == "69.63"
    assert row(text, "BWT")[1] == "-1.00"
    assert row(text, "gAcc")[1] == "53.69"
    both = shown(path, write_run(tmp_path / "other", seed=1), everything=True)
    assert row(both, "strategy", "seeds", "gAcc") == [
        "strategy",
        "seeds",
        "gAcc",
        "retention",
        "BWT",
        "macro",
    ]


def test_costs_are_shown_on_request(tmp_path: Path) -> None:
    paths = [write_run(tmp_path, strategy) for strategy in ("teen", "er")]
    for path, kept in zip(paths, (0, 2_500_000), strict=True):
        file = path / "run.json"
        info = json.loads(file.read_text())
        file.write_text(json.dumps({**info, "kept_bytes": kept, "seconds_train": 1234.4}))
    assert "kept MB" not in shown(*paths)
    text = shown(*paths, everything=True)
    assert row(text, "strategy", "trained")[2:5] == ["k", "kept", "MB"]
    assert row(text, "er", "-") == ["er", "-", "2.5", "1,234", "-", "-"]
    assert row(text, "teen", "-") == ["teen", "-", "0.0", "1,234", "-", "-"]


def test_the_macro_average_is_shown_where_classes_differ_in_size(tmp_path: Path) -> None:
    assert "macro" not in shown(write_run(tmp_path / "equal"))
    assert "last, macro" in shown(write_run(tmp_path / "unequal", num_base_images=400))


def test_an_unfinished_run_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path, finished=False))
    assert "unfinished: 3 sessions done" in text


@pytest.mark.parametrize("num_sessions", [1, 9, 11, 16, 17, 51])
def test_everything_fits_into_eighty_columns(tmp_path: Path, num_sessions: int) -> None:
    text = shown(write_run(tmp_path, base_rate=1.0, num_sessions=num_sessions))
    assert max(map(len, text.splitlines())) <= 80
    matrix = text[text.index("of one (column)\n") :]
    cells = row(matrix, "after")[1:]
    assert cells[0] == "0"
    assert cells[-1] == str(num_sessions - 1)
    # no number is broken over two lines
    last = row(matrix, str(num_sessions - 1))
    assert len(last) == len(cells) + 1


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


# bad input


def test_a_run_without_a_finished_session_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path, num_sessions=1)
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match=r"no session of run .* is finished yet"):
        shown(path)


def test_runs_of_which_none_is_finished_are_refused(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, seed=seed, finished=False)
    with pytest.raises(UserError, match="none of these 2 runs is finished"):
        shown(tmp_path)


@pytest.mark.parametrize("name", ["hits.npz", "metrics.jsonl", "config.yaml", "run.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path)
    (path / name).write_bytes(b"\x00{[")
    with pytest.raises(UserError, match=f"{name}' cannot be read"):
        shown(path)


@pytest.mark.parametrize("name", ["hits.npz", "metrics.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path)
    (path / name).unlink()
    with pytest.raises(UserError, match=f"{name}' does not exist"):
        shown(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": "x"}, "seed 'x', not a number"), ({"strategy_name": None}, "no strategy_name")],
)
def test_settings_that_are_no_runs_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = write_run(tmp_path)
    config = yaml.safe_load((path / "config.yaml").read_text()) | change
    kept = {key: value for key, value in config.items() if value is not None}
    (path / "config.yaml").write_text(yaml.safe_dump(kept))
    with pytest.raises(UserError, match=message):
        shown(path)


def test_a_run_killed_between_its_two_files_is_shown(tmp_path: Path) -> None:
    path = write_run(tmp_path, num_sessions=3)
    RunFolder(path).write_hits(RunFolder(path).read_hits().until(1))
    assert "last accuracy    69.50 %" in shown(path)


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from cl_suite.report.show import print_runs\n"
        f"print_runs([Path({str(path)!r})], Console())\n"
        "print({'torch', 'avalanche'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_probes_have_tables_of_their_own(tmp_path: Path) -> None:
    for strategy in ("teen", "sycon"):
        path = write_run(tmp_path, strategy)
        info = json.loads((path / "run.json").read_text())
        measured = "its classifier" if strategy == "teen" else "a linear probe on its features"
        (path / "run.json").write_text(
            json.dumps(info | {"measured_by": measured, "probes": ["knn"]})
        )
        probe = RunFolder(path).probe("knn")
        probe.make()
        hits = RunFolder(path).read_hits()
        probe.write_hits(Hits(hits.hits // 2, hits.counts, hits.session_of_class))
    alone = shown(tmp_path / "demo/sycon/seed0")
    assert "accuracies are those of a linear probe on its features" in alone
    assert "by a nearest-neighbour probe on its features" in alone
    together = shown(tmp_path)
    for title in (
        "demo\n",
        "demo, by a linear probe on its features",
        "nearest-neighbour probe on",
    ):
        assert title in together
    assert together.count("paired by seed") == 1  # the two strategies by one measure


def test_an_unknown_probe_in_a_run_is_not_looked_for(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    info = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(info | {"probes": ["../../x"]}))
    assert "accuracy matrix" in shown(path)
