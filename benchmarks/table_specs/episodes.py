"""Tables of methods that learn from episodes of base classes, by long training on features."""

from __future__ import annotations

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


def mamlcon_words() -> Table:
    """Return the table `mamlcon_words`."""
    words = {
        "scenario.root": "$ARABIC_WORDS",
        "scenario.base_classes": "30",
        "scenario.way": "1",
    }
    meta = {
        "training.base_epochs": "10",
        "model.bank": "true",
        "model.adapter": "mlp:128,64",
        "strategy.meta_epochs": "20",
        "strategy.meta_steps": "100",
        "strategy.way": "1",
        "strategy.first_order": "true",
        "strategy.vectorized": "true",
        "strategy.unit_order": "drawn",
        "strategy.outer_lr": "0.001",
    }
    base = Row(
        name="base",
        strategy="finetune",
        options=words
        | {
            "training.base_epochs": "40",
            "training.incremental_epochs": "0",
            "model.head": "linear",
        },
        reported=False,
    )
    means = Row(
        name="means",
        strategy="prototype",
        label="class means of the base network",
        options=words | {"training.base_epochs": "0", "training.incremental_epochs": "0"},
        weights_from=base.name,
    )
    oml = Row(
        name="oml",
        strategy="mamlcon",
        label="OML",
        options=words | meta | {"strategy.inner": "head", "strategy.inner_lr": "0.1"},
        weights_from=base.name,
    )
    ours = Row(
        name="mamlcon",
        strategy="mamlcon",
        baseline=oml.name,
        options=words | meta | {"strategy.inner_lr": "0.01"},
        weights_from=base.name,
    )
    return Table(
        name="mamlcon_words",
        title="`mamlcon` on Arabic words: 30 base words, then ten sessions of one word",
        scenario="spoken_words",
        setting="A base network (`melconv`) is trained for 40 epochs on 30 of 40 words. On its "
        "frozen features two layers and the units are meta-learned, first order, in 2,000 outer "
        "steps of four episodes. Ten sessions of one word and 5 shots follow; speakers of the "
        "tests are unseen.",
        columns={
            "average": "average",
            "last": "last",
            "new": "new classes, last",
            "harmonic": "harmonic mean",
        },
        rows=[base, means, oml, ours],
        differences=[
            Difference(row=ours.name, against=against.name, figure=figure)
            for against in (oml, means)
            for figure in ("last", "new", "harmonic")
        ],
    )
