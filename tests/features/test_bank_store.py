"""Bank entries on disk: found again, written whole or not at all, rebuilt when damaged."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.features import bank_store
from cl_suite.features.bank_store import (
    FEATURES,
    INDEX,
    META,
    clear,
    default_folder,
    entries,
    key_name,
    open_entries,
    write_entry,
)
from cl_suite.models.digest import DIGEST_BYTES
from cl_suite.models.settings import FeatureDtype

KEY = {"weights": "w", "preprocessing": "p"}
FEATURES_3 = torch.tensor([[1.0, 2.5], [-3.0, 0.0], [1e-3, 7.0]])


def digests(*numbers: int) -> list[bytes]:
    return [bytes([number]) * DIGEST_BYTES for number in numbers]


def write(
    folder: Path, features: Tensor = FEATURES_3, dtype: FeatureDtype = "float32", first: int = 0
) -> Path:
    names = digests(*range(first, first + len(features)))
    write_entry(folder, KEY, names, dtype, features.split(2))
    (path,) = folder.glob(f"{key_name(KEY)}-*")
    return path


def rows(folder: Path, *numbers: int) -> Tensor:
    (entry,) = open_entries(folder, KEY)
    return entry.rows(np.array(numbers))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path)
    (entry,) = open_entries(tmp_path, KEY)
    assert entry.digests == tuple(digests(0, 1, 2))
    assert rows(tmp_path, 2, 0, 0).equal(FEATURES_3[[2, 0, 0]])


def test_the_file_is_raw_little_endian_rows(tmp_path: Path) -> None:
    content = (write(tmp_path) / FEATURES).read_bytes()
    assert content == FEATURES_3.numpy().astype("<f4").tobytes()


def test_rows_are_copies_of_the_mapped_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    rows(tmp_path, 0).fill_(9)
    assert rows(tmp_path, 0).equal(FEATURES_3[:1])
    assert isinstance(open_entries(tmp_path, KEY)[0].features, np.memmap)
    assert path.is_dir()


@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_rounds_to_its_nearest(
    tmp_path: Path, dtype: FeatureDtype, rounding: float
) -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    path = write(tmp_path, features, dtype)
    # half a unit in the last place; near zero float16 has fixed steps of 2**-24
    torch.testing.assert_close(rows(tmp_path, *range(50)), features, rtol=rounding, atol=2**-25)
    assert (path / FEATURES).stat().st_size == 50 * 8 * 2


def test_a_feature_beyond_the_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"features up to 7e\+04, which float16 cannot hold"):
        write(tmp_path, torch.tensor([[70000.0]]), "float16")
    assert entries(tmp_path) == []


def test_another_key_finds_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    assert open_entries(tmp_path, {**KEY, "weights": "v"}) == []
    assert len(open_entries(tmp_path, dict(reversed(KEY.items())))) == 1


def test_more_images_of_a_key_lie_beside_the_first(tmp_path: Path) -> None:
    write(tmp_path)
    write_entry(tmp_path, KEY, digests(7), "float32", [torch.ones(1, 2)])
    assert {d for e in open_entries(tmp_path, KEY) for d in e.digests} == set(digests(0, 1, 2, 7))


@pytest.mark.parametrize("name", [META, INDEX, FEATURES])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
def test_a_damaged_entry_is_deleted_and_not_used(tmp_path: Path, name: str, damage: str) -> None:
    file = write(tmp_path) / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "delete":
        file.unlink()
    else:
        file.write_bytes(b"")
    assert open_entries(tmp_path, KEY) == []
    assert list(tmp_path.iterdir()) == []
    write(tmp_path)
    assert rows(tmp_path, 0, 1, 2).equal(FEATURES_3)


def test_meta_of_another_shape_is_damage(tmp_path: Path) -> None:
    file = write(tmp_path) / META
    meta = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**meta, "num_images": 2, "dim": 3}), "utf-8")
    assert open_entries(tmp_path, KEY) == []


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Tensor]:
        yield FEATURES_3[:1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_entry(tmp_path, KEY, digests(0, 1), "float32", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 rows of features for 4 images"):
        write_entry(tmp_path, KEY, digests(0, 1, 2, 3), "float32", [FEATURES_3])
    assert entries(tmp_path) == []


def test_an_unfinished_entry_is_not_found(tmp_path: Path) -> None:
    def look_meanwhile() -> Iterator[Tensor]:
        assert open_entries(tmp_path, KEY) == []
        assert entries(tmp_path) == []
        yield FEATURES_3

    write_entry(tmp_path, KEY, digests(0, 1, 2), "float32", look_meanwhile())
    assert len(entries(tmp_path)) == 1


def test_the_first_of_two_writers_stays(tmp_path: Path) -> None:
    def overtaken() -> Iterator[Tensor]:
        write(tmp_path)
        yield FEATURES_3

    write_entry(tmp_path, KEY, digests(0, 1, 2), "float32", overtaken())
    assert len(list(tmp_path.iterdir())) == 1
    assert rows(tmp_path, 0, 1, 2).equal(FEATURES_3)


def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bank_store.os, "fsync", full)
    with pytest.raises(UserError, match=r"the disk is full.*`cl-suite bank clear`"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("")
    with pytest.raises(UserError, match=r"feature bank '.*bank' cannot be used \(.*CL_SUITE_BANK"):
        write(tmp_path / "bank")


def test_a_listing_tells_sizes_and_what_was_computed(tmp_path: Path) -> None:
    path = write(tmp_path)
    (info,) = entries(tmp_path)
    assert (info.num_images, info.dim, info.dtype, info.key) == (3, 2, "float32", KEY)
    assert info.num_bytes == sum(file.stat().st_size for file in path.iterdir())
    assert info.num_bytes > 3 * 2 * 4


def test_a_listing_shows_damaged_entries_too(tmp_path: Path) -> None:
    (write(tmp_path) / META).write_text("{")
    (info,) = entries(tmp_path)
    assert (info.num_images, info.dtype, info.key) == (0, "", {})


def test_nothing_is_listed_where_there_is_no_bank(tmp_path: Path) -> None:
    assert entries(tmp_path / "none") == []
    assert clear(tmp_path / "none") == 0


def test_clearing_sets_all_bytes_free(tmp_path: Path) -> None:
    write(tmp_path)
    write_entry(tmp_path, KEY, digests(7), "float32", [torch.ones(1, 2)])
    expected = sum(info.num_bytes for info in entries(tmp_path))
    assert clear(tmp_path) == expected
    assert entries(tmp_path) == []


def test_clearing_by_name_leaves_the_others(tmp_path: Path) -> None:
    kept = write(tmp_path)
    write_entry(tmp_path, KEY, digests(7), "float32", [torch.ones(1, 2)])
    (name,) = [info.name for info in entries(tmp_path) if info.name != kept.name]
    clear(tmp_path, [name])
    assert [info.name for info in entries(tmp_path)] == [kept.name]


def test_clearing_an_unknown_name_deletes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(UserError, match=r"no entry 'other'; see `cl-suite bank ls`"):
        clear(tmp_path, [path.name, "other"])
    assert path.is_dir()


def test_clearing_takes_what_dead_processes_left_and_no_live_one(tmp_path: Path) -> None:
    dead, live = tmp_path / ".a-b.1.part", tmp_path / ".a-b.2.part"
    for folder in (dead, live):
        folder.mkdir()
        (folder / FEATURES).write_bytes(bytes(100))
    long_ago = time.time() - 2 * bank_store.LEFTOVER_SECONDS
    for path in (dead / FEATURES, dead):
        os.utime(path, (long_ago, long_ago))
    assert clear(tmp_path) == 100
    assert (dead.exists(), live.exists()) == (False, True)


def test_an_entry_in_use_outlives_a_clearing(tmp_path: Path) -> None:
    write(tmp_path)
    (entry,) = open_entries(tmp_path, KEY)
    clear(tmp_path)
    assert entry.rows(np.arange(3)).equal(FEATURES_3)


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CL_SUITE_BANK", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("CL_SUITE_BANK")
    assert default_folder() == Path.home() / ".cache" / "cl-suite" / "bank"
