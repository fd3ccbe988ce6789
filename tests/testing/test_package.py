"""The package `cl_suite.testing`: what importing it needs, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cl_suite import testing
from cl_suite.testing import make_stream


def test_importing_the_package_imports_neither_torch_nor_pytest() -> None:
    code = "import sys, cl_suite.testing as t; dir(t)\n"
    code += "print({'torch', 'pytest', 'avalanche', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_the_checks_need_no_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None\n"
    code += (
        "from cl_suite.testing import check_strategy, make_stream; print(make_stream().info.name)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "patterns", result.stderr


def test_any_other_name_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"'cl_suite\.testing' has no attribute 'nonsense'"):
        _ = testing.nonsense


def test_a_mixed_stream_brings_new_classes_and_more_of_an_earlier_one() -> None:
    sessions = make_stream(kind="mixed").info.session_classes
    assert sessions == ((7, 2, 5, 0), (6, 1, 7), (3, 4, 7))
