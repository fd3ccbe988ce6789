"""Head rules, plain and robust, on streams as they come: frozen features of miniImageNet.

Under each condition (long-tailed, mislabelled, unequal shots, corrupted shots, blurry borders; and
clean) every rule runs as it is and with options made for such streams: class statistics without
outliers, a margin for each new class, scores mixed by the number of shots. A seed draws both the
condition and what a rule draws. The figures go to `results/as_it_comes.json` in $RESULTS
(benchmarks/results by default), beside those of conditions that are not measured again.

    python benchmarks/as_it_comes.py --root DATA --weights FILE.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import result_file
import torch
from frozen_features import CHOICE, COLUMNS, NUM_SEEDS, TITLES, Method, accuracies

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.features.bank import banked_stream
from cl_suite.metrics.intervals import mean_interval
from cl_suite.models.backbones import create_backbone
from cl_suite.models.digest import tensor_digest
from cl_suite.models.preprocessing import backbone_preprocessing, with_preprocessing
from cl_suite.scenarios import FSCIL
from cl_suite.strategies import (
    LDAPlugin,
    SimpleCILPlugin,
    TEENPlugin,
    TEENWhitenedPlugin,
)

# options of the scenario; beside them the seed is its `spoil_seed`
CONDITIONS: Mapping[str, Mapping[str, Any]] = {
    "label_noise": {"label_noise": 0.4},
    "imbalance": {"imbalance": 20.0},
    "unequal_shots": {"unequal_shots": "1..5"},
    "corruption": {"corruption": "noise"},
    "blurry": {"blurry": 0.3},
    "clean": {},
}
PLAIN: Mapping[str, Method] = {
    "class_means": Method("simple_cil", "`simple_cil`", SimpleCILPlugin),
    "teen": Method("teen", "`teen`", TEENPlugin),
    "teen_whitened": Method("teen_whitened", "`teen_whitened`", TEENWhitenedPlugin, {}, CHOICE),
    "lda": Method("lda", "`lda`", LDAPlugin, {}, CHOICE),
}
# as many as there are wrong labels, and of few shots too
MANY = {"outliers": "distance", "outlier_share": 0.4, "outlier_least": 5}
FORMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "distance": ("outliers by distance left out", {"outliers": "distance"}),
    "lof": ("outliers by lof left out", {"outliers": "lof"}),
    "many": ("40 % left out by distance, shots too", MANY),
    "margin": ("a margin for each class", {"class_margin": True}),
    "shots": ("mixed with cosines by shots", {"shot_midpoint": 10.0}),
}
# each rule's forms; the choices of the last two take long, and one has a margin already
FORMS_OF: Mapping[str, Sequence[str]] = {
    "class_means": ("distance", "lof", "many", "margin"),
    "teen": ("distance", "many"),
    "teen_whitened": ("many",),
    "lda": ("many", "shots"),
}
SETTING = (
    "EfficientNet-Lite0 stays frozen, and its features are in bfloat16. The base session has "
    "{base} images if nothing thins it. The tests have {tests} images, and they are clean. A seed "
    "draws the condition (its `spoil_seed`) and what a rule draws; if neither draws, one is run. "
    "The conditions are `imbalance` 20, `label_noise` 0.4, `unequal_shots` 1..5, `corruption` "
    "noise, and `blurry` 0.3 (two of five shots come late). Robust forms are compared with their "
    "rule's plain form."
)


def methods() -> Iterator[tuple[str, Method]]:
    """Yield the rows of a condition: each rule as it is, followed by its robust forms."""
    for name, plain in PLAIN.items():
        yield name, replace(plain, baseline=None if name == "class_means" else "class_means")
        for form in FORMS_OF[name]:
            words, parameters = FORMS[form]
            robust = replace(
                plain,
                label=f"{plain.label}, {words}",
                parameters=parameters,
                seeded=(*plain.seeded, "margin_seed") if form == "margin" else plain.seeded,
                baseline=name,
            )
            yield f"{name}_{form}", robust


METHODS: Mapping[str, Method] = dict(methods())


def stream_of(condition: str, seed: int, root: str, backbone: str, weights: str) -> Stream:
    """Return miniImageNet under a condition as a stream of a pretrained backbone's features."""
    preprocessing = backbone_preprocessing(backbone)
    assert preprocessing is not None, f"backbone '{backbone}' says nothing of its preprocessing"
    scenario = FSCIL(dataset="mini_imagenet", root=root, spoil_seed=seed, **CONDITIONS[condition])
    stream = with_preprocessing(scenario.build(), preprocessing)
    network = create_backbone(backbone, stream.info.input_shape, weights=weights, frozen=True)
    return banked_stream(stream, network, dtype="bfloat16")


