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
