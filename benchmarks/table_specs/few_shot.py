"""Tables on few-shot class-incremental learning, and on methods that rehearse later sessions."""

from __future__ import annotations

from collections.abc import Mapping

from table_rows import Difference, Row, Table

FIGURES = {"average": "average", "last": "last", "harmonic": "harmonic mean"}


def omniglot() -> Table:
    """Return the table `omniglot`."""
    start = {"start_from": "teen"}
    rows = [
        Row(name="teen", strategy="teen", baseline="prototype"),
        Row(
            name="teen_0.3",
            strategy="teen",
            label="`teen`, `shift_weight` 0.3",
            baseline="prototype",
            options={"strategy.shift_weight": "0.3"},
            **start,
        ),
        Row(name="prototype", strategy="prototype", **start),
        Row(
            name="replay",
            strategy="replay",
            label="`replay`, 242 samples",
            baseline="finetune",
            **start,
        ),
        Row(name="lwf", strategy="lwf", baseline="finetune", **start),
        Row(name="ewc", strategy="ewc", baseline="finetune", **start),
        Row(name="finetune", strategy="finetune", **start),
    ]
    return Table(
        name="omniglot",
        title="Omniglot: 122 base classes, then 12 sessions of 10-way 5-shot",
        scenario="omniglot",
        setting="Every row uses the defaults. All rows share the base session of their seed, "
        "which the `teen` row trains.",
        columns=FIGURES | {"forgetting": "forgetting"},
        rows=rows,
        differences=[Difference(row="teen", against="prototype", figure="average")],
    )


def limit() -> Table:
    """Return the table `limit`."""

    def variant(name: str, label: str, **options: str) -> Row:
        return Row(
            name=name,
            strategy="limit",
            label=label,
            baseline="prototype",
            start_from="prototype",
            options={f"strategy.{key}": value for key, value in options.items()},
        )

    return Table(
        name="limit",
        title="`limit` on Omniglot",
        scenario="omniglot",
        setting="The backbone is conv4. Every row continues the base session of its seed's "
        "`prototype` run.",
        columns=FIGURES,
        rows=[
            Row(name="prototype", strategy="prototype", label="class means, `prototype`"),
            variant("limit", "`limit` as by default"),
            variant("no_attention", "`limit` without attention", calibrate="false"),
            variant("backbone_still", "`limit` with a fixed backbone", lr_backbone="0"),
        ],
        differences=[Difference(row="limit", against="no_attention", figure="average")],
    )


def limit_mini_imagenet() -> Table:
    """Return the table `limit_mini_imagenet`."""
    frozen = {
        "scenario.root": "$MINI_IMAGENET",
        "model.backbone": "deit_tiny_patch16_224",
        "model.weights": "$DEIT_TINY",
        "model.frozen": "true",
        "training.base_epochs": "0",
    }
    chosen = frozen | {"strategy.lr_head": "0.004", "strategy.milestones": "[]"}

    def variant(name: str, label: str, options: Mapping[str, str]) -> Row:
        return Row(name=name, strategy="limit", label=label, baseline="prototype", options=options)

    return Table(
        name="limit_mini_imagenet",
        title="`limit` on miniImageNet with a frozen DeiT-tiny",
        scenario="mini_imagenet",
        setting="The backbone is a pretrained DeiT-tiny, which stays frozen.",
        columns=FIGURES,
        rows=[
            Row(
                name="prototype",
                strategy="prototype",
                label="class means, `prototype`",
                options=frozen | {"training.incremental_epochs": "0"},
            ),
            variant("limit", "`limit`, `lr_head` 0.004, no milestones", chosen),
            variant("limit_authors", "`limit`, its authors' rate", frozen),
            variant(
                "no_attention",
                "`limit` without attention",
                chosen | {"strategy.calibrate": "false"},
            ),
        ],
    )


