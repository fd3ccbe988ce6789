"""The table on the images that frozen networks see."""

from __future__ import annotations

from table_rows import Difference, Row, Table, against_baselines

from table_specs.few_shot import FIGURES


def input_size() -> Table:
    """Return the table `input_size`."""
    networks = {
        "lite0": ("EfficientNet-Lite0", "tf_efficientnet_lite0", "$LITE0"),
        "deit": ("DeiT-tiny", "deit_tiny_patch16_224", "$DEIT_TINY"),
    }
    rows = []
    for short, (words, backbone, weights) in networks.items():
        for size in ("224", "256"):
            means = f"{short}_{size}_simple_cil"
            for strategy in ("simple_cil", "teen", "lda", "teen_whitened", "auto"):
                name = f"{short}_{size}_{strategy}"
                rows.append(
                    Row(
                        name=name,
                        strategy=strategy,
                        group=f"{words}, {size} pixels",
                        baseline=None if name == means else means,
                        options={
                            "scenario.root": "$MINI_IMAGENET",
                            "model.backbone": backbone,
                            "model.weights": weights,
                            "model.frozen": "true",
                            "model.mirrored": "true",
                            "model.image_size": size,
                            "model.bank_dtype": "bfloat16",
                        },
                        seeds=(0,),  # nothing else is drawn from it
                    )
                )
    pairs = [
        (f"{short}_256_{strategy}", f"{short}_224_{strategy}")
        for short in networks
        for strategy in ("simple_cil", "teen", "lda", "teen_whitened", "auto")
    ]
    return Table(
        name="input_size",
        title="The size of the images: mirrored views of miniImageNet on frozen features",
        scenario="mini_imagenet",
        setting="Features are means over an image and its mirror image, from a pretrained network "
        "that stays frozen, on a subset of miniImageNet. 256 pixels were chosen without test data, "
        "on the fake streams that `auto` cuts from the base session; 224, 256 and 288 were "
        "compared.",
        columns=FIGURES,
        rows=rows,
        differences=[
            *against_baselines(rows, ("average", "harmonic")),
            *(
                Difference(row=row, against=against, figure=figure)
                for row, against in pairs
                for figure in ("average", "harmonic")
            ),
        ],
    )
