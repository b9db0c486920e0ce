"""What tests of several parts share: a tiny bundle that tags at random but by the contract, and a browser."""

import contextlib
import shutil
import signal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from playwright.sync_api import expect, sync_playwright

from handler.bundle import Bundle
from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.vectors import WordVectors

# In the background of a script, Ctrl-C is ignored, and by what is started from there too; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where others compute too, one example may take any time; how long code takes is for the benchmarks to say.
settings.register_profile("nerserve", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nerserve")
expect.set_options(timeout=60_000)

WORDS = ["the", "paris", "obama", "0000", "Apple", "apple", ",", "."]


def new_bundle(scheme="IOBES", storage="int8", seed=7):
    """An untrained bundle whose weights are large enough that it finds entities."""
    torch.manual_seed(seed)
    vectors = np.random.default_rng(seed).normal(size=(len(WORDS), 6)).astype(np.float32)
    model = ModelConfig(
        labels=("LOC", "PER"), scheme=scheme, word_dim=6, char_dim=4, char_filters=5, case_dim=3, hidden_dim=8,
        max_word_chars=8,
    )  # fmt: skip
    config = BundleConfig(name="tiny", version="1.0", model=model, training=TrainingConfig())
    bundle = Bundle.new(config, list("abcdefgnoprstuy."), WordVectors.new(WORDS, vectors, storage))
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter.normal_(std=1.5)
    return bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """The folder of a saved tiny bundle; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    new_bundle().save(folder, {"metrics.json": b"{}\n", "MODEL_CARD.md": b"# tiny\n"})
    return folder


@pytest.fixture(scope="session")
def make_bundle():
    """``make_bundle(scheme=..., storage=..., seed=...)``: a new tiny bundle in memory."""
    return new_bundle


@contextlib.contextmanager
def chromium(*arguments):
    """The Chromium that is installed, else Playwright's own, with more *arguments*."""
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((path for path in map(shutil.which, names) if path), None)
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=installed, args=["--no-sandbox", "--disable-gpu", "--disable-quic", *quiet, *arguments]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")  # no longer: while it is there, its thread cannot run another event loop
def browser():
    with chromium() as browser:
        yield browser
