"""Tables on sessions with all data: replay, a pretext task around a host, and no labels."""

from __future__ import annotations

from table_rows import PROBED, Difference, Row, Table

FIVE = (0, 1, 2, 3, 4)
# the scenario's recipe for all rows; coconut's own file would replace it
SPOKEN_RECIPE = {
    "scenario.root": "$SPOKEN_DIGITS",
    "training.incremental_batchnorm": "train",
    "training.base_epochs": "30",
    "training.incremental_epochs": "30",
    "training.batch_size": "32",
    "training.lr": "0.05",
    "training.incremental_lr": "0.02",
    "training.optimizer": "sgd",
    "training.schedule": "cosine",
    "training.weight_decay": "0.0005",
}
COCONUT_AUTHORS = SPOKEN_RECIPE | {
    "training.base_epochs": "50",
    "training.incremental_epochs": "50",
    "training.batch_size": "80",
    "training.lr": "0.0005",
    "training.incremental_lr": "0.0005",
    "training.optimizer": "adamw",
    "training.schedule": "constant",
    "training.weight_decay": "0",
}


def _spoken_row(
    name: str, strategy: str, label: str = "", baseline: str | None = "er", **options: str
) -> Row:
    given = {f"strategy.{key}": value for key, value in options.items()}
    return Row(
        name=name,
        strategy=strategy,
        label=label,
        baseline=baseline,
        group="scenario's recipe",
        options=SPOKEN_RECIPE | given,
        seeds=FIVE,
    )


def _phases_on_digits() -> list[Row]:
    """Return the rows of `kfpf`: how many phases, of how many steps, and in which form."""
    plain = {"momentum": "0", "distillation": "0"}

    def row(name: str, label: str, phases: str, iterations: str, **own: str) -> Row:
        given = {"buffer": "40", "phases": phases, "iterations": iterations, **own}
        return _spoken_row(name, "kfpf", f"`kfpf`, {label}", **given)

    return [
        row(
            "kfpf",
            "five phases of 100 steps a session, logits of all classes seen",
            "5",
            "100",
            distilled="seen",
        ),
        row("kfpf_plain", "five phases, cross-entropy alone, no momentum", "5", "100", **plain),
        row("kfpf_once_kd", "one phase of 100 steps a session", "1", "100"),
        row(
            "kfpf_once",
            "one phase of 36 steps, cross-entropy alone, no momentum",
            "1",
            "36",
            **plain,
        ),
    ]


def _coconut_part(name: str, label: str, **options: str) -> Row:
    given = {f"strategy.{key}": value for key, value in options.items()}
    return Row(
        name=name,
        strategy="coconut",
        label=label,
        group="parts of `coconut`",
        baseline="coconut",
        options=SPOKEN_RECIPE | given,
    )


def spoken_digits() -> Table:
    """Return the table `spoken_digits`."""
    authors, union = "`coconut`'s authors' schedule", "er_union"
    rows = [
        _spoken_row("joint", "joint", baseline=None),
        _spoken_row("fpf", "fpf", "`fpf` around `er`", host="er", host_params="{buffer: 40}"),
        _spoken_row("kd_label", "kd_replay", "`kd_replay`, label", union, distill="label"),
        _spoken_row("supcon_replay", "supcon_replay"),
        _spoken_row("er", "er", baseline=None),
        # the form of kd_replay and coconut
        _spoken_row(union, "er", "`er`, union", baseline=None, replay="union"),
        _spoken_row("kd_feature", "kd_replay", "`kd_replay`, feature", union, distill="feature"),
        _spoken_row("kd_logit", "kd_replay", "`kd_replay`, logit", union, distill="logit"),
        _spoken_row("coconut", "coconut", baseline=union),
        *_phases_on_digits(),
        _spoken_row("finetune", "finetune", baseline=None),
        Row(
            name="authors_er",
            strategy="er",
            label="`er`, union",
            group=authors,
            options=COCONUT_AUTHORS | {"strategy.replay": "union"},
            seeds=FIVE,
        ),
        Row(
            name="authors_coconut",
            strategy="coconut",
            group=authors,
            baseline="authors_er",
            options=COCONUT_AUTHORS,
            seeds=FIVE,
        ),
        _coconut_part(
            "coconut_weight_0.1", "`coconut`, weight of distillation 0.1", nspt_weight="0.1"
        ),
        _coconut_part(
            "coconut_weight_0.3", "`coconut`, weight of distillation 0.3", nspt_weight="0.3"
        ),
        _coconut_part(
            "coconut_no_self_0.3",
            "the same, the sample itself left out of the denominator",
            nspt_weight="0.3",
            denominator="student_all_minus_self",
        ),
        _coconut_part("coconut_no_nspt", "`coconut` without distillation", nspt_weight="0"),
        _coconut_part(
            "coconut_no_mm", "`coconut` without the multimodal term", multimodal_weight="0"
        ),
    ]
    return Table(
        name="spoken_digits",
        title="Spoken digits: 5 sessions of 2 digits",
        scenario="spoken_digits",
        setting="480 recordings are there to learn from, and 40 are kept. `kd_replay` and "
        "`coconut` shuffle them into a session's data, as their papers do (`replay: union`), and "
        "are compared with `er` in that form; the others draw a memory batch beside each batch.",
        columns={"average": "average", "last": "last", "forgetting": "forgetting"},
        rows=rows,
        differences=[Difference(row="fpf", against="er", figure="last")],
    )


