"""The rules behind the operators' commands, as tables; and what their command lines accept."""

import pytest

from contract.names import MODEL_NAME_RULE, VERSION_RULE
from handler.digests import file_digest
from nerserve.cli import make_parser
from ops.errors import InputFileError, NotNowError, OpsError, UnknownModelError
from ops.operate import model_store
from ops.operate.commands import read_sample
from ops.operate.keys import key_from
from ops.operate.verdicts import (
    ErrorWatch,
    IdleWatch,
    LoadWatch,
    compare,
    comparison_problem,
    other_version,
    scale_steps,
)
from ops.torchserve_api.management import ModelStatus, WorkerStatus
from ops.torchserve_api.predictions import Prediction, read_prediction

SOURCE = {"name": "en", "version": "1.0", "digest": "sha256:0"}
TEXT = "Obama saw Hawaii."


def status(version, *workers, num_pending=0):
    """A version whose *workers* are (id, status, pid)."""
    return ModelStatus(
        "en", version, len(workers), len(workers), tuple(WorkerStatus(*one) for one in workers), num_pending, 20
    )


def ready(version, num_workers=1):
    return status(version, *((str(9000 + i), "READY", 100 + i) for i in range(num_workers)))


def found(*spans):
    return Prediction(version="1.0", entities=frozenset(spans))


PER, LOC, NONE, BROKEN = found((0, 5, "PER")), found((0, 5, "LOC")), found(), Prediction(problem="status 500")


@pytest.mark.parametrize(
    ("old", "new", "limit", "problem"),
    [
        ([PER, NONE], [PER, NONE], 0.0, ""),
        ([PER, NONE], [PER, PER], 0.5, ""),
        ([PER, NONE], [PER, PER], 0.4, "it disagrees with the old one on 1 of 2 texts (50%, at most 40% are allowed)"),
        ([PER], [LOC], 0.9, "it disagrees with the old one on 1 of 1 texts (100%, at most 90% are allowed)"),
        ([PER], [LOC], 1.0, ""),
        ([PER, PER], [PER, BROKEN], 1.0, "it did not answer 1 of 2 texts that the old one answers: status 500"),
        ([BROKEN, PER], [PER, PER], 0.0, ""),
        ([BROKEN], [PER], 0.5, "the old version answered none of the texts, so nothing could be compared"),
        ([BROKEN], [PER], 1.0, ""),
        ([BROKEN], [BROKEN], 1.0, ""),
    ],
)
def test_a_new_version_is_judged_by_what_the_old_one_answers(old, new, limit, problem):
    assert comparison_problem(compare(old, new), limit) == problem


def test_a_comparison_names_the_texts_by_number():
    comparison = compare([PER, BROKEN, PER, PER], [PER, PER, LOC, BROKEN])

    assert (comparison.num_texts, comparison.num_compared) == (4, 2)
    assert (comparison.differing, comparison.old_failed, comparison.new_failed) == ((2,), (1,), (3,))
    assert comparison.disagreement == 0.5
    assert comparison.text.startswith("1 of 2 texts differ (50%); 1 could not be compared")


@pytest.mark.parametrize(
    ("num_planned", "error_rate", "seen", "during", "at_the_end"),
    [
        (10, 0.0, [""] * 10, "", ""),
        (10, 0.0, ["", "status 500"], "1 of 2 canaries failed: status 500", "1 of 2 canaries failed: status 500"),
        (10, 0.1, ["status 500", ""], "", "1 of 2 canaries failed: status 500"),
        (10, 0.1, ["status 500", *[""] * 9], "", ""),
        (10, 0.1, ["a", "b"], "2 of 2 canaries failed: a", "2 of 2 canaries failed: a"),
        (10, 1.0, ["a"] * 10, "", ""),
        (0, 0.0, [], "", ""),
    ],
)
def test_canaries_have_failed_once_too_many_have(num_planned, error_rate, seen, during, at_the_end):
    watch = ErrorWatch(num_planned, error_rate)
    for problem in seen:
        watch.saw(problem)

    assert watch.problem == during
    assert watch.problem_at_the_end() == at_the_end


