"""What tests of processes share."""

import pytest

from ops.process.group import Guard


@pytest.fixture
def guard():
    guard = Guard()
    yield guard
    guard.close()
