"""`cl-suite export` and `cl-suite serve`; both need an extra."""

from __future__ import annotations

from argparse import Namespace

from cl_suite.learner.commands.screen import Screen
from cl_suite.learner.commands.seeing import (
    device_named,
    helpful_about_weights,
    loaded,
    weights_of,
)


def export(parsed: Namespace, screen: Screen) -> int:
    """Write a classifier for other runtimes; return the exit code."""
    learner = loaded(parsed)
    done = learner.export(
        parsed.file, half=parsed.half, growing=parsed.growing, pictures=parsed.pictures
    )
    screen.say(done.in_words())
    return 0


def serve(parsed: Namespace, screen: Screen) -> int:
    """Serve a classifier until it is stopped; return the exit code."""
    from cl_suite.learner.serve.server import serve as serve_file

    with helpful_about_weights():
        serve_file(
            parsed.model,
            host=parsed.host,
            port=parsed.port,
            token=parsed.token,
            held_out=parsed.held_out,
            device=device_named(parsed.device),
            weights=weights_of(parsed),
        )
    return 0