def cler() -> Table:
    """Return the table `cler`."""
    recipe = {
        "scenario.way": "24",
        "training.base_epochs": "3",
        "training.incremental_epochs": "3",
        "training.batch_size": "10",
        "training.lr": "0.03",
        "training.incremental_lr": "0.03",
        "training.momentum": "0",
        "training.nesterov": "false",
        "training.weight_decay": "0",
        "training.schedule": "constant",
        "training.incremental_batchnorm": "train",
        "model.head": "linear",
    }
    pretext = {"strategy.pretext": "rotation", "strategy.weight": "0.3"}
    rows = []
    for host in ("er_ace", "der", "finetune"):
        group, buffered = f"`{host}`", host != "finetune"
        own = {"strategy.buffer": "500"} if buffered else {}
        params = "{buffer: 500}" if buffered else "{}"
        hosted = {"strategy.host": host, "strategy.host_params": params}
        rows += [
            Row(name=host, strategy=host, label="alone", group=group, options=recipe | own),
            Row(
                name=f"cler_{host}",
                strategy="cler",
                label="in `cler`",
                group=group,
                baseline=host,
                options=recipe | hosted | pretext,
            ),
        ]
    return Table(
        name="cler",
        title="A pretext task beside a host: `cler` on Omniglot in 11 sessions",
        scenario="class_incremental",
        setting="The stream is Omniglot in 11 sessions, the backbone is conv4. Every row trains "
        "3 epochs a session on batches of 10. `er_ace` and `der` keep 500 samples. The pretext "
        "task is rotation with weight 0.3, chosen on training drawings that were held out.",
        columns={"average": "average", "last": "last"},
        rows=rows,
    )


def without_labels() -> Table:
    """Return the table `without_labels`."""
    recipe = {
        "scenario.way": "81",
        "training.base_epochs": "20",
        "training.warmup_epochs": "2",
        "evaluation.sessions": "seen",
        "strategy.projector_dim": "512",
    }
    predictor = {"strategy.predictor_dim": "512"}
    rows = [
        Row(name="simclr", strategy="simclr", options=recipe),
        Row(
            name="sycon",
            strategy="sycon",
            baseline="simclr",
            options=recipe | {"strategy.form": "simclr"} | predictor,
        ),
        Row(
            name="cassle",
            strategy="cassle",
            baseline="simclr",
            options=recipe | {"strategy.base": "simclr"} | predictor,
        ),
    ]
    return Table(
        name="without_labels",
        title="Without labels: Omniglot in 3 sessions",
        scenario="class_incremental",
        setting="The stream is Omniglot in 3 sessions "
        "(`--scenario.way 81`), the backbone is conv4. Every row trains 20 epochs, 2 of them "
        "warm-up. Projector and predictor have 512 units, and each method takes its SimCLR form.",
        columns=PROBED,
        rows=rows,
        differences=[
            Difference(row="simclr", against="sycon", figure="knn.average"),
            Difference(row="simclr", against="cassle", figure="knn.average"),
        ],
    )
