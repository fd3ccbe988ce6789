"""What a learner costs beyond its backbone, by the number of known classes.

Known classes are synthetic: five features each. Pictures to learn and to predict are random pixels,
and pass through the real backbone. The two sides of a ratio are interleaved, and the median of the
rounds is reported. Both are processor time of one thread, which other programs hardly disturb; the
times of files are on the wall.

    learn      keeping a class of five pictures, against the backbone's passes over them
    predict    answers to 1, 8 and 64 pictures, against the backbone's passes over them
    after      the first answer after a change: the rows that changed, temperature, threshold
    file       seconds to save and to load, and size

    python benchmarks/learner_cost.py --weights FILE.safetensors

The figures go to `results/learner_cost.json` in $RESULTS (benchmarks/results by default).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import result_file
import torch
from timing import seconds
from torch import Tensor

from cl_suite import Learner
from cl_suite.learner.extractor import Extractor
from cl_suite.learner.records import ClassRecord, Examples, State
from cl_suite.learner.rule import Rule
from cl_suite.learner.start import new_extractor, pretrained_settings

SHOTS = 5
BATCHES = (1, 8, 64)
THUMBNAIL_BYTES = 1500
# a base session would choose these; with them the benchmark needs none
RULES: Mapping[str, dict[str, Any]] = {
    "simple_cil": {},
    "lda": {"shrinkage": 0.3, "shift_weight": 0.0},
    "ranpac": {"ridge": 1.0, "num_projections": 0},
}
WORDS = {"simple_cil": "class means", "lda": "LDA", "ranpac": "balanced ridge, no projection"}
POOLED_CLASSES = (1_000, 10_000)  # at which rules of second moments are measured
COLUMNS = {
    "learn": "learn 5 pictures",
    **{f"predict_{n}": f"predict {n}" for n in BATCHES},
    "after": "first answer after a change",
}
SETTING = (
    "Processor time of one thread beyond the backbone's, in per cent of the backbone's own passes "
    "over the same pictures. Classes are synthetic, with five features of width 1,280 each; the "
    "pictures and the backbone, EfficientNet-Lite0, are real in size. The first answer after a "
    "change is for one picture and renews temperature and threshold. Medians of interleaved rounds."
)


@dataclass(frozen=True)
class Cost:
    """What was measured of a learner, in seconds beyond the backbone and as shares of its time."""

    shares: Mapping[str, float]
    seconds: Mapping[str, float]
    file: Mapping[str, float]
    passes: int
    bytes_a_class: int


def known_classes(rule: Rule, num: int) -> State:
    """Return a state of synthetic classes; the rule is set up on a few of them."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(num, 1, rule.dim, generator=generator)
    noise = torch.randn(num, SHOTS, rule.dim, generator=generator)
    features = (means + 0.3 * noise).relu()
    few = features[:50].flatten(0, 1)
    rule.set_up(few, torch.arange(len(few)) // SHOTS)
    rng = np.random.default_rng(0)
    records: dict[str, ClassRecord] = {}
    pooled = torch.zeros(rule.width, rule.width).double() if rule.pools_moments else None
    for part in range(0, num, 500):
        rows = features[part : part + 500]
        averaged = rule.averaged(rows.flatten(0, 1)).view(len(rows), SHOTS, -1)
        totals = averaged.sum(1)
        if pooled is not None:
            pooled += _shares(rule, averaged, totals)
        for row, (total, each) in enumerate(zip(totals, rows, strict=True)):
            ids = tuple(sorted(rng.bytes(16) for _ in range(SHOTS)))
            thumbnails = (rng.bytes(THUMBNAIL_BYTES),) * SHOTS
            record = ClassRecord(False, total, ids, Examples(each.clone(), ids, thumbnails))
            records[f"class {part + row}"] = record
    return State(records, pooled)


def _shares(rule: Rule, averaged: Tensor, totals: Tensor) -> Tensor:
    """Return the sum of what `records.share` gives for classes of `SHOTS` pictures."""
    flat = averaged.flatten(0, 1)
    moments = flat.T @ flat
    if rule.name == "lda":
        return moments - totals.T @ totals / SHOTS
    return moments / SHOTS


def measured(extractor: Extractor, rule_name: str, num: int, rounds: int) -> Cost:
    """Return the costs of a rule with so many known classes."""
    rule = Rule(rule_name, RULES[rule_name], extractor.dim)
    learner = Learner(extractor, rule, known_classes(rule, num))
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (240, 320, 3)).astype(np.uint8) for _ in range(SHOTS)]
    passes = _passes(extractor, lambda: learner.look(pictures))
    examples, _ = learner.look(pictures)
    prepared = torch.rand(max(BATCHES), *extractor.spec.input_shape)
    features = {n: extractor.to_predict(list(prepared[:n])) for n in BATCHES}
    _ = learner.calibration  # the table is written
    network: dict[str, list[float]] = {name: [] for name in COLUMNS}
    beyond: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for _ in range(rounds):
        for n in BATCHES:
            name = f"predict_{n}"
            network[name].append(cpu_seconds(lambda n=n: extractor.to_predict(list(prepared[:n]))))
            beyond[name].append(_median(lambda n=n: learner.answers(features[n]), 3))
        network["learn"].append(cpu_seconds(lambda: extractor.to_learn(list(prepared[:SHOTS]))))
        beyond["learn"].append(cpu_seconds(lambda: learner.add(examples, "one more")))
        network["after"].append(cpu_seconds(lambda: extractor.to_predict(list(prepared[:1]))))
        beyond["after"].append(cpu_seconds(lambda: learner.answers(features[1])))
        learner.undo()
        learner.answers(features[1])
    found = {name: statistics.median(values) for name, values in beyond.items()}
    ratios = {name: found[name] / statistics.median(network[name]) for name in COLUMNS}
    record = next(iter(learner.state.records.values()))
    size = record.total.nbytes + record.kept.features.nbytes + 4 * (rule.width + 1)
    return Cost(ratios, found, file_cost(learner, rounds), passes, size)


