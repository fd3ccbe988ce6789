"""`auto` beside every rule that it chooses from, on the frozen features of several grounds.

    python benchmarks/auto_grounds.py --data DATA --weights WEIGHTS [--grounds gtsrb_deit]
        [--methods auto lda] [--seeds 0 1 2] [--omniglot RUNS]

A ground is a stream and a frozen backbone, or two whose features stand side by side. DATA and
WEIGHTS are folders as in `coact_rates.py`; DATA may also hold `arabic_speech_commands`, and WEIGHTS
`whisper_tiny_en_encoder`. Omniglot's backbone is the suite's own: RUNS is the `--out` of `cl-suite
run omniglot teen --seed 0 1 2`. A ground whose files are missing is left out. Without DATA,
Omniglot from the package with a random network shows that the program runs.

A seed is that of the fake streams that rules choose their parameters on. In the FSCIT grounds it
also is the class order (0: the published one), on Omniglot the network's training, and on spoken
words the draw of the stream.
Features come from the bank, in bfloat16. Figures go to `results/auto_grounds.json`, beside those of
grounds and methods that are not measured again ($RESULTS replaces the folder).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import result_file
from frozen_features import CHOICE, COLUMNS, METHODS, Method, accuracies

from cl_suite import registry
from cl_suite.data.stream import Stream
from cl_suite.runs.assemble import build_model, build_stream
from cl_suite.runs.config import resolve
from cl_suite.strategies import AutoPlugin

RULES = (
    "class_means",
    "centred",
    "teen",
    "teen_whitened",
    "lda",
    "ridge",
    "knn",
    "c_ranpac_ridge",
    "klda",
)
COMPARED: Mapping[str, Method] = {
    **{name: METHODS[name] for name in RULES},
    "auto": Method("auto", "`auto`", AutoPlugin, {}, CHOICE),
}
NETWORKS = {
    "lite0": ("tf_efficientnet_lite0", "tf_efficientnet_lite0.safetensors"),
    "deit": ("deit_tiny_patch16_224", "deit_tiny_patch16_224.safetensors"),
    "whisper": ("whisper:tiny.en", "whisper_tiny_en_encoder"),
}
MEAN = "mean of all grounds"
Values = dict[str, dict[int, float]]  # fractions by figure and seed


@dataclass(frozen=True)
class Ground:
    """A stream and a frozen backbone.

    Attributes:
        scenario: its name.
        folder: below DATA; "": the data are in the package.
        network: a name in `NETWORKS`; "": trained by the suite, or random.
        beside: a second one, whose features stand beside the first one's; "": none.
        seed_option: the option that takes the seed; "": the stream is the same for all seeds.
        options: further options.
    """

    scenario: str
    folder: str
    network: str
    seed_option: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    beside: str = ""


ORDER = "scenario.class_order"
SOUND = {"scenario.features": "waveform"}
GROUNDS: Mapping[str, Ground] = {
    "omniglot_conv4": Ground("omniglot", "", "", "seed"),
    "mini_imagenet_lite0": Ground("mini_imagenet", "miniimagenet", "lite0"),
    "mini_imagenet_deit": Ground("mini_imagenet", "miniimagenet", "deit"),
    "caltech101_lite0": Ground("fscit_caltech101", "caltech101", "lite0", ORDER),
    "caltech101_deit": Ground("fscit_caltech101", "caltech101", "deit", ORDER),
    "gtsrb_lite0": Ground("fscit_gtsrb", "gtsrb", "lite0", ORDER),
    "gtsrb_deit": Ground("fscit_gtsrb", "gtsrb", "deit", ORDER),
    "stanford_cars_lite0": Ground("fscit_stanford_cars", "stanford_cars", "lite0", ORDER),
    "stanford_cars_deit": Ground("fscit_stanford_cars", "stanford_cars", "deit", ORDER),
    "dtd_lite0": Ground("fscit_dtd", "dtd_10", "lite0", ORDER),
    "dtd_deit": Ground("fscit_dtd", "dtd_10", "deit", ORDER),
    **{
        f"{name}_both": Ground(scenario, folder, "lite0", option, beside="deit")
        for name, scenario, folder, option in (
            ("mini_imagenet", "mini_imagenet", "miniimagenet", ""),
            ("caltech101", "fscit_caltech101", "caltech101", ORDER),
            ("gtsrb", "fscit_gtsrb", "gtsrb", ORDER),
            ("stanford_cars", "fscit_stanford_cars", "stanford_cars", ORDER),
            ("dtd", "fscit_dtd", "dtd_10", ORDER),
        )
    },
    "spoken_words_whisper": Ground(
        "spoken_words", "arabic_speech_commands", "whisper", "seed", SOUND
    ),
}
SMALLEST = Ground(
    "omniglot",
    "",
    "",
    "seed",
    {"scenario.base_classes": "12", "scenario.way": "115", "scenario.shots": "2"},
)


def stream_of(ground: Ground, seed: int, paths: Mapping[str, str]) -> Stream:
    """Return the features of a ground.

    Args:
        paths: options that name files.
    """
    options = {**ground.options, **paths, "model.frozen": "true", "model.bank_dtype": "bfloat16"}
    if ground.network:
        options["model.backbone"] = NETWORKS[ground.network][0]
    if ground.beside:
        options["model.beside"] = NETWORKS[ground.beside][0]
    if ground.seed_option == ORDER:
        options[ORDER] = str(seed) if seed else "published"
    options["seed"] = str(seed)
    words = [f"--{name}={value}" for name, value in options.items()]
    entries = registry.get("scenario", ground.scenario), registry.get("strategy", "simple_cil")
    (config,), _ = resolve(*entries, words)
    return build_model(config, build_stream(config))[1]


def paths_of(ground: Ground, given: argparse.Namespace) -> dict[str, str] | None:
    """Return the options that name a ground's files; None if one is missing."""
    found: dict[str, Path] = {}
    if ground.folder:
        found["scenario.root"] = given.data / ground.folder
    if ground.network:
        found["model.weights"] = given.weights / NETWORKS[ground.network][1]
    elif given.omniglot is None:
        return None
    if ground.beside:
        found["model.beside_weights"] = given.weights / NETWORKS[ground.beside][1]
    missing = [path for path in found.values() if not path.exists()]
    runs = (
        {} if ground.network else {"model.weights": f"{given.omniglot}/omniglot/teen/seed{{seed}}"}
    )
    return None if missing else {**{k: str(v) for k, v in found.items()}, **runs}


