"""One session a speaker: which recordings it has, copies, and speakers that cannot be a domain."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_sounds import SPEAKERS, tone, write_digits, write_wav, write_words

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.domain_incremental import DomainIncremental


def speakers(root: Path, **parameters: Any) -> Stream:
    return DomainIncremental(source="spoken_digits", root=str(root), **parameters).build()


def inputs(samples: Any) -> Any:
    assert isinstance(samples, TensorSamples)
    return samples.inputs


def contents(sessions: Sequence[Any]) -> list[bytes]:
    return [row.numpy().tobytes() for samples in sessions for row in inputs(samples)]


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_no_speaker_is_tested_on_a_copy_of_what_another_teaches(
    tmp_path: Path, duplicates: str
) -> None:
    write_digits(tmp_path)
    for path in sorted(tmp_path.glob("*_ada_*.wav")):
        digit, _, take = path.stem.split("_")
        shutil.copy(path, tmp_path / f"{digit}_bob_{(int(take) + 2) % 5}.wav")
    stream = speakers(tmp_path, duplicates=duplicates)
    assert not {*contents(stream.train)} & {*contents(stream.test)}
    assert stream.info.notes[0].startswith("20 recordings are copies of others in the same class")
    with pytest.raises(UserError, match=r"20 recordings are copies .*; remove the copies"):
        speakers(tmp_path, duplicates="refuse")


def test_a_speaker_is_a_domain_of_speech(spoken_root: Path) -> None:
    stream = speakers(spoken_root)
    assert (stream.info.kind, stream.info.modality) == ("domain", "audio")
    assert stream.info.session_classes == 3 * ((0, 1, 2, 3),)
    assert [len(train) for train in stream.train] == 3 * [16]
    assert [len(test) for test in stream.test] == 3 * [4]
    assert stream.info.notes[-1] == f"domains in order of arrival: {', '.join(SPEAKERS)}"


def test_a_session_has_its_speakers_recordings_alone(spoken_root: Path, tmp_path: Path) -> None:
    for speaker in ("eve", "ada"):
        alone = tmp_path / speaker
        alone.mkdir()
        for path in spoken_root.glob(f"*_{speaker}_*.wav"):
            shutil.copy(path, alone)
    stream = speakers(spoken_root, domains=["eve", "ada"])
    for session, speaker in enumerate(("eve", "ada")):
        alone_stream = speakers(tmp_path / speaker)
        assert inputs(stream.train[session]).equal(inputs(alone_stream.train[0]))
        assert inputs(stream.test[session]).equal(inputs(alone_stream.test[0]))
        assert stream.train[session].targets == alone_stream.train[0].targets


def test_speech_comes_as_waveforms_where_asked_for(spoken_root: Path) -> None:
    stream = speakers(spoken_root, features="waveform")
    assert stream.info.input_shape == (1, 16_000)


def test_a_speaker_who_lacks_a_word_is_named(tmp_path: Path) -> None:
    write_digits(tmp_path)
    for path in tmp_path.glob("2_bob_*.wav"):
        path.unlink()
    with pytest.raises(UserError, match="domain 'bob' has nothing of class 'two' to learn from"):
        speakers(tmp_path)
    assert speakers(tmp_path, domains=["ada", "eve"]).info.num_sessions == 2


def test_a_speaker_without_test_takes_is_named(tmp_path: Path) -> None:
    write_digits(tmp_path, digits=2)
    for digit in range(2):
        write_wav(tmp_path / f"{digit}_zoe_4.wav", tone(500))
    with pytest.raises(UserError, match="domain 'zoe' has nothing of class 'zero' to be tested on"):
        speakers(tmp_path)


def test_files_must_say_who_speaks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no speaker in its name; speakers as domains"):
        speakers(write_words(tmp_path))
