"""One run, from its configuration to its folder: the folder is made ready, then the run goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from cl_suite.distributed.group import (
    from_first,
    is_first,
    is_same_everywhere,
    size,
    wait_for_all,
)
from cl_suite.distributed.group import start as join_processes
from cl_suite.errors import UserError
from cl_suite.models.allocator import keep_freed_memory
from cl_suite.runs.checks import prepare_folder
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.early import check_pair
from cl_suite.runs.finished import finished_line
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.folder_run import FolderRun
from cl_suite.runs.listener import Listener, Listeners
from cl_suite.runs.lock import locked
from cl_suite.runs.refusals import plain_refusals
from cl_suite.runs.replacing import recover
from cl_suite.runs.stream_run import Run
from cl_suite.runs.task_run import TaskRun, tasks_of


def run(
    config: RunConfig,
    options: RunOptions,
    listeners: Sequence[Listener] = (),
    *,
    made: Callable[[FolderRun], None] | None = None,
) -> RunFolder:
    """Run one configuration to its end and return its folder.

    Args:
        listeners: listeners of the run; see `cl_suite.registry.make_listeners` for the usual ones.
        made: is given the run before it starts.

    Raises:
        UserError: for bad input, an occupied folder, a damaged checkpoint or a full disk.
    """
    folder = RunFolder.of(config, options)
    keep_freed_memory()
    with plain_refusals():
        check_pair(config)
        join_processes(config.device)
    listener = Listeners(listeners if is_first() else ())
    try:
        with plain_refusals(), locked(folder.path) if is_first() else nullcontext(False) as mine:

            def prepared() -> bool:
                if mine:
                    recover(folder)
                return prepare_folder(folder, config, options)

            if from_first(prepared):
                kind = Run if tasks_of(config) is None else TaskRun
                run = kind(config, folder, options, listener)
                # also waits: the others read what the first one is about to replace
                if size() > 1 and not is_same_everywhere(run.place()):
                    raise UserError(
                        "the processes of this run do not agree on where it stands; give all of "
                        f"them the same '{folder.path}', the same data and the same weights"
                    )
                if made is not None:
                    made(run)
                run.go()
                wait_for_all()
            else:
                listener.says(finished_line(folder))
    finally:
        listener.stops()
    return folder
