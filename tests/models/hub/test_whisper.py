"""Whisper's encoder as a backbone: the library's own maps and features, silence, files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_sounds import write_digits
from helpers.tiny_whisper import write_tiny_whisper
from torch import Tensor

from cl_suite.cli import main
from cl_suite.data.sound_transforms import Standardise
from cl_suite.errors import UserError
from cl_suite.models.backbones import create_backbone
from cl_suite.models.hub.whisper import (
    WhisperBody,
    create_whisper_body,
    load_whisper,
    log_mel,
    sounding_steps,
    to_peak,
)

SECOND = 16_000
LONGEST = 2 * SECOND  # of the tiny network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def body(folder: Path) -> WhisperBody:
    return create_whisper_body(f"whisper:{folder}", pretrained=True).eval()


def waveforms(num: int = 3, length: int = SECOND) -> Tensor:
    """Return noise of a peak of 1, `(num, 1, length)`."""
    noise = torch.randn(num, 1, length, generator=torch.Generator().manual_seed(0))
    return to_peak(noise[:, 0])[:, None]


def surrounded(sound: Tensor, before: int, after: int) -> Tensor:
    """Return waveforms with silence around them."""
    return torch.nn.functional.pad(sound, (before, after))


def extracted(sounds: Tensor, seconds: int = 30, mels: int = 20) -> Tensor:
    """Return the library's own maps of waveforms `(num, length)`, filled up to some seconds."""
    from transformers import WhisperFeatureExtractor

    extractor: Any = WhisperFeatureExtractor(feature_size=mels, chunk_length=seconds)
    found = extractor([np.asarray(s) for s in sounds], sampling_rate=SECOND, return_tensors="pt")
    maps: Tensor = found["input_features"]
    return maps


# the front end


@pytest.mark.parametrize("length", [330, 7_777, SECOND, 31_700, LONGEST])
def test_maps_are_the_librarys_own_up_to_the_end_of_the_sound(
    body: WhisperBody, length: int
) -> None:
    sounds = waveforms(length=length)[:, 0]
    maps = log_mel(sounds, body.filters, LONGEST)
    assert maps.shape == (3, 20, 2 * -(-length // 320))
    expected = extracted(sounds, seconds=2)[..., : maps.shape[2]]
    # float32 powers of a Fourier transform, whose logarithms are compared
    assert torch.allclose(maps, expected, atol=1e-4)


def test_maps_clamp_below_the_loudest_value_of_their_own_sound(body: WhisperBody) -> None:
    loud, faint = waveforms(1)[0], 0.5 * waveforms(1)[0]
    maps = log_mel(
        torch.cat([surrounded(loud, 8_000, 0), surrounded(faint, 8_000, 0)]), body.filters, LONGEST
    )
    assert (maps.amax(dim=(1, 2)) - maps.amin(dim=(1, 2))).tolist() == pytest.approx([2, 2])


def test_half_precision_around_it_leaves_the_maps_alone(body: WhisperBody) -> None:
    sounds = waveforms()[:, 0]
    maps = log_mel(sounds, body.filters, LONGEST)
    with torch.autocast("cpu", torch.bfloat16):
        assert log_mel(sounds, body.filters, LONGEST).equal(maps)


# features


@torch.no_grad()
def test_at_full_length_the_feature_is_the_librarys_mean(folder: Path, body: WhisperBody) -> None:
    sounds = waveforms(length=LONGEST)
    hidden = (
        load_whisper(str(folder), pretrained=True)
        .eval()(extracted(sounds[:, 0], seconds=2))
        .last_hidden_state
    )
    assert torch.allclose(body(sounds), hidden.mean(dim=1), atol=1e-4)


@torch.no_grad()
def test_the_encoder_gets_a_short_sounds_own_steps_alone(body: WhisperBody) -> None:
    seen: list[int] = []
    body.network.layers[0].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[1])
    )
    body(waveforms(length=SECOND))
    assert seen == [50]  # of 100 at full length


@torch.no_grad()
def test_silence_around_a_sound_is_no_part_of_the_mean(body: WhisperBody) -> None:
    padded = surrounded(waveforms(length=8_000), 3_200, 4_800)
    hidden = body._encode(log_mel(padded[:, 0], body.filters, LONGEST))
    assert torch.allclose(body(padded), hidden[:, 10:35].mean(dim=1), atol=1e-5)
    assert not torch.allclose(body(padded), hidden.mean(dim=1), atol=1e-2)


@torch.no_grad()
def test_silence_is_found_in_standardised_waveforms_too(body: WhisperBody) -> None:
    padded = surrounded(waveforms(length=8_000) + 0.1, 3_200, 4_800)
    standardised = Standardise()(padded)
    assert standardised[0, 0, 0] != 0
    expected = sounding_steps(padded[:, 0])
    assert sounding_steps(standardised[:, 0]).equal(expected)
    assert expected.sum(dim=1).tolist() == [25, 25, 25]


@pytest.mark.parametrize(
    ("waveform", "expected"),
    [
        ([0.0] * 960, [True, True, True]),  # silent throughout
        ([0.0] * 960 + [1.0], [False, False, False, True]),
        ([1.0] + [0.0] * 959, [True, False, False]),
        ([0.0] * 319 + [1.0, 1.0] + [0.0] * 639, [True, True, False]),
        ([0.5, -0.5] * 480, [True, True, True]),
    ],
)
def test_a_step_sounds_if_it_overlaps_with_what_is_between_the_silence(
    waveform: list[float], expected: list[bool]
) -> None:
    assert sounding_steps(torch.tensor([waveform])).tolist() == [expected]


