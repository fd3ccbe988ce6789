"""A TensorBoard event file, written without a background thread."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import RecordWriter


class EventFile:
    """Appends events to a new file in a folder.

    Torch's `SummaryWriter` writes in a thread: on a full disk the thread prints a traceback while
    the run goes on. Here the caller gets the error.

    Args:
        folder: an existing folder.

    Attributes:
        path: the file; of two, the newer one has the later name.

    Raises:
        OSError: if the file cannot be written; so does every method.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"
        self.path = folder / name
        self.file = self.path.open("xb")
        self.records = RecordWriter(self.file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, summary: Summary, step: int = 0) -> None:
        """Append a summary made by `torch.utils.tensorboard.summary`."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Make everything added visible to a TensorBoard that watches the file."""
        self.file.flush()

    def close(self) -> None:
        """Write what is pending and close the file."""
        self.file.close()

    def _write(self, event: Event) -> None:
        self.records.write(event.SerializeToString())
