"""The folder of real data, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The development data; a newcomer's checkout has none."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (data for development, not part of the product)")
    return SHARED