@pytest.mark.parametrize(
    ("looks", "has_failed"),
    [
        ([[("9", "UNLOADING", None)], [("9", "UNLOADING", 1)], [("9", "READY", 1)]], False),
        ([[("9", "UNLOADING", 1)], [("9", "UNLOADING", 2)]], False),
        ([[("9", "UNLOADING", 1)], [("9", "UNLOADING", 2)], [("9", "UNLOADING", 3)]], True),
        ([[("9", "UNLOADING", 1), ("8", "UNLOADING", 2)], [("9", "UNLOADING", 3), ("8", "UNLOADING", 4)]], False),
        ([[("9", "UNLOADING", 1)], [("9", "UNLOADING", 2)], [("9", "READY", 2)], [("9", "UNLOADING", 3)]], False),
    ],
)
def test_a_worker_that_ends_again_and_again_does_not_load(looks, has_failed):
    watch = LoadWatch()
    for workers in looks:
        watch.saw(status("1.0", *workers))

    assert bool(watch.problem) is has_failed


@pytest.mark.parametrize(
    ("looks", "is_idle"),
    [
        ([], False),
        ([(0, 0)], False),
        ([(0, 0), (1, 0), (2, 0)], True),
        ([(0, 0), (1, 3), (2, 0)], False),
        ([(0, 3), (1, 0), (3, 0)], True),
    ],
)
def test_a_queue_is_idle_after_a_grace(looks, is_idle):
    watch = IdleWatch(grace_s=2.0)
    for now_s, num_pending in looks:
        watch.saw(now_s, num_pending)

    assert watch.is_idle(looks[-1][0] if looks else 0) is is_idle


@pytest.mark.parametrize(
    ("now", "target", "steps"), [(1, 4, [4]), (4, 1, [3, 2, 1]), (0, 2, [2]), (2, 2, [2]), (3, 0, [2, 1, 0])]
)
def test_workers_come_together_and_go_one_at_a_time(now, target, steps):
    assert scale_steps(now, target) == steps


@pytest.mark.parametrize(
    ("versions", "named", "expected"),
    [
        ([ready("2"), ready("1")], None, "1"),
        ([ready("2"), ready("1"), status("0")], None, "1"),
        ([ready("2"), ready("1"), status("0")], "0", "0"),
    ],
)
def test_rolling_back_goes_to_the_one_on_standby_or_the_one_named(versions, named, expected):
    assert other_version({one.version: one for one in versions}, "2", named) == expected


@pytest.mark.parametrize(
    ("versions", "named", "message"),
    [
        ([ready("2")], None, "there is no other version than 2"),
        ([ready("2"), status("1")], None, "no other version has a worker that is ready; choose one of 1 with --to"),
        ([ready("2"), ready("1"), ready("0")], None, "more than one other version has workers; choose one of 0, 1"),
        ([ready("2"), ready("1")], "2", "version 2 is the default already"),
    ],
)
def test_rolling_back_never_guesses(versions, named, message):
    with pytest.raises(NotNowError, match=message):
        other_version({one.version: one for one in versions}, "2", named)


