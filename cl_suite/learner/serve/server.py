"""Starts the server of a classifier file."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cl_suite.errors import UserError, os_refusal
from cl_suite.learner.serve.limits import Access, Limits, address, make_access

if TYPE_CHECKING:
    import torch

PACKAGES = ("fastapi", "python_multipart", "uvicorn")
TOKEN_VARIABLE = "CL_SUITE_TOKEN"
WAITING = 128  # connections not yet accepted
SECONDS_TO_FINISH = 10


def serve(
    path: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    held_out: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    device: torch.device | str = "cpu",
    weights: str | None = None,
) -> None:
    """Serve a classifier file until the process is interrupted.

    Args:
        path: the file.
        host: address to listen at; one that other machines reach needs a token.
        port: number of the port; 0 lets the system choose.
        token: what writers must show; by default that in the environment's CL_SUITE_TOKEN, else on
            loopback a random one, which is part of the printed address.
        held_out: folder of class folders that accuracy is measured on.
        limits: of each request.
        device: where features are computed.
        weights: file of the backbone's published weights, if it moved.

    Raises:
        UserError: for a file, folder, address or token that cannot be used, or missing packages.
    """
    check_packages()
    given = token or os.environ.get(TOKEN_VARIABLE) or None
    access = make_access(host, given)
    with contextlib.closing(_listening(host, port)) as listener:
        _run(
            listener,
            Path(path).expanduser(),
            access,
            limits or Limits(),
            held_out=None if held_out is None else Path(held_out).expanduser(),
            device=device,
            weights=weights,
            shown="" if given else f"#token={access.token}",
        )


def check_packages() -> None:
    """Refuse to go on without the packages of the extra.

    Raises:
        UserError: if one is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"`cl-suite serve` needs {' and '.join(missing)}; install them by "
            "`pip install 'cl-suite[serve]'`"
        )


def _run(
    listener: socket.socket,
    path: Path,
    access: Access,
    limits: Limits,
    *,
    held_out: Path | None,
    device: torch.device | str,
    weights: str | None,
    shown: str,
) -> None:
    # these need the packages of the extra, or torch
    import uvicorn

    from cl_suite.learner.serve.app import make_app
    from cl_suite.learner.serve.held_out import HeldOut
    from cl_suite.learner.serve.service import Service

    service = Service(path, limits, device=device, weights=weights)
    app = make_app(service, access, None if held_out is None else HeldOut(held_out))
    port = listener.getsockname()[1]
    labels = len(service.current().labels)
    classes = "1 class" if labels == 1 else f"{labels:,} classes"
    sys.stdout.write(
        f"serving {path} ({classes}) at\n  {address(access.host, port)}{shown}\n"
        "stop it with Ctrl-C\n"
    )
    sys.stdout.flush()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that already accepts connections, so the printed address works at once."""
    if not 0 <= port < 2**16:
        raise UserError(f"port must be in [0, 65535], got {port}")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
    except (OSError, UnicodeError) as error:
        raise UserError(f"host '{host}' is no address of this machine; try 127.0.0.1") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        reason = os_refusal(error, f"{host}:{port}", "listened at").partition(";")[0]
        raise UserError(f"{reason}; choose another port or host") from error
    return listener
