"""The shipped model's small stand-in as a bundle and as an archive."""

import pytest

from archive.build import build_mar


@pytest.fixture(scope="session")
def tiny_mar(tiny_bundle, tmp_path_factory):
    return build_mar(tiny_bundle, tmp_path_factory.mktemp("store"))
