"""Tables of one pass over a stream of images."""

from __future__ import annotations

from table_rows import Difference, Row, Table

FIVE = (0, 1, 2, 3, 4)


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
