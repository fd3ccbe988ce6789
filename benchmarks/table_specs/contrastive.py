"""Tables of base sessions by contrastive losses: clean ones, and streams as they come.

All rows of a table take the same number of gradient steps with the scenario's optimiser and rate.
No setting of a loss is chosen here: each has its paper's defaults unless its label says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from table_rows import Difference, Row, Table, against_baselines

FIGURES = {"average": "average", "last": "last", "harmonic": "harmonic mean"}
SUPERVISED = ("supcon", "class_mean", "nspt", "sbcl", "gml")
UNSUPERVISED = (
    "nt_xent",
    "info_nce",
    "dcl",
    "macl",
    "moco",
    "ascl",
    "cwcl",
    "mcl",
    "nonnegative",
    "decoupled_uniformity",
    "fassl",
)
SHORT = {"training.base_epochs": "12"}
STEPS = (
    "The backbone is conv4 from random weights, and every row takes 120 gradient steps of up to \
128 images by the scenario's optimiser and rate"
)
RULE = "Class means by cosine classify, as in `prototype`"
# classes have ten drawings at most, so subclasses of ten would leave them whole; the first stage
# is as small a share of the session as in the paper's program
CUT = {"strategy.loss_params": "{smallest: 2, first_epochs: 2, every_epochs: 2}"}


def contrastive_losses() -> Table:
    """Return the table `contrastive_losses`."""
    rows = [
        Row(
            name="cross_entropy",
            strategy="prototype",
            label="cross-entropy, `prototype`",
            group="labels",
            options=SHORT,
        )
    ]
    for group, losses in (("labels", SUPERVISED), ("no labels", UNSUPERVISED)):
        for loss in losses:
            rows.append(
                Row(
                    name=loss,
                    strategy="contrastive",
                    label=f"`{loss}`",
                    group=group,
                    baseline="cross_entropy",
                    options=SHORT | _of(loss),
                )
            )
        if group == "labels":
            rows += [
                _with_cross_entropy("supcon_ce", "supcon", "1", "`supcon` and cross-entropy"),
                _with_cross_entropy("nspt_alone", "nspt", "0", "`nspt` without cross-entropy"),
            ]
    return Table(
        name="contrastive_losses",
        title="Base sessions by contrastive losses on Omniglot",
        scenario="omniglot",
        setting=f"{STEPS} (12 epochs). Contrastive losses see two views of each image. {RULE}. "
        "Seconds of the base session are on the wall, on cores that other programs used too.",
        columns={**FIGURES, "base_seconds": "base session, seconds"},
        rows=rows,
        differences=[
            Difference(row=row.name, against="cross_entropy", figure="average") for row in rows[1:]
        ],
    )


def contrastive_streams() -> Table:
    """Return the table `contrastive_streams`."""
    grounds: Mapping[str, tuple[str, Mapping[str, str]]] = {
        # four steps an epoch, as 476 of 1,220 drawings are left
        "tail": (
            "long tail, 10 to 1",
            {"scenario.imbalance": "10", "training.base_epochs": "30"},
        ),
        "noise": ("30 % wrong labels", {"scenario.label_noise": "0.3", **SHORT}),
    }
    robust = {
        "supcon": ("`supcon`", {}),
        "sbcl": ("`sbcl`, subclasses of 2 from epoch 2 on", CUT),
        "gml": ("`gml`", {}),
        "nt_xent": ("`nt_xent`, no labels in the base session", {}),
        "fassl": ("`fassl`, no labels in the base session", {}),
    }
    rows = []
    for name, (group, options) in grounds.items():
        rows.append(
            Row(
                name=name,
                strategy="prototype",
                label="cross-entropy, `prototype`",
                group=group,
                options=options,
            )
        )
        for loss, (label, own) in robust.items():
            rows.append(
                Row(
                    name=f"{name}_{loss}",
                    strategy="contrastive",
                    label=label,
                    group=group,
                    baseline=name,
                    options={**options, **_of(loss), **own},
                )
            )
    return Table(
        name="contrastive_streams",
        title="Base sessions as they come on Omniglot: plain and robust losses",
        scenario="omniglot",
        setting=f"{STEPS}. {RULE}. Test data are balanced and clean. Wrong labels are in later "
        "sessions too.",
        columns={**FIGURES, "base": "base classes", "new": "new classes"},
        rows=rows,
        differences=against_baselines(rows, ("average",)),
    )


def _with_cross_entropy(name: str, loss: str, weight: str, label: str) -> Row:
    return Row(
        name=name,
        strategy="contrastive",
        label=f"{label}, `ce_weight` {weight}",
        group="labels",
        baseline="cross_entropy",
        options=SHORT | _of(loss) | {"strategy.ce_weight": weight},
    )


def _of(loss: str) -> dict[str, str]:
    return {"strategy.loss": loss, "strategy.head_rule": "prototype"}
