"""Computes a frozen backbone's features fast, and the key that identifies them in the bank.

Most time goes into the network. So its batches have the fastest size and memory order
(`default_batch_size`), and meanwhile all cores decode the next images.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.transforms import Transform
from cl_suite.distributed import group
from cl_suite.distributed.rows import all_rows, own_share
from cl_suite.distributed.turns import all_turns, own_turns
from cl_suite.errors import UserError
from cl_suite.models.allocator import keep_freed_memory
from cl_suite.models.digest import DIGEST_BYTES, tensor_digest, words
from cl_suite.models.folded import folded
from cl_suite.models.modes import evaluating, full_float32
from cl_suite.models.settings import FeatureDtype
from cl_suite.randomness import seeded

# raise it if this module computes features differently
BANK_VERSION = 2
# a new version of these may change how an image is decoded, resized or run through the network
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "pillow")

Source = tuple[Samples, int]  # samples, and the row in them
Progress = Callable[[int, int], None]
Item = TypeVar("Item")
IN_A_CHUNK = 64  # images that a thread digests at once


@dataclass(frozen=True)
class Recipe:
    """How features are computed from raw samples.

    Attributes:
        backbone: maps a batch of inputs to features `(batch, dim)`.
        weights: identifies the backbone's weights.
        dtype: number format in which the features are stored.
        device: where the backbone runs.
        batch_size: images a forward pass.
    """

    backbone: nn.Module = field(repr=False)
    weights: str
    dtype: FeatureDtype
    device: torch.device
    batch_size: int

    def key(self, view: Transform, probe: Tensor) -> dict[str, str]:
        """Return the key that identifies the features of a view, in words.

        It contains everything that may change a bit, so features never depend on which run
        computed them. Device and batch size are part of it, because kernels round differently.

        Args:
            probe: a raw sample; the view's output for it distinguishes transforms of one name.

        Raises:
            UserError: if the view is random.
        """
        return {
            "preprocessing": words(view),
            "preprocessing of a probe": _deterministic(view, probe).hex(),
            "weights": self.weights,
            "dtype": self.dtype,
            "computed": f"on {self.device.type} in batches of {self.batch_size}{self._precision}",
            "code": _code_version(self.backbone, view),
        }

    def features(
        self, view: Transform, sources: Sequence[Source], on_progress: Progress | None = None
    ) -> Generator[Tensor, None, None]:
        """Yield the features of these images batch by batch, float32 `(batch, dim)` on the CPU.

        BatchNorm layers are folded into convolutions. Features that are stored in bfloat16 are
        computed in it too. The processes of a run compute batches in turn, and all receive all.

        Args:
            on_progress: called with the number of images done, and of all images.
        """
        keep_freed_memory()
        backbone = self.backbone.to(self.device)
        backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stubs lack it
        done = 0
        own = self._own_features(backbone, view, own_turns(sources, self.batch_size))
        with evaluating(backbone), contextlib.closing(own):
            for found in all_turns(own, len(sources), self.batch_size):
                yield found
                done += len(found)
                if on_progress is not None:
                    on_progress(done, len(sources))

    def _own_features(
        self, backbone: nn.Module, view: Transform, sources: Sequence[Source]
    ) -> Generator[Tensor, None, None]:
        network = None
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.dtype == "bfloat16", cache_enabled=False
        )
        for inputs in _batches(view, sources, self.batch_size):
            # this batch is this process's own
            with group.alone(), full_float32():
                if network is None:
                    network = folded(backbone, inputs[:2].to(self.device))
                with autocast:
                    found = padded_forward(network, inputs, self.device, self.batch_size)
            yield found

    @property
    def _precision(self) -> str:
        return ", in bfloat16" if self.dtype == "bfloat16" else ""


def default_batch_size(device: torch.device, input_shape: tuple[int, ...]) -> int:
    """Return the fastest number of images a forward pass.

    On a CPU it is small: what a few images need stays in the caches. Milliseconds of processor time
    an image, one thread, channels-last (in brackets: batch 64 in contiguous order), measured before
    the process kept freed memory (see `models.allocator`), which made large batches slower still:

    ======================  =====  =====  =====  =====  =====  =====  ========
    images a pass               4      8     16     64    128    256  (64)
    ======================  =====  =====  =====  =====  =====  =====  ========
    EfficientNet-Lite0 224   17.3   17.9   22.7   36.9                (70.4)
    ResNet-18 224            36.3   35.2   35.0   41.7                (55.8)
    ViT-Tiny 224             33.8   32.9   32.5   38.6                (39.6)
    ResNet-18 84                           5.69   5.37   5.35         (6.26)
    ResNet-20 32                           0.95   0.86   0.90   1.12  (1.10)
    Conv-4 28                              0.26   0.24   0.24   0.47  (0.53)
    ======================  =====  =====  =====  =====  =====  =====  ========

    On a GPU (not measured) it is large, to fill it.
    """
    if len(input_shape) <= 2 and input_shape[-1] > 4096:
        return 16  # waveforms: a network's first maps are hundreds of times as large
    if device.type != "cpu" or len(input_shape) != 3:
        return 256
    area = input_shape[1] * input_shape[2]
    return max(4, min(64, 8 * 224 * 224 // area))


def content_digests(samples: Samples) -> list[bytes]:
    """Return a digest of each sample's content, independent of its label and file name.

    The processes of a run read a share of the files each.

    Raises:
        UserError: if a file cannot be read.
    """
    if isinstance(samples, TensorSamples):
        return [tensor_digest(sample) for sample in samples.inputs]
    if isinstance(samples, FileSamples):
        paths = samples.paths[own_share(len(samples))]
        return _of_all(_by_threads(_file_digest, paths), len(samples))
    return _by_threads(lambda row: tensor_digest(samples[row][0]), range(len(samples)))


def _by_threads(digest: Callable[[Item], bytes], items: Sequence[Item]) -> list[bytes]:
    """Return the digest of each item; a thread takes many, for what waits needs memory."""
    chunks = (items[first : first + IN_A_CHUNK] for first in range(0, len(items), IN_A_CHUNK))
    with ThreadPoolExecutor() as pool:
        parts = pool.map(lambda chunk: [digest(item) for item in chunk], chunks)
        return [found for part in parts for found in part]


def _of_all(digests: list[bytes], num: int) -> list[bytes]:
    """Return the digests of all samples from those of this process's share."""
    if group.size() == 1:
        return digests
    own = torch.tensor(list(b"".join(digests)), dtype=torch.uint8).view(-1, DIGEST_BYTES)
    return [bytes(row) for row in all_rows(own, num).tolist()]


