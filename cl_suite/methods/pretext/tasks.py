"""Pretext tasks: recognise the transform applied to an image or to a sound's log-mel map.

Each task is a pure function of tensors and a thin module that holds its settings. Random draws
(labels, the order of the permutations) use torch's global generator, or one passed in.

For images (Bonicelli et al., 2023, arXiv 2305.03648, section 4 and the authors' code): jigsaw,
rotation, both (jig_rot), vertical flip (vflip). For sounds `(1, mels, frames)`: a puzzle of time
segments (time_jigsaw) or frequency bands (band_permutation), and time reversal.
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError, option

PretextName = Literal[
    "jigsaw", "rotation", "jig_rot", "vflip", "time_jigsaw", "time_reversal", "band_permutation"
]
ANGLES = (2, 4, 8)
MAX_PERMUTATIONS = 100


def draw_labels(num: int, num_labels: int, generator: torch.Generator | None = None) -> Tensor:
    """Return `num` labels `(num,)`, uniform in `[0, num_labels)`."""
    return torch.randint(num_labels, (num,), generator=generator)


def patch_permutations(
    num_patches: int, *, identity: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """Return permutations `(num_permutations, num_patches)`, each once, in random order.

    All of them if there are at most 100 (24 for four patches), else 100 drawn at random.

    Args:
        identity: whether the identity permutation may be drawn.
    """
    untouched = tuple(range(num_patches))
    if math.factorial(num_patches) <= MAX_PERMUTATIONS:
        found = [p for p in itertools.permutations(untouched) if identity or p != untouched]
        order = torch.randperm(len(found), generator=generator)
        return torch.tensor(found)[order]
    drawn: dict[tuple[int, ...], None] = {}  # an ordered set
    while len(drawn) < MAX_PERMUTATIONS:
        one = tuple(torch.randperm(num_patches, generator=generator).tolist())
        if identity or one != untouched:
            drawn[one] = None
    return torch.tensor(list(drawn))


def permute_patches(images: Tensor, permutations: Tensor, rows: int, columns: int) -> Tensor:
    """Return the images with their patches in another order.

    If the grid does not divide a side, the image is padded with zeros at the left and top. The same
    area is cut off again afterwards.

    Args:
        images: `(batch, channels, height, width)`.
        permutations: `(batch, rows * columns)`; patch `i` of the result, row by row, is patch
            `permutations[:, i]` of the image.
    """
    batch, channels = images.shape[:2]
    top, left = -images.shape[2] % rows, -images.shape[3] % columns
    padded = F.pad(images, (left, 0, top, 0))
    tall, wide = padded.shape[2] // rows, padded.shape[3] // columns
    grid = padded.reshape(batch, channels, rows, tall, columns, wide)
    patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (batch, patches, channels, tall, wide)
    taken = patches[torch.arange(batch, device=images.device)[:, None], permutations]
    grid = taken.view(batch, rows, columns, channels, tall, wide).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(padded.shape)[..., top:, left:]


def rotate(images: Tensor, labels: Tensor, num_angles: int = 4) -> Tensor:
    """Return square images rotated counter-clockwise by `label * 360 / num_angles` degrees.

    Interpolation is bilinear with aligned corners and zeros outside. Quarter turns equal
    `torch.rot90` on the last two dimensions.

    Args:
        images: `(batch, channels, side, side)`.
        labels: `(batch,)`, in `[0, num_angles)`.
    """
    angle = labels.to(images) * (2 * math.pi / num_angles)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    theta = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)


def mirror(images: Tensor, labels: Tensor, dim: int) -> Tensor:
    """Return the images; those with label 1 are reversed along `dim`."""
    chosen = labels.bool().view(-1, *[1] * (images.dim() - 1))
    return torch.where(chosen, images.flip(dim), images)


class PretextTask(nn.Module):
    """Transforms inputs `(batch, channels, height, width)` according to labels `(batch,)`.

    Attributes:
        num_labels: number of transforms.
        needs_square: whether height and width must be equal.
        smallest: minimum height and width at which transforms can be distinguished.
    """

    needs_square: ClassVar[bool] = False
    num_labels: int
    smallest: tuple[int, int] = (2, 2)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError


class Puzzle(PretextTask):
    """Reorders the patches of a grid; permutations are drawn once and saved with the module."""

    permutations: Tensor

    def __init__(self, rows: int, columns: int, *, identity: bool = True) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.smallest = (rows, columns)
        permutations = patch_permutations(rows * columns, identity=identity)
        self.num_labels = len(permutations)
        self.register_buffer("permutations", permutations)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return permute_patches(images, self.permutations[labels], self.rows, self.columns)


class Jigsaw(Puzzle):
    """A puzzle of square patches."""

    needs_square = True

    def __init__(self, patches: int, *, identity: bool = True) -> None:
        side = math.isqrt(max(patches, 0))
        if side < 2 or side * side != patches:
            raise UserError(
                f"{option('strategy.patches')} must be the square of a number from 2 on, got "
                f"{patches}; pass 4 or 9"
            )
        super().__init__(side, side, identity=identity)


class Rotation(PretextTask):
    """Rotates images by equally spaced angles."""

    needs_square = True

    def __init__(self, angles: int) -> None:
        super().__init__()
        if angles not in ANGLES:
            raise UserError(f"{option('strategy.angles')} must be 2, 4 or 8, got {angles}")
        self.num_labels = angles

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return rotate(images, labels, self.num_labels)


class Mirror(PretextTask):
    """Leaves inputs unchanged or reverses them along one dimension."""

    num_labels = 2

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return mirror(images, labels, self.dim)


def make_tasks(name: PretextName, *, patches: int = 4, angles: int = 4) -> list[PretextTask]:
    """Return the tasks of this name: one, or two for jig_rot.

    The puzzle of jig_rot has no identity, because the rotation's label 0 leaves all in place.

    Raises:
        UserError: for an unknown name, or an invalid number of patches or angles.
    """
    if name not in get_args(PretextName):
        known = ", ".join(get_args(PretextName))
        raise UserError(f"{option('strategy.pretext')} '{name}' is unknown; known: {known}")
    if name in ("time_jigsaw", "band_permutation"):
        if patches < 2:
            raise UserError(f"{option('strategy.patches')} must be at least 2, got {patches}")
        return [Puzzle(1, patches) if name == "time_jigsaw" else Puzzle(patches, 1)]
    if name == "jig_rot":
        return [Jigsaw(patches, identity=False), Rotation(angles)]
    if name in ("vflip", "time_reversal"):
        return [Mirror(2 if name == "vflip" else 3)]
    return [Jigsaw(patches) if name == "jigsaw" else Rotation(angles)]