def test_rolling_back_to_a_version_that_is_not_there_has_the_status_of_one_that_is_not_there():
    with pytest.raises(UnknownModelError, match="version 7 is not registered; there is 1, 2") as raised:
        other_version({"1": ready("1"), "2": ready("2")}, "2", "7")

    assert raised.value.exit_status == 6


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ({"model": SOURCE, "entities": []}, ""),
        ({"model": SOURCE, "entities": [{"text": "Obama", "label": "PER", "start": 0, "end": 5}]}, ""),
        ([], "expected a JSON object"),
        ({"entities": []}, "it does not say which model answered"),
        ({"model": SOURCE | {"digest": 7}, "entities": []}, "it does not say which model answered"),
        ({"model": SOURCE | {"name": "de"}, "entities": []}, "the answer of another model, de"),
        ({"model": SOURCE}, "it has no list of entities"),
        ({"model": SOURCE, "entities": ["Obama"]}, "entity 0 does not fit its text"),
        ({"model": SOURCE, "entities": [{"text": "Obama", "label": "PER", "start": 1, "end": 6}]}, "entity 0 does not"),
        ({"model": SOURCE, "entities": [{"text": "", "label": "PER", "start": 3, "end": 3}]}, "entity 0 does not"),
        ({"model": SOURCE, "entities": [{"text": "O", "label": None, "start": 0, "end": 1}]}, "entity 0 does not"),
        ({"model": SOURCE, "entities": [{"text": "O", "label": "X", "start": False, "end": 1}]}, "entity 0 does not"),
    ],
)
def test_only_what_fits_the_contract_is_an_answer(reply, problem):
    answer = read_prediction(reply, TEXT, "en")

    assert problem in answer.problem
    assert answer.is_fine is not bool(problem)
    assert "Obama" not in answer.problem


def test_a_key_is_read_again_at_each_use(tmp_path):
    path = tmp_path / "management.key"
    key = key_from(path)

    path.write_text("first\n")
    first = key()
    path.write_text("second")

    assert (first, key()) == ("first", "second")


@pytest.mark.parametrize("content", ["", "\n", "two words", "two\nlines", "Schlüssel"])
def test_what_is_no_key_is_refused_without_being_shown(tmp_path, content):
    path = tmp_path / "management.key"
    path.write_text(content)

    with pytest.raises(InputFileError) as caught:
        key_from(path)()

    assert str(path) in str(caught.value)
    assert not content.strip() or content.strip() not in str(caught.value)


def test_a_sample_is_a_text_a_line(tmp_path):
    path = tmp_path / "texts"
    path.write_text("one\n\n  \ntwo ä\n")

    assert read_sample(path) == ["one", "two ä"]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_a_sample_without_a_text_is_refused(tmp_path, content):
    path = tmp_path / "texts"
    path.write_bytes(content)

    with pytest.raises(InputFileError, match=str(path)):
        read_sample(path)


def test_a_file_of_the_store_is_never_replaced_by_another(tmp_path):
    archive, other, store = tmp_path / "a.mar", tmp_path / "b.mar", tmp_path / "store"
    archive.write_bytes(b"a")
    archive.chmod(0o640)
    other.write_bytes(b"b")
    store.mkdir()

    was_needed = [model_store.put(archive, store, "en-1.1.mar", file_digest(archive)) for _ in range(2)]
    with pytest.raises(NotNowError, match="is another archive than"):
        model_store.put(other, store, "en-1.1.mar", file_digest(other))

    assert was_needed == [True, False]
    assert [path.name for path in store.iterdir()] == ["en-1.1.mar"]
    assert (store / "en-1.1.mar").read_bytes() == b"a"
    assert (store / "en-1.1.mar").stat().st_mode & 0o777 == 0o640


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(OpsError, match="cannot be copied"):
        model_store.put(tmp_path / "no-such.mar", tmp_path, "en-1.1.mar", "sha256:0")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("present", [False, True])
def test_an_archive_that_was_changed_after_it_was_checked_does_not_come_into_the_store(tmp_path, present):
    archive, store = tmp_path / "a.mar", tmp_path / "store"
    store.mkdir()
    archive.write_bytes(b"checked")
    checked = file_digest(archive)
    archive.write_bytes(b"a stranger's")
    if present:
        (store / "en-1.1.mar").write_bytes(b"a stranger's")

    with pytest.raises(OpsError, match="is another archive than" if present else "has changed since it was checked"):
        model_store.put(archive, store, "en-1.1.mar", checked)

    assert [path.name for path in store.iterdir()] == (["en-1.1.mar"] if present else [])


def test_a_version_that_is_damaged_does_not_become_the_one_that_restarts_serve(tmp_path):
    (tmp_path / "en.mar").write_bytes(b"as it was")
    (tmp_path / "en-1.1.mar").write_bytes(b"damaged")

    with pytest.raises(OpsError, match=r"restarts go on serving en\.mar as it is: .*en-1\.1\.mar: damaged"):
        model_store.make_current(tmp_path, "en", "1.1")

    assert (tmp_path / "en.mar").read_bytes() == b"as it was"


