from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_sounds import SPEAKERS, tone, write_digits, write_wav, write_words

from cl_suite import registry
from cl_suite.data.readers import sound
from cl_suite.data.readers.recordings import find_recordings
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seeded
from cl_suite.scenarios.spoken_digits import SpokenDigits
from cl_suite.strategies.finetune import FinetunePlugin


def build(root: Path, **parameters: Any) -> Stream:
    settings: dict[str, Any] = {"root": str(root), "seconds": 0.2}
    return SpokenDigits(**(settings | parameters)).build()


@pytest.fixture
def own_root(tmp_path: Path) -> Path:
    """Spoken digits to spoil."""
    return write_digits(tmp_path)


def inputs(stream: Stream, session: int = 0, *, test: bool = False) -> torch.Tensor:
    samples = (stream.test if test else stream.train)[session]
    assert isinstance(samples, TensorSamples)
    return samples.inputs


def test_digits_have_words_for_names_and_come_in_their_order(spoken_root: Path) -> None:
    info = build(spoken_root).info
    assert info.class_names == ("zero", "one", "two", "three")
    assert info.session_classes == ((0, 1), (2, 3))
    assert (info.modality, info.way, info.shots, info.notes) == ("audio", 2, None, ())


def test_the_first_takes_of_every_speaker_are_for_testing(spoken_root: Path) -> None:
    recordings, _ = find_recordings(str(spoken_root))
    test = sound.held_out(recordings, "take", 0.4, None, 0)
    assert {recordings[row].take for row in test} == {0, 1}
    assert len(test) == 4 * 3 * 2
    stream = build(spoken_root, test_fraction=0.4)
    assert [len(s) for s in (*stream.train, *stream.test)] == [18, 18, 12, 12]


def test_speakers_of_the_test_are_never_learned_from(spoken_root: Path) -> None:
    recordings, _ = find_recordings(str(spoken_root))
    chosen = set()
    for seed in range(8):
        test = sound.held_out(recordings, "speaker", 0.3, None, seed)
        (speaker,) = {recordings[row].speaker for row in test}
        assert {one.speaker for row, one in enumerate(recordings) if row not in test} == (
            set(SPEAKERS) - {speaker}
        )
        chosen.add(speaker)
    assert len(chosen) > 1  # the seed draws them
    stream = build(spoken_root, split="speaker", test_speakers=["eve", "ada"])
    assert [len(s) for s in (*stream.train, *stream.test)] == [10, 10, 20, 20]


