"""The archive format: one byte sequence for one content, and every way to damage it refused by name."""

import contextlib
import io
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from archive import mar
from archive.errors import ArchiveError
from archive.verify import check_mar, verify_mar
from contract.names import MODEL_NAME_RULE


def manifest(**changes):
    model = {"modelName": "tiny", "modelVersion": "1.0", "handler": "ner_handler.py", **changes}
    return json.dumps({"model": model}).encode()


FILES = {
    mar.MANIFEST: manifest(),
    mar.ENTRY_POINT: b"raise RuntimeError('no bundle here')\n",
    mar.MODEL_CONFIG: b"minWorkers: 1\n",
    "bundle/config.json": b"{}",
    "bundle/weights.npz": bytes(range(256)) * 8,
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tiny.mar"
    path.write_bytes(mar.pack(FILES))
    return path


def test_what_is_packed_is_read_again(path):
    info, files = mar.read(path)

    assert {name: content for name, content in files.items() if name != mar.DIGESTS} == FILES
    assert (info.name, info.version, info.about) == ("tiny", "1.0", {})
    assert info.files["bundle/weights.npz"] == 2048


def test_the_archive_is_an_ordinary_zip_with_crcs_that_hold(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted([*FILES, mar.DIGESTS])
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_order_of_the_files_does_not_matter():
    assert mar.pack(dict(reversed(FILES.items()))) == mar.pack(FILES)


def test_every_flipped_byte_is_refused(path, tmp_path):
    data = path.read_bytes()
    flipped = tmp_path / "flipped.mar"
    accepted = []
    for position in range(0, len(data), 7):
        flipped.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        with contextlib.suppress(ArchiveError):
            check_mar(flipped)
            accepted.append(position)
    assert accepted == []


def test_a_flipped_byte_of_a_file_names_the_file(path):
    data = bytearray(path.read_bytes())
    data[data.index(bytes(range(256))) + 700] ^= 1
    path.write_bytes(data)

    with pytest.raises(ArchiveError, match=r"damaged.*bundle/weights\.npz"):
        check_mar(path)


@pytest.mark.parametrize("kept", [0, 1, 30, 1000, -1])
def test_a_cut_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(ArchiveError, match="damaged, cut off or no zip file"):
        check_mar(path)


def zip_of(files, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def twice(data):
    """*Data* with one name turned into a copy of another; zipfile itself would warn of it."""
    return data.replace(b"MANIFEST.jso2", b"MANIFEST.json")


def lying(data, num_bytes):
    """The zip *data* with *num_bytes* in its directory as the size of each file."""
    entries = data.split(b"PK\x01\x02")
    size = struct.pack("<I", num_bytes)
    return b"PK\x01\x02".join([entries[0], *(entry[:20] + size + entry[24:] for entry in entries[1:])])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"hello", "no zip file"),
        (zip_of([("readme.txt", b"hi")]), r"no TorchServe archive: MAR-INF/MANIFEST\.json is missing"),
        (zip_of(FILES.items()), r"no archive of nerserve's: MAR-INF/digests\.json is missing"),
        (zip_of(FILES.items(), zipfile.ZIP_DEFLATED), "its files are compressed"),
        (lying(zip_of(FILES.items(), zipfile.ZIP_DEFLATED), 10), "its files are compressed"),
        (lying(zip_of(FILES.items(), zipfile.ZIP_BZIP2), 10), "its files are compressed"),
        (lying(zip_of(FILES.items()), 1_000_000), "damaged: it is shorter than the files that it names"),
        (lying(zip_of(FILES.items()), 1), "damaged"),
        (twice(zip_of([*FILES.items(), ("MAR-INF/MANIFEST.jso2", b"")])), "a name stands twice"),
        (zip_of([("../evil", b""), *FILES.items()]), "leads out of the archive"),
        (zip_of([("/evil", b""), *FILES.items()]), "leads out of the archive"),
        (zip_of([*FILES.items(), (mar.DIGESTS, b"{")]), r"digests\.json: expected JSON"),
        (zip_of([*FILES.items(), (mar.DIGESTS, b"[]")]), r"digests\.json: expected a JSON object"),
        (zip_of([*FILES.items(), (mar.DIGESTS, b"{}")]), r"MAR-INF/MANIFEST\.json: expected no such file"),
        (zip_of([*FILES.items(), (mar.DIGESTS, b'{"x": "sha256:0"}')]), r"MANIFEST\.json: expected no such file"),
        (mar.pack({**FILES, mar.MANIFEST: b"{"}), r"MANIFEST\.json: expected JSON"),
        (mar.pack({**FILES, mar.MANIFEST: b"[" * 100_000}), r"MANIFEST\.json: expected JSON"),
        (mar.pack({**FILES, mar.MANIFEST: b"9" * 5_000}), r"MANIFEST\.json: expected JSON"),
        (mar.pack({**FILES, mar.MANIFEST: b'{"model": 1}'}), "expected a model with modelName"),
        (
            mar.pack({**FILES, mar.MANIFEST: manifest(modelName="../../tmp/x")}),
            f"modelName: expected {MODEL_NAME_RULE}, got '../../tmp/x'",
        ),
        (mar.pack({**FILES, mar.MANIFEST: manifest(modelName="en+x")}), r"modelName: expected .*, got 'en\+x'"),
        (mar.pack({**FILES, mar.MANIFEST: manifest(modelName="x" * 65)}), f"modelName: expected .*, got '{'x' * 65}'"),
        (mar.pack({**FILES, mar.MANIFEST: manifest(modelName="")}), "modelName: expected .*, got ''"),
        (
            mar.pack({**FILES, mar.MANIFEST: manifest(modelVersion="2/0")}),
            r"modelVersion: expected N, N\.N or N\.N\.N, got '2/0'",
        ),
        (mar.pack({**FILES, mar.MANIFEST: manifest(modelVersion="\u0661")}), "modelVersion: expected N"),
        (mar.pack({**FILES, mar.MANIFEST: manifest(modelVersion=1)}), "expected a model with modelName"),
        (
            mar.pack({**FILES, mar.MANIFEST: manifest(handler="other.py")}),
            "expected handler ner_handler.py, got 'other.py'",
        ),
        (
            mar.pack({name: content for name, content in FILES.items() if name != mar.MODEL_CONFIG}),
            "model-config.yaml is missing",
        ),
        (mar.pack({**FILES, "bundle/config.json": b"[]"}), r"bundle/config\.json: expected a JSON object"),
        (mar.pack({**FILES, "bundle/config.json": b'{"about": "x"}'}), r"config\.json: about: expected an object"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_file_that_is_no_archive_of_ours_is_refused(path, data, problem):
    path.write_bytes(data)

    with pytest.raises(ArchiveError, match=problem):
        check_mar(path)


def test_a_file_that_its_digests_miss_or_add_is_named(path):
    digests = json.loads(mar.read(path)[1][mar.DIGESTS])
    for change in ({"extra": "sha256:0"}, {"bundle/weights.npz": "sha256:0"}):
        sealed = json.dumps({**digests, **change}).encode()
        path.write_bytes(zip_of(sorted([*FILES.items(), (mar.DIGESTS, sealed)])))

        with pytest.raises(ArchiveError, match=next(iter(change))):
            check_mar(path)


def test_right_files_in_other_wrapping_are_refused(path):
    files = mar.read(path)[1]
    path.write_bytes(zip_of(sorted(files.items())))  # dated today

    with pytest.raises(ArchiveError, match="changed since it was built"):
        check_mar(path)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"none\.mar: cannot be read: No such file"):
        check_mar(tmp_path / "none.mar")


def test_a_model_that_does_not_load_is_refused_with_its_reason(path):
    with pytest.raises(ArchiveError, match="the model does not answer: RuntimeError: no bundle here"):
        verify_mar(path)


def test_a_model_that_never_answers_is_refused(tmp_path):
    path = tmp_path / "slow.mar"
    path.write_bytes(mar.pack({**FILES, mar.ENTRY_POINT: b"import time\ntime.sleep(60)\n"}))

    with pytest.raises(ArchiveError, match=r"the model did not answer within 0\.5 s"):
        verify_mar(path, timeout_s=0.5)


HANDLER = """
import json
class NERHandler:
    def initialize(self, context): pass
    def handle(self, rows, context):
        {answer}
"""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("context.set_response_status(503, 'no', 0); return [json.dumps({'error': {}})]", "status 503 for the canary"),
        ("return [json.dumps({'error': {}})]", "status 200 for the canary sentence"),
        (
            "return [json.dumps({'entities': [{'text': 'Obama', 'start': 0, 'end': 5}]})]",
            "offsets that do not give the entity's text back",
        ),
        ("raise SystemExit(3)", "exit code 3"),
    ],
)
def test_a_model_that_answers_off_the_contract_is_refused(tmp_path, answer, problem):
    path = tmp_path / "odd.mar"
    path.write_bytes(mar.pack({**FILES, mar.ENTRY_POINT: HANDLER.format(answer=answer).encode()}))

    with pytest.raises(ArchiveError, match=f"the model does not answer: .*{problem}"):
        verify_mar(path)