def mamlcon() -> Table:
    """Return the table `mamlcon`."""
    stream = {
        "scenario.root": "$SPOKEN_DIGITS",
        "scenario.base_classes": "6",
        "scenario.way": "1",
        "scenario.shots": "5",
    }
    linear = stream | {"model.head": "linear"}
    still = {"training.base_epochs": "0", "training.incremental_epochs": "0"}
    meta = stream | {
        "strategy.way": "1",
        "strategy.meta_batch": "2",
        "strategy.meta_epochs": "5",
        "strategy.meta_steps": "20",
        "strategy.outer_lr": "0.001",
        "strategy.inner_lr": "0.003",
    }

    def variant(name: str, label: str, **options: str) -> Row:
        given = {f"strategy.{key}": value for key, value in options.items()}
        return Row(
            name=name,
            strategy="mamlcon",
            label=label,
            baseline="class_means",
            start_from="base",
            options=meta | given,
        )

    return Table(
        name="mamlcon",
        title="`mamlcon` on spoken digits: 6 digits, then 4 of 5 shots",
        scenario="spoken_digits",
        setting="The few-shot stream has 6 digits in its base session, then 4 digits of 5 shots "
        "each. Meta-learning takes 5 x 20 meta-steps.",
        columns=FIGURES,
        rows=[
            # `--model.weights` uses a run's last network, here the one after the base session
            Row(
                name="base",
                strategy="finetune",
                options=linear | {"training.incremental_epochs": "0"},
                reported=False,
            ),
            Row(
                name="class_means",
                strategy="prototype",
                label="class means, `prototype`",
                weights_from="base",
                options=stream | still,
            ),
            variant("second_order", "`mamlcon`, second order"),
            variant("first_order", "`mamlcon`, first order", first_order="true"),
            variant(
                "no_templates",
                "`mamlcon`, first order, no templates",
                first_order="true",
                templates="false",
            ),
            variant("oml", "OML, `--strategy.inner head`", first_order="true", inner="head"),
            variant(
                "oml_drawn",
                "OML, `--strategy.unit_order drawn`",
                first_order="true",
                unit_order="drawn",
                inner="head",
            ),
            Row(name="finetune", strategy="finetune", options=linear),
        ],
        differences=[Difference(row="first_order", against="no_templates", figure="last")],
    )


def mamlcon_omniglot() -> Table:
    """Return the table `mamlcon_omniglot`."""
    network = {"model.backbone": "melconv"}  # the paper's encoder is like this one
    linear = network | {"model.head": "linear"}
    meta = network | {
        "strategy.first_order": "true",
        "strategy.way": "10",
        "strategy.queries": "2",
        "strategy.episode_classes": "20",
        "strategy.meta_batch": "2",
        "strategy.meta_epochs": "5",
        "strategy.meta_steps": "40",
        "strategy.outer_lr": "0.001",
        "strategy.unit_order": "drawn",
    }
    start = {"start_from": "base"}
    oml = {"strategy.inner_lr": "0.1", "strategy.inner": "head"}
    return Table(
        name="mamlcon_omniglot",
        title="`mamlcon` on Omniglot",
        scenario="omniglot",
        setting="The backbone is `melconv`, an encoder like the paper's. Meta-learning takes "
        "5 x 40 meta-steps of two episodes, first order, with `--strategy.unit_order drawn`.",
        columns=FIGURES,
        rows=[
            Row(
                name="base",
                strategy="finetune",
                label="the base session alone",
                options=linear | {"training.incremental_epochs": "0"},
            ),
            Row(
                name="class_means",
                strategy="prototype",
                label="class means, `prototype`",
                weights_from="base",
                options=network | {"training.base_epochs": "0", "training.incremental_epochs": "0"},
            ),
            Row(
                name="oml",
                strategy="mamlcon",
                label="OML",
                baseline="class_means",
                options=meta | oml,
                **start,
            ),
            Row(
                name="mamlcon",
                strategy="mamlcon",
                baseline="class_means",
                options=meta | {"strategy.inner_lr": "0.01"},
                **start,
            ),
            Row(name="finetune", strategy="finetune", options=linear, **start),
        ],
    )
