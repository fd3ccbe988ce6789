"""Who may ask what: tokens, foreign pages, bodies that are too long or too slow."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from helpers.served import TOKEN, app_of, client_of, pngs, write_classifier

from cl_suite.errors import UserError
from cl_suite.learner.serve.guard import WRITES
from cl_suite.learner.serve.limits import Access, Limits, make_access

READS = ("/api/info", "/api/history", "/api/openapi.json")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "a.clm")


def test_every_request_that_changes_something_needs_the_token(path: Path) -> None:
    app = app_of(path)
    before = path.read_bytes()
    posts = [place for place, kinds in app.openapi()["paths"].items() if "post" in kinds]
    assert set(posts) - {"/api/predict"} == set(WRITES)
    for token in (None, "wrong", TOKEN[:-1], TOKEN + "x"):
        client = client_of(app, token=token)
        for place in WRITES:
            answer = client.post(place, files=pngs(1, of=3), data={"label": "three"})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer" in answer.json()["error"]
        sent = {b"authorization": b"Bearer \xd0\xba"}
        assert client.post("/api/undo", headers=sent).status_code == 401
    assert path.read_bytes() == before


def test_on_loopback_reading_needs_no_token(path: Path) -> None:
    client = client_of(app_of(path), token=None)
    assert [client.get(place).status_code for place in READS] == [200] * 3
    assert client.post("/api/predict", files=pngs(1, of=1)).status_code == 200


def test_elsewhere_reading_needs_the_token_too(path: Path) -> None:
    app = app_of(path, host="0.0.0.0")
    foreign, known = client_of(app, token=None, host="example.org"), client_of(app)
    assert [foreign.get(place).status_code for place in READS] == [401] * 3
    assert foreign.post("/api/predict", files=pngs(1, of=1)).status_code == 401
    assert [known.get(place, headers={"host": "a.b"}).status_code for place in READS] == [200] * 3
    assert foreign.get("/").status_code == 200  # the page asks for the token


def test_the_interface_says_which_requests_need_the_token(path: Path) -> None:
    def guarded(app: FastAPI) -> set[str]:
        paths = app.openapi()["paths"]
        return {
            f"{kind} {place}"
            for place, kinds in paths.items()
            for kind, operation in kinds.items()
            if operation.get("security")
        }

    assert guarded(app_of(path)) == {f"post {place}" for place in WRITES}
    assert "get /api/info" in guarded(app_of(path, host="0.0.0.0"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8000"}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "evil.example:8000"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "null"}, 403),
    ],
    ids=str,
)
def test_pages_of_other_sites_learn_nothing(
    path: Path, headers: dict[str, str], status: int
) -> None:
    answer = client_of(app_of(path)).get("/api/info", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_may_load_nothing_from_elsewhere(path: Path) -> None:
    client = client_of(app_of(path), token=None)
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    scripts = re.findall(r'from "([^"]*)"', client.get("/page.js").text)
    assert {"/page.css", "/page.js", "/icon.svg", "/api.js"} <= {*named, *scripts}
    for place in {*named, *scripts}:
        assert place.startswith("/")
        assert client.get(place).status_code == 200
    assert "style=" not in page.text
    assert not re.search(r"<script(?![^>]*src=)", page.text)


@pytest.mark.parametrize("token", ["short", "x" * 15, "with a space in it", "ключ" * 8])
def test_a_token_that_can_be_guessed_or_not_sent_is_refused(token: str) -> None:
    with pytest.raises(UserError, match="at least 16 printable"):
        make_access("127.0.0.1", token)


def test_an_address_that_others_reach_needs_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"):
        with pytest.raises(UserError, match="other machines reach"):
            make_access(host, None)
        assert not make_access(host, TOKEN).is_loopback
    drawn = {make_access("127.0.0.1", None).token for _ in range(3)}
    assert len(drawn) == 3
    assert min(map(len, drawn)) >= 32


def test_a_limit_must_be_above_zero() -> None:
    with pytest.raises(UserError, match="files must be above 0"):
        Limits(files=0)


def ask(app: FastAPI, parts: AsyncIterator[bytes], **headers: str) -> tuple[int, str]:
    """Send a body part by part; return status and sentence."""

    async def go() -> tuple[int, str]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            sent = {"authorization": f"Bearer {TOKEN}", "content-type": FORM, **headers}
            answer = await client.post("/api/learn", content=parts, headers=sent)
            return answer.status_code, answer.json()["error"]

    return asyncio.run(go())


FORM = "multipart/form-data; boundary=x"
HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'


def test_a_body_without_a_stated_length_is_cut_off_while_it_is_read(path: Path) -> None:
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(1000):
            sent.append(1000)
            yield b"0" * 1000

    status, sentence = ask(app_of(path, limits=Limits(request_bytes=10_000)), endless())
    assert status == 413
    assert "longer than" in sentence
    # it reads on for as much again, so that the client gets to read the answer
    assert sum(sent) < 25_000


def test_a_body_that_arrives_too_slowly_is_given_up() -> None:
    ended: list[str] = []

    async def slow() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def go() -> list[dict[str, Any]]:
        from starlette.requests import Request

        from cl_suite.learner.serve.guard import Guard

        async def reads(scope: Any, receive: Any, send: Any) -> None:
            from starlette.exceptions import HTTPException
            from starlette.responses import JSONResponse

            try:
                await Request(scope, receive).body()
            except HTTPException as error:
                ended.append(error.detail)
                await JSONResponse({}, error.status_code)(scope, receive, send)

        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/predict", "query_string": b""}
        scope["headers"] = [(b"host", b"127.0.0.1")]
        guard = Guard(reads, Access("127.0.0.1", TOKEN), Limits(seconds=0.05))
        await guard(scope, slow, send)
        return sent

    sent = asyncio.run(go())
    assert sent[0]["status"] == 408
    assert "took longer than" in ended[0]


def test_a_refusal_names_no_secret(path: Path) -> None:
    answer = client_of(app_of(path), token="wrong").post("/api/undo")
    assert TOKEN not in json.dumps([answer.json(), dict(answer.headers)])
