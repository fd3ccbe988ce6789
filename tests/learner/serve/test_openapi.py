"""Schemathesis asks the JSON interface all that its description allows, and what it forbids."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from helpers.learners import photo_folder
from helpers.served import TOKEN, app_of, client_of, png, write_classifier
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 40
# a description has no words for bytes that are a picture, and for printable characters
ALSO = {
    "POST /api/predict": ["415"],
    "POST /api/learn": ["415", "422"],
    "POST /api/rename": ["422"],
}
OPERATIONS = [
    "GET /api/info",
    "GET /api/history",
    "GET /api/evaluate",
    "POST /api/predict",
    "POST /api/learn",
    "POST /api/evaluate",
    "POST /api/undo",
    "POST /api/forget",
    "POST /api/rename",
]
NOTHING_TO_SEND = ("GET /api/info", "GET /api/evaluate", "POST /api/evaluate", "POST /api/undo")
ACCEPTED = ["2xx", "404", "409"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    root = tmp_path_factory.mktemp("served")
    held_out = photo_folder(root / "held", 2, 2, seed=9)
    return app_of(write_classifier(root / "a.clm"), held_out=held_out)


def description(app: FastAPI) -> Any:
    """The interface as schemathesis reads it."""
    config = schemathesis.Config.from_dict(
        {
            "headers": {"Authorization": f"Bearer {TOKEN}", "Host": "127.0.0.1"},
            "operations": [
                {
                    "include-name": name,
                    "checks": {
                        "positive_data_acceptance": {"expected-statuses": [*ACCEPTED, *statuses]}
                    },
                }
                for name, statuses in ALSO.items()
            ],
        }
    )
    headers = {"Host": "127.0.0.1"}
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, config=config, headers=headers)


def map_body(context: Any, body: Any) -> Any:
    """Make every other file a picture, so that the requests get further."""
    files = body.get("files") if isinstance(body, dict) else None
    if isinstance(files, list) and all(isinstance(one, str) for one in files):
        return {**body, "files": [png(len(one) % 4) if len(one) % 2 else one for one in files]}
    return body


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_as_described(app: FastAPI, name: str, mode: str) -> None:
    method, path = name.split()
    described = description(app)
    if mode == "POSITIVE":
        described.hook(map_body)
    cases = described[path][method].as_strategy(
        generation_mode=getattr(schemathesis.GenerationMode, mode)
    )

    @given(case=cases)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        case.call_and_validate()

    try:
        ask()
    except Unsatisfiable:
        assert mode == "NEGATIVE"  # it takes nothing that could be wrong
        assert name in NOTHING_TO_SEND


def test_every_status_has_a_sentence(tmp_path: Any) -> None:
    paths = app_of(write_classifier(tmp_path / "a.clm")).openapi()["paths"]
    described = {f"{kind.upper()} {path}" for path, kinds in paths.items() for kind in kinds}
    assert described == set(OPERATIONS)
    for kinds in paths.values():
        for operation in kinds.values():
            for status, answer in operation["responses"].items():
                assert answer["description"], status
                schema = answer["content"]["application/json"]["schema"]
                name = schema["$ref"].rpartition("/")[2]
                assert (name == "Problem") == (int(status) >= 400), (operation, status)


def test_all_methods_of_a_path_are_named(tmp_path: Any) -> None:
    client = client_of(app_of(write_classifier(tmp_path / "a.clm")))
    assert client.options("/api/evaluate").headers["allow"] == "GET, POST"
    assert client.post("/").headers["allow"] == "GET"
