"""What a server accepts: sizes and times, and who may ask."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from cl_suite.errors import UserError

MIB = 2**20
SHORTEST_TOKEN = 16
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


class RefusedError(UserError):
    """A request that is refused.

    Args:
        status: of the HTTP answer.
        sentence: what is wrong, and the remedy.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How much a request may bring, and how long it may take.

    Attributes:
        request_bytes: of a request's body.
        file_bytes: of one picture's file.
        files: number of pictures in a request.
        pixels: of one picture, before it is decoded.
        request_pixels: of all pictures in a request.
        seconds: until a body has arrived, and until a request may begin to compute or to write.
    """

    request_bytes: int = 64 * MIB
    file_bytes: int = 16 * MIB
    files: int = 64
    pixels: int = 50_000_000
    request_pixels: int = 200_000_000
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value > 0:
                raise UserError(f"limit {each.name} must be above 0, got {value}")


@dataclass(frozen=True)
class Access:
    """Who may ask what.

    Attributes:
        host: the address that the server is bound to.
        token: what writers show, and on an address that other machines reach, readers too.
    """

    host: str
    token: str

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches the server."""
        return is_loopback(self.host)

    def has_token(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request shows the token; the time taken tells nothing of it."""
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(
            given.strip(), self.token.encode("ascii")
        )

    def accepts(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request's page, if it comes from one, is this server's own.

        A foreign page may have a name that leads to 127.0.0.1 (DNS rebinding): its Host header
        then has that name.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self.is_loopback and _without_port(host) not in (*LOOPBACK_NAMES, _in_url(self.host)):
            return False
        origin = headers.get(b"origin")
        return origin is None or urlsplit(origin.decode("latin-1").lower()).netloc == host


def make_access(host: str, token: str | None) -> Access:
    """Return the access to a server; on loopback a token is drawn if there is none.

    Raises:
        UserError: for an address that other machines reach without a token, or one easy to guess.
    """
    if token is None and not is_loopback(host):
        raise UserError(
            f"other machines reach host '{host}'; set a token that they must show, or keep the "
            "default host 127.0.0.1"
        )
    token = secrets.token_urlsafe(24) if token is None else token
    if len(token) < SHORTEST_TOKEN or not all("!" <= letter <= "~" for letter in token):
        raise UserError(
            f"a token must have at least {SHORTEST_TOKEN} printable ASCII characters and no space, "
            f"this one has {len(token)} characters; draw one by `openssl rand -hex 16`"
        )
    return Access(host, token)


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address(host: str, port: int) -> str:
    """Return the address of the page.

    Example:
        >>> address("::1", 8000)
        'http://[::1]:8000/'
    """
    return f"http://{_in_url(host)}:{port}/"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _without_port(host: str) -> str:
    # an IPv6 address has colons of its own, within brackets
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