def file_cost(learner: Learner, rounds: int) -> dict[str, float]:
    """Return seconds to save and to read a learner's file, and its size in MiB."""
    from cl_suite.learner import store

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.clm"
        saving = _median(lambda: learner.save(path), min(rounds, 3), seconds)
        loading = _median(lambda: store.unpack(store.read(path), path), rounds, seconds)
        return {"save": saving, "load": loading, "MiB": path.stat().st_size / 2**20}


def _passes(extractor: Extractor, action: Callable[[], object]) -> int:
    """Return through how many pictures the backbone goes while something is done."""
    counted: list[int] = []
    hook = extractor.backbone.register_forward_pre_hook(lambda _, x: counted.append(len(x[0])))
    try:
        action()
    finally:
        hook.remove()
    return sum(counted)


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return how much processor time an action takes, that of all threads together."""
    start = time.process_time()
    action()
    return time.process_time() - start


def _median(
    action: Callable[[], object],
    times: int,
    measure: Callable[[Callable[[], object]], float] = cpu_seconds,
) -> float:
    return statistics.median(measure(action) for _ in range(times))


def show(rule: str, num: int, cost: Cost) -> dict[str, Any]:
    """Print the costs; return their row."""
    shares = "  ".join(f"{name} {100 * share:.2f} %" for name, share in cost.shares.items())
    times = "  ".join(f"{name} {1000 * value:.2f} ms" for name, value in cost.seconds.items())
    file = cost.file
    print(f"{rule}, {num:,} classes: {cost.passes} passes for {SHOTS} pictures")  # noqa: T201
    print(f"    beyond the backbone  {shares}")  # noqa: T201
    print(f"    of these             {times}")  # noqa: T201
    print(  # noqa: T201
        f"    file                 save {file['save']:.2f} s  load {file['load']:.2f} s  "
        f"{file['MiB']:.0f} MiB, {cost.bytes_a_class:,} bytes of numbers a class",
        flush=True,
    )
    return result_file.row_record(
        name=f"{rule}_{num}",
        label=f"{WORDS[rule]} (`{rule}`), {num:,} classes",
        scenario="mini_imagenet",
        strategy=rule,
        figures={name: {0: share} for name, share in cost.shares.items()},
    )


def write_results(rows: Sequence[dict[str, Any]], backbone: str, *, whole: bool) -> None:
    """Write the table of results."""
    path = Path(os.environ.get("RESULTS") or result_file.RESULTS) / "learner_cost.json"
    content = {
        "name": path.stem,
        "title": "What a `Learner` costs beyond its backbone",
        "scenario": "mini_imagenet",
        "setting": SETTING,
        **result_file.measured_here(),
        "partial": not whole,
        "command": f"python benchmarks/learner_cost.py --weights $WEIGHTS --backbone {backbone}",
        "needs": {"WEIGHTS": "the backbone's weights file"},
        "columns": COLUMNS,
        "rows": list(rows),
        "differences": [],
        "notes": result_file.notes_of(path),
    }
    result_file.write(path, content)
    print(f"written: {path}")  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", required=True, help="the backbone's weights file")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)  # several would count their waiting for each other
    settings = pretrained_settings(options.backbone, options.weights, None, None, None, 1.0)
    extractor = new_extractor(settings, "cpu")
    rows = []
    for rule in options.rules:
        pooled = RULES[rule] and options.classes == parser.get_default("classes")
        for num in POOLED_CLASSES if pooled else options.classes:
            rows.append(show(rule, num, measured(extractor, rule, num, options.rounds)))
    whole = options.rules == list(RULES) and options.classes == parser.get_default("classes")
    write_results(rows, options.backbone, whole=whole)


if __name__ == "__main__":
    main()
