"""The processes of one run, as torchrun, `accelerate launch` or SLURM start them.

They are known by the usual environment variables RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. Without these there is one process, and nothing here costs time.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from cl_suite.errors import UserError

if TYPE_CHECKING:  # the command line asks who is first before torch is imported
    import torch

Result = TypeVar("Result")

# what one process does alone may take long; on a CPU a process that ends is noticed at once
LONGEST_WAIT = timedelta(hours=2)
LONGEST_START = timedelta(minutes=5)
FEW = 8192  # numbers of a short message
FAILED = "cl-suite/failed"  # key of the first failure's message
LEFT = "cl-suite/left"  # key of the number of processes that have read it
SECONDS_FOR_A_REASON = 3.0


class PeerError(UserError):
    """Another process of the run has ended."""


@dataclass
class _Group:
    """This process's place in the group; one process until `start`."""

    rank: int = 0
    size: int = 1
    store: Any = None
    is_alone: bool = False


_group = _Group()


def launched() -> tuple[int, int]:
    """Return this process's rank and the number of processes, as the environment names them.

    Raises:
        UserError: if the variables are not numbers, or contradict each other.
    """
    texts = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")}
    if not texts["WORLD_SIZE"] or texts["WORLD_SIZE"] == "1":
        return 0, 1
    for name, text in texts.items():
        if not text.isdecimal():
            raise UserError(
                f"the environment variable {name} is '{text}', not a number; start the "
                "processes with torchrun, or set RANK and WORLD_SIZE"
            )
    rank, size = int(texts["RANK"]), int(texts["WORLD_SIZE"])
    if rank >= size:
        raise UserError(
            f"RANK is {rank} and WORLD_SIZE is {size}; ranks are counted from 0 to {size - 1}"
        )
    return rank, size


def start(device: str) -> None:
    """Join the other processes, unless this is done; a single process has nothing to join.

    Args:
        device: where networks run; with cuda, each process takes the GPU of its LOCAL_RANK.

    Raises:
        UserError: if the environment is incomplete, or there are too few GPUs.
    """
    rank, size = launched()
    if size == 1 or _group.size > 1:
        return
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    if distributed.is_initialized():  # by the program that calls us
        _group.rank, _group.size = distributed.get_rank(), distributed.get_world_size()
        return
    if missing := [n for n in ("MASTER_ADDR", "MASTER_PORT") if n not in os.environ]:
        raise UserError(
            f"WORLD_SIZE is {size}, but {missing[0]} is not set; start the processes with torchrun"
        )
    backend = "gloo"
    if device.startswith("cuda:"):
        raise UserError(
            f"--device {device} is one GPU, but {size} processes are to run, each on its own; pass "
            "--device cuda"
        )
    if device == "cuda":
        torch.cuda.set_device(own_gpu())
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=LONGEST_START)))
        _group.store = distributed.PrefixStore("cl-suite", store)  # type: ignore[attr-defined]  # torch exports it without listing it
        distributed.init_process_group(
            backend, store=_group.store, rank=rank, world_size=size, timeout=LONGEST_WAIT
        )
    except RuntimeError as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"the {size} processes of this run cannot meet at {place} ({_reason(error)}); check "
            "MASTER_ADDR and MASTER_PORT, and that all processes were started"
        ) from error
    _group.rank, _group.size = rank, size
    atexit.register(_leave)


def own_gpu() -> int:
    """Return the number of this process's GPU, its LOCAL_RANK.

    Raises:
        UserError: if there are fewer GPUs than processes on this machine.
    """
    import torch

    local, num = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    # every process looks at all of its machine, so all find the same fault
    wanted = max(local + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "0")))
    if wanted > num:
        raise UserError(
            f"{num} GPU{' is' if num == 1 else 's are'} visible to process {local} of this "
            f"machine, but {wanted} processes want one each; start fewer processes, pass --device "
            "cpu, or set LOCAL_RANK=0 if each process sees a GPU of its own alone"
        )
    return local


def started() -> bool:
    """Return whether this process has joined others."""
    return _group.size > 1


def rank() -> int:
    """Return this process's number; 0 is the one that writes and prints."""
    return _group.rank


def size() -> int:
    """Return the number of processes that work together now."""
    return 1 if _group.is_alone else _group.size


