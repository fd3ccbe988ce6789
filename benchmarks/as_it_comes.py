"""Head rules, plain and robust, on streams as they come: frozen features of miniImageNet.

Under each condition (long-tailed, mislabelled, unequal shots, corrupted shots; and clean) every
rule runs as it is and with options made for such streams: class statistics without outliers, a
margin for each new class, scores mixed by the number of shots. A seed draws both the condition and
what a rule draws. `blurry` is missing: it brings more data of earlier classes, which these rules
refuse. The figures go to `results/as_it_comes.json` in $RESULTS (benchmarks/results by default).

    python benchmarks/as_it_comes.py --root DATA --weights FILE.safetensors
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import result_file
from frozen_features import CHOICE, COLUMNS, NUM_SEEDS, TITLES, Method, accuracies

from cl_suite.data.stream import Stream
from cl_suite.features.bank import banked_stream
from cl_suite.metrics.intervals import mean_interval
from cl_suite.models.backbones import create_backbone
from cl_suite.models.preprocessing import backbone_preprocessing, with_preprocessing
from cl_suite.scenarios import FSCIL
from cl_suite.strategies import (
    CachePlugin,
    LDAPlugin,
    SimpleCILPlugin,
    TEENPlugin,
    TEENWhitenedPlugin,
)

# options of the scenario; beside them the seed is its `spoil_seed`
CONDITIONS: Mapping[str, Mapping[str, Any]] = {
    "clean": {},
    "imbalance": {"imbalance": 20.0},
    "label_noise": {"label_noise": 0.4},
    "unequal_shots": {"unequal_shots": "1..10"},
    "corruption": {"corruption": "noise"},
}
PLAIN: Mapping[str, Method] = {
    "class_means": Method("simple_cil", "`simple_cil`", SimpleCILPlugin),
    "teen": Method("teen", "`teen`", TEENPlugin),
    "teen_whitened": Method("teen_whitened", "`teen_whitened`", TEENWhitenedPlugin, {}, CHOICE),
    "lda": Method("lda", "`lda`", LDAPlugin, {}, CHOICE),
}
OUTLIERS = {"outliers": "distance"}
# as many as there are wrong labels, and of few shots too
MANY = {"outlier_share": 0.4, "outlier_least": 5}
FORMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "distance": ("outliers by distance left out", OUTLIERS),
    "lof": ("outliers by lof left out", {"outliers": "lof"}),
    "many": ("40 % left out by distance, shots too", OUTLIERS | MANY),
}
MARGIN = ("a margin for each class", {"class_margin": True})
SETTING = (
    "EfficientNet-Lite0 stays frozen, and its features are in bfloat16. The base session has "
    "{base} images if nothing thins it. The tests have {tests} images, and they are clean. A seed "
    "draws the condition (its `spoil_seed`) and what a rule draws. The conditions are `imbalance` "
    "20, `label_noise` 0.4, `unequal_shots` 1..10, and `corruption` noise. `blurry` is left out, "
    "because these rules learn a class once. Robust forms are compared with their rule's plain "
    "form."
)


def methods() -> Iterator[tuple[str, Method]]:
    """Yield the rows of a condition: each rule as it is, followed by its robust forms."""
    for name, plain in PLAIN.items():
        yield name, replace(plain, baseline=None if name == "class_means" else "class_means")
        forms = dict(FORMS)
        if name != "lda":
            forms["margin"] = MARGIN
        for form, (words, parameters) in forms.items():
            seeded = (*plain.seeded, "margin_seed") if form == "margin" else plain.seeded
            yield (
                f"{name}_{form}",
                replace(
                    plain,
                    label=f"{plain.label}, {words}",
                    parameters=parameters,
                    seeded=seeded,
                    baseline=name,
                ),
            )
    mixed = {"shot_midpoint": 10.0}
    label = "`lda`, mixed with cosines by shots"
    yield "lda_shots", Method("lda", label, LDAPlugin, mixed, CHOICE, baseline="lda")
    yield "cache", Method("cache", "`cache`", CachePlugin, {}, (*CHOICE, "key_seed"))


METHODS: Mapping[str, Method] = dict(methods())


def stream_of(condition: str, seed: int, root: str, backbone: str, weights: str) -> Stream:
    """Return miniImageNet under a condition as a stream of a pretrained backbone's features."""
    preprocessing = backbone_preprocessing(backbone)
    assert preprocessing is not None, f"backbone '{backbone}' says nothing of its preprocessing"
    scenario = FSCIL(dataset="mini_imagenet", root=root, spoil_seed=seed, **CONDITIONS[condition])
    stream = with_preprocessing(scenario.build(), preprocessing)
    network = create_backbone(backbone, stream.info.input_shape, weights=weights, frozen=True)
    return banked_stream(stream, network, dtype="bfloat16")


