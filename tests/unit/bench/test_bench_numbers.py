"""The arithmetic and the words of ``nerserve bench``, and what it starts from; no timings."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from bench import wrk
from bench.errors import BenchError, BenchInputError
from bench.needs import require_program
from bench.plots import draw
from bench.report import Chart, Report, Table
from bench.rivals.plain import PlainTagger
from bench.rounds import Spread, StatusLine, in_turn, interleaved, ratio
from bench.texts import SHAPES, Texts
from handler.tagger import Tagger

ROOT = Path(__file__).parents[3]
EN = ROOT / "models" / "en"

HARD = [
    "Barack Obama was born in Hawaii.",
    "Dr. O'Neil’s café in Zürich opened on 3 May 1998. It closed; nobody knows why!",
    "北京 and supercalifragilisticexpialidociousness-of-the-worlds Inc.",
    "RT @nasa: #Apollo11 … http://example.org/x 🚀",
    "",
    "  \n",
]


def nerserve(*arguments, env=None):
    command = [sys.executable, "-m", "nerserve.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_every_other_round_runs_backwards():
    calls = []
    turns = {name: lambda number, name=name: calls.append((number, name)) for name in "ABC"}

    interleaved(turns, 3)

    assert "".join(name for _, name in calls) == "ABCCBAABC"
    assert [number for number, _ in calls] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(in_turn("AB", 1)) == ["B", "A"]


def test_results_stay_in_the_order_of_the_rounds():
    turns = {"a": lambda number: number, "b": lambda number: 10 * number}

    assert interleaved(turns, 3) == {"a": [0, 1, 2], "b": [0, 10, 20]}


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    mine, other = [100.0, 10.0, 60.0], [20.0, 5.0, 15.0]  # the machine was slow in the second round

    spread = ratio(mine, other)

    assert spread.rounds == (5.0, 2.0, 4.0)
    assert (spread.median, spread.low, spread.high) == (statistics.median([5, 2, 4]), 2.0, 5.0)


def test_a_ratio_needs_the_same_rounds_on_both_sides():
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_the_output_of_wrk_is_read():
    output = (
        "Running 2s test @ http://127.0.0.1:8080\n  1 threads and 8 connections\n"
        'RESULT {"requests": 1200, "seconds": 2.0, "refused": 200, "broken": 3, '
        '"p50_ms": 1.5, "p95_ms": 2.5, "p99_ms": 9.0}\n'
    )

    measured = wrk.parse(output)

    assert measured.rate == 500  # the refused are no answers
    assert (measured.broken, measured.p50_ms, measured.p95_ms, measured.p99_ms) == (3, 1.5, 2.5, 9.0)


def test_a_failure_of_wrk_is_told():
    with pytest.raises(BenchError, match="unable to connect"):
        wrk.parse("", "unable to connect to 127.0.0.1:1 Connection refused\n")


def test_requests_for_wrk_are_a_line_each(tmp_path):
    body = json.dumps({"text": "a\tb\nc"}).encode()

    wrk.write_requests(tmp_path / "requests", [("/predict", body), ("/predictions/en", body)])

    lines = (tmp_path / "requests").read_bytes().splitlines()
    assert [line.split(b"\t", 1) for line in lines] == [[b"/predict", body], [b"/predictions/en", body]]


def test_the_plain_way_finds_what_the_tagger_finds():
    texts = [*HARD, *Texts(seed=9).take(60)]
    plain = PlainTagger(EN)

    found = [list(map(tuple, plain.tag(text))) for text in texts]

    expected = [
        [(one.text, one.label, one.start, one.end) for one in one_text] for one_text in Tagger.load(EN).tag(texts)
    ]
    assert found == expected
    assert sum(map(len, found)) > 60


def test_texts_are_the_same_each_time_and_never_repeat():
    first, second = Texts(seed=1).take(400), Texts(seed=1).take(400)

    assert first == second
    assert len(set(first)) > 380  # a few short ones hold nothing that changes
    assert Texts(seed=2).take(400) != first


def test_texts_bring_new_words_as_real_text_does():
    """Among the second 14,000 words of WikiGold (news-like, 1,696 sentences) one in five had not come before."""
    texts = Texts()
    seen = {word for text in texts.take(700) for word in text.split()}
    words = [word for text in texts.take(700) for word in text.split()]

    new = len(set(words) - seen) / len(words)

    assert 0.12 < new < 0.3
    assert 15 < len(words) / 700 < 22


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_of_texts_goes_round(tmp_path, shape):
    file = tmp_path / "texts.txt"
    file.write_text("one two three\n\n  \nfour\n", "utf-8")

    texts = Texts(file).take(2, shape)

    expected = {"long": ["one two three four " * 4 + "one two three four"] * 2}
    assert texts == expected.get(shape, ["one two three", "four"])


@pytest.mark.parametrize("content", [None, b"\n \n", b"\xff\n"])
def test_a_file_without_texts_is_refused_by_name(tmp_path, content):
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(BenchInputError, match=r"--texts: .*mine\.txt"):
        Texts(file)


def test_a_missing_package_is_told_with_the_set_that_has_it():
    code = f"import sys; sys.path.append({str(ROOT)!r}); import bench.needs; "
    code += "bench.needs.require(['spacy', 'litserve'], instead='leave it out')"

    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "not installed: spacy, litserve;" in done.stderr
    assert "scripts/install serve web archive bench, or leave it out" in done.stderr
    for name in ("serve", "web", "archive", "bench"):
        assert (ROOT / "requirements" / f"{name}.txt").is_file()


def test_a_missing_program_is_told_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BenchError, match="sudo apt-get install wrk"):
        require_program("wrk", "wrk")


def test_a_report_has_every_round_in_its_json(capsys, tmp_path):
    report = Report(StatusLine(), {"texts": "mine"}, sys.stdout)
    table = Table("Speed", ("way", "per s"), [["a", Spread.of([1.0, 3.0])], ["b", 2.0]], charts=[Chart("per s", "way")])
    report.add(table)
    report.expect("a over b", Spread.of([0.5, 1.5]), 2.0)
    report.expect("time", Spread.of([0.5]), 2.0, at_most=True)

    report.finish()

    document = json.loads(report.as_json())
    spread = {"median": 2.0, "low": 1.0, "high": 3.0, "rounds": [1.0, 3.0]}
    assert document["tables"][0]["rows"] == [{"way": "a", "per s": spread}, {"way": "b", "per s": 2.0}]
    assert [bar["holds"] for bar in document["bars"]] == [False, True]
    printed = capsys.readouterr().out
    assert "MISSED" in printed
    assert "2 (1 to 3)" in printed
    (picture,) = draw(report.tables, tmp_path / "plots")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_help_says_what_is_needed():
    done = nerserve("bench", "--help")

    assert done.returncode == 0
    assert "scripts/install serve web archive bench" in done.stdout
    assert "apt-get install wrk" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["--rounds", "0"], ["--connections", "many"], ["--connections", "1,2000"], ["--without", "it"]],
)
def test_wrong_usage_is_told(arguments):
    assert nerserve("bench", *arguments).returncode == 2


def test_the_parser_imports_nothing_heavy():
    code = (
        "import nerserve.cli, sys; nerserve.cli.make_parser(); print({'numpy', 'torch', 'psutil'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
