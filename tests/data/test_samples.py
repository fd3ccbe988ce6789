from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cl_suite.data.samples import FileSamples, TensorSamples, image_problem, read_image
from cl_suite.errors import UserError


def save(path: Path, colour: tuple[int, int, int] = (1, 2, 3), size: int = 32) -> Path:
    pixels = np.random.default_rng(sum(colour)).integers(0, 256, (size, size, 3), dtype=np.uint8)
    pixels[0, 0] = colour
    Image.fromarray(pixels).save(path)
    return path


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.fixture
def files(tmp_path: Path) -> FileSamples:
    paths = [save(tmp_path / f"{i}.png", (i, 0, 0)) for i in range(4)]
    return FileSamples(paths, [5, 5, 7, 7], tmp_path)


def test_tensor_samples_give_input_and_class_id() -> None:
    samples = TensorSamples(torch.arange(6).view(3, 2), [4, 9, 4])
    assert samples[1][0].tolist() == [2, 3]
    assert samples[1][1] == 9
    assert len(samples) == 3


def test_targets_become_plain_ints() -> None:
    samples = TensorSamples(torch.zeros(2, 1), np.array([1, 2]))  # type: ignore[arg-type]
    assert [type(t) for t in samples.targets] == [int, int]


def test_unequal_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 inputs but 1 targets"):
        TensorSamples(torch.zeros(2, 1), [0])
    with pytest.raises(ValueError, match="1 paths but 2 targets"):
        FileSamples([tmp_path], [0, 1], tmp_path)


def test_selected_tensors_own_their_storage() -> None:
    whole = TensorSamples(torch.zeros(100, 8, dtype=torch.uint8), [0] * 100)
    part = whole.select([3, 4])
    assert part.inputs.untyped_storage().nbytes() == 16
    assert part.inputs.data_ptr() != whole.inputs[3].data_ptr()


def test_selecting_keeps_order_and_labels() -> None:
    samples = TensorSamples(torch.arange(4), [0, 1, 2, 3]).select([3, 1])
    assert samples.inputs.tolist() == [3, 1]
    assert samples.targets == [3, 1]


def test_selected_files_know_no_other_file(files: FileSamples) -> None:
    part = files.select([2])
    assert [path.name for path in part.paths] == ["2.png"]
    assert part.targets == [7]


def test_bytes_are_counted(files: FileSamples) -> None:
    samples = TensorSamples(torch.zeros(5, 3, 2, 2, dtype=torch.uint8), [0] * 5)
    assert samples.num_bytes() == 60
    assert samples.num_bytes([0, 1]) == 24
    assert samples.select([]).num_bytes() == 0
    assert files.num_bytes([0]) == files.paths[0].stat().st_size
    assert files.num_bytes() == sum(path.stat().st_size for path in files.paths)


def test_digest_tells_content_and_label_apart() -> None:
    inputs = torch.tensor([[1, 2], [1, 2], [1, 3]])
    samples = TensorSamples(inputs, [0, 1, 0])
    assert len({samples.digest(i) for i in range(3)}) == 3
    assert samples.digest(0) == TensorSamples(inputs[:1], [0]).digest(0)


def test_file_digest_survives_a_move_and_notices_a_change(
    files: FileSamples, tmp_path: Path
) -> None:
    before = files.digest(0)
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "0.png").write_bytes(files.paths[0].read_bytes())
    assert FileSamples([moved / "0.png"], [5], moved).digest(0) == before
    save(files.paths[0], (9, 9, 9))
    assert files.digest(0) != before


def test_files_decode_to_rgb(files: FileSamples) -> None:
    image, target = files[3]
    assert (image.shape, image.dtype, target) == ((3, 32, 32), torch.uint8, 7)
    assert image[:, 0, 0].tolist() == [3, 0, 0]


def test_decoding_equals_reading_one_by_one(files: FileSamples) -> None:
    decoded = files.decode()
    assert decoded.targets == files.targets
    assert all(torch.equal(decoded[i][0], files[i][0]) for i in range(4))


def test_jpegs_of_every_kind_decode_as_they_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    image.save(tmp_path / "plain.jpg")
    image.save(tmp_path / "progressive.jpg", progressive=True, quality=60)
    image.save(tmp_path / "turned.jpg", exif=turned)
    image.convert("L").save(tmp_path / "grey.jpg")
    image.convert("CMYK").save(tmp_path / "print.jpg")
    paths = sorted(tmp_path.iterdir())
    decoded = FileSamples(paths, [0] * 5, tmp_path).decode()
    for path, found in zip(paths, decoded.inputs, strict=True):
        assert found.equal(read_image(path)), path.name
    upright = read_image(tmp_path / "plain.jpg")
    assert not read_image(tmp_path / "turned.jpg").equal(upright)


def test_decoding_a_truncated_jpeg_says_which(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cut\.jpg' cannot be read"):
        FileSamples([tmp_path / "cut.jpg"], [0], tmp_path).decode()


def test_decoding_refuses_another_size(files: FileSamples) -> None:
    save(files.paths[2], size=30)
    with pytest.raises(UserError, match=r"2.png' is \(30, 30\) pixels, but the others are"):
        files.decode()


def test_grey_and_palette_images_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 7).save(tmp_path / "grey.png")
    Image.new("P", (3, 2)).save(tmp_path / "palette.gif")
    assert read_image(tmp_path / "grey.png").unique().tolist() == [7]
    assert read_image(tmp_path / "palette.gif").shape == (3, 2, 3)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_a_whole_image_has_no_problem(tmp_path: Path, ending: str) -> None:
    assert image_problem(save(tmp_path / f"a.{ending}")) is None


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_a_truncated_image_is_found_out(tmp_path: Path, ending: str) -> None:
    problem = image_problem(truncate(save(tmp_path / f"a.{ending}")))
    assert problem is not None
    assert f"a.{ending}' cannot be read (" in problem
    assert problem.endswith("; replace the file or remove it from the data")


def test_a_jpeg_with_something_behind_its_picture_is_whole(tmp_path: Path) -> None:
    # phones put a short film there
    path = save(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert image_problem(path) is None


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_found_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert image_problem(path) is not None
    with pytest.raises(UserError, match=r"a.png' cannot be read"):
        read_image(path)


def test_a_missing_image_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.png' cannot be read \(.*No such file"):
        read_image(tmp_path / "none.png")


def test_check_names_the_first_bad_file(files: FileSamples) -> None:
    files.check()
    truncate(files.paths[1])
    with pytest.raises(UserError, match=r"1.png' cannot be read"):
        files.check()