def options_of(condition: str, method: Method) -> dict[str, str]:
    """Return a row's options as on the command line, without the seeds."""
    scenario = {f"scenario.{name}": str(value) for name, value in CONDITIONS[condition].items()}
    return scenario | method.options


def measured(
    condition: str, names: Sequence[str], seeds: int, data: Sequence[str]
) -> dict[str, dict[str, dict[int, float]]]:
    """Return the figures of these methods under a condition, as fractions, and print them."""
    found: dict[str, dict[str, dict[int, float]]] = {
        name: {figure: {} for figure in COLUMNS} for name in names
    }
    for seed in range(seeds):
        stream = stream_of(condition, seed, *data)
        for name in names:
            figures, _ = accuracies(stream, METHODS[name].plugin(seed))
            for figure, values in found[name].items():
                values[seed] = getattr(figures, figure)
    for name, by_figure in found.items():
        means = [100 * mean_interval(list(v.values())).mean for v in by_figure.values()]
        cells = "  ".join(f"{mean:6.2f}" for mean in means)
        print(f"{condition:14}{name:24}{cells}", flush=True)  # noqa: T201
    return found


def rows(condition: str, found: Mapping[str, Mapping[str, Mapping[int, float]]]) -> list[Any]:
    """Return the rows of a condition as records of a file of results."""
    return [
        result_file.row_record(
            name=f"{condition}/{name}",
            label=METHODS[name].label,
            group=f"`{condition}`" if CONDITIONS[condition] else condition,
            scenario="mini_imagenet",
            strategy=METHODS[name].strategy,
            baseline=f"{condition}/{base}" if (base := METHODS[name].baseline) in found else None,
            options=options_of(condition, METHODS[name]),
            figures=figures,
        )
        for name, figures in found.items()
    ]


def differences(condition: str, found: Mapping[str, Any]) -> list[Any]:
    """Return how far each robust form is from the plain one, in average and harmonic mean."""
    pairs = [
        (name, base)
        for name in found
        if (base := METHODS[name].baseline) in found and METHODS[name].parameters
    ]
    each = [
        result_file.difference(
            figure,
            (f"{condition}/{name}", found[name][figure]),
            (f"{condition}/{base}", found[base][figure]),
        )
        for name, base in pairs
        for figure in ("average", "harmonic")
    ]
    return [one for one in each if one is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", required=True, help="folder of miniImageNet")
    parser.add_argument("--weights", required=True, help="the backbone's .safetensors file")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument(
        "--conditions", nargs="+", default=list(CONDITIONS), choices=list(CONDITIONS)
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS)
    options = parser.parse_args()
    data = (options.root, options.backbone, options.weights)
    path = Path(os.environ.get("RESULTS") or result_file.RESULTS) / "as_it_comes.json"
    names = [name for name in METHODS if name in options.methods]
    figures = {c: measured(c, names, options.seeds, data) for c in options.conditions}
    clean = FSCIL(dataset="mini_imagenet", root=options.root).build()
    sizes = {"base": f"{len(clean.train[0]):,}", "tests": f"{sum(map(len, clean.test)):,}"}
    whole = set(options.conditions) == set(CONDITIONS) and names == list(METHODS)
    content = {
        "name": path.stem,
        "title": "Streams as they come on miniImageNet: "
        f"{TITLES.get(options.backbone, options.backbone)}, plain and robust forms",
        "scenario": "mini_imagenet",
        "setting": SETTING.format(**sizes),
        **result_file.measured_here(),
        "partial": not whole or options.seeds < NUM_SEEDS,
        "command": "python benchmarks/as_it_comes.py --root $MINI_IMAGENET --weights $LITE0",
        "needs": {
            "MINI_IMAGENET": "the folder of miniImageNet",
            "LITE0": "the weights file of EfficientNet-Lite0",
        },
        "columns": COLUMNS,
        "rows": [row for c, found in figures.items() for row in rows(c, found)],
        "differences": [d for c, found in figures.items() for d in differences(c, found)],
        "notes": result_file.notes_of(path),
    }
    result_file.write(path, content)
    print(f"written: {path}")  # noqa: T201


if __name__ == "__main__":
    main()