@torch.no_grad()
def test_loudness_drops_out(body: WhisperBody) -> None:
    assert torch.allclose(body(waveforms()), body(7 * waveforms()), atol=1e-5)


@torch.no_grad()
def test_silence_has_a_finite_feature(body: WhisperBody) -> None:
    assert body(torch.zeros(2, 1, SECOND)).isfinite().all()


@torch.no_grad()
def test_a_feature_does_not_depend_on_its_neighbours(body: WhisperBody) -> None:
    sounds = torch.cat([waveforms(2), torch.zeros(1, 1, SECOND)])
    assert torch.allclose(body(sounds[:1]), body(sounds)[:1], atol=1e-6)


def test_all_of_it_learns_but_the_positions(folder: Path) -> None:
    backbone = create_backbone("whisper:x", (1, SECOND), weights=str(folder)).train()
    backbone(waveforms()).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == ("embed_positions" not in name)
        assert (parameter.grad is not None) == parameter.requires_grad


# loading


def test_a_folder_gives_the_same_network_by_name_and_by_weights(folder: Path) -> None:
    by_name = create_backbone(f"whisper:{folder}", (1, SECOND), pretrained=True)
    by_weights = create_backbone("whisper:anything", (1, SECOND), weights=str(folder))
    assert by_name.weights == by_weights.weights is not None
    assert by_name.dim == 32
    random = create_backbone(f"whisper:{folder}", (1, SECOND))
    assert random.weights is None


def test_the_encoder_alone_gives_the_same_network(folder: Path, tmp_path: Path) -> None:
    from transformers import WhisperModel

    WhisperModel.from_pretrained(folder).encoder.save_pretrained(tmp_path)
    whole = create_backbone("whisper:x", (1, SECOND), weights=str(folder))
    alone = create_backbone("whisper:x", (1, SECOND), weights=str(tmp_path))
    assert alone.weights == whole.weights


def test_filters_are_no_weights(body: WhisperBody) -> None:
    assert "filters" not in body.state_dict()


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    create_whisper_body(f"whisper:{folder}", pretrained=True)
    assert "".join(capfd.readouterr()) == ""


def test_maps_are_refused_with_the_parameter_to_change(folder: Path) -> None:
    with pytest.raises(UserError, match=r"got .* \(1, 40, 63\); pass features='waveform' to"):
        create_backbone("whisper:x", (1, 40, 63), weights=str(folder))


def test_sounds_that_are_too_long_are_refused_with_the_parameter_to_change(folder: Path) -> None:
    with pytest.raises(UserError, match=r"at most 2 s, got 2\.5 s; pass a shorter seconds"):
        create_backbone("whisper:x", (1, 40_000), weights=str(folder))


def test_arguments_of_timm_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"are for timm's backbones, not for 'whisper:x'"):
        create_backbone("whisper:x", (1, SECOND), weights=str(folder), arguments={"depth": 1})


@pytest.mark.parametrize("without", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, tmp_path: Path, without: str) -> None:
    shutil.copytree(folder, tmp_path / "part")
    (tmp_path / "part" / without).unlink()
    with pytest.raises(UserError, match=r"no readable Whisper model .*it needs config"):
        load_whisper(str(tmp_path / "part"), pretrained=True)


def test_pickled_weights_are_never_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "pickled")
    (tmp_path / "pickled/model.safetensors").unlink()
    state = load_whisper(str(folder), pretrained=True).state_dict()
    torch.save(state, tmp_path / "pickled/pytorch_model.bin")
    with pytest.raises(UserError, match="no readable Whisper model"):
        load_whisper(str(tmp_path / "pickled"), pretrained=True)


def test_weights_that_lack_a_tensor_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "part")
    path = tmp_path / "part/model.safetensors"
    tensors = load_file(path)
    del tensors["model.encoder.conv1.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"no readable Whisper model .*lack 'conv1\.weight'"):
        load_whisper(str(tmp_path / "part"), pretrained=True)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(UserError, match="model_type 'wav2vec2'"):
        load_whisper(str(tmp_path), pretrained=True)


def test_a_model_that_cannot_be_downloaded_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"could not be downloaded .*model\.weights='FOLDER'"):
        load_whisper("nobody/nothing", pretrained=True)


# runs


@pytest.mark.parametrize(
    "training",
    [
        "--model.frozen true",  # through the bank
        "--model.adapter mlp:16,8",
        "--model.lora_rank 2",
        "--model.bank_dtype bfloat16 --model.frozen true",
    ],
)
def test_a_run_from_the_command_line_on_raw_waveforms(
    folder: Path, tmp_path: Path, training: str
) -> None:
    root, runs = write_digits(tmp_path / "digits"), tmp_path / "runs"
    words = f"run spoken_digits prototype --scenario.root {root} --out {runs} --model.weights"
    words += f" {folder} --model.backbone whisper:tiny --scenario.features waveform"
    words += f" --scenario.seconds 0.1 --training.base_epochs 1 {training}"
    assert main(words.split()) == 0
    lines = (runs / "spoken_digits/prototype/seed0/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2


@torch.no_grad()
def test_the_real_encoder_gives_the_librarys_features_of_half_a_minute(shared: Path) -> None:
    path = shared / "weights/whisper_tiny_en_encoder"
    body = create_whisper_body("whisper:x", pretrained=True, weights=str(path)).eval()
    sound = waveforms(1, length=30 * SECOND)
    network = load_whisper(str(path), pretrained=True).eval()
    hidden = network(extracted(sound[:, 0], mels=80)).last_hidden_state
    assert torch.allclose(body(sound), hidden.mean(dim=1), atol=1e-3)
