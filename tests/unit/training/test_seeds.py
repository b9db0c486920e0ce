"""Several seeds: their mean is reported, and the one that is best on dev is kept."""

import json
import statistics

import pytest

from training.errors import InputError
from training.seeds import summarise, train_seeds

DEV_F1 = {1: 0.5, 2: 0.9, 3: 0.7}


def scores(f1, labels=("PER",)):
    return {"micro": {"f1": f1}, "macro": {"f1": f1 / 2}, "labels": {label: {"f1": f1} for label in labels}}


def metrics_of(seed, labels=("PER",)):
    return {"dev_f1": DEV_F1[seed], "dev": {"dev": scores(DEV_F1[seed])}, "test": {"news": scores(seed / 10, labels)}}


@pytest.fixture
def trained(tmp_path, make_bundle):
    def train_one(seed, run, out):
        metrics = metrics_of(seed)
        out.parent.mkdir(parents=True)
        make_bundle(seed=seed).save(out, {"metrics.json": b"{}", "MODEL_CARD.md": f"# seed {seed}\n".encode()})
        return metrics

    document = train_seeds([1, 2, 3], train_one=train_one, out=tmp_path / "models" / "en", run=tmp_path / "run")
    return document, tmp_path


def test_a_seed_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="--seeds: expected different seeds, got 1 2 1"):
        train_seeds([1, 2, 1], train_one=None, out=tmp_path / "en", run=tmp_path / "run")


def test_the_seed_that_is_best_on_dev_becomes_the_bundle(trained):
    document, folder = trained

    assert document["seeds"]["shipped"] == 2
    weights = (folder / "models" / "en" / "weights.npz").read_bytes()
    assert weights == (folder / "run" / "seed-2" / "en" / "weights.npz").read_bytes()
    assert weights != (folder / "run" / "seed-1" / "en" / "weights.npz").read_bytes()


def test_metrics_and_card_hold_the_mean_and_the_seeds_own_scores(trained):
    _, folder = trained

    written = json.loads((folder / "models" / "en" / "metrics.json").read_text())
    card = (folder / "models" / "en" / "MODEL_CARD.md").read_text()
    assert written["test"]["news"]["micro"]["f1"] == 0.2
    assert written["seeds"]["test"]["news"]["micro"] == {"mean": 0.2, "deviation": 0.1}
    assert card.startswith("# seed 2\n")
    assert "| news | 20.00% ± 10.00% | 10.00% ± 5.00% |" in card


def test_the_summary_is_that_of_the_standard_library():
    summary = summarise({seed: metrics_of(seed) for seed in DEV_F1})

    assert summary["dev_f1"]["mean"] == pytest.approx(statistics.mean(DEV_F1.values()), abs=1e-4)
    assert summary["dev_f1"]["deviation"] == pytest.approx(statistics.stdev(DEV_F1.values()), abs=1e-4)


def test_a_label_that_a_seed_never_finds_counts_as_nothing_found():
    summary = summarise({1: metrics_of(1, ("LOC", "PER")), 2: metrics_of(2)})

    assert summary["test"]["news"]["labels"]["LOC"]["mean"] == 0.05


def test_one_seed_has_no_deviation():
    assert summarise({1: metrics_of(1)})["dev_f1"] == {"mean": 0.5, "deviation": 0.0}
