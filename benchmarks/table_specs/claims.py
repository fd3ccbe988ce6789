"""Tables of methods on the ground of their papers' claims, affordable on two cores.

A frozen EfficientNet-Lite0 gives features of eight random views of each image once (the bank). All
methods then train the same two layers on these features, so epochs take a second.
"""

from __future__ import annotations

from table_rows import Difference, Row, Table

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
    rows = []
    for base in ("simclr", "moco"):
        group = f"{base} form"
        rows.append(Row(name=base, strategy=base, group=group, options=recipe, seeds=FIVE))
        for name, parameter in (("cassle", "base"), ("sycon", "form")):
            rows.append(
                Row(
                    name=f"{name}_{base}",
                    strategy=name,
                    group=group,
                    baseline=base,
                    options=recipe | {f"strategy.{parameter}": base},
                    seeds=FIVE,
                )
            )
    differences = [
        Difference(row=f"{name}_{base}", against=against, figure=f"{probe}.last")
        for base in ("simclr", "moco")
        for name, against in (
            ("cassle", base),
            ("sycon", base),
            ("sycon", f"cassle_{base}"),
        )
        for probe in ("linear", "knn")
    ]
    return Table(
        name="ssl_features",
        title="Without labels, on features: five sessions of 12 classes, 60 epochs each",
        scenario="class_incremental",
        setting=f"{STREAM} The views are SimCLR's. Probes see all training images of the stream.",
        columns={
            "linear.average": "linear probe, average",
            "linear.last": "linear probe, last",
            "linear.forgetting": "linear probe, forgetting",
            "knn.average": "nearest neighbours, average",
            "knn.last": "nearest neighbours, last",
        },
        rows=rows,
        differences=differences,
    )


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

    no_self = {"denominator": "student_all_minus_self"}
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
    ]
    return Table(
        name="rehearsal_features",
        title="Rehearsal on features: five sessions of 12 classes, 120 kept images",
        scenario="class_incremental",
        setting=f"{STREAM} All train 10 epochs by AdamW at 0.0005.",
        columns={"average": "average", "last": "last", "forgetting": "forgetting"},
        rows=rows,
        differences=[
            Difference(row=found.name, against="er", figure=figure)
            for found in rows[2:]
            for figure in ("average", "last")
        ],
    )


def cler_cifar10() -> Table:
    """Return the table `cler_cifar10`."""
    recipe = {
        "scenario.source": "cifar10",
        "scenario.root": "$CIFAR10",
        "scenario.way": "2",
        "scenario.class_order": "natural",
        "model.backbone": "resnet18",
        "model.backbone_args": "{channels: [20, 40, 80, 160]}",
        "model.head": "linear",
        "training.base_epochs": "1",
        "training.incremental_epochs": "1",
        "training.batch_size": "10",
        "training.optimizer": "sgd",
        "training.lr": "0.03",
        "training.incremental_lr": "null",
        "training.momentum": "0",
        "training.nesterov": "false",
        "training.weight_decay": "0",
        "training.schedule": "constant",
        "training.incremental_batchnorm": "train",
    }
    jigsaw = {
        "strategy.pretext": "jigsaw",
        "strategy.weight": "1.7",
        "strategy.private_blocks": "2",
    }
    rows, differences = [], []
    for host in ("er_ace", "er", "der"):
        for buffer in ("200", "500", "1000"):
            alone = Row(
                name=f"{host}_{buffer}",
                strategy=host,
                label="alone",
                group=f"`{host}`, {int(buffer):,} kept",
                options=recipe | {"strategy.buffer": buffer},
                seeds=FIVE,
            )
            hosted = {"strategy.host": host, "strategy.host_params": f"{{buffer: {buffer}}}"}
            inside = Row(
                name=f"cler_{alone.name}",
                strategy="cler",
                label="in `cler`",
                group=alone.group,
                baseline=alone.name,
                options=recipe | hosted | jigsaw,
                seeds=FIVE,
            )
            rows += [alone, inside]
            differences += [
                Difference(row=inside.name, against=alone.name, figure=figure)
                for figure in ("average", "last")
            ]
    return Table(
        name="cler_cifar10",
        title="A pretext task beside a host, online: `cler` on CIFAR-10",
        scenario="class_incremental",
        setting="The stream is CIFAR-10 in 5 sessions of 2 classes with 500 training images each, "
        "which are seen once, in batches of 10. The network is a thin ResNet-18 (20 to 160 "
        "channels). The pretext task is jigsaw with weight 1.7, as published for CIFAR-100.",
        columns={"average": "average", "last": "last", "forgetting": "forgetting"},
        rows=rows,
        differences=differences,
    )
