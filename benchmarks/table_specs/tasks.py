"""Tables on few-shot tasks and on sequences of problems."""

from __future__ import annotations

from table_rows import TASKS_A_NETWORK, Row, Table, against_baselines


def cfsl() -> Table:
    """Return the table `cfsl`."""
    tune = {"strategy.memory_sets": "0"}
    published = tune | {"training.base_epochs": "5", "training.incremental_epochs": "5"}
    every = tuple(range(3 * TASKS_A_NETWORK))
    # 480 steps a task are three seconds, so fewer tasks
    some = tuple(TASKS_A_NETWORK * network + task for network in range(3) for task in range(20))

    def pretrained(strategy: str) -> Row:
        return Row(
            name=f"pretrained_{strategy}",
            strategy=strategy,
            scenario="cfsl_pretraining",
            numbers_networks=True,
            reported=False,
        )

    def trio(prefix: str, scenario: str, group: str) -> list[Row]:
        corrupted = {"scenario.corruption": "occlusion", "scenario.amount": "0.2"}
        given = corrupted if prefix == "occluded" else {}
        shared = {"scenario": scenario, "group": group}
        no_memory = f"{prefix}_no_memory"
        return [
            Row(
                name=f"{prefix}_memory",
                strategy="cfsl",
                baseline=no_memory,
                tasks_on="pretrained_finetune",
                options=given,
                seeds=some,
                **shared,
            ),
            Row(
                name=f"{prefix}_protonet",
                strategy="protonet",
                label="`protonet`, dot product",
                tasks_on="pretrained_protonet",
                options=given,
                seeds=every,
                **shared,
            ),
            Row(
                name=no_memory,
                strategy="cfsl",
                label="`cfsl` without memory, 5 steps as published",
                tasks_on="pretrained_finetune",
                options=given | published,
                seeds=every,
                **shared,
            ),
        ]

    return Table(
        name="cfsl",
        title="Continual few-shot learning: `cfsl` and the instance test",
        scenario="cfsl",
        setting="The images are the package's drawings, the backbone is conv4. Each seed is a "
        "task. Three pretrained networks have 200 tasks each (600, as published), or 20 each in "
        "rows of 120 steps a set. The figure is the accuracy on all targets after the last set. "
        "Intervals are over tasks.",
        columns={"last": "all targets, after the last set"},
        rows=[
            pretrained("finetune"),
            pretrained("protonet"),
            *trio("cfsl", "cfsl", "`cfsl`"),
            Row(
                name="cfsl_no_memory_120",
                strategy="cfsl",
                label="`cfsl` without memory, 120 steps",
                group="`cfsl`",
                baseline="cfsl_no_memory",
                tasks_on="pretrained_finetune",
                options=tune,
                seeds=some,
            ),
            *trio("whole", "instance_test", "`instance_test`"),
            *trio("occluded", "instance_test", "`instance_test`, targets occluded, 0.2"),
        ],
    )


def picle() -> Table:
    """Return the table `picle`."""
    patterns = {"scenario.patterns": "[circle, x, square]"}
    small = patterns | {
        "scenario.plus_items": "1500",
        "scenario.minus_items": "600",
        "scenario.image_items": "640",
        "strategy.maps": "8",
        "strategy.path_epochs": "15",
        "strategy.patience": "5",
        "training.lr": "0.002",
    }
    larger = patterns | {
        "scenario.length": "4",
        "scenario.plus_items": "3000",
        "scenario.minus_items": "3000",
        "strategy.path_epochs": "30",
        "strategy.patience": "6",
    }
    three, two = ("standalone", "random", "picle"), ("standalone", "picle")
    parts = [
        ("S_out", "S_out", "`S_out`, perceptual transfer", small, three),
        ("S_few", "S_few", "`S_few`, few-shot transfer", small, three),
        ("S_in_larger", "S_in", "`S_in`, latent transfer, larger", larger, two),
        ("S_in", "S_in", "`S_in`, latent transfer, small", small, three),
    ]
    rows = [
        Row(
            name=f"{prefix}_{search}",
            strategy="picle",
            label=f"`{search}`",
            group=group,
            baseline=None if search == "standalone" else f"{prefix}_standalone",
            options={"scenario.sequence": sequence} | options | {"strategy.search": search},
        )
        for prefix, sequence, group, options, searches in parts
        for search in searches
    ]
    return Table(
        name="picle",
        title="`picle` on sequences of problems",
        scenario="problem_sequence",
        setting="The method is told the session of each test sample. The figures are the "
        "accuracy on all problems after the last one, and on the last problem. The transfer is "
        "the gain on the last problem over new modules alone (`standalone`), paired by seed. "
        "Rows are values of `--strategy.search`.",
        columns={"last": "mean of problems", "last_session": "last problem"},
        rows=rows,
        differences=against_baselines(rows, ("last_session",)),
    )