def test_shots_are_drawn_over_the_speakers(spoken_root: Path) -> None:
    stream = build(spoken_root, way=1, shots=4)
    assert stream.info.shots == 4
    assert [len(s) for s in stream.train] == [24, 4, 4]
    again = build(spoken_root, way=1, shots=4, seed=1)
    assert inputs(stream, 0).equal(inputs(again, 0))
    assert not inputs(stream, 1).equal(inputs(again, 1))
    # the class's recordings stand speaker by speaker
    everything = inputs(build(spoken_root, way=1), 1)
    rows = [int((everything == one).flatten(1).all(1).nonzero()[0]) for one in inputs(stream, 1)]
    assert len({row // 4 for row in rows}) > 1


def test_fewer_shots_are_a_part_of_more(spoken_root: Path) -> None:
    few, many = (build(spoken_root, way=1, shots=shots) for shots in (2, 5))
    assert inputs(many, 1)[:2].equal(inputs(few, 1))


def test_a_speaker_takes_are_counted_as_numbers(own_root: Path) -> None:
    for digit in range(4):
        for speaker in SPEAKERS:
            for take in range(5, 12):
                write_wav(own_root / f"{digit}_{speaker}_{take}.wav", tone(300))
    recordings, _ = find_recordings(str(own_root))
    assert [one.take for one in recordings[:12]] == list(range(12))


def test_the_published_folder_with_its_recordings_inside_is_found(
    own_root: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "free-spoken-digit-dataset"
    shutil.copytree(own_root, whole / "recordings")
    (whole / "README.md").touch()
    assert build(whole).info.fingerprint == build(whole / "recordings").info.fingerprint


def test_any_folder_of_class_folders_is_read(tmp_path: Path) -> None:
    stream = build(write_words(tmp_path))
    assert stream.info.class_names == ("bed", "cat", "tree")
    assert [len(s) for s in (*stream.train, *stream.test)] == [8, 4, 2, 1]
    other = build(tmp_path, seed=1)
    assert not inputs(other, test=True).equal(inputs(stream, test=True))


def test_class_folders_named_by_digits_have_words_for_names(tmp_path: Path) -> None:
    assert build(write_words(tmp_path, ("3", "7"))).info.class_names == ("three", "seven")


def test_a_speaker_stands_before_the_first_underscore_in_a_class_folder(tmp_path: Path) -> None:
    for number, word in enumerate(("bed", "cat")):
        for voice, speaker in enumerate(("0a7c2a8d", "ffd2ba2f")):
            sound = tone(440, seed=10 * number + voice)
            write_wav(tmp_path / word / f"{speaker}_nohash_0.wav", sound)
    stream = build(tmp_path, split="speaker", test_speakers=["ffd2ba2f"])
    assert [len(s) for s in (*stream.train, *stream.test)] == [2, 2]


def test_a_list_gives_the_order_and_leaves_others_out(spoken_root: Path) -> None:
    info = build(spoken_root, class_order=["three", "zero"], base_classes=1, way=1).info
    assert [info.class_names[c] for c in info.seen_classes(1)] == ["three", "zero"]
    assert info.notes == ("skipped 2 entries: not in class_order (one, two)",)


def test_classes_may_come_in_seeded_order(spoken_root: Path) -> None:
    orders = {build(spoken_root, class_order="seeded", seed=s).info.seen_classes(1) for s in (1, 2)}
    assert len(orders) == 2


def test_maps_and_waveforms_have_the_announced_shapes(spoken_root: Path) -> None:
    maps, waves = (
        build(spoken_root, features=features, seconds=1.0) for features in ("log_mel", "waveform")
    )
    assert maps.info.input_shape == (1, 40, 63)
    assert waves.info.input_shape == (1, 16_000)
    assert inputs(maps).shape == (24, 1, 8000)
    assert inputs(maps).dtype == torch.int16
    one = waves.info.eval_transform(inputs(waves)[0])
    assert one.mean().abs() < 1e-5
    assert one.var().item() == pytest.approx(1, abs=1e-3)


def test_only_training_sounds_are_augmented(spoken_root: Path) -> None:
    info = build(spoken_root).info
    one = inputs(build(spoken_root))[0]
    assert not info.train_transform(one).equal(info.train_transform(one))
    plain = build(spoken_root, augment=False).info
    assert repr(plain.train_transform) == repr(plain.eval_transform) == info.preprocessing


# what is said once, and what is refused


def test_other_rates_are_resampled_and_said_once(own_root: Path) -> None:
    for take, rate in ((1, 16_000), (2, 44_100), (3, 16_000)):
        write_wav(own_root / f"0_ada_{take}.wav", tone(300, rate=rate, seed=take), rate)
    stream = build(own_root)
    assert stream.info.notes == ("resampled 3 recordings from 16000 Hz, 44100 Hz to 8000 Hz",)
    spectrum = torch.fft.rfft(inputs(stream)[1].float()).abs()[0]
    assert abs(spectrum.argmax().item() * 8000 / 1600 - 300) <= 10  # the length is 0.2 s


def test_stereo_is_mixed_down_and_said_once(own_root: Path) -> None:
    left, right = tone(300, seed=1), tone(300, seed=2)
    write_wav(own_root / "0_ada_1.wav", torch.tensor([*zip(left, right, strict=True)]).numpy())
    assert build(own_root).info.notes == ("mixed 1 recording of several channels down to one",)


def test_long_sounds_are_cut_and_said_once(own_root: Path) -> None:
    write_wav(own_root / "0_ada_1.wav", tone(300, seconds=0.5))
    assert build(own_root).info.notes == ("cut 1 recording to the loudest 0.2 s",)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound at all"])
def test_an_unreadable_file_is_refused_or_skipped_and_said(own_root: Path, content: bytes) -> None:
    (own_root / "0_ada_1.wav").write_bytes(content)
    with pytest.raises(UserError, match=r"0_ada_1\.wav' cannot be read .*skip_unreadable=True$"):
        build(own_root)
    stream = build(own_root, skip_unreadable=True)
    assert stream.info.notes == ("skipped 1 entry: unreadable recording (0_ada_1.wav)",)
    assert [len(s) for s in stream.train] == [23, 24]


def test_a_truncated_file_is_refused(own_root: Path) -> None:
    path = own_root / "0_ada_1.wav"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="ends after 456 of 1600 bytes of sound"):
        build(own_root)


def test_what_is_no_recording_is_skipped_and_said(own_root: Path, tmp_path: Path) -> None:
    (own_root / "notes.txt").touch()
    (own_root / "hello.wav").touch()
    (own_root / ".hidden.wav").touch()
    assert build(own_root).info.notes == (
        "skipped 1 entry: hidden (.hidden.wav)",
        "skipped 2 entries: not named <digit>_<speaker>_<take>.wav (hello.wav, notes.txt)",
    )


def test_links_to_recordings_and_to_class_folders_are_followed(
    own_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = write_wav(tmp_path_factory.mktemp("elsewhere") / "a.wav", tone(300, seed=99))
    (own_root / "0_ada_9.wav").symlink_to(outside)
    info = build(own_root).info
    assert info.notes == ()
    assert info.fingerprint != build(own_root, test_fraction=0.4).info.fingerprint
    words, links = write_words(tmp_path_factory.mktemp("words")), tmp_path_factory.mktemp("links")
    for word in ("bed", "tree"):
        (links / word).symlink_to(words / word)
    assert build(links, base_classes=1, way=1).info.class_names == ("bed", "tree")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"features": "mel"}, "features must be one of log_mel, waveform, got 'mel'"),
        ({"split": "speakers"}, "split must be one of take, speaker, got 'speakers'"),
        ({"class_order": "seed"}, "class_order must be one of natural, seeded, got 'seed'"),
        ({"class_order": ["thre"]}, "no recordings; did you mean 'three'"),
        ({"class_order": ["one", "one"]}, "class_order names 'one' twice"),
        ({"test_fraction": 1.0}, "test_fraction must be in (0, 1), got 1.0"),
        ({"seconds": 0}, "seconds must be in [0.05, 60], got 0"),
        ({"test_speakers": ["ada"]}, "pass split='speaker'"),
        ({"split": "speaker", "test_speakers": ["adda"]}, "did you mean 'ada'"),
        ({"split": "speaker", "test_speakers": list(SPEAKERS)}, "names 3 of 3 speakers"),
        ({"split": "speaker", "test_speakers": []}, "names 0 of 3 speakers"),
        ({"base_classes": 5}, "base_classes is 5, but there are 4 classes"),
        ({"shots": 13}, "'two' has too few"),
        ({"shots": 0}, "shots must be at least 1"),
    ],
)
def test_a_bad_parameter_is_refused(
    spoken_root: Path, parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        build(spoken_root, **parameters)


def test_folders_that_hold_no_recordings_are_refused(tmp_path: Path) -> None:
    layout = r"it must hold files <digit>_<speaker>_<take>\.wav, or one folder of wav files a class"
    with pytest.raises(UserError, match=f"nowhere' is not a folder; {layout}"):
        build(tmp_path / "nowhere")
    with pytest.raises(UserError, match="root '' is not a folder"):
        SpokenDigits(root="").build()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"has no wav files in class folders; {layout}"):
        build(tmp_path)