def is_first() -> bool:
    """Return whether this is the process that writes and prints."""
    return _group.rank == 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let this process compute without the others; they must not wait for it meanwhile."""
    before, _group.is_alone = _group.is_alone, True
    try:
        yield
    finally:
        _group.is_alone = before


def from_first(call: Callable[[], Result]) -> Result:
    """Return in every process what `call` returns in the first one, plain JSON values.

    Raises:
        UserError: in every process, if the call raises it in the first one.
    """
    if size() == 1:
        return call()
    answer: dict[str, Any] = {}
    failure: BaseException | None = None
    if rank() == 0:
        try:
            with alone():
                answer = {"result": call()}
        except BaseException as error:
            failure, answer = error, {"error": str(error)}
    text = broadcast_bytes(json.dumps(answer).encode())
    if failure is not None:
        raise failure
    answer = json.loads(text)
    if "error" in answer:
        raise PeerError(answer["error"])
    result: Result = answer["result"]
    return result


def broadcast_bytes(content: bytes) -> bytes:
    """Return the first process's bytes in every process."""
    import torch
    from torch import distributed

    length = torch.tensor([len(content)])
    with _peers():
        distributed.broadcast(length, 0)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if rank() == 0 and content:
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        distributed.broadcast(data, 0)
    return data.numpy().tobytes()


def is_same_everywhere(text: str) -> bool:
    """Return whether all processes pass the same text."""
    import torch

    digest = hashlib.sha256(text.encode()).digest()
    found = gathered(torch.tensor(list(digest), dtype=torch.uint8))
    return all(each.equal(found[0]) for each in found)


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if size() > 1:
        from torch import distributed

        with _peers():
            distributed.barrier()


def gathered(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return every process's tensor of this shape and type, in order of ranks."""
    import torch
    from torch import distributed

    if size() == 1:
        return [tensor]
    sent = tensor.contiguous()
    if sent.dtype == torch.int16:  # gloo cannot send it
        sent = sent.int()
    parts = [torch.empty_like(sent) for _ in range(size())]
    with _peers():
        distributed.all_gather(parts, sent)
    return [part.to(tensor.dtype) for part in parts]


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """Add the other processes' tensors to a contiguous one, in place; all get the same bits."""
    if size() == 1:
        return tensor
    import torch

    if tensor.numel() <= FEW and tensor.device.type == "cpu":
        # gloo gathers a short message in a quarter of the time of a sum
        return tensor.copy_(torch.stack(gathered(tensor)).sum(0))
    from torch import distributed

    with _peers():
        distributed.all_reduce(tensor)
    return tensor


def is_first_to_fail(reason: str, *, is_cause: bool = True) -> bool:
    """Return whether this process is the one that tells why the run has failed.

    Args:
        is_cause: False if it ends because another one has ended; that one's reason goes first.
    """
    if _group.store is None:  # the program that calls us has joined the processes
        return True
    own = f"{_group.rank} {reason}"
    try:
        if not is_cause and _has_failed_soon():
            return False
        found: bytes = _group.store.compare_set(FAILED, "", own)
    except RuntimeError:  # the process that keeps the store is gone
        return True
    return found == own.encode()


def _has_failed_soon() -> bool:
    """Wait a little for a process that tells why it has failed."""
    end = time.monotonic() + SECONDS_FOR_A_REASON
    with contextlib.suppress(KeyboardInterrupt):  # torchrun ends all once one has ended
        while time.monotonic() < end and not _group.store.check([FAILED]):
            time.sleep(0.05)
    return bool(_group.store.check([FAILED]))


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            f"another process of this run has ended ({_reason(error)}); repeat the command with "
            "--resume, with as many processes as you like"
        ) from error


def _reason(error: RuntimeError) -> str:
    """Return the first sentence of a library's message, without its place in the source."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.split(r"\. |\.$", re.sub(r"^\[[^\]]*\]\s*", "", first))[0]


def _leave() -> None:
    from torch import distributed

    with contextlib.suppress(RuntimeError):
        _part()
    if distributed.is_initialized():
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()


def _part() -> None:
    """After a failure, keep what the processes share until the others have looked at it."""
    if not _group.store.check([FAILED]):
        return
    if _group.rank > 0:
        _group.store.add(LEFT, 1)
        return
    end = time.monotonic() + SECONDS_FOR_A_REASON
    while _group.store.add(LEFT, 0) < _group.size - 1 and time.monotonic() < end:
        time.sleep(0.02)
