"""Tables of few passes over a stream of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from table_rows import Row, Table, against_baselines

FIVE = (0, 1, 2, 3, 4)
CIFAR10 = {
    "scenario.source": "cifar10",
    "scenario.root": "$CIFAR10",
    "scenario.way": "2",
    "scenario.class_order": "natural",
}
PLAIN_SGD = {
    **CIFAR10,
    "model.head": "linear",
    "training.optimizer": "sgd",
    "training.lr": "0.03",
    "training.incremental_lr": "null",
    "training.momentum": "0",
    "training.nesterov": "false",
    "training.weight_decay": "0",
    "training.schedule": "constant",
    "training.incremental_batchnorm": "train",
}
FIVE_PASSES = {"training.base_epochs": "5", "training.incremental_epochs": "5"}
ONE_PASS = {
    **PLAIN_SGD,
    "model.backbone": "resnet18",
    "model.backbone_args": "{channels: [20, 40, 80, 160]}",
    "training.base_epochs": "1",
    "training.incremental_epochs": "1",
    "training.batch_size": "10",
}
STREAM = "The stream is CIFAR-10 in 5 sessions of 2 classes with 500 training images each, which \
are seen once, in batches of 10. The network is a thin ResNet-18 (20 to 160 channels)."
FIGURES = {"average": "average", "last": "last", "forgetting": "forgetting"}


def cler_cifar10() -> Table:
    """Return the table `cler_cifar10`."""
    rows = _beside_hosts(ONE_PASS, "1.7", FIVE)
    return Table(
        name="cler_cifar10",
        title="A pretext task beside a host, online: `cler` on CIFAR-10",
        scenario="class_incremental",
        setting=f"{STREAM} The pretext task is jigsaw with weight 1.7, as published for CIFAR-100.",
        columns=FIGURES,
        rows=rows,
        differences=against_baselines(rows, ("average", "last")),
    )


def cler_cifar10_long() -> Table:
    """Return the table `cler_cifar10_long`."""
    rows = _beside_hosts(ONE_PASS | FIVE_PASSES, "0.3", FIVE)
    return Table(
        name="cler_cifar10_long",
        title="A pretext task beside a host, five passes: `cler` on CIFAR-10",
        scenario="class_incremental",
        setting=f"{STREAM.replace('once', 'five times')} The pretext task is jigsaw with weight "
        "0.3.",
        columns=FIGURES,
        rows=rows,
        differences=against_baselines(rows, ("average", "last")),
    )


def _beside_hosts(recipe: Mapping[str, str], weight: str, seeds: Sequence[int]) -> list[Row]:
    """Return rows of three hosts with three budgets, each alone and in `cler`."""
    jigsaw = {
        "strategy.pretext": "jigsaw",
        "strategy.weight": weight,
        "strategy.private_blocks": "2",
    }
    rows = []
    for host in ("er_ace", "er", "der"):
        for buffer in ("200", "500", "1000"):
            alone = Row(
                name=f"{host}_{buffer}",
                strategy=host,
                label="alone",
                group=f"`{host}`, {int(buffer):,} kept",
                options={**recipe, "strategy.buffer": buffer},
                seeds=seeds,
            )
            hosted = {"strategy.host": host, "strategy.host_params": f"{{buffer: {buffer}}}"}
            inside = Row(
                name=f"cler_{alone.name}",
                strategy="cler",
                label="in `cler`",
                group=alone.group,
                baseline=alone.name,
                options={**recipe, **hosted, **jigsaw},
                seeds=seeds,
            )
            rows += [alone, inside]
    return rows


def cler_ablation() -> Table:
    """Return the table `cler_ablation`."""
    jigsaw = {"strategy.pretext": "jigsaw", "strategy.private_blocks": "2"}
    variants: dict[str, tuple[str, dict[str, str]]] = {
        "weight_1.7": ("weight 1.7, the last stage private", {"strategy.weight": "1.7"}),
        "weight_.3": ("weight 0.3", {"strategy.weight": "0.3"}),
        "weight_.1": ("weight 0.1", {"strategy.weight": "0.1"}),
        "rotation": (
            "rotation, weight 0.3",
            {"strategy.weight": "0.3", "strategy.pretext": "rotation"},
        ),
        "stages": (
            "weight 0.3, the last two stages private",
            {"strategy.weight": "0.3", "strategy.private_blocks": "4"},
        ),
        "features": (
            "weight 0.3, nothing private",
            {"strategy.weight": "0.3", "strategy.branch": "features"},
        ),
    }
    hosted = {"strategy.host": "er_ace", "strategy.host_params": "{buffer: 500}"}
    alone = Row(
        name="er_ace",
        strategy="er_ace",
        label="alone",
        options=ONE_PASS | {"strategy.buffer": "500"},
    )
    rows = [alone]
    rows += [
        Row(
            name=name,
            strategy="cler",
            label=f"in `cler`, {label}",
            baseline=alone.name,
            options=ONE_PASS | hosted | jigsaw | own,
        )
        for name, (label, own) in variants.items()
    ]
    longer = [
        replace(
            row,
            name=f"{row.name}_5_epochs",
            label=f"{row.label}, five epochs",
            baseline=row.baseline and f"{row.baseline}_5_epochs",
            options={**row.options, **FIVE_PASSES},
        )
        for row in rows
        if row.name in (alone.name, "weight_.3")
    ]
    rows += longer
    return Table(
        name="cler_ablation",
        title="`cler` on CIFAR-10 taken apart: weight, task, private layers, epochs",
        scenario="class_incremental",
        setting=f"{STREAM} The host is `er_ace` with 500 kept images. Two rows see each session's "
        "images five times.",
        columns=FIGURES,
        rows=rows,
        differences=against_baselines(rows, ("average", "last")),
    )


def kfpf_cifar10() -> Table:
    """Return the table `kfpf_cifar10`."""
    few_passes = {
        **PLAIN_SGD,
        **FIVE_PASSES,
        "model.backbone": "conv4",
        "training.batch_size": "32",
    }

    def row(name: str, strategy: str, label: str, baseline: str | None, **own: str) -> Row:
        given = {f"strategy.{key}": value for key, value in own.items()}
        return Row(
            name=name,
            strategy=strategy,
            label=label,
            baseline=baseline,
            options=few_passes | given,
        )

    kept = {"buffer": "500"}
    still, plain = {"momentum": "0"}, {"momentum": "0", "distillation": "0"}

    def once(name: str, label: str, iterations: str = "64", **own: str) -> Row:
        given = {"phases": "1", "iterations": iterations, **kept, **own}
        return row(
            name, "kfpf", f"`kfpf`, one phase of {iterations} steps a session{label}", "er", **given
        )

    def five(name: str, label: str, **own: str) -> Row:
        given = {"phases": "5", "iterations": "20", **kept, **own}
        return row(name, "kfpf", f"`kfpf`, five phases of 20 steps{label}", "er", **given)

    seen = {"distilled": "seen"}
    rows = [
        row("er", "er", "`er`, a memory batch beside each batch", None, **kept),
        row("finetune", "finetune", "", "er"),
        once("kfpf_once_kd", ""),
        once("kfpf_once_kd0", ", no momentum", **still),
        once("kfpf_once", ", cross-entropy alone, no momentum", **plain),
        once("kfpf_once_128", ", cross-entropy alone, no momentum", "128", **plain),
        five("kfpf", ", logits of all classes seen", **seen),
        five("kfpf_fc", ", the same, the classifier alone", groups="fc", **seen),
        five("kfpf_all", ", the same, all tensors", groups="all", **seen),
        five("kfpf_momentum", ", cross-entropy alone", distillation="0"),
        five("kfpf_distillation", ", logits of all classes seen, no momentum", **still, **seen),
        five("kfpf_plain", ", cross-entropy alone, no momentum", **plain),
        row("fpf", "fpf", "`fpf` around `er`", "er", host="er", host_params="{buffer: 500}"),
    ]
    return Table(
        name="kfpf_cifar10",
        title="Phases of partial tuning in place of replay: `kfpf` on CIFAR-10",
        scenario="class_incremental",
        setting="The stream is CIFAR-10 in 5 sessions of 2 classes with 500 training images each, "
        "which are seen five times, in batches of 32. The network is conv4, which has BatchNorm, "
        "and 500 images are kept. A forward pass is one image through the network, tests included.",
        columns={
            "average": "average",
            "last": "last",
            "forward": "forward passes, thousands",
            "seconds": "training, seconds",
        },
        rows=rows,
        differences=against_baselines(rows, ("average", "last")),
    )
