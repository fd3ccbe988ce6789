"""The benchmarks by name: what each measures, its smallest size, and the data it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# in the options of a smallest size: generated images and a tiny random network
IMAGES, NETWORK = "{images}", "{weights}"
DATA = f"--root {IMAGES} --weights {NETWORK} --backbone test_resnet"
MINI = "--root $MINI_IMAGENET --weights $LITE0"
MINI_IMAGENET = {"MINI_IMAGENET": "the folder of miniImageNet"}
LITE0 = {"LITE0": "the .safetensors file of tf_efficientnet_lite0"}
WEIGHTS = {"WEIGHTS": "the folder of the backbones' weights"}


@dataclass(frozen=True)
class Entry:
    """One benchmark, the program `NAME.py`.

    Attributes:
        about: what it measures, one line.
        small: options of its smallest size; None if it has none.
        full: options of its usual size; `$NAME` stands for an environment variable.
        needs: what each of these variables must name.
    """

    about: str
    small: str | None
    full: str = ""
    needs: Mapping[str, str] = field(default_factory=dict)


ENTRIES: Mapping[str, Entry] = {
    "start": Entry(
        "start of a run to its first batch, against imports",
        "--rounds 1",
    ),
    "cold_bank": Entry(
        "computing features for the bank: as it was, float32, bfloat16",
        "--model test_resnet --images 2 --rounds 1",
    ),
    "feature_bank": Entry(
        "building the bank, and an epoch over its features, against bare loops",
        "--model test_resnet --size 32 --images 4 --features 256 --dim 8 --rounds 1",
    ),
    "frozen_run": Entry(
        "a whole run on a frozen network, against its forward passes",
        f"{DATA} --strategies prototype --rounds 1",
        MINI,
        MINI_IMAGENET | LITE0,
    ),
    "forked_jobs": Entry(
        "a sweep's jobs as forks of one process, against processes",
        "--jobs 1 --rounds 1",
    ),
    "training_step": Entry(
        "training steps with and without memory kept, and against a bare loop",
        "--networks tiny --rounds 1 --steps 3",
    ),
    "engine_overhead": Entry(
        "the engine against a bare loop: training and later sessions",
        "--rounds 1 --epochs 1",
    ),
    "method_overhead": Entry(
        "five methods in the engine against bare loops of the same methods",
        "--rounds 1 --epochs 1",
    ),
    "coact_step": Entry(
        "a step of coact: shared prefix, four encoders, six passes",
        "--rounds 1 --batch 2 --model deit_tiny_patch16_224",
    ),
    "coact_rates": Entry(
        "coact with a chosen rate, with fixed ones, and beside simple_cil, on six grounds",
        "--seeds 0 --rates 0.01 --parts 0.01",
        "--data $GROUNDS --weights $WEIGHTS --parts 0.1",
        WEIGHTS | {"GROUNDS": "the folder of the data sets, see `coact_rates.py`"},
    ),
    "auto_grounds": Entry(
        "auto beside every rule that it chooses from, on frozen features of several grounds",
        "--seeds 0 --methods class_means auto",
        "--data $GROUNDS --weights $WEIGHTS",
        WEIGHTS | {"GROUNDS": "the folder of the data sets, see `coact_rates.py`"},
    ),
    "mamlcon_inner": Entry(
        "mamlcon's inner loop of first and second order",
        "--rounds 1 --episodes 1 --network mlp",
    ),
    "picle_covariance": Entry(
        "modules that picle suggests with plain and with shrunk covariances",
        "--points 10 --cases 2",
    ),
    "peers_avalanche": Entry(
        "whole runs against Avalanche's NCM, StreamingLDA, ER-ACE and Replay",
        f"{DATA} --methods NCM --way 121 --replay-rounds 1",
        MINI,
        MINI_IMAGENET | LITE0,
    ),
    "peers_classifiers": Entry(
        "ridge, LDA and nearest neighbours against scikit-learn's",
        "--samples 400 --dim 16 --rounds 1",
    ),
    "peers_losses": Entry(
        "contrastive losses against pytorch-metric-learning's and lightly's",
        "--batches 8 --dim 16 --rounds 1",
    ),
    "frozen_features": Entry(
        "accuracy and session cost of strategies on frozen features",
        f"{DATA} --methods class_means --seeds 1",
        MINI,
        MINI_IMAGENET | LITE0,
    ),
    "as_it_comes": Entry(
        "head rules, plain and robust, on streams as they come",
        f"{DATA} --conditions label_noise --methods class_means class_means_distance --seeds 1",
        MINI,
        MINI_IMAGENET | LITE0,
    ),
    "learner_calibration": Entry(
        "a learner's probabilities, and how it knows strangers",
        "--base 12 --epochs 1 --seeds 1 --rules simple_cil",
        "--mini-imagenet $MINI_IMAGENET --gtsrb $GTSRB --weights $WEIGHTS",
        MINI_IMAGENET | WEIGHTS | {"GTSRB": "the folder of GTSRB"},
    ),
    "learner_cost": Entry(
        "what learning, predicting and storing cost a learner",
        f"--weights {NETWORK} --backbone test_resnet --classes 3"
        " --rules simple_cil ranpac --rounds 1",
        "--weights $LITE0",
        LITE0,
    ),
    "learner_serve": Entry(
        "requests a second of `cl-suite serve`",
        "--classes 2 --clients 1 --seconds 0",
    ),
    "processes": Entry(
        "one run on two processes against one: training and the bank",
        "--rounds 1 --batches 2 --images 8 --works 'conv4, 28 pixels'",
    ),
    "replay": Entry(
        "last accuracies of replay methods, beside another framework's",
        "--methods er der_pp --seeds 0 --backbone test_resnet",
        "--root $CIFAR10",
        {"CIFAR10": "the folder of CIFAR-10, one folder a class"},
    ),
    "scale": Entry(
        "what a session costs in a run of many",
        "features --sessions 4 6 --way 2",
    ),
    "tables": Entry(
        "the tables of results, row by row; see `tables.py`",
        None,
    ),
}
