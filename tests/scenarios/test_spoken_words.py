"""Words of unseen speakers: who is tested, what is learned, and what a seed draws."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import refused
from helpers.tiny_sounds import tone, write_spoken_words, write_wav

from cl_suite.cli import main
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.report.loaded_run import load
from cl_suite.runs.folder import RunFolder
from cl_suite.scenarios.spoken_digits import SpokenDigits
from cl_suite.scenarios.spoken_words import SpokenWords

SMALL: dict[str, Any] = {"base_classes": 2, "way": 1, "shots": 3, "seconds": 0.2}


def build(root: Path, **parameters: Any) -> Stream:
    return SpokenWords(**({"root": str(root)} | SMALL | parameters)).build()


def inputs(stream: Stream, *, test: bool = False) -> torch.Tensor:
    parts = [s for s in (stream.test if test else stream.train) if isinstance(s, TensorSamples)]
    return torch.cat([samples.inputs for samples in parts])


def test_a_base_session_comes_before_few_shots(words_root: Path) -> None:
    stream = build(words_root)
    info = stream.info
    assert info.class_names == ("bed", "cat", "sheila", "tree")
    assert info.session_classes == ((0, 1), (2,), (3,))
    assert (info.name, info.modality, info.way, info.shots) == ("spoken_words", "audio", 1, 3)
    # three speakers of two takes to learn from, one speaker to test
    assert [len(s) for s in stream.train] == [12, 3, 3]
    assert [len(s) for s in stream.test] == [4, 2, 2]


def test_without_shots_later_words_have_all_their_recordings(words_root: Path) -> None:
    stream = build(words_root, shots=None)
    assert [len(s) for s in stream.train] == [12, 6, 6]
    assert stream.info.shots is None


def test_no_test_speaker_is_learned_from(words_root: Path) -> None:
    named = build(words_root, shots=None, test_speakers=["c50f55b8"])
    by_hand = SpokenDigits(
        root=str(words_root),
        **(SMALL | {"shots": None}),
        split="speaker",
        test_speakers=["c50f55b8"],
    ).build()
    assert named.info.fingerprint == by_hand.info.fingerprint
    drawn = {build(words_root, shots=None, seed=seed).info.fingerprint for seed in range(8)}
    assert len(drawn) > 1
    learned, tested = inputs(named), inputs(named, test=True)
    assert not (learned[:, None] == tested[None]).flatten(2).all(2).any()


def test_a_seed_draws_speakers_and_shots(words_root: Path) -> None:
    assert build(words_root, seed=1).info.fingerprint == build(words_root, seed=1).info.fingerprint
    assert build(words_root).info.fingerprint == build(words_root, seed=0).info.fingerprint
    same_speakers = {"test_speakers": ["c50f55b8"]}
    one, other = (build(words_root, seed=seed, **same_speakers) for seed in (0, 1))
    assert inputs(one, test=True).equal(inputs(other, test=True))
    assert not inputs(one).equal(inputs(other))


def test_without_a_seed_of_its_own_it_follows_the_runs(words_root: Path, tmp_path: Path) -> None:
    words = f"run spoken_words prototype --scenario.root {words_root} --out {tmp_path} --seed 0 1"
    words += " --training.base_epochs 1 --scenario.base_classes 2 --scenario.way 1"
    assert main([*words.split(), "--scenario.shots", "3", "--scenario.seconds", "0.2"]) == 0
    folder = tmp_path / "spoken_words/prototype"
    runs = [load(RunFolder(folder / f"seed{seed}")) for seed in (0, 1)]
    for seed, run in enumerate(runs):
        assert run.config["scenario"]["seed"] == seed
        assert run.drawn_by_seed == "seed"
        assert run.fingerprint == build(words_root, seed=seed).info.fingerprint
    assert runs[0].scenario == runs[1].scenario  # one table has both


def test_the_noises_of_speech_commands_are_no_word(tmp_path: Path) -> None:
    write_spoken_words(tmp_path)
    write_wav(tmp_path / "_background_noise_/pink_noise.wav", tone(50))
    info = build(tmp_path).info
    assert info.class_names == ("bed", "cat", "sheila", "tree")
    assert info.notes == ("skipped 1 entry: noises, which are no word (_background_noise_)",)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"test_speakers": ["c50f55b7"]}, "did you mean 'c50f55b8'"),
        ({"shots": 7}, "'sheila' has too few"),
        ({"base_classes": 5}, "base_classes is 5, but there are 4 classes"),
        ({"test_fraction": 0}, "test_fraction must be in (0, 1), got 0"),
    ],
)
def test_a_bad_parameter_is_refused(
    words_root: Path, parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        build(words_root, **parameters)


def test_files_without_a_speaker_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "words/bed/0.wav", tone(300))
    write_wav(tmp_path / "words/cat/0.wav", tone(500))
    root, out = str(tmp_path / "words"), str(tmp_path / "runs")
    error = refused(
        capsys, "run", "spoken_words", "finetune", "--scenario.root", root, "--out", out
    )
    assert "0.wav' has no speaker in its name" in error
    assert not (tmp_path / "runs").exists()


def test_the_arabic_words_come_with_six_unseen_speakers(shared: Path) -> None:
    stream = SpokenWords(root=str(shared / "data/arabic_speech_commands")).build()
    assert len(stream.info.session_classes) == 5
    assert [len(s) for s in stream.train] == [20 * 18, *([5 * 5] * 4)]
    assert [len(s) for s in stream.test] == [20 * 6, *([5 * 6] * 4)]
