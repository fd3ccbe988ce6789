"""CLIP as a backbone: the library's own figures, prompts in its layers, tokens, files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_clip import END, START, load_tiny_clip, tiny_body, tiny_tokenizer, write_tiny_clip
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.models.hub.clip import (
    ClipBody,
    clip_preprocessing,
    create_clip_body,
    fill,
    load_clip,
)
from cl_suite.models.hub.clip_files import CLIP_MEAN, CLIP_STD
from cl_suite.models.hub.clip_prompts import DeepPrompts, PromptMode, TextTokens, attention_mask

SOS, EOS = 62, 63


def hand_tokens(*texts: list[int], length: int = 0) -> TextTokens:
    """Return token ids of the tiny body as tokens, padded to `length` or the longest."""
    rows = [[SOS, *words, EOS] for words in texts]
    length = max(length, *(len(row) for row in rows))
    ids = torch.tensor([row + [EOS] * (length - len(row)) for row in rows])
    ends = torch.tensor([len(row) - 1 for row in rows])
    return TextTokens(ids, ends, torch.arange(length) <= ends[:, None])


def prompted(depth: int = 3, length: int = 2, **modes: Any) -> ClipBody:
    body = tiny_body()
    body.add_prompts(depth, length, **modes)
    return body.eval()


def images(num: int = 2) -> Tensor:
    return torch.randn(num, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def token_counts(tower: Any, run: Any) -> list[int]:
    """Return how many tokens each layer of a tower sees while `run` runs."""
    counts: list[int] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].shape[1]))
        for layer in tower.encoder.layers
    ]
    run()
    for handle in handles:
        handle.remove()
    return counts


def test_o1_the_tiny_model_trains_1776_parameters_and_nothing_else() -> None:
    body = prompted()
    trained = [name for name, p in body.named_parameters() if p.requires_grad]
    assert trained == ["prompts.rows", "prompts.to_vision.weight", "prompts.to_vision.bias"]
    assert sum(p.numel() for p in body.parameters() if p.requires_grad) == 1776
    assert sum(p.numel() for p in tiny_body().parameters()) == 96_945


def test_o1_the_papers_model_trains_406272_parameters() -> None:
    prompts = DeepPrompts(12, 2, 512, 768)
    assert sum(p.numel() for p in prompts.parameters()) == 406_272


@torch.no_grad()
def test_o2_without_prompts_images_are_embedded_as_by_the_library() -> None:
    body = tiny_body()
    expected = body.clip.get_image_features(images()).pooler_output
    assert body(images()).equal(expected)


@torch.no_grad()
def test_o2_without_prompts_texts_are_embedded_as_by_the_library() -> None:
    body, tokens = tiny_body(), hand_tokens([5, 9, 11], [7])
    expected = body.clip.get_text_features(
        input_ids=tokens.ids, attention_mask=tokens.present.long()
    ).pooler_output
    assert body.encode_text(tokens).equal(expected)


@pytest.mark.parametrize(
    ("mode", "depth", "expected"),
    [
        ("accumulate", 3, [19, 21, 23]),
        ("replace", 3, [19, 19, 19]),
        ("accumulate", 1, [19, 19, 19]),
        ("replace", 1, [19, 19, 19]),
        ("accumulate", 2, [19, 21, 21]),
    ],
)
@torch.no_grad()
def test_o3_tokens_in_each_layer_of_the_vision_tower(
    mode: PromptMode, depth: int, expected: list[int]
) -> None:
    body = prompted(depth, vision_mode=mode)
    assert token_counts(body.clip.vision_model, lambda: body(images())) == expected


@pytest.mark.parametrize(("mode", "expected"), [("accumulate", [7, 9, 11]), ("replace", [7, 7, 7])])
@torch.no_grad()
def test_o3_tokens_in_each_layer_of_the_text_tower(mode: PromptMode, expected: list[int]) -> None:
    body, tokens = prompted(text_mode=mode), hand_tokens([5, 9, 11])
    assert token_counts(body.clip.text_model, lambda: body.encode_text(tokens)) == expected


@pytest.mark.parametrize("mode", ["replace", "accumulate"])
@torch.no_grad()
def test_o4_a_text_embedding_depends_on_neither_padding_nor_other_texts(mode: PromptMode) -> None:
    body = prompted(text_mode=mode)
    alone = body.encode_text(hand_tokens([5, 9]))
    padded = body.encode_text(hand_tokens([5, 9], length=7))
    among = body.encode_text(hand_tokens([30, 2, 8, 9, 10], [5, 9], [1]))[1:2]
    torch.testing.assert_close(padded, alone, rtol=0, atol=2e-6)
    torch.testing.assert_close(among, alone, rtol=0, atol=2e-6)


def test_o7_prompts_get_a_text_and_a_vision_part_of_the_gradient() -> None:
    body, tokens = prompted(), hand_tokens([5, 9], [7, 1])
    prompts = body.prompts
    assert prompts is not None

    def gradient(*, image_part: bool) -> Tensor:
        features = body(images())
        scores = (features if image_part else features.detach()) @ body.encode_text(tokens).T
        found: Tensor = torch.autograd.grad(scores.square().sum(), prompts.rows)[0]
        return found

    assert (gradient(image_part=True) - gradient(image_part=False)).abs().max() > 1e-4
    with torch.no_grad():
        prompts.to_vision.weight.zero_()  # type: ignore[union-attr]
    torch.testing.assert_close(gradient(image_part=True), gradient(image_part=False))


def test_o8_fresh_prompts_lie_within_xaviers_bound() -> None:
    torch.manual_seed(0)
    rows = DeepPrompts(12, 2, 512, 768).rows
    bound = (6 / (1024 + 6144)) ** 0.5
    assert bound == pytest.approx(0.0289319, abs=5e-8)
    assert 0.99 * bound < rows.abs().max() < bound
    torch.manual_seed(0)
    assert DeepPrompts(12, 2, 512, 768).rows.equal(rows)


@pytest.mark.parametrize("mode", ["replace", "accumulate"])
@torch.no_grad()
def test_the_text_tower_equals_the_specification_written_naively(mode: PromptMode) -> None:
    body, words = prompted(text_mode=mode), [5, 9, 11]
    tower, prompts = body.clip.text_model, body.prompts
    assert prompts is not None
    embed = tower.embeddings
    words_in = embed.token_embedding(torch.tensor([[SOS, *words, EOS]]))
    hidden = torch.cat([words_in[:, :1], prompts.rows[None, 0], words_in[:, 1:]], dim=1)
    hidden = hidden + embed.position_embedding(torch.arange(7))[None]
    for position, layer in enumerate(tower.encoder.layers):
        if position and mode == "replace":
            hidden[:, 1:3] = prompts.rows[position]
        elif position:
            start, earlier, behind = hidden.split([1, 2 * position, 4], dim=1)
            hidden = torch.cat([start, earlier, prompts.rows[None, position], behind], dim=1)
        length = hidden.shape[1]
        hidden = layer(hidden, torch.full((length, length), -torch.inf).triu(1)[None, None])
    expected = body.clip.text_projection(tower.final_layer_norm(hidden)[:, -1])
    torch.testing.assert_close(body.encode_text(hand_tokens(words)), expected)


@pytest.mark.parametrize("mode", ["replace", "accumulate"])
@torch.no_grad()
def test_the_vision_tower_equals_the_specification_written_naively(mode: PromptMode) -> None:
    body = prompted(vision_mode=mode)
    tower, prompts = body.clip.vision_model, body.prompts
    assert prompts is not None
    assert prompts.to_vision is not None
    first, *later = prompts.to_vision(prompts.rows).expand(2, -1, -1, -1).unbind(1)
    hidden = tower.pre_layrnorm(torch.cat([tower.embeddings(images()), first], dim=1))
    hidden = tower.encoder.layers[0](hidden, None)
    for rows, layer in zip(later, tower.encoder.layers[1:], strict=True):
        kept = hidden[:, :17] if mode == "replace" else hidden
        hidden = layer(torch.cat([kept, rows], dim=1), None)
    expected = body.clip.visual_projection(tower.post_layernorm(hidden[:, 0]))
    torch.testing.assert_close(body(images()), expected)


def test_without_vision_prompts_images_are_embedded_without_a_gradient() -> None:
    body = prompted(vision=False)
    assert not body(images()).requires_grad
    assert body(images()).equal(tiny_body()(images()).detach())
    assert body.encode_text(hand_tokens([5])).requires_grad
    assert sum(p.numel() for p in body.parameters() if p.requires_grad) == 3 * 2 * 32


def test_a_depth_beyond_the_towers_means_all_layers() -> None:
    prompts = prompted(12).prompts
    assert prompts is not None
    assert prompts.rows.shape == (3, 2, 32)


def test_prompts_that_leave_no_room_for_a_word_are_refused() -> None:
    tiny_body().add_prompts(3, 21)
    with pytest.raises(UserError, match="22 prompt rows leave no room"):
        tiny_body().add_prompts(3, 22)


def test_mask_of_a_padded_text_with_a_prompt_row() -> None:
    mask = attention_mask(torch.tensor([[True, True, False]]), 1, torch.float32)
    seen = (mask[0, 0] == 0).int().tolist()
    assert seen == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]


def test_images_of_another_shape_are_refused_in_a_sentence() -> None:
    for shape in ((2, 1, 32, 32), (2, 3, 16, 16), (2, 3072)):
        with pytest.raises(UserError, match=r"takes images of shape \(3, 32, 32\)"):
            tiny_body()(torch.zeros(shape))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def test_names_pass_the_real_tokenizer_and_become_predictions(folder: Path) -> None:
    body = load_tiny_clip(folder).eval()
    names = ["pattern one", "maple_tree", "Geai d'Été"]
    tokens = body.tokens(fill("a photo of a {}.", names))
    assert tokens.ids[:, 0].tolist() == [body.tokenizer.bos_token_id] * 3
    for text, row, end in zip(fill("a photo of a {}.", names), *tokens[:2], strict=True):
        assert row[end] == body.tokenizer.eos_token_id
        assert "".join(body.tokenizer.decode(row[1:end]).split()) == "".join(text.lower().split())
    rows = body.embed_names(names, "a photo of a {}.")
    with torch.no_grad():
        features = body(torch.rand(5, 3, 16, 16))
    logits = 100 * torch.cosine_similarity(features[:, None], rows[None], dim=2)
    assert logits.shape == (5, 3)
    assert set(logits.argmax(1).tolist()) <= {0, 1, 2}
    assert body.embed_names(["maple tree"], "a photo of a {}.").equal(
        body.embed_names(["maple_tree"], "a photo of a {}.")
    )


def test_the_tiny_tokenizer_merges_bytes_as_clips_does() -> None:
    tokenizer = tiny_tokenizer()
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("Pattern 42.")["input_ids"])
    assert pieces == [START, "patter", "n</w>", "4</w>", "2</w>", ".</w>", END]


def test_a_name_too_long_loses_its_last_words_and_keeps_its_end_token(folder: Path) -> None:
    body = load_tiny_clip(folder)
    body.add_prompts(2, 2, text_mode="accumulate")
    tokens = body.tokens(["word " * 40])
    assert tokens.ids.shape == (1, 24 - 4)
    assert tokens.ids[0, -1] == body.tokenizer.eos_token_id
    assert body.encode_text(tokens).shape == (1, 16)


def test_embedding_names_leaves_the_mode_alone_and_keeps_no_graph(folder: Path) -> None:
    body = load_tiny_clip(folder).train()
    assert not body.embed_names(["cat"]).requires_grad
    assert all(part.training for part in body.modules())
    assert body.embed_names([]).shape == (0, 16)


def test_a_folder_gives_the_same_network_by_name_and_by_weights(folder: Path) -> None:
    by_name = create_clip_body(f"clip:{folder}", pretrained=True)
    by_weights = create_clip_body("clip:anything", pretrained=False, weights=str(folder))
    for mine, theirs in zip(by_name.parameters(), by_weights.parameters(), strict=True):
        assert mine.equal(theirs)
    torch.manual_seed(5)
    random = create_clip_body(f"clip:{folder}", pretrained=False)
    assert not random.clip.visual_projection.weight.equal(by_name.clip.visual_projection.weight)
    assert (by_name.dim, by_name.image_shape) == (16, (3, 16, 16))


def test_preprocessing_comes_from_the_folder(folder: Path, tmp_path: Path) -> None:
    expected = (16, CLIP_MEAN, CLIP_STD, "bicubic")
    assert clip_preprocessing(f"clip:{folder}") == expected
    assert clip_preprocessing("clip:anything", str(folder)) == expected
    shutil.copy(folder / "config.json", tmp_path)
    assert clip_preprocessing(f"clip:{tmp_path}") == expected  # CLIP's own where none is said
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_processor": {"size": 20, "image_mean": [0.5] * 3, "resample": 2}})
    )
    assert clip_preprocessing(f"clip:{tmp_path}") == (20, (0.5,) * 3, CLIP_STD, "bilinear")


def broken(folder: Path, tmp_path: Path, *, without: str) -> str:
    target = tmp_path / without
    shutil.copytree(folder, target)
    (target / without).unlink()
    return str(target)


@pytest.mark.parametrize("without", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path, without: str
) -> None:
    with pytest.raises(UserError, match=r"needs config\.json|has no tokenizer"):
        load_clip(broken(folder, tmp_path, without=without), pretrained=True)


def test_pickled_weights_are_never_read(folder: Path, tmp_path: Path) -> None:
    target = Path(broken(folder, tmp_path, without="model.safetensors"))
    torch.save(load_tiny_clip(folder).clip.state_dict(), target / "pytorch_model.bin")
    with pytest.raises(UserError, match="no readable CLIP model"):
        load_clip(str(target), pretrained=True)


def test_another_kind_of_model_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other/config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="model_type 'bert'"):
        load_clip(str(tmp_path / "other"), pretrained=True)


def test_weights_that_are_no_folder_are_refused() -> None:
    with pytest.raises(UserError, match="is not a folder; pass the folder"):
        create_clip_body("clip:x", pretrained=False, weights="nowhere.safetensors")


def test_a_model_that_cannot_be_downloaded_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: True)
    name = "nobody/no-such-clip"
    for call in (lambda: load_clip(name, pretrained=True), lambda: clip_preprocessing(name)):
        with pytest.raises(UserError, match=r"could not be downloaded .*model\.weights='FOLDER'"):
            call()
