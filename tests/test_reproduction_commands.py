"""The commands of the page on reproduction: each resolves, and runs to the end when shortened."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from string import Template

import pytest
import torchvision
from helpers.reproduction_data import WRITERS

from cl_suite import cli, registry
from cl_suite.runs.arguments import with_all_seeds
from cl_suite.runs.config import resolve
from site_writer import reproduction_facts

FACTS = reproduction_facts.load()
BY_NAME = [pytest.param(system, id=system.name) for system in FACTS.systems]
# more than some five seconds
SLOW = {"TEEN", "CoACT", "CPE-CLIP", "CLER", "FPF and k-FPF", "Sy-CON", "LIMIT"}
TRIALS = [
    pytest.param(s, id=s.name, marks=[pytest.mark.slow] if s.name in SLOW else [])
    for s in FACTS.systems
]


def arguments(call: str, folders: Callable[[str], Path]) -> list[str]:
    """Return the words of a call after `cl-suite`, with folders in place of variables."""
    names = re.findall(r"\$(\w+)", call)
    words = shlex.split(Template(call).substitute({name: str(folders(name)) for name in names}))
    assert words[:2] == ["cl-suite", "run"]
    return words[1:]


@pytest.mark.parametrize("system", BY_NAME)
def test_every_full_command_resolves(system: reproduction_facts.System) -> None:
    for call in system.full:
        words = arguments(call.command, lambda name: Path(f"some/{name}"))[1:]
        pair = registry.get("scenario", words[0]), registry.get("strategy", words[1])
        configs, _ = resolve(*pair, with_all_seeds(words[2:]))
        assert configs


@pytest.mark.parametrize("system", TRIALS)
def test_every_full_command_runs_to_the_end_on_a_shortened_schedule(
    system: reproduction_facts.System, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    written: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in written:
            (data := here / "data" / name).mkdir(parents=True)
            written[name] = WRITERS[name](data)
        return written[name]

    for number, call in enumerate(system.full, start=1):
        words = arguments(f"{call.command} {call.trial} --device cpu", folder)
        assert cli.main(words) == 0
        finished = [json.loads(path.read_text())["finished"] for path in here.rglob("run.json")]
        assert len(finished) == number
        assert all(finished)
