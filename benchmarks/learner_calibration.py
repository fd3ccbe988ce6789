"""Whether a learner's probabilities and its answer "unknown" mean something, on real pictures.

Half of a ground's classes are known, some as base classes and some from five pictures; the others
are strangers (see `learner_grounds`). Temperature and threshold come from the training pictures
alone, with the settings that every learner has. Test pictures only measure. Each seed draws the
classes and the shots anew, and on Omniglot it also trains the network.

"Raw" is what the strategy's own head gives: the softmax of its scores (cosines times 16; Gaussian
log-likelihoods and ridge scores as they are), and its largest probability as familiarity.

    python benchmarks/learner_calibration.py --mini-imagenet ROOT --gtsrb ROOT --weights FOLDER

Without a root, that data set is left out. Networks trained on Omniglot go to $OUT (runs/tables by
default), where they are used again; the figures go to `results/learner_calibration.json` in
$RESULTS (benchmarks/results by default).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import result_file
import torch
from learner_grounds import Draw, Ground, Sizes, frozen, identity_of, trained
from sklearn.metrics import roc_auc_score
from torch import Tensor

from cl_suite.learner.calibration import FALSE_ALARMS, calibrated, familiarity
from cl_suite.learner.evaluate import calibration_error
from cl_suite.learner.records import Examples, State, grown, new_rows, with_record
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table

RULES: Mapping[str, str] = {
    "simple_cil": "class means",
    "teen": "TEEN",
    "teen_whitened": "TEEN, whitened",
    "lda": "LDA",
    "ranpac": "balanced ridge",
}
BACKBONES = {
    "tf_efficientnet_lite0": "EfficientNet-Lite0",
    "deit_tiny_patch16_224": "DeiT-tiny",
}
RAW_SCALES = {"lda": 1.0, "ranpac": 1.0}
COSINE_SCALE = 16.0
COLUMNS = {
    "accuracy": "accuracy",
    "ece": "ECE",
    "ece_raw": "ECE, raw",
    "auroc": "AUROC",
    "auroc_raw": "AUROC, raw",
    "false_alarms": "false alarms",
    "false_alarms_base": "of base classes",
    "false_alarms_few": "of few-shot classes",
    "found": "strangers found",
}
SETTING = (
    "Half of the classes are known, the others are strangers. Temperature and threshold follow "
    "from the training pictures alone; the threshold is set for 5 % false alarms. ECE is the "
    "expected calibration error of the best label's probability (15 bins), AUROC how well "
    "familiarity tells strangers from known pictures. Raw: the softmax of the strategy's own head "
    "and its largest probability."
)


def grounds(options: argparse.Namespace) -> list[Ground]:
    """Return the grounds whose data was named."""
    out = Path(os.environ.get("OUT") or "runs/tables") / "learner_calibration"
    recipe = {} if options.epochs is None else {"training.base_epochs": options.epochs}
    known = Sizes(options.base, 121 - options.base)
    load = cache(lambda seed: trained(out, seed, known.base, recipe))
    found = [Ground("Omniglot, conv4", "omniglot", known, load, trained=True)]
    for scenario, title, root, sizes in (
        ("mini_imagenet", "miniImageNet", options.mini_imagenet, Sizes(30, 20)),
        ("fscit_gtsrb", "GTSRB", options.gtsrb, Sizes(11, 10)),
    ):
        if root is None:
            continue
        for backbone, words in BACKBONES.items():
            weights = f"{options.weights}/{backbone}.safetensors"
            features = cache(partial(frozen, scenario, root, backbone, weights))
            found.append(Ground(f"{title}, {words}", scenario, sizes, lambda _, f=features: f()))
    return found


def learned(rule_name: str, drawn: Draw) -> tuple[Rule, State, Table]:
    """Return a rule that has learned the known classes of a draw."""
    dim = next(iter(drawn.base.values())).shape[1]
    rule = Rule(rule_name, {}, dim)
    columns = [column for column, rows in enumerate(drawn.base.values()) for _ in rows]
    rule.set_up(torch.cat(list(drawn.base.values())), torch.tensor(columns))
    state = State({})
    for classes, is_base in ((drawn.base, True), (drawn.few, False)):
        for class_id, features in classes.items():
            examples = Examples(features, tuple(map(identity_of, features)), (b"",) * len(features))
            fresh = examples.select(new_rows(None, examples.ids))
            record = grown(rule, None, fresh, is_base=is_base)
            state = with_record(rule, state, str(class_id), record)
    table = Table(rule, torch.device("cpu"))
    table.follow(state)
    return rule, state, table


@torch.no_grad()
def figures(rule_name: str, drawn: Draw) -> dict[str, float]:
    """Return the figures of a rule on a draw, as fractions."""
    rule, state, table = learned(rule_name, drawn)
    found = calibrated(rule, table, state, FALSE_ALARMS)
    place = {label: column for column, label in enumerate(state.records)}
    columns = torch.tensor([place[str(c)] for c, rows in drawn.known.items() for _ in rows])
    is_base = torch.tensor([record.is_base for record in state.records.values()])[columns]
    parts = [torch.cat(list(part.values())) for part in (drawn.known, drawn.strangers)]
    queries = [table.query(part) for part in parts]
    known, strangers = (table.scores(part) for part in queries)
    fits = [familiarity(rule, q, s) for q, s in zip(queries, (known, strangers), strict=True)]
    raw = RAW_SCALES.get(rule_name, COSINE_SCALE)
    limit = -torch.inf if found.threshold is None else found.threshold
    rejected = fits[0] < limit
    return {
        "accuracy": _mean(known.argmax(1) == columns),
        "ece": _error(found.scale * known, columns),
        "ece_raw": _error(raw * known, columns),
        "auroc": _auroc(*fits),
        "auroc_raw": _auroc(*((raw * s).softmax(1).max(1).values for s in (known, strangers))),
        "false_alarms": _mean(rejected),
        "false_alarms_base": _mean(rejected[is_base]),
        "false_alarms_few": _mean(rejected[~is_base]),
        "found": _mean(fits[1] < limit),
    }


def _mean(flags: Tensor) -> float:
    return float(flags.double().mean())


def _error(scores: Tensor, columns: Tensor) -> float:
    best = scores.softmax(dim=1).max(dim=1)
    pairs = zip(best.values.tolist(), (best.indices == columns).tolist(), strict=True)
    found = calibration_error(list(pairs))
    assert found is not None
    return found


def _auroc(known: Tensor, strangers: Tensor) -> float:
    is_known = [1] * len(known) + [0] * len(strangers)
    return float(roc_auc_score(is_known, torch.cat([known, strangers]).numpy()))


def measured(ground: Ground, rule: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Print the figures of a rule on a ground; return its row."""
    each = {seed: figures(rule, ground.draw(seed)) for seed in seeds}
    values = {name: {seed: each[seed][name] for seed in seeds} for name in COLUMNS}
    row = result_file.row_record(
        name=f"{ground.label}: {rule}",
        label=f"{RULES[rule]} (`{rule}`)",
        group=ground.label,
        scenario=ground.scenario,
        strategy=rule,
        figures=values,
    )
    for figure in row["figures"].values():
        figure["decimals"] = 1
    means = "  ".join(f"{name} {f['mean']:5.1f}" for name, f in row["figures"].items())
    print(f"{ground.label:34} {rule:14} {means}", flush=True)  # noqa: T201
    return row


