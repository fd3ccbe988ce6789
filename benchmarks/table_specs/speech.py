"""The table on recorded words with a pretrained encoder: rules on features, and rehearsal."""

from __future__ import annotations

from table_rows import Difference, Row, Table

from table_specs.episodes import beside_means_and_oml, meta_learnt

WORDS = {
    "scenario.root": "$ARABIC_WORDS",
    "scenario.features": "waveform",
}
ENCODER = {"model.backbone": "whisper:tiny.en", "model.weights": "$WHISPER_TINY"}
FIGURES = {
    "average": "average",
    "last": "last",
    "harmonic": "harmonic mean",
    "forgetting": "forgetting",
}
STILL = {"training.base_epochs": "0", "training.incremental_epochs": "0"}
# coconut's own file would replace some of it
TRAINED = {
    **WORDS,
    **ENCODER,
    "model.adapter": "mlp:512,256",
    "training.base_epochs": "30",
    "training.incremental_epochs": "30",
    "training.optimizer": "adamw",
    "training.lr": "0.0005",
    "training.incremental_lr": "0.0005",
    "training.weight_decay": "0",
    "training.schedule": "constant",
    "training.batch_size": "32",
    "training.incremental_batchnorm": "train",
}


def spoken_words() -> Table:
    """Return the table `spoken_words`."""
    rules = "rules on the encoder's features"
    trained = "two trained layers on the encoder's features"

    def rule(name: str, label: str = "", baseline: str | None = "prototype") -> Row:
        options = WORDS | ENCODER | STILL | {"model.frozen": "true"}
        return Row(
            name=name, strategy=name, label=label, group=rules, baseline=baseline, options=options
        )

    def rehearsal(name: str, strategy: str, label: str, baseline: str | None, **own: str) -> Row:
        given = {f"strategy.{key}": value for key, value in own.items()}
        return Row(
            name=name,
            strategy=strategy,
            label=label,
            group=trained,
            baseline=baseline,
            options=TRAINED | {"strategy.buffer": "80"} | given,
        )

    no_self = {"denominator": "student_all_minus_self"}
    rows = [
        rule("prototype", "class means, `prototype`", None),
        rule("teen"),
        rule("teen_whitened"),
        rule("lda"),
        rule("klda"),
        rule("ranpac"),
        Row(
            name="class_means",
            strategy="prototype",
            label="class means after the base session, `mamlcon`'s baseline",
            group=trained,
            baseline="prototype",
            options=TRAINED | {"training.incremental_epochs": "0"},
        ),
        rehearsal("er", "er", "`er`, union", "class_means", replay="union"),
        rehearsal("coconut", "coconut", "`coconut`", "er"),
        rehearsal(
            "coconut_self",
            "coconut",
            "`coconut`, the sample itself left out of the denominator",
            "er",
            **no_self,
        ),
        Row(
            name="finetune",
            strategy="finetune",
            group=trained,
            baseline="class_means",
            options=TRAINED,
        ),
    ]
    found = [row.name for row in rows if row.name != "finetune"]
    pairs = [(name, "prototype") for name in found if name != "prototype"]
    pairs += [(name, "teen") for name in found if name not in ("prototype", "teen")]
    pairs += [(name, "class_means") for name in ("er", "coconut", "coconut_self")]
    pairs += [(name, "er") for name in ("coconut", "coconut_self")]
    return Table(
        name="spoken_words",
        title="Arabic words of unseen speakers: 20 base words, then 4 sessions of 5-way 5-shot",
        scenario="spoken_words",
        setting="The encoder of Whisper tiny.en stays frozen, and a feature is its mean over the "
        "sound. The 40 words have 24 speakers with one recording a word. Each seed draws six "
        "speakers for testing, and the shots from the others. Rehearsal keeps 80 recordings, and "
        "trains 30 epochs a session by AdamW at 0.0005.",
        columns=FIGURES,
        rows=rows,
        differences=[
            Difference(row=row, against=against, figure=figure)
            for row, against in pairs
            for figure in ("average", "last")
        ],
    )


def mamlcon_words() -> Table:
    """Return the table `mamlcon_words`."""
    stream = {
        "scenario.root": "$ARABIC_WORDS",
        "scenario.base_classes": "30",
        "scenario.way": "1",
    }
    meta = {
        **stream,
        "training.base_epochs": "10",
        "model.bank": "true",
        "model.adapter": "mlp:128,64",
        "strategy.way": "1",
        "strategy.meta_epochs": "20",
        "strategy.meta_steps": "100",
        "strategy.first_order": "true",
        "strategy.vectorized": "true",
        "strategy.unit_order": "drawn",
        "strategy.outer_lr": "0.001",
    }

    whisper = "frozen Whisper tiny.en"
    with_whisper = {**ENCODER, "scenario.features": "waveform"}
    own = "an encoder trained on the base session"
    return Table(
        name="mamlcon_words",
        title="`mamlcon` on Arabic words: 30 words, then ten of 5 shots, one a session",
        scenario="spoken_words",
        setting="The encoder is trained on the base session for 40 epochs and then stays frozen, "
        "or it is that of Whisper tiny.en. Two layers (128 and 64 units) on its features are "
        "trained for ten epochs, then meta-trained for 20 x 100 outer steps, first order, with "
        "units in drawn order. Speakers of the test recordings are unseen.",
        columns=FIGURES,
        rows=[
            Row(
                name="base",
                strategy="finetune",
                options=stream
                | {
                    "training.base_epochs": "40",
                    "training.incremental_epochs": "0",
                    "model.head": "linear",
                },
                reported=False,
            ),
            Row(
                name="means",
                strategy="prototype",
                label="class means, `prototype`",
                group=own,
                weights_from="base",
                options=stream | STILL,
            ),
            *meta_learnt(meta, weights_from="base", group=own),
            Row(
                name="means_whisper",
                strategy="prototype",
                label="class means, `prototype`",
                group=whisper,
                options=stream | with_whisper | STILL | {"model.frozen": "true"},
            ),
            *meta_learnt(
                meta | with_whisper,
                weights_from=None,
                means="means_whisper",
                suffix="_whisper",
                group=whisper,
            ),
        ],
        differences=[
            *beside_means_and_oml(FIGURES),
            *beside_means_and_oml(FIGURES, means="means_whisper", suffix="_whisper"),
        ],
    )
