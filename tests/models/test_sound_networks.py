"""Networks for sounds: the small one for log-mel maps, and wav2vec2 by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.tiny_sounds import write_digits
from helpers.tiny_wav2vec2 import tiny_config
from torch import Tensor

from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.models.backbones import create_backbone
from cl_suite.models.hub.wav2vec2 import create_wav2vec2_body, load_wav2vec2
from cl_suite.models.stages import cut


def maps(num: int = 3, frames: int = 63) -> Tensor:
    return torch.randn(num, 1, 40, frames, generator=torch.Generator().manual_seed(0))


def waveforms(num: int = 3, length: int = 800) -> Tensor:
    return torch.randn(num, 1, length, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny wav2vec2 as it is published: with a head that reads letters."""
    from transformers import Wav2Vec2ForCTC

    path = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    Wav2Vec2ForCTC(tiny_config()).save_pretrained(path)
    return path


# the small network


def test_the_small_network_has_its_size_and_128_features() -> None:
    backbone = create_backbone("melconv", (1, 40, 63))
    assert sum(p.numel() for p in backbone.parameters()) == 163_240
    assert backbone.dim == 128


@pytest.mark.parametrize("frames", [8, 63, 200])
def test_any_length_of_sound_fits(frames: int) -> None:
    assert create_backbone("melconv", (1, 40, 63)).eval()(maps(frames=frames)).shape == (3, 128)


@torch.no_grad()
def test_it_is_cut_into_four_blocks() -> None:
    body = create_backbone("melconv", (1, 40, 63)).body.eval()
    stages = cut(body)
    assert stages.num_blocks == 4
    for start in range(5):
        assert torch.equal(stages.suffix(stages.prefix(maps(), start), start), body(maps()))


def test_raw_waveforms_are_refused_by_a_network_for_maps() -> None:
    with pytest.raises(UserError, match=r"'melconv' cannot take inputs of shape \(1, 16000\)"):
        create_backbone("melconv", (1, 16_000))


# wav2vec2


@torch.no_grad()
def test_the_feature_is_the_librarys_hidden_values_averaged_over_time(folder: Path) -> None:
    from transformers import Wav2Vec2Model

    body = create_wav2vec2_body(f"wav2vec2:{folder}", pretrained=True).eval()
    hidden = Wav2Vec2Model.from_pretrained(folder)(waveforms()[:, 0]).last_hidden_state
    assert torch.allclose(body(waveforms()), hidden.mean(dim=1), atol=1e-6)


@torch.no_grad()
def test_a_feature_does_not_depend_on_its_neighbours(folder: Path) -> None:
    body = create_wav2vec2_body(f"wav2vec2:{folder}", pretrained=True).eval()
    assert torch.allclose(body(waveforms()[:1]), body(waveforms())[:1], atol=1e-6)


def test_a_folder_gives_the_same_network_by_name_and_by_weights(folder: Path) -> None:
    by_name = create_backbone(f"wav2vec2:{folder}", (1, 800), pretrained=True)
    by_weights = create_backbone("wav2vec2:anything", (1, 800), weights=str(folder))
    assert by_name.weights == by_weights.weights is not None
    assert by_name.dim == 32
    random = create_backbone(f"wav2vec2:{folder}", (1, 800))
    assert random.weights is None


def test_published_convolutions_are_frozen_and_the_rest_learns(folder: Path) -> None:
    backbone = create_backbone("wav2vec2:x", (1, 800), weights=str(folder)).train()
    backbone(waveforms()).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == ("feature_extractor" not in name)
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


def test_its_own_masks_are_off_so_that_numpys_generator_is_left_alone(folder: Path) -> None:
    network = load_wav2vec2(str(folder), pretrained=True)
    assert not hasattr(network, "masked_spec_embed")
    assert network.config.mask_time_prob == network.config.mask_feature_prob == 0


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_wav2vec2(str(folder), pretrained=True)
    assert "".join(capfd.readouterr()) == ""


def test_maps_are_refused_with_the_parameter_to_change(folder: Path) -> None:
    with pytest.raises(UserError, match=r"got .* \(1, 40, 63\); pass features='waveform' to"):
        create_backbone("wav2vec2:x", (1, 40, 63), weights=str(folder))


def test_arguments_of_timm_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"are for timm's backbones, not for 'wav2vec2:x'"):
        create_backbone("wav2vec2:x", (1, 800), weights=str(folder), arguments={"depth": 1})


@pytest.mark.parametrize("without", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, tmp_path: Path, without: str) -> None:
    shutil.copytree(folder, tmp_path / "part")
    (tmp_path / "part" / without).unlink()
    with pytest.raises(UserError, match=r"no readable wav2vec2 model .*it needs config"):
        load_wav2vec2(str(tmp_path / "part"), pretrained=True)


def test_pickled_weights_are_never_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "pickled")
    (tmp_path / "pickled/model.safetensors").unlink()
    state = load_wav2vec2(str(folder), pretrained=True).state_dict()
    torch.save(state, tmp_path / "pickled/pytorch_model.bin")
    with pytest.raises(UserError, match="no readable wav2vec2 model"):
        load_wav2vec2(str(tmp_path / "pickled"), pretrained=True)


def test_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "cut")
    path = tmp_path / "cut/model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="no readable wav2vec2 model"):
        load_wav2vec2(str(tmp_path / "cut"), pretrained=True)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="model_type 'bert'"):
        load_wav2vec2(str(tmp_path), pretrained=True)


def test_weights_that_are_no_folder_are_refused() -> None:
    with pytest.raises(UserError, match="is not a folder; pass the folder"):
        create_wav2vec2_body("wav2vec2:x", pretrained=False, weights="nowhere.safetensors")


def test_a_model_that_cannot_be_downloaded_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"could not be downloaded .*model\.weights='FOLDER'"):
        load_wav2vec2("nobody/nothing", pretrained=True)


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_a_run_from_the_command_line_on_raw_waveforms(
    folder: Path, tmp_path: Path, frozen: str
) -> None:
    root, runs = write_digits(tmp_path / "digits"), tmp_path / "runs"
    words = f"run spoken_digits prototype --scenario.root {root} --out {runs} --model.weights"
    words += f" {folder} --model.backbone wav2vec2:tiny --scenario.features waveform"
    words += f" --scenario.seconds 0.1 --training.base_epochs 1 --model.frozen {frozen}"
    assert main(words.split()) == 0
    lines = (runs / "spoken_digits/prototype/seed0/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
