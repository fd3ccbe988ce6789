"""Load test of `cl-suite serve`: the real server on loopback, asked by one and by several clients.

1. `predict`: requests a second, and the times that 50 and 99 in 100 requests stay below. Each
   request sends one JPEG; the connection stays open. For comparison it prints the time of
   `Learner.predict` without any server.
2. `predict` while another client teaches one class after another, and the times of teaching.

    python benchmarks/learner_serve.py --weights FILE.safetensors [--backbone NAME] \
        [--classes 100] [--clients 1 4] [--seconds 10]

Without weights the backbone is a small random one, which shows the cost of the server itself.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image
from timing import seconds

from cl_suite.data.transforms import Compose, ResizeCenterCrop, ToFloat
from cl_suite.learner.extractor import Extractor, spec_of
from cl_suite.learner.learner import Learner
from cl_suite.learner.records import State
from cl_suite.learner.rule import Rule
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig

TOKEN = "token-of-the-benchmark"
PICTURE = 256  # pixels of a side, of the pictures that are sent
SMALL = 32
SERVE = """
import sys
from cl_suite.learner.serve import serve
serve(sys.argv[1], port=0, token=sys.argv[2])
"""
BOUNDARY = "----benchmark"


def small_learner() -> Learner:
    """Return a classifier without a class on a small random network."""
    settings, shape = ModelConfig(frozen=True), (3, SMALL, SMALL)
    torch.manual_seed(0)
    model = build_classifier(settings, shape)
    prepare = Compose((ResizeCenterCrop(SMALL, SMALL), ToFloat()))
    spec = spec_of(model, settings, {}, shape, prepare)
    extractor = Extractor(spec, model.backbone, torch.device("cpu"))
    return Learner(extractor, Rule("simple_cil", {}, extractor.dim), State({}))


def jpeg(seed: int) -> bytes:
    """Return a picture of a few coloured fields, as a photo's file is: some 20 kB."""
    fields = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stored = io.BytesIO()
    picture = Image.fromarray(fields).resize((PICTURE, PICTURE), Image.Resampling.BICUBIC)
    picture.save(stored, "JPEG", quality=90)
    return stored.getvalue()


def form(fields: dict[str, str], files: list[bytes]) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a form."""
    head = '--{}\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    parts = [(head.format(BOUNDARY, name, "") + value).encode() for name, value in fields.items()]
    name = '; filename="picture.jpg"'
    parts += [head.format(BOUNDARY, "files", name).encode() + content for content in files]
    body = b"".join(part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return body, {"Content-Type": kind, "Authorization": f"Bearer {TOKEN}"}


@contextmanager
def server(path: Path) -> Iterator[str]:
    """Start the server on a free port; yield its host and port."""
    command = [sys.executable, "-c", SERVE, str(path), TOKEN]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = (re.search(r"http://\S+", line) for line in process.stdout)
        yield urlsplit(next(match.group() for match in found if match)).netloc
    finally:
        process.terminate()
        process.wait(timeout=60)


class Client(threading.Thread):
    """Sends one request after another until it is told to stop.

    Attributes:
        times: seconds of each request.
    """

    def __init__(self, place: str, path: str, request: Callable[[int], tuple[bytes, dict]]) -> None:
        super().__init__()
        self.place, self.path, self.request = place, path, request
        self.times: list[float] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.place, timeout=120)
        number = 0
        while not self.is_over.is_set():
            body, headers = self.request(number)
            start = time.perf_counter()
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.times.append(time.perf_counter() - start)
            assert answer.status == 200, json.loads(content)
            number += 1


def asked(clients: list[Client], duration: float) -> float:
    """Let clients ask for so many seconds, and each at least once; return the seconds it took."""
    start = time.perf_counter()
    for client in clients:
        client.start()
    while time.perf_counter() < start + duration or not all(c.times for c in clients):
        time.sleep(0.01)
    for client in clients:
        client.is_over.set()
    for client in clients:
        client.join()
    return time.perf_counter() - start


def row(name: str, times: list[float], duration: float) -> str:
    """Return a line of the table."""
    middle, high = (1000 * float(np.quantile(times, share)) for share in (0.5, 0.99))
    return f"{name:36}{len(times) / duration:10.1f}{middle:10.1f}{high:10.1f}{len(times):10}"


def measure(path: Path, num_clients: list[int], duration: float) -> None:
    """Print the table."""
    picture = jpeg(10_000)
    predict = form({"top": "5", "nearest": "5"}, [picture])
    learner = Learner.load(path)
    learner.predict(picture)
    alone = [seconds(lambda: learner.predict(picture)) for _ in range(20)]
    print(f"{'':36}{'a second':>10}{'p50 ms':>10}{'p99 ms':>10}{'requests':>10}")  # noqa: T201
    print(row("Learner.predict, no server", alone, sum(alone)))  # noqa: T201
    with server(path) as place:
        # the first request loads what later ones use
        asked([Client(place, "/api/predict", lambda _: predict)], 0)
        for number in num_clients:
            clients = [Client(place, "/api/predict", lambda _: predict) for _ in range(number)]
            taken = asked(clients, duration)
            times = [t for client in clients for t in client.times]
            print(row(f"predict, {number} client(s)", times, taken))  # noqa: T201
        reader = Client(place, "/api/predict", lambda _: predict)
        teacher = Client(place, "/api/learn", lesson)
        taken = asked([reader, teacher], duration)
        print(row("predict, 1 client, while one teaches", reader.times, taken))  # noqa: T201
        print(row("learn, 5 pictures a class", teacher.times, taken))  # noqa: T201


def lesson(number: int) -> tuple[bytes, dict[str, str]]:
    """Return the request that teaches one more class from five pictures."""
    pictures = [jpeg(20_000 + 5 * number + shot) for shot in range(5)]
    return form({"label": f"taught {number}"}, pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", help="the backbone's .safetensors file")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--classes", type=int, default=100, help="known before")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    learner = small_learner()
    if options.weights:
        learner = Learner.new(options.backbone, weights=options.weights)
    for number in range(options.classes):
        learner.learn([jpeg(2 * number), jpeg(2 * number + 1)], f"class {number}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "served.clm"
        learner.save(path)
        print(f"{learner.spec.name}, {options.classes} classes")  # noqa: T201
        measure(path, options.clients, options.seconds)


if __name__ == "__main__":
    main()
