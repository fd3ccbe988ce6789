"""The page of a report: what stands on it, of all kinds of runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from helpers.reports import (
    add_info,
    leave_out_a_session,
    streams,
    write_confidence,
    write_pair,
    write_probe,
)
from helpers.shown_runs import write_run

from cl_suite.report.html.facts import commands, facts_of, in_ranges
from cl_suite.report.html.page import page


class Read(HTMLParser):
    """The ids, links, texts and open elements of a page."""

    VOID = ("meta", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(str(value))
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("href", "src"):
                (self.links if tag == "a" else self.loaded).append(str(value))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def read(path: Path, notes: tuple[str, ...] = ()) -> Read:
    found = Read(page(streams(path), notes))
    assert found.open == []
    return found


def test_a_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    write_pair(tmp_path)
    found = read(tmp_path)
    assert len(found.ids) == len(set(found.ids))
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert all(link.startswith(("#", "data:")) for link in found.loaded)
    assert found.handlers == []


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    write_pair(tmp_path)
    assert page(streams(tmp_path), []) == page(streams(tmp_path), [])


def test_the_headings_follow_from_what_the_runs_have(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    text = read(tmp_path).text
    assert "Accuracy matrices" in text
    assert not any(heading in text for heading in ("Calibration", "Paired", "against cost"))
    write_confidence(run, [0.1, 0.2, 0.3])
    add_info(run, kept_bytes=10)
    add_info(write_run(tmp_path, "joint"), kept_bytes=2_000_000)
    text = read(tmp_path).text
    assert all(heading in text for heading in ("Calibration", "Paired", "against cost"))


def test_whatever_a_run_is_called_is_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'{{ 7 * 7 }}"
    write_run(tmp_path, "teen", settings={"a": evil}, scenario={"shots": evil, "way": 1})
    run = write_run(tmp_path / "b", "<script>x</script>", scenario={"shots": evil, "way": 1})
    add_info(run, machine={evil: evil}, base_training={"note": evil}, versions=evil)
    found = read(tmp_path, (evil,))
    assert found.handlers == []
    assert all(link.startswith(("#", "data:")) for link in found.loaded)
    assert found.text.count("{{ 7 * 7 }}") >= 4
    assert "49" not in re.findall(r"\d+", found.text)
    assert "<script>x</script>" in found.text


def test_each_stream_and_each_probe_has_a_section(tmp_path: Path) -> None:
    write_run(tmp_path / "a", scenario={"shots": "published"})
    write_probe(write_run(tmp_path / "b", scenario={"shots": "random"}))
    found = read(tmp_path)
    assert {"s0", "s1", "s2"} <= set(found.ids)
    assert "demo (shots=random), by a nearest-neighbour probe on its features" in found.text


@pytest.mark.parametrize("num_sessions", [1, 2, 60])
def test_a_run_of_any_length_has_a_page(tmp_path: Path, num_sessions: int) -> None:
    write_run(tmp_path, num_sessions=num_sessions)
    assert ("By session" in read(tmp_path).text) is (num_sessions > 1)


def test_a_session_without_test_images_is_left_blank(tmp_path: Path) -> None:
    leave_out_a_session(write_run(tmp_path, num_sessions=4))
    write_run(tmp_path / "other", "joint", num_sessions=4)
    assert "Accuracy matrices" in read(tmp_path).text


def test_bands_of_many_methods_wait_until_one_points_at_them(tmp_path: Path) -> None:
    for number in range(21):
        write_run(tmp_path, f"method{number}", base_rate=0.5 + 0.01 * number)
    text = page(streams(tmp_path), [])
    assert 'class="stream many"' in text
    assert 'class="series m20"' in text
    Read(text)


# facts and commands


def test_what_was_run_is_told_once_for_all_runs(tmp_path: Path) -> None:
    for seed in (0, 1, 2, 5):
        run = write_run(tmp_path, seed=seed, fingerprint="0123456789abcdef")
        add_info(
            run,
            started=f"2026-01-0{seed + 1}T00:00:00+0000",
            versions={"torch": "2.6" if seed else "2.5", "cl-suite": "1.0"},
            machine={"cuda": None, "threads": 1},
        )
    (stream,) = streams(tmp_path)
    found = dict(facts_of(stream))
    assert found["seeds"] == "0-2, 5"
    assert found["versions"] == "torch 2.5 / 2.6, cl-suite 1.0"
    assert found["machine"] == "threads 1"
    assert found["started"] == "2026-01-01 to 2026-01-06"
    assert found["data"] == "0123456789ab"
    assert found["runs"] == "4"


def test_sessions_are_told_with_their_classes(tmp_path: Path) -> None:
    classes = {"session_classes": [[0, 1, 2], [3], [4]], "shots": 5}
    add_info(write_run(tmp_path), stream=classes)
    (stream,) = streams(tmp_path)
    assert dict(facts_of(stream))["sessions"] == "3, of 3 + 2 x 1 classes"


@pytest.mark.parametrize("info", [{"stream": 3}, {"versions": [1], "machine": "x"}, {"started": 7}])
def test_facts_that_make_no_sense_do_not_stop_a_report(tmp_path: Path, info: object) -> None:
    assert isinstance(info, dict)
    add_info(write_run(tmp_path), **info)
    assert "demo" in read(tmp_path).text


def test_one_command_repeats_runs_that_differ_in_the_seed_alone(tmp_path: Path) -> None:
    write_pair(tmp_path / "a b")
    (stream,) = streams(tmp_path)
    (found,) = commands(stream, stream.methods[1])
    file = tmp_path / "a b/demo/teen/seed0/config.yaml"
    assert found == f"cl-suite run --config '{file}' --seed 0 1 2 --out repeated"


def test_commands_of_one_page_write_to_folders_of_their_own(tmp_path: Path) -> None:
    for number in range(2):
        write_run(tmp_path / f"a{number}", settings={"temperature": number})
        write_run(tmp_path / f"b{number}", scenario={"shots": number})
    found = [command for s in streams(tmp_path) for m in s.methods for command in commands(s, m)]
    outs = {re.search(r"--out (repeated/\w{6})$", command) for command in found}
    assert None not in outs
    assert len({match[1] for match in outs if match}) == len(found) == 4


def test_each_run_has_a_command_if_they_differ_in_more(tmp_path: Path) -> None:
    for seed in range(2):
        file = write_run(tmp_path, seed=seed) / "config.yaml"
        config = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump(config | {"start_from": f"x/seed{seed}"}))
    (stream,) = streams(tmp_path)
    assert [c.count("--seed") for c in commands(stream, stream.methods[0])] == [0, 0]


def test_neighbouring_numbers_are_a_range() -> None:
    assert in_ranges([]) == ""
    assert in_ranges([4, 4, 3]) == "3-4"
