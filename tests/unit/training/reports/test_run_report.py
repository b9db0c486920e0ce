"""The report of a run holds everything in one file, and its numbers are those of a table made by hand."""

import re
from html.parser import HTMLParser

import pytest

from handler.labels import Span
from handler.tagger import ScoredSpan
from training.errors import RunError
from training.reports.run_report import write_report
from training.scoring.evaluation import TaggedSentence


def tagged(num_words, gold, found):
    words = tuple(f"w{i}" for i in range(num_words))
    return TaggedSentence(
        words,
        tuple(Span(*span) for span in gold),
        tuple(ScoredSpan(Span(*span), score) for *span, score in found),
    )


DEV = {
    "news": [tagged(4, [(0, 2, "PER"), (3, 4, "LOC")], [(0, 2, "PER", 0.9), (3, 4, "ORG", 0.4)])],
    '<web> & "co"': [tagged(9, [(1, 3, "PER"), (5, 6, "LOC")], [(2, 3, "PER", 0.3), (7, 8, "LOC", 0.5)])],
}
LOG = [
    {
        "epoch": epoch,
        "loss": 1 / epoch,
        "learning_rate": 0.001,
        "tokens_per_s": 12345,
        "dev_f1": 0.25 * epoch,
        "dev": {name: {"f1": 0.25 * epoch, "labels": {}} for name in DEV},
        "seconds": 6.5,
        "best_epoch": epoch,
    }
    for epoch in (1, 2)
]
PLOTS = ["learning-curve", "labels", "confusion", "calibration", "length", "familiarity"]


def write(run, **changes):
    run.mkdir(exist_ok=True)
    arguments = {
        "name": "toy",
        "log": LOG,
        "dev": DEV,
        "trained_on": {("w0", "w1"): {"PER"}},
        "settings": {"training": {"seed": 7}},
    }
    write_report(run, **(arguments | changes))
    return (run / "report.html").read_text()


class Page(HTMLParser):
    """Ids, links, figures and the cells of all tables, row by row."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.targets, self.images, self.tables, self.tags, self._cell = [], [], [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        for key, value in attributes.items():
            if key.endswith("href") or key == "src":
                self.targets.append(value)
            self.targets += re.findall(r"url\((.*?)\)", value or "")
        if attributes.get("role") == "img":
            self.images.append(attributes["aria-label"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        self._cell = tag in {"th", "td"}
        if self._cell:
            self.tables[-1][-1].append("")

    def handle_endtag(self, _):
        self._cell = False

    def handle_data(self, data):
        if self._cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return run, write(run)


def test_the_page_needs_nothing_else(report):
    page = Page(report[1])

    assert page.targets
    assert all(target.startswith("#") and target[1:] in page.ids for target in page.targets)
    assert len(set(page.ids)) == len(page.ids)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == len(PLOTS)


def test_every_plot_is_a_file_in_both_formats(report):
    files = sorted(path.name for path in (report[0] / "plots").iterdir())

    assert files == sorted(f"{name}.{kind}" for name in PLOTS for kind in ("png", "svg"))


def test_every_plot_is_said_in_words(report):
    learning, labels, confusion, calibration, length, familiarity = Page(report[1]).images

    assert "from 25.0% to 50.0%; epoch 2 is best with 50.0%" in learning
    assert "Micro precision 25.0%, recall 25.0% and F1 25.0% over 4 entities" in labels
    assert "Of 4 gold entities 1 were found" in confusion
    assert "1 were missed and 1 found with other boundaries; 1 found entities are spurious" in confusion
    assert "over 4 found entities" in calibration
    assert length == "F1 by tokens in the sentence: 1\N{EN DASH}5: 50.0%, 6\N{EN DASH}10: 0.0%."
    assert "same label: 100.0% of 1, unseen: 0.0% of 3" in familiarity


def test_the_tables_hold_the_numbers(report):
    corpora, epochs, labels, confusion, calibration, length, familiarity, settings = Page(report[1]).tables

    assert corpora == [
        ["", "precision", "recall", "F1", "gold", "found"],
        ["news", "50.00%", "50.00%", "50.00%", "2", "2"],
        ['<web> & "co"', "0.00%", "0.00%", "0.00%", "2", "2"],
    ]
    assert epochs[2] == ["2", "0.5000", "1.00e-03", "12,345", "6.5", "50.00%", "50.00%", "50.00%"]
    assert labels[-2] == ["micro", "25.00%", "25.00%", "25.00%", "4", "4"]
    assert confusion == [
        ["gold", "LOC", "ORG", "PER", "other boundaries", "missed"],
        ["LOC", "0", "1", "0", "0", "1"],
        ["ORG", "0", "0", "0", "0", "0"],
        ["PER", "0", "0", "1", "1", "0"],
        ["spurious", "1", "0", "0", "0", "0"],
    ]
    assert calibration[-1] == ["87% to 93%", "1", "90.0%", "100.0%"]
    assert length[1] == ["1\N{EN DASH}5", "50.00%", "50.00%", "50.00%", "2", "2"]
    assert familiarity[1] == ["all labels", "1 of 1", "0 of 0", "0 of 3"]
    assert settings == [["seed", "7"]]


def test_the_same_run_gives_the_same_bytes(report, tmp_path):
    assert write(tmp_path) == report[1]
    for path in (report[0] / "plots").iterdir():
        assert path.read_bytes() == (tmp_path / "plots" / path.name).read_bytes()


def test_a_model_that_finds_nothing_has_a_report(tmp_path):
    page = write(tmp_path, dev={"news": [tagged(3, [(0, 1, "PER")], [])]})

    assert "Of 1 gold entities 0 were found" in page


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "plots").write_text("")

    with pytest.raises(RunError, match="plots: cannot be written: File exists"):
        write(tmp_path)
