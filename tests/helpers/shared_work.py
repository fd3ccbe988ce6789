"""What tests let several processes do; each function runs in every process of a group."""

from __future__ import annotations

import atexit
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from cl_suite.avalanche import api
from cl_suite.avalanche.loader import FileLoader, batches
from cl_suite.avalanche.memory import Memory
from cl_suite.cli import main
from cl_suite.data.samples import FileSamples
from cl_suite.data.transforms import Compose, RandomCropFlip, ToFloat
from cl_suite.distributed import group, rows, shares, turns
from cl_suite.errors import UserError
from cl_suite.features.bank import banked_stream
from cl_suite.models.backbones import Backbone
from cl_suite.models.networks import OWN_BACKBONES
from cl_suite.requirements import BatchLayout
from cl_suite.storage import checkpoint
from cl_suite.testing.streams import make_stream
from helpers import banks


class Counting(nn.Module):
    """A network that counts the rows that pass through it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.num_rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_rows += len(x)
        found: Tensor = self.body(x)
        return found


class DrawsByItself(nn.Module):
    """A network whose random numbers are those of no layer that can be shared."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        if self.training:
            x = x + 0.1 * torch.randn(len(x), 1)
        found: Tensor = self.linear(x)
        return found


def _vit() -> nn.Module:
    return timm.models.VisionTransformer(
        img_size=16,
        patch_size=8,
        embed_dim=32,
        depth=2,
        num_heads=2,
        num_classes=0,
        proj_drop_rate=0.3,
        drop_path_rate=0.5,
    )


def _efficientnet() -> nn.Module:
    return timm.create_model("tf_efficientnet_lite0", num_classes=0, drop_path_rate=0.3)


class Uneven(nn.Module):
    """A network whose dropout acts on a weight that has as many rows as one process's share."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x @ nn.functional.dropout(self.weight, 0.5, self.training).T


class DrawsLikeLayers(nn.Module):
    """A network that draws with `Tensor.bernoulli_` in each of its spellings."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        mask = torch.empty(len(x), 1, dtype=x.dtype)
        return x * mask.bernoulli_(p=0.9) * mask.clone().bernoulli_() * mask.clone().bernoulli_(0.3)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv4": (lambda: OWN_BACKBONES["conv4"](1), (1, 16, 16)),
    "resnet18": (lambda: timm.create_model("resnet18", num_classes=0), (3, 32, 32)),
    "efficientnet": (_efficientnet, (3, 32, 32)),
    "vit": (_vit, (3, 16, 16)),
    "dropout": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 4)), (6,)),
    "batchnorm": (lambda: nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 4)), (6,)),
    "no averages": (
        lambda: nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()),
        (2, 4, 4),
    ),
    "bernoulli": (lambda: nn.Sequential(nn.Linear(6, 4), DrawsLikeLayers()), (6,)),
    "draws by itself": (DrawsByItself, (6,)),
    "uneven": (Uneven, (6,)),
}


def pass_through_networks(file: Path, sync_batchnorm: bool = True) -> None:
    """Write what each network returns and learns from batches of several lengths."""
    _start()
    shares.synchronise_batchnorm(sync_batchnorm)
    found = {name: _passes(*NETWORKS[name]) for name in NETWORKS}
    _write(file, found)