def base_digest(stream: Stream) -> bytes:
    """Return a digest of the base session's features and labels."""
    samples = stream.train[0]
    assert isinstance(samples, TensorSamples)
    return tensor_digest(samples.inputs) + tensor_digest(torch.tensor(samples.targets))


def plugin_of(method: Method, seed: int, chosen: Mapping[str, Any]) -> Any:
    """Return the strategy; what it would choose again in an equal base session is given."""
    return replace(method, parameters={**method.parameters, **chosen}).plugin(seed)


def options_of(condition: str, method: Method) -> dict[str, str]:
    """Return a row's options as on the command line, without the seeds."""
    scenario = {f"scenario.{name}": str(value) for name, value in CONDITIONS[condition].items()}
    return scenario | method.options


def measured(
    condition: str,
    names: Sequence[str],
    seeds: int,
    data: Sequence[str],
    chosen: dict[tuple[str, int, bytes], Any],
) -> dict[str, dict[str, dict[int, float]]]:
    """Return the figures of these methods under a condition, as fractions, and print them.

    Args:
        chosen: what methods have chosen, by name, seed and base session; it grows.
    """
    found: dict[str, dict[str, dict[int, float]]] = {
        name: {figure: {} for figure in COLUMNS} for name in names
    }
    for seed in range(seeds):
        stream = stream_of(condition, seed, *data)
        base = base_digest(stream)
        for name in names:
            if not CONDITIONS[condition] and seed not in METHODS[name].seeds(seeds):
                continue  # nothing is drawn
            plugin = plugin_of(METHODS[name], seed, chosen.setdefault((name, seed, base), {}))
            figures, _ = accuracies(stream, plugin)
            chosen[name, seed, base] = getattr(plugin, "parameters_", {})
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
    """Return how far each robust form is from the plain one, in average accuracy."""
    pairs = [
        (name, base)
        for name in found
        if (base := METHODS[name].baseline) is not None
        and base in found
        and METHODS[name].parameters
    ]
    each = [
        result_file.difference(
            "average",
            (f"{condition}/{name}", found[name]["average"]),
            (f"{condition}/{base}", found[base]["average"]),
        )
        for name, base in pairs
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
    names = [name for name in METHODS if name in options.methods]
    figures: dict[str, Any] = {}
    chosen: dict[tuple[str, int, bytes], Any] = {}
    for condition in options.conditions:
        figures[condition] = measured(condition, names, options.seeds, data, chosen)
        # after each condition: the whole takes long
        path = write(figures, data)
    print(f"written: {path}")  # noqa: T201


def write(figures: Mapping[str, Any], data: Sequence[str]) -> Path:
    """Write the figures by condition as a table of results, and return its path.

    Conditions that were not measured stay as they are in the file.
    """
    path = Path(os.environ.get("RESULTS") or result_file.RESULTS) / "as_it_comes.json"
    root, backbone, _ = data
    clean = FSCIL(dataset="mini_imagenet", root=root).build()
    sizes = {"base": f"{len(clean.train[0]):,}", "tests": f"{sum(map(len, clean.test)):,}"}
    old = json.loads(path.read_text("utf-8")) if path.is_file() else None
    own: dict[str, list[Any]] = {"rows": [], "differences": []}
    for condition in CONDITIONS:
        if found := figures.get(condition):
            own["rows"] += rows(condition, found)
            own["differences"] += differences(condition, found)
        elif old:
            own["rows"] += [r for r in old["rows"] if _of(condition, r["name"])]
            own["differences"] += [d for d in old["differences"] if _of(condition, d["row"])]
    content = {
        "name": path.stem,
        "title": "Streams as they come on miniImageNet: "
        f"{TITLES.get(backbone, backbone)}, plain and robust forms",
        "scenario": "mini_imagenet",
        "setting": SETTING.format(**sizes),
        **result_file.measured_here(beside=old),
        "partial": _is_partial(own["rows"]),
        "command": "python benchmarks/as_it_comes.py --root $MINI_IMAGENET --weights $LITE0",
        "needs": {
            "MINI_IMAGENET": "the folder of miniImageNet",
            "LITE0": "the weights file of EfficientNet-Lite0",
        },
        "columns": COLUMNS,
        **own,
        "notes": result_file.notes_of(path),
    }
    result_file.write(path, content)
    return path


def _of(condition: str, name: str) -> bool:
    return name.startswith(f"{condition}/")


def _is_partial(found: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether some of the rows or of their seeds are missing."""
    seeds = {row["name"]: len(row["seeds"]) for row in found}
    return any(
        seeds.get(f"{condition}/{name}", 0)
        < (NUM_SEEDS if CONDITIONS[condition] else len(method.seeds(NUM_SEEDS)))
        for condition in CONDITIONS
        for name, method in METHODS.items()
    )


if __name__ == "__main__":
    main()
