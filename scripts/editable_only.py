"""The build backend of pyproject.toml: setuptools' own for ``pip install --editable .``, a refusal for all else.

A wheel would put packages named ``web``, ``handler`` or ``training`` beside everybody else's, and bring neither models
nor config.properties nor what is locked in ``requirements/``.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

REFUSAL = """\
nerserve is not installed as a package: it runs from its checkout, with the packages locked there.
In the checkout, scripts/up sets it up and starts it; scripts/install serve web archive sets up .venv alone."""


def get_requires_for_build_editable(_settings: dict[str, Any] | None = None) -> list[str]:
    """What an isolated build needs; scripts/install builds with what is locked."""
    return ["setuptools>=80"]


def prepare_metadata_for_build_editable(folder: str, settings: dict[str, Any] | None = None) -> str:
    """As setuptools does it."""
    from setuptools import build_meta

    return str(build_meta.prepare_metadata_for_build_editable(folder, settings))


def build_editable(wheels: str, settings: dict[str, Any] | None = None, metadata: str | None = None) -> str:
    """As setuptools does it."""
    from setuptools import build_meta

    return str(build_meta.build_editable(wheels, settings, metadata))


def _refuse(*_: object) -> NoReturn:
    sys.exit(REFUSAL)


get_requires_for_build_wheel = build_wheel = get_requires_for_build_sdist = build_sdist = _refuse