def _passes(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> dict[str, object]:
    torch.manual_seed(0)
    body = Counting(make().double())
    network = Backbone(body, 1)
    found: dict[str, object] = {}
    for num in (8, 7, 3, 1):
        x = torch.randn(num, *shape, dtype=torch.float64).requires_grad_()
        network.train(num > 3)
        body.num_rows = 0
        features = network(x)
        network.zero_grad()
        # of the whole batch on purpose: the rows' losses are not independent
        loss = (features @ features.T).softmax(1).diagonal().sum() + features.square().sum()
        loss.backward()
        found[str(num)] = {
            "features": features.detach(),
            "gradients": {n: p.grad for n, p in network.named_parameters()},
            "input": x.grad,
            "rows": body.num_rows,
        }
    found["state"] = dict(network.state_dict())
    found["drawn"] = torch.rand(3)
    return found


def load_files(file: Path, folder: Path, kept: int = 0) -> None:
    """Write the batches that a loader of files yields, and how many files this process opened.

    Args:
        kept: how many of the last files join batches, three each.
    """
    _start()
    paths = sorted(folder.glob("*.png"))
    opened: list[Path] = []

    class Watched(FileSamples):
        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            opened.append(self.paths[row])
            return super().__getitem__(row)

    samples = Watched(paths, list(range(len(paths))), folder)
    transform = Compose((ToFloat(), RandomCropFlip(16, 2)))
    data = api.dataset(samples, transform, ToFloat(), range(len(paths)))
    torch.manual_seed(0)
    first = len(paths) - kept
    memory = Memory(first, lambda own: [first + torch.randperm(kept)[:3] for _ in own])
    loader = batches(
        data,
        4,
        shuffle=True,
        layout=BatchLayout(views=2, plain=True, rows=True),
        memory=memory if kept else None,
    )
    assert isinstance(loader, FileLoader)
    found = [list(batch) for _ in range(2) for batch in loader]
    counts = [int(c) for c in group.gathered(torch.tensor([len(opened)]))]
    _write(file, {"batches": found, "opened": counts, "drawn": torch.rand(3)})


def take_turns(file: Path) -> None:
    """Write the results of batches computed in turn, for several numbers of items."""
    _start()
    found = {}
    for num in (1, 3, 4, 5, 8, 11):
        items = list(range(num))
        own = turns.own_turns(items, 2)
        parts = (torch.tensor(own[i : i + 2])[:, None] * 10.0 for i in range(0, len(own), 2))
        joined = torch.cat(list(turns.all_turns(parts, num, 2)))
        found[str(num)] = {"results": joined, "own": len(own)}
    _write(file, found)


def agree(file: Path) -> None:
    """Write what processes take from the first one."""
    _start()
    rank = group.rank()
    found = {"value": group.from_first(lambda: [rank, "x", None])}
    try:
        group.from_first(_refuse)
    except UserError as error:
        found["error"] = str(error)
    with group.alone():
        found["alone"] = group.size()
    found["sum"] = group.add_up(torch.tensor([float(rank + 1)]))
    found["rows"] = rows.all_rows(torch.full((1 + rank % 2, 2), float(rank)), 3)
    found["speaks"] = [int(c) for c in group.gathered(torch.tensor([_speaks()]))]
    _write(file, found)


def lose_a_peer(file: Path) -> None:
    """Kill one process; the other one writes what it is told."""
    _start()
    group.wait_for_all()
    if group.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        for _ in range(100):
            group.wait_for_all()
            time.sleep(0.01)
    except group.PeerError as error:
        file.write_text(str(error))


def differentiate_twice(file: Path) -> None:
    """Write the gradient of a gradient's length."""
    _start()
    torch.manual_seed(0)
    network = Backbone(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double(), 4)
    x = torch.randn(9, 6, dtype=torch.float64).requires_grad_()
    loss = (network(x) @ network(x).T).softmax(1).diagonal().sum()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (slope.square().sum() + loss).backward()
    grads = {name: p.grad for name, p in network.named_parameters()}
    _write(file, {"gradients": grads, "input": x.grad})


def stand_apart(file: Path) -> None:
    """Write whether the processes are found to stand at the same place."""
    _start()
    same = group.is_same_everywhere("here")
    other = group.is_same_everywhere(f"here {group.rank()}")
    _write(file, {"same": same, "other": other})


def _speaks() -> int:
    time.sleep(0.2 * group.rank())
    return int(group.is_first_to_fail("the disk is full", is_cause=group.rank() == 1))


def _refuse() -> None:
    raise UserError("the folder is occupied; choose another")


def _start() -> None:
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    group.start("cpu")


def _write(file: Path, tree: dict[str, object]) -> None:
    checkpoint.save(file, tree)
    group.wait_for_all()


def fill_bank(file: Path, folder: Path) -> None:
    """Write a stream's features from an empty bank, and the images that this process computed."""
    _start()
    network = banks.Counting()
    stream = banked_stream(make_stream(), network, folder=folder, batch_size=8)
    counts = [int(c) for c in group.gathered(torch.tensor([network.num_runs]))]
    inputs = [samples.inputs for samples in banks.sets(stream)]
    _write(file, {"features": inputs, "computed": counts})


def command(folder: Path, arguments: list[str], die_after: int | None = None) -> None:
    """Run a command; each process prints into files of its own.

    Args:
        folder: of the files `out0.txt`, `err0.txt` and so on, by rank.
        die_after: number of sums over processes after which process 1 is killed.
    """
    rank = os.environ["RANK"]
    for name in ("out", "err"):
        with open(folder / f"{name}{rank}.txt", "w") as file:
            os.dup2(file.fileno(), 1 if name == "out" else 2)
    if die_after is not None and rank == "1":
        _kill_after(die_after)
    code = main(arguments)
    atexit._run_exitfuncs()  # a forked process ends without
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _kill_after(messages: int) -> None:
    add_up, left = group.add_up, iter(range(messages))

    def counted(tensor: Tensor) -> Tensor:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return add_up(tensor)

    group.add_up = counted
