"""The command line as a whole: what was meant is said, and what was right in 0.1 goes on working."""

import pytest

from nerserve.cli import main, make_parser
from nerserve.spellings import OLD, WORDS, with_new_spellings


def commands():
    """Each command's parser by its name, sections of one included."""
    found = {}

    def walk(parser, path):
        for action in parser._actions:
            if isinstance(action.choices, dict):
                for name, child in action.choices.items():
                    found[(*path, name)] = child
                    walk(child, (*path, name))

    walk(make_parser(), ())
    return found


COMMANDS = commands()


def said(capsys, *arguments):
    """The status of *arguments* and what is printed to stderr."""
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    return status, capsys.readouterr().err


def test_without_a_command_the_help_is_printed_and_the_status_is_that_of_wrong_usage(capsys):
    status, printed = said(capsys)

    assert status == 2
    assert "nerserve up" in printed
    assert "exit status:" in printed


@pytest.mark.parametrize(("help_", "command"), [(["help"], "COMMAND"), (["help", "scale"], "--workers N")])
def test_help_is_a_command_too(capsys, help_, command):
    with pytest.raises(SystemExit) as stopped:
        main(help_)

    assert stopped.value.code == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize("word", sorted(WORDS))
def test_a_word_that_people_try_leads_to_a_command_that_there_is(capsys, word):
    status, printed = said(capsys, word)

    assert tuple(WORDS[word].split()) in COMMANDS
    assert (word,) not in COMMANDS
    assert status == 2
    assert printed.startswith(f"nerserve: no command '{word}'; did you mean {WORDS[word]}")


@pytest.mark.parametrize("name", [name for (name,) in [key for key in COMMANDS if len(key) == 1] if len(name) > 3])
def test_a_command_with_two_letters_swapped_is_recognised(capsys, name):
    mistyped = name[:1] + name[2] + name[1] + name[3:]

    status, printed = said(capsys, mistyped)

    assert status == 2
    assert name in printed.splitlines()[0].partition("did you mean ")[2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["up", "--prot", "8001"], "no option --prot; did you mean --port?"),
        (["up", "--modle-store=x"], "no option --modle-store; did you mean --model-store?"),
        (["up", "-p", "8001"], "no option -p; did you mean --port-base or --port?"),
        (["train", "--trian", "x"], "no option --trian; did you mean --train?"),
        (["scale", "en", "--worker-count", "2"], "no option --worker-count; did you mean --workers?"),
        (["evaluate", "--xyzzy"], "no option --xyzzy"),
        (["up", "en-social"], "unexpected argument 'en-social'; did you mean --models en-social?\nMore: "),
        (["status", "en"], "unexpected argument 'en'\nMore: nerserve status --help"),
        (["--prot", "8001", "up"], "no option --prot"),
        (["bench", "served", "--conections", "3"], "no option --conections; did you mean --connections?"),
        (["Kofi Annan was born in Kumasi."], "no command 'Kofi Annan was born in Kumasi.'; for the "),
        (["rollout", "en", "x.mar", "--old", "stoped"], "--old: expected one of standby, stopped, removed, got"),
        (["train", "--storage", "int4"], "--storage: expected one of auto, int8, float16, float32, got 'int4'"),
        (["bench", "--without", "spacy,flair"], "--without: expected some of spacy, litserve, classic, g"),
        (["evaluate", "b", "f", "--labels", "PER,PER"], "--labels: expected each once, with commas between them, got"),
        (["evaluate", "b", "f", "--max-errors", "0"], "--max-errors: expected a whole number above 0, got '0'"),
        (["train", "--seed", "x"], "--seed: expected a whole number, got 'x'"),
    ],
)  # fmt: skip
def test_wrong_usage_says_what_was_meant_or_expected(capsys, arguments, problem):
    status, printed = said(capsys, *arguments)

    assert status == 2
    assert printed.startswith(f"nerserve: {problem}")
    assert printed.splitlines()[1].startswith("More: nerserve ")
    assert printed.splitlines()[1].endswith(" --help")


def test_a_beginning_of_an_option_is_taken_with_a_warning(capsys):
    status, printed = said(capsys, "models", "--management-key nokey".split(maxsplit=1)[0], "nokey")

    assert status == 2
    assert printed.splitlines()[0] == (
        "nerserve: warning: --management-key is read as --management-key-file; the next release wants it in full"
    )
    assert "nokey cannot be read as a key: No such file" in printed


@pytest.mark.parametrize(
    ("old", "now", "warning"),
    [
        ("archive b --out s --version 2", "archive b --model-store s --model-version 2", "--version is now"),
        ("archive b --out=s", "archive b --model-store=s", "--out is now --model-store"),
        ("train --labels m --seeds 1 2 --out o", "train --label-map m --seeds 1,2 --out o", "--seeds 1,2"),
        ("train --version 1.1 --resume", "train --model-version 1.1 --resume", "--version is now --model-version"),
        ("evaluate b f --only PER ORG --json", "evaluate b f --labels PER,ORG --json", "--only is now --labels"),
        ("evaluate b f --labels m.json", "evaluate b f --label-map m.json", "--labels is now --label-map"),
        ("rollout en x --keep-old --watch 2", "rollout en x --old=stopped --watch 2", "is now --old stopped"),
        ("scale en --timeout 3", "scale en --load-timeout 3", "--timeout is now --load-timeout"),
        ("drain en --timeout 3", "drain en --drain-timeout 3", "--timeout is now --drain-timeout"),
        ("bench --connections 1 8 served", "bench --connections 1,8 served", "--connections 1,8"),
        ("bench --without spacy litserve process", "bench --without spacy,litserve process", "--without spacy,"),
        ("bench --json b.json", "bench --out b.json", "--json is now --out"),
    ],
)  # fmt: skip
def test_a_spelling_of_0_1_works_with_a_warning_that_names_the_new_one(old, now, warning):
    warnings = []

    assert with_new_spellings(old.split(), warnings.append) == now.split()
    assert warning in " ".join(warnings)


@pytest.mark.parametrize(
    "now",
    [
        "archive b --model-store s",
        "train --seeds 1,2,3 --vectors v w",
        "evaluate b f --labels PER,ORG g",
        "evaluate b f --labels PER --json",
        "up --config c",
        "bench --connections 1,8 served --json",
        "bench --json served",
        "scale en --load-timeout 3 -- --timeout",
        "--version",
        "",
    ],
)
def test_what_is_spelt_as_it_is_now_stays_without_a_warning(now):
    warnings = []

    assert with_new_spellings(now.split(), warnings.append) == now.split()
    assert warnings == []


@pytest.mark.parametrize(("command", "old"), [(command, old) for command, all_ in OLD.items() for old in all_])
def test_an_old_spelling_stands_for_an_option_that_there_is(command, old):
    parsers = [parser for path, parser in COMMANDS.items() if path[0] == command]
    options = {option for parser in parsers for option in parser._option_string_actions}

    assert old.now.partition("=")[0] in options


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_of_a_command_teaches(path):
    printed = COMMANDS[path].format_help()

    assert max(map(len, printed.splitlines())) <= 120
    commands = COMMANDS[path]._commands
    if (commands is None or not commands.required) and path[:-1] != ("bench",):  # else its sub-commands teach
        assert f"\n  nerserve {' '.join(path)}" in printed.partition("\nexample")[2]
        assert "\nexit status:\n  0        done\n" in printed
        assert printed.index("\nexample") < printed.index("\nexit status:")
