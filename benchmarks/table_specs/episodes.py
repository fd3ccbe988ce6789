"""Tables of methods that learn from episodes of base classes, by long training on features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from table_rows import Difference, Row, Table


def limit_long() -> Table:
    """Return the table `limit_long`."""
    omniglot = {"training.base_epochs": "40"}
    mini = {
        "scenario.root": "$MINI_IMAGENET",
        "scenario.image_size": "32",
        "model.backbone": "conv4",
        "training.base_epochs": "40",
        "training.schedule": "cosine",
        "training.lr": "0.05",
    }
    meta = {
        "model.frozen": "true",
        "model.bank_views": "[random:8]",
        "training.base_epochs": "0",
        "strategy.meta_epochs": "100",
        "strategy.lr_head": "0.05",
        "strategy.milestones": "[]",
    }
    rows, differences = [], []
    for ground, scenario, own in (
        ("omniglot", "omniglot", omniglot),
        ("mini_32", "mini_imagenet", mini),
    ):
        still = {"training.incremental_epochs": "0"}
        means = Row(
            name=f"{ground}_means",
            strategy="prototype",
            label="class means, `prototype`",
            scenario=scenario,
            group=ground,
            options=own | still,
        )
        rows.append(means)
        for name, label, more in (
            ("limit", "`limit`", {}),
            ("no_attention", "the same steps without attention", {"strategy.calibrate": "false"}),
        ):
            row = Row(
                name=f"{ground}_{name}",
                strategy="limit",
                label=label,
                scenario=scenario,
                group=ground,
                baseline=means.name,
                options=own | meta | more,
                weights_from=means.name,
            )
            rows.append(row)
            differences.append(Difference(row=row.name, against=means.name, figure="harmonic"))
    return Table(
        name="limit_long",
        title="`limit` with 100 epochs of meta-training on features",
        scenario="omniglot",
        setting="Class means come from a conv4 trained for 40 epochs on the base session, and all "
        "rows of a ground and seed share it: on Omniglot, and on the subset of miniImageNet at 32 "
        "pixels. `limit` then trains its attention and the classifier for 100 epochs on stored "
        "features of eight random views of each image, at the rate chosen for Omniglot. The same "
        "steps without attention train only rows that class means then replace.",
        columns={"average": "average", "last": "last", "harmonic": "harmonic mean"},
        rows=rows,
        differences=differences,
    )


def limit_frozen() -> Table:
    """Return the table `limit_frozen`."""
    frozen = {
        "model.backbone": "tf_efficientnet_lite0",
        "model.weights": "$LITE0",
        "model.frozen": "true",
        "training.base_epochs": "0",
    }
    meta = {
        "strategy.lr_head": "0.02",
        "strategy.milestones": "[]",
        "strategy.score": "cosine",
        "strategy.temperature": "16",
    }
    grounds = (
        ("mini_imagenet", {"scenario.root": "$MINI_IMAGENET"}, "20"),
        (
            "fscit_caltech101",
            {
                "scenario.root": "$CALTECH101",
                "scenario.base_classes": "62",
                "scenario.way": "10",
            },
            "100",
        ),
        (
            "fscit_stanford_cars",
            {
                "scenario.root": "$STANFORD_CARS",
                "scenario.base_classes": "96",
                "scenario.way": "20",
            },
            "100",
        ),
    )
    rows, differences = [], []
    for scenario, stream, epochs in grounds:
        common = stream | frozen
        trained = common | meta | {"strategy.meta_epochs": epochs}
        means = Row(
            name=f"{scenario}_means",
            strategy="prototype",
            label="class means, `prototype`",
            scenario=scenario,
            group=scenario,
            options=common | {"training.incremental_epochs": "0"},
        )
        rows.append(means)
        for name, label, options in (
            ("limit", "`limit`", trained),
            (
                "no_attention",
                "the same steps without attention",
                trained | {"strategy.calibrate": "false"},
            ),
            (
                "untrained",
                "attention as drawn, not trained",
                trained | {"strategy.lr_head": "0", "strategy.meta_epochs": "1"},
            ),
        ):
            row = Row(
                name=f"{scenario}_{name}",
                strategy="limit",
                label=label,
                scenario=scenario,
                group=scenario,
                baseline=means.name,
                options=options,
            )
            rows.append(row)
            differences += [
                Difference(row=row.name, against=means.name, figure=figure)
                for figure in ("average", "harmonic")
            ]
    return Table(
        name="limit_frozen",
        title="`limit` on the features of a frozen EfficientNet-Lite0",
        scenario="mini_imagenet",
        setting="The grounds are our data sets of photographs with at least 100 classes: the "
        "subset of miniImageNet (60 base classes of 100 images, then 8 x 5 of 5 shots), "
        "Caltech-101 (62, then 4 x 10) and Stanford cars (96, then 5 x 20), both with 10 shots in "
        "every session. The network stays frozen, and attention alone is trained, at a constant "
        "rate, for 20 epochs on miniImageNet (940 steps) and 100 on the others, on one view of "
        "each image. Its rate was chosen on a fake stream of miniImageNet's base classes (their "
        "training images) and serves all three.",
        columns={"average": "average", "last": "last", "harmonic": "harmonic mean"},
        rows=rows,
        differences=differences,
    )


def mamlcon_whole_omniglot() -> Table:
    """Return the table `mamlcon_whole_omniglot`."""
    stream = {
        "scenario.root": "$OMNIGLOT",
        "scenario.base_classes": "964",
        "scenario.way": "20",
    }
    meta = {
        **stream,
        "training.base_epochs": "10",
        "model.bank": "true",
        "model.bank_views": "[random:4]",
        "model.adapter": "mlp:256,128",
        "strategy.way": "20",
        "strategy.episode_classes": "40",
        "strategy.meta_batch": "2",
        "strategy.meta_epochs": "20",
        "strategy.meta_steps": "50",
        "strategy.first_order": "true",
        "strategy.vectorized": "true",
        "strategy.unit_order": "drawn",
        "strategy.outer_lr": "0.001",
    }

    return Table(
        name="mamlcon_whole_omniglot",
        title="`mamlcon` on the whole of Omniglot: 964 characters, then 33 sessions of 20",
        scenario="omniglot",
        setting="The base session is Omniglot's background part, ten drawings a character; 659 "
        "characters of the evaluation part follow, five drawings each. conv4 is trained on the "
        "base session for 20 epochs and then stays frozen. Two layers (256 and 128 units) on its "
        "features are trained for ten epochs, then meta-trained for 1,000 or 10,000 outer steps of "
        "two episodes, first order, with units in drawn order.",
        columns={"average": "average", "last": "last", "harmonic": "harmonic mean"},
        rows=[
            Row(
                name="means",
                strategy="prototype",
                label="class means, `prototype`",
                options=stream | {"training.base_epochs": "20", "training.incremental_epochs": "0"},
            ),
            *meta_learnt(meta, weights_from="means"),
            *meta_learnt(
                meta | {"strategy.meta_epochs": "200"},
                weights_from="means",
                suffix="_10000",
                words=", 10,000 outer steps",
            ),
        ],
        differences=[
            *beside_means_and_oml(("average", "last", "harmonic")),
            *beside_means_and_oml(("average", "last", "harmonic"), suffix="_10000"),
        ],
    )


def meta_learnt(
    options: Mapping[str, str],
    weights_from: str | None,
    *,
    means: str = "means",
    suffix: str = "",
    words: str = "",
    group: str | None = None,
) -> list[Row]:
    """Return the rows of OML and `mamlcon`, beside a row of class means.

    Args:
        options: of both.
        weights_from: name of the row whose networks they start from.
        means: name of the row of class means.
        suffix: of their names.
        words: added to their labels.
        group: heading above them.
    """
    given: dict[str, Any] = {
        "strategy": "mamlcon",
        "baseline": means,
        "weights_from": weights_from,
        "group": group,
    }
    oml = {"strategy.inner": "head", "strategy.inner_lr": "0.1"}
    return [
        Row(
            name=f"oml{suffix}",
            label=f"OML, `--strategy.inner head`{words}",
            options={**options, **oml},
            **given,
        ),
        Row(
            name=f"mamlcon{suffix}",
            label=f"`mamlcon`{words}",
            options={**options, "strategy.inner_lr": "0.01"},
            **given,
        ),
    ]


def beside_means_and_oml(
    figures: Iterable[str], *, means: str = "means", suffix: str = ""
) -> list[Difference]:
    """Return the differences between the rows of `meta_learnt`, and from that of class means."""
    oml, mamlcon = f"oml{suffix}", f"mamlcon{suffix}"
    return [
        Difference(row=row, against=against, figure=figure)
        for row, against in ((oml, means), (mamlcon, means), (mamlcon, oml))
        for figure in figures
    ]
