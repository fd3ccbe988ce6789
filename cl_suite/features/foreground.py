"""What the few images of a class share: crops that look alike across images show the object.

COSOC (Luo, Wei, Wen, Yang, Xie, Xu, Tian, "Rectifying the Shortcut Learning of Background for
Few-Shot Learning", NeurIPS 2021, arXiv 2107.07746). A class has `K` images with `V` crops each.
Class feature `f_r` is the normalised mean of one crop from each image. The chosen crops are as
similar as possible. They are then removed, and the next feature is chosen from the others:

    prototype = norm( sum_r alpha^r f_r ),   r = 0 .. V - 1

The exact choice compares all `V^K` tuples. The greedy choice here starts with the crop that is
most similar to the other images' crops, and adds from each image the crop nearest to the mean so
far. Two sweeps then choose each crop again, given all others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SWEEPS = 2


def shared_features(crops: Tensor) -> Tensor:
    """Return the class features `(V, dim)` of unit length, what the images share most first.

    Args:
        crops: `(K, V, dim)` of unit length.
    """
    num_images, num_crops, dim = crops.shape
    left, found = crops, []
    for _ in range(num_crops):
        chosen = alike(left)
        rows = torch.arange(num_images)
        found.append(left[rows, chosen].mean(0))
        keep = torch.ones(left.shape[:2], dtype=torch.bool)
        keep[rows, chosen] = False
        left = left[keep].reshape(num_images, -1, dim)
    return F.normalize(torch.stack(found))


def alike(crops: Tensor) -> Tensor:
    """Return the crop of each image `(K,)`, such that these are alike.

    Args:
        crops: `(K, V, dim)` of unit length, on the CPU.
    """
    num_images, num_crops, _ = crops.shape
    if num_images == 1:
        return torch.zeros(1, dtype=torch.long)  # nothing tells crops of one image apart
    means = crops.mean(1)
    others = (means.sum(0) - means) / (num_images - 1)  # (K, dim)
    first, crop = divmod(int((crops @ others[:, :, None]).argmax()), num_crops)
    chosen = torch.full((num_images,), -1)
    chosen[first] = crop
    total = crops[first, crop].clone()
    for image in range(num_images):
        if image != first:
            chosen[image] = (crops[image] @ total).argmax()
            total += crops[image, chosen[image]]
    for image in list(range(num_images)) * SWEEPS:
        total -= crops[image, chosen[image]]
        chosen[image] = (crops[image] @ total).argmax()
        total += crops[image, chosen[image]]
    return chosen


def foreground_prototype(crops: Tensor, alpha: float) -> Tensor:
    """Return the prototype `(dim,)` of unit length of a class's crops.

    Args:
        crops: `(K, V, dim)`, of any length.
        alpha: weight of a class feature over that of the one before; 1: all count alike, 0: only
            the first does.

    Example:
        >>> crops = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]]])
        >>> foreground_prototype(crops, 0.0)
        tensor([1., 0.])
    """
    shared = shared_features(F.normalize(crops, dim=2))
    weights = alpha ** torch.arange(len(shared), dtype=shared.dtype)  # 0 ** 0 is 1
    return F.normalize(weights @ shared, dim=0)
