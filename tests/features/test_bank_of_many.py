"""Filling the bank takes some hundred bytes an image beside its feature, however many there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import bank_of_many

# digests, and the place of each among the images and in the file, as Python objects
BYTES_AN_IMAGE = 600


def filled(num_images: int, folder: Path) -> dict[str, int]:
    program = [sys.executable, bank_of_many.__file__, str(num_images), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_an_image_costs_some_hundred_bytes(tmp_path: Path) -> None:
    # the first call holds what libraries load
    bank_of_many.peak_of_filling(100, tmp_path / "first")
    few, many = (bank_of_many.peak_of_filling(num, tmp_path / str(num)) for num in (1_000, 5_000))
    assert (many - few) / 4_000 < BYTES_AN_IMAGE


@pytest.mark.slow
def test_a_hundred_thousand_images_take_hardly_more_memory_than_ten_thousand(
    tmp_path: Path,
) -> None:
    few, many = (filled(num, tmp_path / str(num)) for num in (10_000, 100_000))
    assert (many["traced"] - few["traced"]) / 90_000 < BYTES_AN_IMAGE
    assert many["process"] < 1.1 * few["process"]
