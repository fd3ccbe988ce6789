"""Compares an exported classifier with PyTorch on real pictures, in several sizes and batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from cl_suite.data.pictures import read_image
from cl_suite.errors import UserError
from cl_suite.learner.export.assemble import IMAGE, PREPARED, Assembled
from cl_suite.learner.export.frozen import Answers, Frozen
from cl_suite.learner.export.report import Check
from cl_suite.learner.pictures import sources

T = TypeVar("T")

MOST_PICTURES = 16
# besides each picture alone in its own size: batches, and the height and width of their pictures
BATCHES = ((3, (97, 131)), (8, (224, 160)), (1, (500, 333)))


def session(content: bytes) -> Any:
    """Return an ONNX Runtime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def pictures_to_check(now: Frozen, given: Any) -> list[Tensor]:
    """Return some pictures, uint8 RGB `(3, height, width)`: those given, else kept thumbnails.

    Raises:
        UserError: if there is none, or one cannot be read.
    """
    if given is not None:
        return [source.read()[1] for source in _spread(sources(given))]
    kept = [record.kept.thumbnails for record in now.state.records.values()]
    # one of each class first
    thumbnails = [one for each in kept for one in each[:1] if one]
    thumbnails += [one for each in kept for one in each[1:] if one]
    if not thumbnails:
        raise UserError(
            "this classifier keeps no pictures to check its export on; name some with pictures=..."
        )
    number = max(sum(bool(each and each[0]) for each in kept), MOST_PICTURES)
    chosen = _spread(thumbnails[:number])
    return [read_image(BytesIO(one), "a kept thumbnail") for one in chosen]


def checked(
    now: Frozen, made: Assembled, rows: Mapping[str, Any], pictures: Sequence[Tensor]
) -> Check:
    """Return the differences between an exported model and PyTorch.

    Args:
        rows: further inputs, of a growing export.
        pictures: uint8 RGB, `(3, height, width)` each.
    """
    runtime, front = session(made.content), _front(made)
    batches = [[picture] for picture in pictures]
    for num, size in BATCHES:
        batches.append([_scaled(pictures[i % len(pictures)], size) for i in range(num)])
    theirs, ours, alone, prepared = [], [], [], [0.0]
    for batch in batches:
        inputs = torch.stack([now.extractor.prepare(picture) for picture in batch])
        given = (torch.stack(batch) if front else inputs).numpy()
        theirs.append(_answers(runtime, {made.input: given, **rows}))
        ours.append(now.answers(inputs))
        # the rest is compared on what the graph made of the pictures
        made_inputs = inputs
        if front:
            made_inputs = torch.from_numpy(front.run([PREPARED], {IMAGE: given, **rows})[0])
            prepared.append(_largest(inputs, made_inputs) / _range(inputs))
        alone.append(now.answers(made_inputs))
    mine, other, same = _joined(ours), _joined(theirs), _joined(alone)
    return Check(
        num_pictures=len(pictures),
        sizes=tuple(sorted({_size(batch[0]) for batch in batches})),
        batch_sizes=tuple(sorted({len(batch) for batch in batches})),
        num_compared=len(mine.familiarity),
        probabilities=_largest(mine.probabilities, other.probabilities),
        familiarity=_largest(mine.familiarity, other.familiarity) / _range(mine.familiarity),
        num_other_label=_others(mine.probabilities.argmax(1), other.probabilities.argmax(1)),
        num_other_unknown=_others(mine.is_unknown, other.is_unknown),
        prepared=max(prepared),
        network_probabilities=_largest(same.probabilities, other.probabilities),
        network_familiarity=_largest(same.familiarity, other.familiarity)
        / _range(same.familiarity),
    )


def _front(made: Assembled) -> Any:
    """Return a session that also gives what the graph makes of pictures; None if nothing."""
    import onnx

    if made.input != IMAGE:
        return None
    model = onnx.load_from_string(made.content)
    shown = onnx.helper.make_tensor_value_info(PREPARED, onnx.TensorProto.FLOAT, None)
    model.graph.output.append(shown)
    return session(model.SerializeToString())


def _answers(runtime: Any, feed: Mapping[str, Any]) -> Answers:
    names = [output.name for output in runtime.get_outputs()]
    found = dict(zip(names, map(torch.from_numpy, runtime.run(names, dict(feed))), strict=True))
    familiar = found["familiarity"]
    nothing = torch.zeros(len(familiar), dtype=torch.bool)
    return Answers(found["probabilities"], familiar, found.get("unknown", nothing))


def _joined(parts: Sequence[Answers]) -> Answers:
    return Answers(
        torch.cat([part.probabilities for part in parts]),
        torch.cat([part.familiarity for part in parts]),
        torch.cat([part.is_unknown for part in parts]),
    )


def _largest(one: Tensor, other: Tensor) -> float:
    # nan stays nan, which is within no tolerance
    if one.shape != other.shape:
        return float("nan")
    return float((one.double() - other.double()).abs().max())


def _range(values: Tensor) -> float:
    return max(float(values.max() - values.min()), 1e-6)


def _others(one: Tensor, other: Tensor) -> int:
    return int((one != other).sum())


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[1], picture.shape[2]


def _scaled(picture: Tensor, size: tuple[int, int]) -> Tensor:
    scaled: Tensor = v2.functional.resize(picture, list(size), antialias=True)
    return scaled


def _spread(things: Sequence[T]) -> list[T]:
    rows = np.linspace(0, len(things) - 1, min(len(things), MOST_PICTURES)).round().astype(int)
    return [things[row] for row in rows]