def write_results(rows: Sequence[dict[str, Any]], partial_table: bool) -> None:
    """Write the table of results."""
    folder = Path(os.environ.get("RESULTS") or result_file.RESULTS)
    path = folder / "learner_calibration.json"
    content = {
        "name": path.stem,
        "title": "Probabilities and the unknown: what a `Learner` says of real pictures",
        "scenario": "omniglot",
        "setting": SETTING,
        **result_file.measured_here(),
        "partial": partial_table,
        "command": "python benchmarks/learner_calibration.py --mini-imagenet $MINI_IMAGENET "
        "--gtsrb $GTSRB --weights $WEIGHTS",
        "needs": {
            "MINI_IMAGENET": "the folder of miniImageNet",
            "GTSRB": "the folder of GTSRB",
            "WEIGHTS": f"a folder with {' and '.join(f'{b}.safetensors' for b in BACKBONES)}",
        },
        "columns": COLUMNS,
        "rows": list(rows),
        "differences": [],
        "notes": result_file.notes_of(path),
    }
    result_file.write(path, content)
    print(f"written: {path}")  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mini-imagenet", help="folder of miniImageNet")
    parser.add_argument("--gtsrb", help="folder of GTSRB")
    parser.add_argument("--weights", help="folder of the backbones' weights")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", type=int, default=61, help="known base classes of Omniglot")
    parser.add_argument("--epochs", type=int, help="of the network on Omniglot; its recipe's")
    options = parser.parse_args()
    chosen = grounds(options)
    seeds = range(options.seeds)
    rows = [measured(ground, rule, seeds) for ground in chosen for rule in options.rules]
    whole = set(options.rules) == set(RULES) and len(chosen) == 5 and options.epochs is None
    write_results(rows, not whole)


if __name__ == "__main__":
    main()
