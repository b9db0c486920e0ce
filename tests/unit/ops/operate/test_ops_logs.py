"""What ``nerserve logs`` prints of the files that a nerserve up leaves, and how it goes on through their rotation."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nerserve.cli import main
from ops.operate.logs import Follower
from ops.process.group import LogFile

ROOT = Path(__file__).parents[4]
PATIENCE_S = 60


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "state" / "logs"
    folder.mkdir(parents=True)
    return folder


def timed(at, message):
    return json.dumps({"time": f"2026-12-01T12:00:{at:02}.000Z", "message": message}) + "\n"


def printed(logs, capsys, *arguments):
    assert main(["logs", *arguments, "--state-dir", str(logs.parent)]) == 0
    return capsys.readouterr().out.splitlines()


def test_one_log_is_printed_as_it_is(logs, capsys):
    (logs / "site.log").write_text(timed(1, "é") + "a traceback\n")

    assert printed(logs, capsys, "site") == [timed(1, "é").strip(), "a traceback"]


def test_several_come_in_the_order_of_time_with_their_names(logs, capsys):
    (logs / "site.log").write_text(timed(1, "one") + timed(4, "four"))
    (logs / "ts_log.log").write_text(timed(2, "two") + "of two\n" + timed(3, "three"))
    (logs / "access_log.log").write_text(timed(2, "not asked for"))

    lines = printed(logs, capsys, "site", "torchserve")

    assert [line.partition(" | ")[0] for line in lines] == ["site      ", *["torchserve"] * 3, "site      "]
    assert [line.partition(" | ")[2] for line in lines] == [
        *(timed(1, "one").strip(), timed(2, "two").strip(), "of two"),
        *(timed(3, "three").strip(), timed(4, "four").strip()),
    ]


def test_without_a_name_it_is_all_that_there_are(logs, capsys):
    (logs / "up.log").write_text(timed(2, "up"))
    (logs / "model_log.log").write_text(timed(1, "model"))

    assert [line.split(" | ")[0].strip() for line in printed(logs, capsys)] == ["model", "up"]


@pytest.mark.parametrize(("lines", "first"), [("0", None), ("1", 39), ("20", 20), ("35", 5), ("1000", 0)])
def test_so_many_lines_are_printed_of_files_that_were_put_aside_too(logs, capsys, lines, first):
    for name, numbers in (("ts_log.1.log", range(10)), ("ts_log.2.log", range(10, 30)), ("ts_log.log", range(30, 40))):
        (logs / name).write_text("".join(f"{number}\n" for number in numbers))
        os.utime(logs / name, (numbers[0], numbers[0]))

    expected = [] if first is None else [str(number) for number in range(first, 40)]
    assert printed(logs, capsys, "torchserve", "--lines", lines) == expected


def test_a_log_that_is_not_there_is_an_error_that_says_which_are(logs, capsys):
    (logs / "up.log").touch()
    (logs / "site.log").touch()

    for name in ("access", "nothing"):
        assert main(["logs", name, "--state-dir", str(logs.parent)]) == 2
        assert capsys.readouterr().err == f"nerserve: no log {name} in {logs}; there are up, site\n"


def test_without_a_state_directory_it_is_an_error(tmp_path, capsys):
    assert main(["logs", "--state-dir", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith(f"nerserve: no logs in {tmp_path / 'nothing' / 'logs'}; ")


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def test_a_line_is_followed_once_it_is_whole(tmp_path):
    log = Follower(tmp_path / "log")
    assert log.new() == []

    append(tmp_path / "log", "one\ntw")
    first = log.new()
    append(tmp_path / "log", "o\n")

    assert (first, log.new(), log.new()) == (["one"], ["two"], [])


def test_nothing_is_lost_when_a_log_is_renamed_and_begun_anew(tmp_path):
    log = Follower(tmp_path / "ts_log.log")
    append(tmp_path / "ts_log.log", "one\n")
    assert log.new() == ["one"]

    append(tmp_path / "ts_log.log", "two\n")
    (tmp_path / "ts_log.log").rename(tmp_path / "ts_log.1.log")
    between = log.new()
    append(tmp_path / "ts_log.log", "three\n")

    assert (between, log.new()) == (["two"], ["three"])


def test_nothing_is_lost_when_a_log_is_copied_and_emptied(tmp_path):
    path = tmp_path / "site.log"
    log = Follower(path)
    append(path, "one\n")
    assert log.new() == ["one"]

    append(path, "two\n")
    LogFile(path).cap(max_bytes=1)
    append(path, "3\n")

    assert (log.new(), path.read_text()) == (["two", "3"], "3\n")


def test_follow_prints_what_comes_until_it_is_ended(logs):
    (logs / "site.log").write_text("old\n")
    command = [sys.executable, "-m", "nerserve.cli", "logs", "-f", "site", "--state-dir", logs.parent]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "old\n"

        append(logs / "site.log", "new\n")

        assert process.stdout.readline() == "new\n"
        process.terminate()


def test_a_pager_may_be_left(logs):
    (logs / "site.log").write_text("line\n" * 100_000)
    command = [sys.executable, "-m", "nerserve.cli", "logs", "site", "-n", "100000", "--state-dir", logs.parent]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()

        assert (process.wait(PATIENCE_S), process.stderr.read()) == (128 + signal.SIGPIPE, "")