def test_an_archive_of_0_1_which_holds_no_contract_package_still_answers(tmp_path):
    entry = HANDLER.format(answer="return ['{\"entities\": []}']").encode()
    path = tmp_path / "old.mar"
    path.write_bytes(mar.pack({**FILES, mar.ENTRY_POINT: entry}))
    assert not [name for name in FILES if name.startswith("contract/")]

    assert verify_mar(path) == check_mar(path)


def wait_until(condition):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def archive_with(path, code):
    path.write_bytes(mar.pack({**FILES, mar.ENTRY_POINT: code.encode()}))
    return path


def test_a_strangers_code_sees_no_variable_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do not tell")
    path = archive_with(tmp_path / "nosy.mar", "import os\nraise RuntimeError(sorted(os.environ))\n")

    with pytest.raises(ArchiveError) as caught:
        verify_mar(path)

    named = set(re.findall(r"'(\w+)'", str(caught.value).rpartition("RuntimeError: ")[2]))
    assert named <= {"TMPDIR", "LC_ALL", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"}
    assert "TMPDIR" in named


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("bytearray(9 * 10**9)", "MemoryError"),
        ("open('/dev/null'); x = [open('/dev/null') for _ in range(1000)]", "Too many open files"),
        ("import os; open(os.environ['TMPDIR'] + '/big', 'wb').truncate(10**9)", "File too large|exit code -25"),
        ("import resource; raise RuntimeError(resource.getrlimit(resource.RLIMIT_CPU))", r"\(120, 120\)"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
    ],
)
def test_a_strangers_code_gets_so_much_and_no_more_and_leaves_nothing(tmp_path, monkeypatch, code, problem):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    with pytest.raises(ArchiveError, match=f"the model does not answer: .*({problem})"):
        verify_mar(archive_with(tmp_path / "greedy.mar", f"{code}\n"))

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("killed", ["the verifier", "the probe"])
def test_nothing_is_left_in_the_temporary_directory_after_a_kill(tmp_path, killed):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    path = archive_with(tmp_path / "slow.mar", "open('started', 'w').close()\nimport time\ntime.sleep(600)\n")
    code = "import sys; from archive.verify import verify_mar; from pathlib import Path; verify_mar(Path(sys.argv[1]))"
    environ = {"TMPDIR": str(temporary), "PYTHONPATH": str(Path(mar.__file__).parents[1])}

    with subprocess.Popen([sys.executable, "-c", code, path], env=environ, cwd=tmp_path) as verifier:
        wait_until((tmp_path / "started").exists)
        (probe,) = psutil.Process(verifier.pid).children()
        assert [folder.name for folder in temporary.iterdir() if folder.name.startswith("nerserve-verify-")]

        (verifier if killed == "the verifier" else probe).kill()

    wait_until(lambda: not list(temporary.iterdir()))
    wait_until(lambda: not probe.is_running() or probe.status() == psutil.STATUS_ZOMBIE)
