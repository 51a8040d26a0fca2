"""Pictures to tune on; the modules beside the tests can be imported by their names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from made import made_images


@pytest.fixture
def images():
    return made_images()
