"""The shipped model as an archive, built once."""

from pathlib import Path

import pytest

from archive.build import build_mar


@pytest.fixture(scope="session")
def en_mar(tmp_path_factory):
    """``en.mar``, built from models/en."""
    return build_mar(Path("models/en"), tmp_path_factory.mktemp("model-store"))
