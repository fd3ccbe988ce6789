"""The benchmarks: each runs at its smallest size and prints its table; times are not judged.

`benchmarks/tables.py` has tests of its own, in `test_tables.py` and `test_table_files.py`; the
entry to all of them and the files of speed are tested in `test_benchmark_entry.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import ROOT, load_program

ENTRIES = load_program("benchmarks/entries.py").ENTRIES
OWN_TESTS = {"tables"}
# "PyPI name, module" of the libraries that not everybody has
OPTIONAL = {"pytorch-metric-learning": "pytorch_metric_learning", "lightly": "lightly"}


def printed_by(name: str, *options: object, folder: Path, small: bool = True) -> list[str]:
    """Return the lines that a benchmark prints at its smallest size; results go to the folder."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", name]
    result = subprocess.run(
        [*command, *["--small"] * small, *map(str, options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "RESULTS": str(folder)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def compared_by(name: str, folder: Path) -> list[str]:
    """Return the names of the comparisons that a benchmark wrote to its file of speed."""
    path = folder / "speed" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for comparison in found["comparisons"]:
        assert all(ratio > 0 for ratio in comparison["ratios"])
    return [comparison["name"] for comparison in found["comparisons"]]


def test_every_benchmark_has_a_test_here() -> None:
    here = Path(__file__).read_text("utf-8")
    assert {name for name in ENTRIES.keys() - OWN_TESTS if f'"{name}"' not in here} == set()


def test_every_program_has_an_entry() -> None:
    programs = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text("utf-8")
    }
    assert programs - {"__main__"} == ENTRIES.keys()


@pytest.mark.slow
def test_coact_step_compares_three_variants(tmp_path: Path) -> None:
    heading, *rows = printed_by("coact_step", folder=tmp_path)
    assert heading == "deit_tiny_patch16_224, batch 2, 1 rounds"
    assert [row[2:12].strip() for row in rows] == ["shared", "4 encoders", "6 passes"]
    assert len(compared_by("coact_step", tmp_path)) == 2


def test_coact_rates_compares_a_chosen_rate_with_fixed_ones(tmp_path: Path) -> None:
    heading, row, written, summary = printed_by("coact_rates", "--results", folder=tmp_path)
    assert heading.split()[3:] == [
        *("simple_cil", "auto", "0.01", "no_contrast", "no_blocks", "no_later", "adapters"),
        *("gain", "marks"),
    ]
    assert row.startswith("packaged")
    assert row.split()[-2] == "chose"
    assert written == f"written: {tmp_path / 'coact_grounds.json'}"
    assert summary.startswith("mean gain over simple_cil, 1 grounds, seeds [0]: ")
    table = load_program("docs/tables.py").load(tmp_path / "coact_grounds.json")
    assert [found.name for found in table.rows] == [
        "packaged_simple_cil",
        "packaged_auto",
        "packaged_0.01",
        "packaged_no_contrast",
        "packaged_no_blocks",
        "packaged_no_later",
        "packaged_adapters",
    ]
    assert "--rates 0.01 --parts 0.01 " in table.command
    gains = {(gain.row, gain.against): gain for gain in table.differences}
    # each against simple_cil, and each part against the whole
    assert len(gains) == 6 + 4
    gain = gains["packaged_auto", "packaged_simple_cil"]
    means = [found.figures["average"].mean for found in table.rows]
    assert gain.mean == pytest.approx(means[1] - means[0], abs=1e-5)


def test_auto_grounds_compares_auto_with_its_rules(tmp_path: Path) -> None:
    means, auto = printed_by("auto_grounds", folder=tmp_path)
    assert means.split()[:4] == ["smallest", "class_means", "seed", "0"]
    assert "auto chose" in " ".join([auto.split()[1], *auto.split("  ")[-1:]])


def test_engine_overhead_compares_training_and_later_sessions(tmp_path: Path) -> None:
    assert [line.partition(":")[0] for line in printed_by("engine_overhead", folder=tmp_path)] == [
        "training, engine / bare loop",
        "later sessions, engine / bare",
        "seconds a session outside the model",
    ]
    assert len(compared_by("engine_overhead", tmp_path)) == 2


def test_feature_bank_measures_building_and_training(tmp_path: Path) -> None:
    lines = printed_by("feature_bank", folder=tmp_path)
    assert len(lines) == 6
    assert all("median" in line for line in lines)
    assert compared_by("feature_bank", tmp_path)[1:] == [
        f"an epoch over cached features, batch {size}" for size in (64, 128, 256)
    ]


def test_cold_bank_compares_three_sides(tmp_path: Path) -> None:
    heading, *rows = printed_by("cold_bank", folder=tmp_path)
    assert heading == "test_resnet, 2 images, one thread, CPU ms an image"
    assert [row[:10].strip() for row in rows] == ["as it was", "float32", "bfloat16"]
    assert len(compared_by("cold_bank", tmp_path)) >= 2


def test_training_step_compares_memory_and_loops(tmp_path: Path) -> None:
    lines = printed_by("training_step", folder=tmp_path)
    assert sum("page faults a step" in line for line in lines) == 2
    assert compared_by("training_step", tmp_path) == ["tiny, memory kept", "tiny, a step"]


def test_forked_jobs_compares_both_ways_to_start_them(tmp_path: Path) -> None:
    (line, _) = printed_by("forked_jobs", folder=tmp_path)
    assert line.startswith("1 jobs: forks ")
    assert len(compared_by("forked_jobs", tmp_path)) == 1


def test_start_compares_a_run_with_imports(tmp_path: Path) -> None:
    lines = printed_by("start", folder=tmp_path)
    assert lines[0].startswith("omniglot, first batch: imports ")
    assert compared_by("start", tmp_path) == ["omniglot, first batch"]


def test_frozen_features_measures_session_costs(tmp_path: Path) -> None:
    options = ["--classes", 10, "--rounds", 1]
    heading, *rows = printed_by("frozen_features", *options, folder=tmp_path, small=False)
    assert heading.endswith("10 classes")
    assert len(rows) == 6


def test_frozen_features_writes_accuracies(tmp_path: Path) -> None:
    _, row, written = printed_by("frozen_features", folder=tmp_path)
    assert row.startswith("class_means")
    assert Path(written.removeprefix("written: ")).is_file()


def test_as_it_comes_writes_the_plain_and_the_robust_form(tmp_path: Path) -> None:
    plain, robust, written = printed_by("as_it_comes", folder=tmp_path)
    assert plain.split()[:2] == ["label_noise", "class_means"]
    assert robust.split()[:2] == ["label_noise", "class_means_distance"]
    found = json.loads(Path(written.removeprefix("written: ")).read_text("utf-8"))
    assert found["partial"]
    assert [row["options"] for row in found["rows"]] == [
        {"scenario.label_noise": "0.4"},
        {"scenario.label_noise": "0.4", "strategy.outliers": "distance"},
    ]
    assert found["rows"][1]["baseline"] == "label_noise/class_means"
    assert [d["figure"] for d in found["differences"]] == ["average"]


def test_frozen_run_times_a_cold_and_a_warm_run(tmp_path: Path) -> None:
    heading, round_line, median_line = printed_by("frozen_run", folder=tmp_path)
    assert "distinct images" in heading
    assert "cold / forward" in round_line
    assert "median" in median_line
    assert len(compared_by("frozen_run", tmp_path)) == 2


@pytest.mark.slow
def test_peers_avalanche_compares_frozen_runs_and_replay(tmp_path: Path) -> None:
    lines = printed_by("peers_avalanche", folder=tmp_path)
    assert compared_by("peers_avalanche", tmp_path) == [
        "ER_ACE, 2 sessions of Omniglot, conv4",
        "Replay, 2 sessions of Omniglot, conv4",
        "NCM, nine sessions, cold bank",
        "NCM, nine sessions, warm bank",
    ]
    # one network, one rule: both give one accuracy
    (said,) = [line for line in lines if line.startswith("note: NCM: last accuracy")]
    ours, theirs = (word.rstrip(",") for word in said.split() if word.rstrip(",").endswith("%"))
    assert ours == theirs


def test_peers_classifiers_agree_with_scikit_learns(tmp_path: Path) -> None:
    printed_by("peers_classifiers", folder=tmp_path)
    found = compared_by("peers_classifiers", tmp_path)
    assert found == ["ridge", "LDA", "20 neighbours", "ridge in 10 sessions"]


def test_peers_losses_agree_with_the_libraries(tmp_path: Path) -> None:
    lines = printed_by("peers_losses", folder=tmp_path)
    found = compared_by("peers_losses", tmp_path)
    assert "info_nce, plain PyTorch, batch 8" in found
    for name, module in OPTIONAL.items():
        # a library that is missing is said, and nothing else fails
        missing = any(line.startswith(f"note: {module} is not installed") for line in lines)
        assert any(name in comparison for comparison in found) != missing


def test_learner_serve_loads_the_real_server(tmp_path: Path) -> None:
    heading, _, *rows = printed_by("learner_serve", folder=tmp_path)
    assert heading == "conv4, 2 classes"
    assert [row.split()[0].strip(",") for row in rows] == [
        "Learner.predict",
        "predict",
        "predict",
        "learn",
    ]


def test_learner_calibration_measures_probabilities_and_strangers(tmp_path: Path) -> None:
    row, written = printed_by("learner_calibration", folder=tmp_path)
    assert row.startswith("Omniglot, conv4")
    assert {"ece", "ece_raw", "auroc", "auroc_raw", "false_alarms", "found"} <= set(row.split())
    assert Path(written.removeprefix("written: ")).is_file()


def test_learner_cost_measures_learning_predicting_and_the_file(tmp_path: Path) -> None:
    means, shares, times, file, ridge, *_, written = printed_by("learner_cost", folder=tmp_path)
    # learning costs one pass a picture, whatever the rule
    assert means == "simple_cil, 3 classes: 5 passes for 5 pictures"
    assert ridge == "ranpac, 3 classes: 5 passes for 5 pictures"
    assert all("predict_64" in line for line in (shares, times))
    assert "bytes of numbers a class" in file
    assert Path(written.removeprefix("written: ")).is_file()


def test_mamlcon_inner_compares_both_orders(tmp_path: Path) -> None:
    heading, *rows = printed_by("mamlcon_inner", folder=tmp_path)
    assert heading.startswith("1 episodes")
    assert [row.split()[:2] for row in rows] == [["mlp", "first"], ["mlp", "second"]]
    assert len(compared_by("mamlcon_inner", tmp_path)) == 2


def test_picle_covariance_counts_choices(tmp_path: Path) -> None:
    _, row = printed_by("picle_covariance", folder=tmp_path)
    points, *counts = row.split()
    assert points == "10"
    assert all(int(count.removesuffix("/2")) <= 2 for count in counts)


@pytest.mark.slow
def test_method_overhead_compares_every_method(tmp_path: Path) -> None:
    methods = [line.split()[0] for line in printed_by("method_overhead", folder=tmp_path)]
    assert methods == ["finetune", "er", "coconut", "cler", "sycon"]
    assert len(compared_by("method_overhead", tmp_path)) == 5


def test_processes_compares_one_with_two(tmp_path: Path) -> None:
    printed_by("processes", folder=tmp_path)
    assert "conv4, 28 pixels" in compared_by("processes", tmp_path)


def test_scale_measures_each_number_of_sessions(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in printed_by("scale", folder=tmp_path)]
    assert [line["sessions"] for line in lines] == [4, 6]


def test_replay_shows_our_figures_beside_the_other_frameworks(tmp_path: Path) -> None:
    said, er, der_pp_row, der_row, labels_row = printed_by(
        "replay",
        *["--methods", "er", "der_pp", "der", "der_pp_labels", "--seeds", 0],
        *["--backbone", "test_resnet"],
        folder=tmp_path,
        small=False,
    )
    assert said.startswith("random pictures")
    assert er.startswith("ER ")
    assert er.endswith("the other framework 30.5 (29.9 31.8 29.7), mark 29.0")
    assert [row[:24].strip() for row in (der_pp_row, der_row, labels_row)] == [
        "DER++ alpha .3, beta .5",
        "DER alpha .3",
        "DER++ alpha 0, beta 1",
    ]


def test_replay_reads_a_folder_of_class_folders(tmp_path: Path) -> None:
    import torch
    from torchvision.io import write_png

    program = load_program("benchmarks/replay.py")
    for class_name, shade in (("ant", 10), ("bee", 200)):
        (tmp_path / class_name).mkdir()
        for name in ("test_0", "train_0", "train_1", "train_2"):
            image = torch.full((3, 4, 4), shade, dtype=torch.uint8)
            write_png(image, str(tmp_path / class_name / f"{name}.png"))
    train, test = (program.images_of(tmp_path, t, n) for t, n in ((False, 2), (True, 1)))
    stream = program.stream_of(train, test)
    assert stream.info.session_classes == ((0, 1),)
    assert list(stream.train[0].targets) == [0, 0, 1, 1]
    assert [int(stream.test[0][row][0].max()) for row in range(2)] == [10, 200]
    with pytest.raises(SystemExit, match="has 1 test images instead of 2"):
        program.images_of(tmp_path, True, 2)