def measured(
    name: str, ground: Ground, paths: Mapping[str, str], given: argparse.Namespace
) -> dict[str, Values]:
    """Print and return the figures of these methods on a ground, by method."""
    found: dict[str, Values] = {method: {c: {} for c in COLUMNS} for method in given.methods}
    stream = stream_of(ground, given.seeds[0], paths)
    for seed in given.seeds:
        if ground.seed_option and seed != given.seeds[0]:
            stream = stream_of(ground, seed, paths)
        for word, values in found.items():
            method = COMPARED[word]
            done = list(values["average"])
            if done and not ground.seed_option and not method.seeded:
                figures = {column: values[column][done[0]] for column in COLUMNS}
                note = ""
            else:
                plugin = method.plugin(seed)
                plugin.check_stream(stream.info, [len(samples) for samples in stream.train])
                head, _ = accuracies(stream, plugin)
                figures = {column: getattr(head, column) for column in COLUMNS}
                note = plugin.session_note(0)
            for column, value in figures.items():
                values[column][seed] = value
            words = " / ".join(f"{100 * value:.2f}" for value in figures.values())
            print(f"{name:22} {word:16} seed {seed}  {words}  {note}", flush=True)  # noqa: T201
    return found


def rows_of(name: str, ground: Ground, found: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return a ground's figures as rows of the file."""
    return [_row(name, method, ground.scenario, values) for method, values in found.items()]


def _row(group: str, method: str, scenario: str, values: Values) -> dict[str, Any]:
    return result_file.row_record(
        name=f"{_stem(group)}_{method}",
        label=COMPARED[method].label,
        group=group,
        scenario=scenario,
        strategy=COMPARED[method].strategy,
        options=COMPARED[method].options,
        figures=values,
    )


def _stem(group: str) -> str:
    return "mean" if group == MEAN else group


def mean_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean over the grounds of each method that all of them have, by common seed."""
    groups = {row["group"] for row in rows}
    found = []
    for method in COMPARED:
        own = [row for row in rows if row["name"] == f"{row['group']}_{method}"]
        if {row["group"] for row in own} == groups:
            found.append(_row(MEAN, method, "fscit", _mean_values(own)))
    return found


def _mean_values(rows: Sequence[Mapping[str, Any]]) -> Values:
    """Return the means over rows for the seeds that all of them have, by figure."""
    values = [result_file.values_of(row) for row in rows]
    return {
        column: {
            seed: statistics.fmean(each[column][seed] for each in values)
            for seed in sorted(set.intersection(*(set(each[column]) for each in values)))
        }
        for column in COLUMNS
    }


def differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what `auto` gains over each rule on each ground, paired by seed."""
    found = []
    named = {row["name"]: result_file.values_of(row) for row in rows}
    for row in rows:
        stem = row["name"].removesuffix("_auto")
        if stem == row["name"]:
            continue
        for other in RULES:
            against = f"{stem}_{other}"
            for column in COLUMNS:
                if column in named.get(against, {}):
                    pair = (
                        (row["name"], named[row["name"]][column]),
                        (against, named[against][column]),
                    )
                    found.append(result_file.difference(column, *pair))
    return [each for each in found if each is not None]


def write_results(new: Sequence[dict[str, Any]]) -> None:
    """Write these rows, and the others that the file has, with their means over the grounds."""
    folder = Path(os.environ.get("RESULTS") or result_file.RESULTS)
    path = folder / "auto_grounds.json"
    old = json.loads(path.read_text("utf-8")) if path.is_file() else None
    before = old["rows"] if old else []
    again = {row["name"] for row in new}
    rows = [row for row in before if row["group"] != MEAN and row["name"] not in again] + [*new]
    place = {f"{g}_{m}": (i, j) for i, g in enumerate(GROUNDS) for j, m in enumerate(COMPARED)}
    rows.sort(key=lambda row: place.get(row["name"], (len(GROUNDS), 0)))
    rows += mean_rows(rows)
    names = {row["name"] for row in rows}
    for row in rows:
        baseline = f"{_stem(row['group'])}_class_means"
        row["baseline"] = baseline if baseline in names - {row["name"]} else None
    content = {
        "name": path.stem,
        "title": "`auto` beside the rules that it chooses from, on frozen features",
        "scenario": "fscit",
        "setting": "Backbones stay frozen, and no method sees test data. A seed is that of the "
        "fake streams; it also is the class order in FSCIT grounds, the network's training on "
        "Omniglot, and the draw of the stream on spoken words. Features are stored in bfloat16.",
        **result_file.measured_here(beside=old),
        "partial": {row["name"] for row in rows if row["group"] != MEAN} != set(place),
        "command": "python benchmarks/auto_grounds.py --data $DATA --weights $WEIGHTS "
        "--omniglot $RUNS",
        "needs": {
            "DATA": "the folder of the data sets (see `auto_grounds.py`)",
            "WEIGHTS": "the folder of the backbones' weights",
            "RUNS": "the folder of the runs of `cl-suite run omniglot teen --seed 0 1 2`",
        },
        "columns": COLUMNS,
        "rows": rows,
        "differences": differences(rows),
        "notes": result_file.notes_of(path),
    }
    result_file.write(path, content)
    print(f"written: {path}")  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--omniglot", type=Path, help="runs whose backbones serve on Omniglot")
    parser.add_argument("--grounds", nargs="+", choices=GROUNDS, default=list(GROUNDS))
    parser.add_argument("--methods", nargs="+", choices=COMPARED, default=list(COMPARED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    if given.data is None:
        measured("smallest", SMALLEST, {}, given)
        return
    for name in given.grounds:
        paths = paths_of(GROUNDS[name], given)
        if paths is None:
            print(f"{name}: left out, because its files are missing")  # noqa: T201
            continue
        write_results(rows_of(name, GROUNDS[name], measured(name, GROUNDS[name], paths, given)))


if __name__ == "__main__":
    main()