def probe_of(samples: Samples) -> Tensor:
    """Return a made-up raw sample like these; the same for every seed of a scenario."""
    sample = samples[0][0]
    # file sizes vary, and which file is first depends on the seed
    shape = (3, 96, 128) if isinstance(samples, FileSamples) else sample.shape
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return (noise * 255).to(torch.uint8) if sample.dtype == torch.uint8 else noise.to(sample.dtype)


def _file_digest(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"image '{path}' cannot be read ({error.strerror}); put it back, or remove it from "
            "the data"
        ) from error
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def _deterministic(view: Transform, probe: Tensor) -> bytes:
    """Return a digest of the view's output for a sample; raise `UserError` if it is random."""
    outcomes = []
    for seed in (0, 1):
        with seeded(seed):
            outcomes.append(tensor_digest(view(probe)))
    if outcomes[0] != outcomes[1]:
        raise UserError(
            f"the feature bank cannot keep random views of an image, got {words(view)}; "
            "use deterministic ones"
        )
    return outcomes[0]


def _code_version(backbone: nn.Module, view: Transform) -> str:
    """Return versions of the libraries and a digest of the files that define these classes."""
    parts = (view, *getattr(view, "steps", ()), *backbone.modules())
    paths = set()
    for kind in {type(part) for part in parts}:
        # a class typed into a console has no file
        with contextlib.suppress(TypeError, OSError):
            paths.add(Path(inspect.getfile(kind)))
    digests = sorted(_file_digest(path) for path in paths if path.is_file())
    sources = hashlib.blake2b(b"".join(digests), digest_size=8).hexdigest()
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"bank {BANK_VERSION}, {libraries}, sources {sources}"


@torch.inference_mode()
def padded_forward(
    backbone: nn.Module, inputs: Tensor, device: torch.device, batch_size: int
) -> Tensor:
    """Return features `(n, dim)` float32 on the CPU, computed in a batch of exactly `batch_size`.

    Raises:
        UserError: if a feature is not a flat vector.
    """
    num = len(inputs)
    if num < batch_size:
        # always a full batch: kernels round differently at another size, so a feature would
        # depend on how many images happened to be missing from the bank
        padding = inputs[-1:].expand(batch_size - num, *inputs.shape[1:])
        inputs = torch.cat([inputs, padding])
    inputs = inputs.to(device)
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    features: Tensor = backbone(inputs)
    if features.dim() != 2:
        raise UserError(
            f"the backbone returns features of shape {tuple(features.shape[1:])}; use one that "
            "returns a flat vector"
        )
    return features[:num].float().cpu()


def _batches(view: Transform, sources: Sequence[Source], batch_size: int) -> Iterator[Tensor]:
    """Yield the model's inputs; threads prepare the next ones while the model runs."""
    in_memory = view.batched and all(isinstance(samples, TensorSamples) for samples, _ in sources)
    step = batch_size if in_memory else 1
    tasks = (
        partial(_load, sources[first : first + step], view, in_memory)
        for first in range(0, len(sources), step)
    )
    parts = _ahead(tasks, most=2 * batch_size // step)
    for first in range(0, len(sources), batch_size):
        num_parts = -(-min(batch_size, len(sources) - first) // step)
        yield torch.cat(list(islice(parts, num_parts)))


def _load(sources: Sequence[Source], view: Transform, at_once: bool) -> Tensor:
    raw = [samples[row][0] for samples, row in sources]
    return view(torch.stack(raw)) if at_once else torch.stack([view(sample) for sample in raw])


def _ahead(tasks: Iterable[Callable[[], Tensor]], *, most: int) -> Iterator[Tensor]:
    """Yield the tasks' results in order; at most `most` of them are ready or in progress."""
    waiting: deque[Future[Tensor]] = deque()
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
