"""The package's public names: few, and imported only when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cl_suite

HEAVY = "{'torch', 'avalanche', 'torchvision', 'timm', 'rich', 'jsonargparse', 'numpy'}"


def run_python(code: str) -> str:
    """Run a program of its own; return what it prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_the_package_imports_neither_torch_nor_avalanche() -> None:
    assert run_python(f"import sys, cl_suite; print({HEAVY} & set(sys.modules))") == "set()"


def test_neither_does_asking_for_its_names_and_version() -> None:
    code = f"import sys, cl_suite; dir(cl_suite); cl_suite.__version__; print({HEAVY} & "
    assert run_python(f"{code} set(sys.modules))") == "set()"


def test_a_name_is_imported_when_it_is_used() -> None:
    code = "import sys, cl_suite; cl_suite.StrategyPlugin; print('torch' in sys.modules)"
    assert run_python(code) == "True"


def test_a_plugin_is_written_without_importing_avalanche() -> None:
    code = "import sys\nfrom cl_suite import StrategyPlugin\nprint('avalanche' in sys.modules)"
    assert run_python(code) == "False"


def test_the_names_are_those_of_their_modules() -> None:
    from cl_suite.plugin import StrategyPlugin
    from cl_suite.runs.launch import run
    from cl_suite.runs.saved_model import load_model

    assert cl_suite.StrategyPlugin is StrategyPlugin
    assert cl_suite.run is run
    assert cl_suite.load_model is load_model
    assert sorted(cl_suite.__all__) == dir(cl_suite)


def test_any_other_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'cl_suite' has no attribute 'nonsense'"):
        _ = cl_suite.nonsense  # type: ignore[attr-defined]
