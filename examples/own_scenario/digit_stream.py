"""scikit-learn's digits as a few-shot class-incremental stream."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Compose, Resize, ToFloat
from cl_suite.errors import UserError


class DigitStream:
    """Ten digits: a base session of the first ones, then one digit a session in a few shots.

    Args:
        base_classes: digits of session 0, which has half of their images.
        shots: training images of each later digit.
    """

    default_config = {  # what a YAML file in configs/scenario would say
        "model": {"backbone": "conv4"},
        "training": {"base_epochs": 5, "batch_size": 64, "lr": 0.1, "incremental_epochs": 5},
    }

    def __init__(self, *, base_classes: int = 6, shots: int = 5) -> None:
        self.base_classes = base_classes
        self.shots = shots

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for a parameter that the data cannot serve."""
        if not 1 <= self.base_classes <= 10:
            raise UserError(f"base_classes must be 1 to 10, got {self.base_classes}")
        images, labels = load_digits(return_X_y=True)
        pixels = torch.tensor(images * 255 / 16).to(torch.uint8).reshape(-1, 1, 8, 8)
        base = list(range(self.base_classes))
        sessions = [base, *([digit] for digit in range(self.base_classes, 10))]

        def samples(classes: list[int], start: int, most: int | None) -> TensorSamples:
            # even rows of a class are for training, odd ones for testing
            rows = [np.flatnonzero(labels == c)[start::2][:most] for c in classes]
            chosen = np.concatenate(rows)
            return TensorSamples(pixels[chosen], labels[chosen].tolist())

        prepare = Compose((ToFloat(), Resize(28)))
        return build_stream(
            name="digit_stream",
            class_names=[f"digit {digit}" for digit in range(10)],
            session_classes=sessions,
            train=[samples(c, 0, None if c is base else self.shots) for c in sessions],
            test=[samples(classes, 1, None) for classes in sessions],
            train_transform=prepare,
            eval_transform=prepare,
            way=1,
            shots=self.shots,
        )
