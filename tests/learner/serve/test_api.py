"""The JSON interface: each request does what its answer says, and a refused one does nothing."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.learners import photo_folder, pictures
from helpers.served import app_of, black_png, client_of, png, pngs, write_classifier
from PIL import Image

from cl_suite.learner import store
from cl_suite.learner.learner import Learner
from cl_suite.learner.serve.limits import Limits


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "a.clm")


@pytest.fixture
def client(path: Path) -> TestClient:
    return client_of(app_of(path))


def refused(answer: Any, status: int) -> str:
    """The sentence of a refused request."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    sentence: str = answer.json()["error"]
    return sentence


def test_info_tells_what_the_classifier_knows(client: TestClient) -> None:
    info = client.get("/api/info").json()
    assert info["classes"] == [
        {"label": "класс 0", "pictures": 5},
        {"label": "класс 1", "pictures": 5},
    ]
    assert (info["file"], info["rule"], info["backbone"]) == ("a.clm", "simple_cil", "conv4")
    assert info["calibration"]["pictures"] == 10
    assert info["can_undo"] is False


def test_predictions_have_probabilities_and_the_nearest_training_pictures(
    client: TestClient, path: Path
) -> None:
    files = pngs(2, of=1, seed=9)
    answer = client.post("/api/predict", files=files, data={"top": "2", "nearest": "3"}).json()
    first, second = answer["predictions"]
    assert [first["image"], second["image"]] == ["0.png", "1.png"]
    assert [guess["label"] for guess in first["top"]] == ["класс 1", "класс 0"]
    assert sum(guess["probability"] for guess in first["top"]) == pytest.approx(1, abs=1e-4)
    assert [near["label"] for near in first["nearest"]] == ["класс 1"] * 3
    similarities = [near["similarity"] for near in first["nearest"]]
    assert similarities == sorted(similarities, reverse=True)
    kind, _, content = first["nearest"][0]["picture"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (20, 20)
    expected = Learner.load(path).predict(pictures(2, of=1, seed=900), top=2)
    assert first["top"][0]["probability"] == pytest.approx(expected[0].probabilities[0], abs=1e-5)


def test_a_picture_that_cannot_be_read_is_named_among_the_others(client: TestClient) -> None:
    files = [*pngs(1, of=0), ("files", ("../a\\b.jpg", b"no picture", "image/jpeg"))]
    good, bad = client.post("/api/predict", files=files).json()["predictions"]
    assert good["error"] is None
    assert bad["image"] == "b.jpg"
    assert "'b.jpg' is no picture" in bad["error"]


def test_learning_answers_when_the_file_has_it(client: TestClient, path: Path) -> None:
    learned = client.post("/api/learn", files=pngs(3, of=2), data={"label": " новый "}).json()
    assert (learned["label"], learned["new"], learned["added"]) == ("новый", True, 3)
    assert Learner.load(path).counts["новый"] == 3
    (answer,) = client.post("/api/predict", files=pngs(1, of=2, seed=5)).json()["predictions"]
    assert answer["top"][0]["label"] == "новый"


def test_pictures_taught_twice_count_once(client: TestClient, path: Path) -> None:
    files = pngs(3, of=2)
    client.post("/api/learn", files=files, data={"label": "two"})
    before = path.read_bytes()
    again = client.post("/api/learn", files=files, data={"label": "two"}).json()
    assert (again["added"], again["known"], again["total"]) == (0, 3, 3)
    assert path.read_bytes() == before


def test_a_picture_taught_here_is_the_same_as_on_the_command_line(
    client: TestClient, path: Path, tmp_path: Path
) -> None:
    client.post("/api/learn", files=pngs(1, of=2), data={"label": "two"})
    (tmp_path / "0.png").write_bytes(png(2))
    assert Learner.load(path).learn(tmp_path / "0.png", "two").known == 1


def test_what_was_skipped_is_said(client: TestClient) -> None:
    files = [*pngs(2, of=2), ("files", ("x.png", png(2)[:300], "image/png"))]
    learned = client.post("/api/learn", files=files, data={"label": "two"}).json()
    assert learned["added"] == 2
    assert learned["skipped"][0]["image"] == "x.png"


def test_undo_restores_the_bytes(client: TestClient, path: Path) -> None:
    before = path.read_bytes()
    client.post("/api/learn", files=pngs(2, of=2), data={"label": "two"})
    assert client.get("/api/info").json()["can_undo"]
    undone = client.post("/api/undo").json()
    assert (undone["step"]["step"], undone["step"]["label"]) == ("learn", "two")
    assert path.read_bytes() == before
    assert [c["label"] for c in client.get("/api/info").json()["classes"]] == ["класс 0", "класс 1"]
    assert "nothing to undo" in refused(client.post("/api/undo"), 409)


def test_a_damaged_previous_version_is_not_restored(client: TestClient, path: Path) -> None:
    client.post("/api/forget", json={"label": "класс 0"})
    store.previous(path).write_bytes(b"damaged")
    before = path.read_bytes()
    refused(client.post("/api/undo"), 503)
    assert path.read_bytes() == before


def test_forgetting_is_in_the_file(client: TestClient, path: Path) -> None:
    assert client.post("/api/forget", json={"label": "класс 0"}).json()["label"] == "класс 0"
    assert Learner.load(path).labels == ("класс 1",)
    assert "unknown" in refused(client.post("/api/forget", json={"label": "класс 0"}), 404)


def test_renaming_keeps_what_was_learned(client: TestClient, path: Path) -> None:
    client.post("/api/rename", json={"label": "класс 0", "to": "zero"})
    assert Learner.load(path).counts == {"zero": 5, "класс 1": 5}
    taken = client.post("/api/rename", json={"label": "zero", "to": "класс 1"})
    assert "another class" in refused(taken, 409)
    refused(client.post("/api/rename", json={"label": "one", "to": "two"}), 404)
    refused(client.post("/api/rename", json={"label": "zero", "to": " "}), 422)


def test_history_is_told_newest_first(client: TestClient) -> None:
    client.post("/api/learn", files=pngs(2, of=2), data={"label": "two"})
    client.post("/api/rename", json={"label": "two", "to": "three"})
    history = client.get("/api/history", params={"limit": 2}).json()
    assert history["total"] == 4
    assert [(s["step"], s["label"], s["to"], s["pictures"]) for s in history["steps"]] == [
        ("rename", "two", "three", 0),
        ("learn", "two", None, 2),
    ]


def test_a_class_that_another_process_taught_is_known_at_once(
    client: TestClient, path: Path
) -> None:
    with Learner.editing(path) as other:
        other.learn(pictures(3, of=3), "three")
    (answer,) = client.post("/api/predict", files=pngs(1, of=3, seed=4)).json()["predictions"]
    assert answer["top"][0]["label"] == "three"
    client.post("/api/learn", files=pngs(2, of=2), data={"label": "two"})
    assert set(Learner.load(path).labels) == {"класс 0", "класс 1", "two", "three"}


def test_the_held_out_accuracy_follows_each_change(path: Path, tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "held", 3, 4, seed=50)
    for number in range(3):
        (folder / f"class{number}").rename(folder / f"класс {number}")
    with client_of(app_of(path, held_out=folder)) as client:
        first = measured(client)
        assert (first["accuracy"], first["pictures"], first["strangers"]) == (1.0, 8, 4)
        client.post("/api/learn", files=pngs(3, of=2), data={"label": "класс 2"})
        second = measured(client)
        assert (second["pictures"], second["strangers"]) == (12, 0)
        assert {c["label"]: c["right"] for c in second["by_class"]}["класс 2"] == 4
        (folder / "класс 2" / "0.png").unlink()
        assert client.post("/api/evaluate").status_code == 202
        assert measured(client)["pictures"] == 11


def measured(client: TestClient) -> dict[str, Any]:
    """The figures, once the folder is read."""
    for _ in range(600):
        answer = client.get("/api/evaluate")
        if answer.status_code != 202:
            break
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_without_a_held_out_folder_there_is_no_accuracy(client: TestClient) -> None:
    assert "--held-out" in refused(client.get("/api/evaluate"), 404)


def test_a_classifier_without_a_class_asks_for_one(tmp_path: Path) -> None:
    client = client_of(app_of(write_classifier(tmp_path / "empty.clm", ())))
    assert client.get("/api/info").json()["calibration"] is None
    assert "knows no class" in refused(client.post("/api/predict", files=pngs(1, of=0)), 409)
    client.post("/api/learn", files=pngs(1, of=0), data={"label": "first"})
    assert client.post("/api/predict", files=pngs(1, of=0)).status_code == 200


@pytest.mark.parametrize(
    ("limits", "status", "files", "words"),
    [
        (Limits(files=2), 422, pngs(3, of=2), "at most 2"),
        (Limits(file_bytes=100), 413, pngs(1, of=2), "'0.png' has"),
        (Limits(request_bytes=2000), 413, pngs(3, of=2), "the request is longer"),
        (
            Limits(pixels=10_000),
            413,
            [("files", ("bomb.png", black_png(101, 100), "image/png"))],
            "'bomb.png' has 10,100 pixels",
        ),
        (Limits(request_pixels=700), 413, pngs(2, of=2), "800 pixels together"),
        (Limits(), 415, [("files", ("x.txt", b"words", "text/plain"))], "'x.txt' is no picture"),
        (Limits(), 415, [("files", ("x.png", png(2)[:300], "image/png"))], "'x.png'"),
    ],
    ids=["files", "file", "request", "pixels", "all pixels", "no picture", "damaged"],
)
def test_a_limit_is_one_sentence_and_changes_nothing(
    path: Path, limits: Limits, status: int, files: Any, words: str
) -> None:
    before = path.read_bytes()
    client = client_of(app_of(path, limits=limits))
    for place, data in (("predict", {}), ("learn", {"label": "two"})):
        assert words in refused(client.post(f"/api/{place}", files=files, data=data), status)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "'label'"),
        ({"label": "  "}, "printable"),
        ({"label": "a\nb"}, "printable"),
        ({"label": "x" * 201}, "'label'"),
    ],
)
def test_a_label_that_is_none_is_refused(
    client: TestClient, data: dict[str, str], words: str
) -> None:
    assert words in refused(client.post("/api/learn", files=pngs(1, of=2), data=data), 422)


def test_a_body_that_is_no_form_is_refused(client: TestClient) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    nameless = b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n"
    assert "name" in refused(client.post("/api/predict", content=nameless, headers=kind), 400)
    refused(client.post("/api/predict", json={"files": []}), 422)


def test_an_address_without_anything_says_where_to_look(client: TestClient) -> None:
    assert "/api/openapi.json" in refused(client.get("/api/nothing"), 404)
    assert "not possible" in refused(client.delete("/api/info"), 405)


def test_a_file_that_went_is_a_sentence_not_a_traceback(client: TestClient, path: Path) -> None:
    path.unlink()
    assert "does not exist" in refused(client.get("/api/info"), 503)
    assert "does not exist" in refused(client.post("/api/forget", json={"label": "класс 0"}), 503)