def test_a_split_by_speaker_needs_speakers(tmp_path: Path) -> None:
    write_words(tmp_path)
    with pytest.raises(UserError, match=r"0\.wav' has no speaker in its name"):
        build(tmp_path, split="speaker")


def test_one_speaker_alone_cannot_be_split(own_root: Path) -> None:
    for path in own_root.glob("*_[be]*_*.wav"):
        path.unlink()
    with pytest.raises(UserError, match="the only speaker is 'ada'"):
        build(own_root, split="speaker")


def test_a_class_that_cannot_be_tested_is_refused(own_root: Path) -> None:
    for path in own_root.glob("2_eve_*.wav"):
        path.unlink()
    with pytest.raises(UserError, match="'two' has no recording to be tested on in the split by s"):
        build(own_root, split="speaker", test_speakers=["eve"])


def test_a_class_of_which_nothing_can_be_read_is_refused(own_root: Path) -> None:
    for path in own_root.glob("2_*.wav"):
        path.write_bytes(b"")
    for class_order in ("natural", ["two", "one"]):
        with pytest.raises(UserError, match="'two' has no recording to learn from"):
            build(own_root, class_order=class_order, skip_unreadable=True, base_classes=1)


def test_a_class_of_one_file_is_refused(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_words(tmp_path, ("lone",), files=1)
    write_wav(tmp_path / "lone" / "0.wav", tone(700))
    with pytest.raises(UserError, match="'lone' has no recording to learn from"):
        build(tmp_path)


# learning


def train(stream: Stream, **changes: int) -> float:
    """Return the accuracy on the base session's test sounds after training by the YAML's recipe,
    with changes."""
    settings = registry.get("scenario", "spoken_digits").settings
    with seeded(0):
        model = build_classifier(
            ModelConfig(**settings["model"]), stream.info.input_shape, stream.info.num_classes
        )
        recipe = TrainingConfig(**(settings["training"] | changes))
        Engine(stream, model, FinetunePlugin(), recipe).train_session(0)
    samples = stream.test[0]
    assert isinstance(samples, TensorSamples)
    with torch.no_grad():
        logits = model.eval()(stream.info.eval_transform(samples.inputs))
    return (logits.argmax(dim=1) == torch.tensor(samples.targets)).float().mean().item()


def test_words_are_learned_by_the_engine(spoken_root: Path) -> None:
    parameters = {"split": "speaker", "test_speakers": ["bob"], "augment": False}
    stream = build(spoken_root, base_classes=4, **parameters)
    # a voice between the two that were learned from
    assert train(stream, base_epochs=10, batch_size=8) > 0.9


def test_real_digits_are_recognised_after_a_few_epochs(shared: Path) -> None:
    stream = SpokenDigits(root=str(shared / "data/spoken_digits"), base_classes=10).build()
    assert (len(stream.train[0]), len(stream.test[0])) == (480, 120)
    assert train(stream, base_epochs=5) > 0.35  # a tenth by chance
