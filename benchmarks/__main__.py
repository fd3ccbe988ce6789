"""Runs benchmarks, from the repository's root.

    python -m benchmarks                   list them
    python -m benchmarks NAME [OPTIONS]    run one; its options are those of benchmarks/NAME.py
    python -m benchmarks NAME --small      run it at its smallest size, in seconds
    python -m benchmarks all [--small]     run all of them

Figures go to `benchmarks/results`, or to $RESULTS. Those of the smallest size say nothing, so they
are kept only in $RESULTS. Some benchmarks need data: `python -m benchmarks` says which variable
names it.
"""

from __future__ import annotations

import difflib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE))  # as for a program that lies here

from entries import ENTRIES, IMAGES, NETWORK, Entry  # noqa: E402  # found there


def listing() -> str:
    """Return the names, one a line, with what each measures and needs."""
    lines = []
    for name, entry in ENTRIES.items():
        needs = f"  [{', '.join(f'${variable}' for variable in entry.needs)}]" * bool(entry.needs)
        lines.append(f"{name:20}{entry.about}{needs}")
    variables = {k: v for entry in ENTRIES.values() for k, v in entry.needs.items()}
    lines.append("")
    lines += [f"${name:19}{meaning}" for name, meaning in variables.items()]
    return "\n".join(lines)


def small_options(entry: Entry, folder: Path) -> list[str]:
    """Return the options of the smallest size; generated data goes to the folder."""
    assert entry.small is not None
    options = shlex.split(entry.small)
    made = generated(folder) if {IMAGES, NETWORK} & set(options) else {}
    return [made.get(option, option) for option in options]


def generated(folder: Path) -> dict[str, str]:
    """Write images in miniImageNet's layout, as the tests do, and a tiny random network."""
    import timm
    from safetensors.torch import save_file

    sys.path.insert(0, str(HERE.parent / "tests"))
    from helpers.tiny_layouts import write_mini_imagenet

    weights = folder / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    return {IMAGES: str(write_mini_imagenet(folder / "images")), NETWORK: str(weights)}


def full_options(entry: Entry) -> list[str] | str:
    """Return the options of the usual size, or what is missing for it in words."""
    missing = [name for name in entry.needs if not os.environ.get(name)]
    if missing:
        named = " and ".join(f"${name} ({entry.needs[name]})" for name in missing)
        return f"set {named}, or pass the program's own options"
    return [os.environ.get(o[1:], o) if o.startswith("$") else o for o in entry.full.split()]


def run(name: str, options: Sequence[str], *, small: bool) -> int:
    """Run one benchmark and return its exit code; 0 if its data is missing."""
    entry = ENTRIES[name]
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        chosen: list[str] | str = list(options)
        if small:
            if entry.small is None:
                print(f"{name}: it has no smallest size, so it is left out")  # noqa: T201
                return 0
            chosen = [*small_options(entry, Path(folder)), *options]
            environment.setdefault("RESULTS", f"{folder}/results")
            environment.setdefault("CL_SUITE_BANK", f"{folder}/bank")
        elif not options:
            chosen = full_options(entry)
        if isinstance(chosen, str):
            print(f"{name} is left out: {chosen}")  # noqa: T201
            return 0
        command = [sys.executable, str(HERE / f"{name}.py"), *chosen]
        return subprocess.run(command, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say and return the exit code."""
    words = [argument for argument in arguments if argument != "--small"]
    small = len(words) < len(arguments)
    if not words:
        print(listing())  # noqa: T201
        return 0
    name, *options = words
    if name in ("-h", "--help"):
        print(__doc__)  # noqa: T201
        return 0
    if name != "all" and name not in ENTRIES:
        close = difflib.get_close_matches(name, ENTRIES, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        sys.stderr.write(f"benchmark '{name}' is unknown{hint}\n")
        return 2
    if name == "all" and options:
        sys.stderr.write(f"'all' takes no options but --small, got '{options[0]}'\n")
        return 2
    # the tables take days, so they are run by their name alone
    chosen = [each for each in ENTRIES if each != "tables"] if name == "all" else [name]
    failed = []
    for each in chosen:
        if name == "all":
            print(f"== {each}", flush=True)  # noqa: T201
        if run(each, options, small=small):
            failed.append(each)
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