@pytest.mark.parametrize("present", [[], ["en.mar"], ["en-1.1.mar"]])
def test_a_store_without_both_files_stays_as_it_is(tmp_path, present):
    for name in present:
        (tmp_path / name).write_bytes(name.encode())

    assert model_store.make_current(tmp_path, "en", "1.1") is False
    assert [path.name for path in tmp_path.iterdir()] == present


@pytest.mark.parametrize(
    "name", ["en+x", "x" * 65, "..", "a/b", "a%2fb", "..%2fx", "en\n", "a\nb", " en", "en=x", "-", "", "é"]
)
@pytest.mark.parametrize(
    "command",
    [
        "describe -- {}",
        "scale --workers=1 -- {}",
        "register a.mar --name={}",
        "rollout -- {} a.mar",
        "rollback -- {}",
        "drain -- {}",
        "unregister -- {} 1.0",
    ],
)
def test_a_name_that_no_model_can_have_is_wrong_usage(capsys, command, name):
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args([word.format(name) for word in command.split()])

    assert caught.value.code == 2
    assert f"expected {MODEL_NAME_RULE}, got {name!r}" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["all", "1.0rc1", "1+1", "v1", "1.2.3.4", "1" * 10, ""])
@pytest.mark.parametrize(
    "command", [["describe", "en"], ["scale", "--workers=1", "en"], ["drain", "en"], ["unregister", "en"]]
)
def test_a_version_that_no_model_can_have_is_wrong_usage(capsys, command, version):
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args([*command, version])

    assert caught.value.code == 2
    assert f"expected {VERSION_RULE}, got {version!r}" in capsys.readouterr().err


def test_a_rollback_goes_to_a_version_that_there_can_be(capsys):
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args(["rollback", "en", "--to", "all"])

    assert caught.value.code == 2
    assert f"nerserve: --to: expected {VERSION_RULE}, got 'all'" in capsys.readouterr().err


def test_the_longest_name_is_taken():
    assert make_parser().parse_args(["register", "a.mar", "--name", "x" * 64]).name == "x" * 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scale", "en"], "required: --workers"),
        (["scale", "en", "--workers", "0"], "expected a number of workers from 1 to 1000, got '0'"),
        (["models", "--management", "127.0.0.1:8081"], "expected http(s)://HOST[:PORT]"),
        (["models", "--management", "http://me:secret@host"], "expected a URL without a user"),
        (["rollout", "en", "a.mar", "--max-disagreement", "50"], "expected a share from 0 to 1, got '50'"),
        (["rollout", "en", "a.mar", "--watch", "-1"], "expected a number of seconds, got '-1'"),
        (["rollout", "en", "a.mar", "--old", "gone"], "--old: expected one of standby, stopped, removed, got 'gone'"),
        (["unregister", "en"], "required: VERSION"),
    ],
)
def test_wrong_usage_is_explained(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args(arguments)

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_environment_names_the_server(monkeypatch):
    monkeypatch.setenv("NERSERVE_MANAGEMENT_URL", "https://ner.example.org:8081/")
    monkeypatch.setenv("NERSERVE_INFERENCE_URL", "https://ner.example.org:8080")

    options = make_parser().parse_args(["rollout", "en", "a.mar", "--inference", "http://127.0.0.1:1"])

    assert (options.management, options.inference) == ("https://ner.example.org:8081", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    "command", ["models", "describe", "scale", "register", "rollout", "rollback", "drain", "unregister"]
)
def test_help_has_an_example_and_every_exit_status(capsys, command):
    with pytest.raises(SystemExit):
        make_parser().parse_args([command, "--help"])

    printed = capsys.readouterr().out
    assert f"\n  nerserve {command}" in printed
    assert [status for status in (0, 1, 2, 5, 6, 7, 8, 9, 10, 11) if f"\n  {status}  " not in printed] == []
