"""Tables of methods on the ground of their papers' claims, affordable on two cores.

A frozen EfficientNet-Lite0 gives features of eight random views of each image once (the bank). All
methods then train the same two layers on these features, so epochs take a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from table_rows import PROBED, Difference, Row, Table, against_baselines

from table_specs.online import CIFAR10

THREE = (0, 1, 2)
FIVE = (0, 1, 2, 3, 4)
FEATURES = {
    "scenario.source": "image_folder",
    "scenario.root": "$MINI_60/train",
    "scenario.test_root": "$MINI_60/test",
    "scenario.way": "12",
    "model.backbone": "tf_efficientnet_lite0",
    "model.weights": "$LITE0",
    "model.bank_dtype": "bfloat16",
    "model.adapter": "mlp:512,256",
}
REHEARSAL = {
    **FEATURES,
    "model.bank_views": "[random:8]",
    "training.base_epochs": "10",
    "training.incremental_epochs": "10",
    "training.optimizer": "adamw",
    "training.lr": "0.0005",
    "training.incremental_lr": "0.0005",
    "training.weight_decay": "0",
    "training.schedule": "constant",
    "training.batch_size": "64",
    "training.incremental_batchnorm": "train",
}
MILD = {  # views of supervised training, on images in their own size
    **{name: value for name, value in FEATURES.items() if name != "scenario.way"},
    "model.adapter": "mlp:256,128",
    "model.image_size": "84",
    "model.bank_views": "[random:8]",
    "training.base_epochs": "60",
    "evaluation.sessions": "all",
}
STREAM = "The stream is the 60 base classes of a subset of miniImageNet (100 training images a \
class) in 5 sessions of 12, a frozen EfficientNet-Lite0 gives features of eight random views of \
each image, and all rows train the same two layers (512 and 256 units) on them."


def ssl_features() -> Table:
    """Return the table `ssl_features`."""
    recipe = {
        **FEATURES,
        "model.bank_views": "[simclr:8]",
        "training.base_epochs": "60",
        "evaluation.sessions": "all",
    }
    rows, differences = _without_labels(recipe, FIVE)
    return Table(
        name="ssl_features",
        title="Without labels, on features: five sessions of 12 classes, 60 epochs each",
        scenario="class_incremental",
        setting=f"{STREAM} The views are SimCLR's. Probes see all training images of the stream.",
        columns=PROBED,
        rows=rows,
        differences=differences,
    )


def ssl_streams() -> Table:
    """Return the table `ssl_streams`."""
    way = MILD | {"scenario.way": "12"}
    rows, differences = _without_labels(way, THREE, "class_incremental", "new classes")
    new_images = _without_labels(MILD, THREE, "data_incremental", "new images")
    shifts = {
        "scenario.shifts": "[none, rotate90, invert, blur, noise]",
        "training.base_epochs": "12",  # each session has all images
    }
    new_shifts = _without_labels(MILD | shifts, THREE, "domain_incremental", "shifts")
    rows += [*new_images[0], *new_shifts[0]]
    differences += [*new_images[1], *new_shifts[1]]
    return Table(
        name="ssl_streams",
        title="Without labels, on features of mild views: new classes, new images, and shifts",
        scenario="class_incremental",
        setting="The images are those of the 60 base classes of a subset of miniImageNet (100 "
        "training images a class). Two layers (256 and 128 units) are trained on a frozen "
        "EfficientNet-Lite0's features of eight views of each image, random crops and mirror "
        "images at 84 pixels. Five sessions bring 12 classes each, or a fifth of each class's "
        "images, and train for 60 epochs; or they bring all images as they are, turned by a right "
        "angle, inverted, blurred and noisy, and train for 12. Probes see all training images of "
        "the stream.",
        columns=PROBED,
        rows=rows,
        differences=differences,
    )


def ssl_cifar10() -> Table:
    """Return the table `ssl_cifar10`."""
    recipe = {
        **CIFAR10,
        "model.backbone": "conv4",
        "training.base_epochs": "60",
        "evaluation.sessions": "all",
    }
    rows, differences = _without_labels(recipe, THREE, forms=("simclr",))
    return Table(
        name="ssl_cifar10",
        title="Without labels, on images: CIFAR-10 in five sessions of 2 classes, 60 epochs each",
        scenario="class_incremental",
        setting="The sessions bring 2 classes of 500 training images of 32 pixels each. conv4 is "
        "trained from random weights, on two new views of each image a step. Probes see all "
        "training images of the stream.",
        columns=PROBED,
        rows=rows,
        differences=differences,
    )


def ssl_cifar10_features() -> Table:
    """Return the table `ssl_cifar10_features`."""
    stream = {name: value for name, value in MILD.items() if name != "scenario.test_root"}
    rows, differences = _without_labels(stream | CIFAR10, THREE)
    return Table(
        name="ssl_cifar10_features",
        title="Without labels, on features of CIFAR-10: five sessions of 2 classes, 60 epochs each",
        scenario="class_incremental",
        setting="The sessions bring 2 classes of 500 training images of 32 pixels each. Two layers "
        "(256 and 128 units) are trained on a frozen EfficientNet-Lite0's features of eight views "
        "of each image, random crops and mirror images at 84 pixels. Probes see all training "
        "images of the stream.",
        columns=PROBED,
        rows=rows,
        differences=differences,
    )


def _without_labels(
    recipe: Mapping[str, str],
    seeds: Sequence[int],
    scenario: str = "",
    ground: str = "",
    *,
    forms: Sequence[str] = ("simclr", "moco"),
) -> tuple[list[Row], list[Difference]]:
    """Return the rows of each form on a stream, and the differences between them."""
    rows, differences = [], []
    prefix = f"{scenario}_" if scenario else ""
    for base in forms:
        group = f"{ground}, {base} form" if ground else f"{base} form"
        given = {"scenario": scenario, "group": group, "seeds": seeds}
        plain = Row(name=f"{prefix}{base}", strategy=base, options=recipe, **given)
        rows.append(plain)
        for name, parameter in (("cassle", "base"), ("sycon", "form")):
            options = {**recipe, f"strategy.{parameter}": base}
            rows.append(
                Row(
                    name=f"{prefix}{name}_{base}",
                    strategy=name,
                    baseline=plain.name,
                    options=options,
                    **given,
                )
            )
        differences += [
            Difference(
                row=f"{prefix}{name}_{base}", against=f"{prefix}{against}", figure=f"{probe}.last"
            )
            for name, against in (
                ("cassle", base),
                ("sycon", base),
                ("sycon", f"cassle_{base}"),
            )
            for probe in ("linear", "knn")
        ]
    return rows, differences


def rehearsal_features() -> Table:
    """Return the table `rehearsal_features`."""

    def row(name: str, strategy: str, label: str, baseline: str | None, **own: str) -> Row:
        given = {f"strategy.{key}": value for key, value in own.items()}
        return Row(
            name=name,
            strategy=strategy,
            label=label,
            baseline=baseline,
            options=REHEARSAL | {"strategy.buffer": "120"} | given,
            seeds=FIVE,
        )

    def hosted(name: str, params: str, label: str, baseline: str) -> Row:
        given = {"strategy.host": "er", "strategy.host_params": params}
        return Row(
            name=name,
            strategy="fpf",
            label=label,
            baseline=baseline,
            options=REHEARSAL | given,
            seeds=FIVE,
        )

    no_self = {"denominator": "student_all_minus_self"}
    once = {"phases": "1", "iterations": "150"}
    plain = {"momentum": "0", "distillation": "0"}
    rows = [
        row("er", "er", "`er`, union", None, replay="union"),
        row("er_batch", "er", "`er`, a memory batch beside each batch", None),
        row("coconut", "coconut", "`coconut`", "er"),
        row("coconut_.3", "coconut", "`coconut`, weight 0.3", "er", nspt_weight="0.3"),
        row(
            "coconut_self_.3",
            "coconut",
            "`coconut`, weight 0.3, the sample itself left out of the denominator",
            "er",
            nspt_weight="0.3",
            **no_self,
        ),
        row(
            "coconut_self",
            "coconut",
            "`coconut`, the sample itself left out of the denominator",
            "er",
            **no_self,
        ),
        row(
            "kfpf",
            "kfpf",
            "`kfpf`, five phases of 100 steps a session, logits of all classes seen",
            "er",
            phases="5",
            distilled="seen",
        ),
        row(
            "kfpf_plain",
            "kfpf",
            "`kfpf`, five phases, cross-entropy alone, no momentum",
            "er",
            phases="5",
            **plain,
        ),
        row(
            "kfpf_once",
            "kfpf",
            "`kfpf`, one phase of 150 steps a session, cross-entropy alone, no momentum",
            "er_batch",
            **once,
            **plain,
        ),
        row(
            "kfpf_once_kd",
            "kfpf",
            "`kfpf`, one phase of 150 steps a session",
            "er_batch",
            **once,
        ),
        row(
            "kfpf_once_kd0",
            "kfpf",
            "`kfpf`, one phase of 150 steps a session, no momentum",
            "er_batch",
            momentum="0",
            **once,
        ),
        hosted("fpf_er", "{buffer: 120, replay: union}", "`fpf` around `er`, union", "er"),
        hosted("fpf_er_batch", "{buffer: 120}", "`fpf` around `er`, a memory batch", "er_batch"),
    ]
    return Table(
        name="rehearsal_features",
        title="Rehearsal on features: five sessions of 12 classes, 120 kept images",
        scenario="class_incremental",
        setting=f"{STREAM} All train 10 epochs by AdamW at 0.0005.",
        columns={"average": "average", "last": "last", "forgetting": "forgetting"},
        rows=rows,
        differences=against_baselines(rows, ("average", "last")),
    )
