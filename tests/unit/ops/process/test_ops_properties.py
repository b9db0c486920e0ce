"""Properties as TorchServe itself reads them: its own ConfigManager is asked, where this Java can compile the question.

The table was made by it once (TorchServe 0.12.0, Java 17), so that it holds on machines with a Java that cannot.
"""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.process.java import find_java
from ops.process.properties import (
    BOOLEANS,
    NUMBERS,
    TEXTS,
    format_properties,
    parse_properties,
    resolve_variables,
)
from ops.process.torchserve import torchserve_home, torchserve_jar

ROOT = Path(__file__).parents[4]
ENVIRONMENT = {"WORD": "a word", "EMPTY": ""}
REFUSED = None

#: What TorchServe adds to every file's settings, and the name of no setting.
ITS_OWN = {"version", "tsConfigFile", "model_store", "workflow_store", "number_of_gpu", ""}

TABLE = [
    (b"", {}),
    (b"# a=1\n! b=2\n\n", {}),
    (b"a=1\na=2", {"a": "2"}),
    (b"  a =  b c  ", {"a": "b c  "}),
    (b"a=true ", {"a": "true "}),
    (b"a=b\t\x0c", {"a": "b\t\x0c"}),
    (b"a: http://x:1", {"a": "http://x:1"}),
    (b"url=http://x:1?y=z", {"url": "http://x:1?y=z"}),
    (b"a=http\\://x\\:1", {"a": "http://x:1"}),
    (b"a b = c", {"a": "b = c"}),
    (b"a\x0c:\tb", {"a": "b"}),
    (b"a\\ b=c", {"a b": "c"}),
    (b"a\\=b=c", {"a=b": "c"}),
    (b"a==b", {"a": "=b"}),
    (b"a=", {"a": ""}),
    (b"a", {"a": ""}),
    (b"vmargs=-Xmx1g \\\n    -Xms1g\nb=2", {"vmargs": "-Xmx1g -Xms1g", "b": "2"}),
    (b"a=b\\\r\n\t c\rd=e", {"a": "bc", "d": "e"}),
    (b"a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),
    (b"a=b\\\n\nc=d", {"a": "b", "c": "d"}),
    (b"a=b\\", {"a": "b"}),
    (b"# c \\\na=1", {"a": "1"}),
    (b"a=b\\\n# c", {"a": "b# c"}),
    (b"\\\n# c\\\na=1", {"a": "1"}),
    (b"pattern=a\\\\.b\\.c", {"pattern": "a\\.b.c"}),
    (b"a=\\t\\n\\r\\f\\q\\\"", {"a": '\t\n\r\x0cq"'}),
    (b"a=caf\xe9", {"a": "café"}),
    ("a=café".encode(), {"a": "cafÃ©"}),
    (b"a=caf\\u00e9\\u00E9", {"a": "caféé"}),
    (b"a=\\ud83d\\ude00", {"a": "😀"}),
    (b"a=\\u00e", REFUSED),
    (b"a=\\uu00e9", REFUSED),
    (b"\xef\xbb\xbfa=1", {"ï»¿a": "1"}),
    (b"a=\xa0b\x85c\x1cd", {"a": "\xa0b\x85c\x1cd"}),
    (b"a=$$WORD$$", {"a": "a word"}),
    (b"a=x$$WORD$$$$EMPTY$$y$$WORD$$", {"a": "xa wordya word"}),
    (b"a=$$$WORD$$$", {"a": "$a word$"}),
    (b"a=$WORD $$W$$ $$WORD$ ${WORD}", {"a": "$WORD $$W$$ $$WORD$ ${WORD}"}),
    (b"$$WORD$$=a", {"$$WORD$$": "a"}),
    (b"a=$$NOWHERE$$", REFUSED),
    (b"a=$$WORD=$$", REFUSED),
    (b"a=$$\\u0057ORD$$", {"a": "a word"}),
]  # fmt: skip


def read(content):
    """What nerserve makes of the file *content*."""
    try:
        found = parse_properties(content.decode("iso-8859-1"))
        found = {key: resolve_variables(value, ENVIRONMENT) for key, value in found.items()}
    except ValueError:
        return REFUSED
    return {key: value for key, value in found.items() if key not in ITS_OWN}


def units(text):
    return text.encode("utf-16-be", "surrogatepass")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """TorchServe's own reader, which has just named the settings that it knows, and what it said."""
    java = find_java(os.environ).path
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=True).stdout
    if "jdk.compiler@" not in modules:
        pytest.skip(f"{java} has no compiler; the table holds what TorchServe reads")
    folder = tmp_path_factory.mktemp("settings")
    command = [
        *(java, f"-Dmodel_server_home={torchserve_home()}", "-cp", torchserve_jar()),
        *(Path(__file__).with_name("TorchServeSettings.java"), folder / "config.properties"),
    ]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | ENVIRONMENT
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, bufsize=1
    ) as process:
        names = next(line for line in process.stdout if line.startswith("names: "))
        yield process, set(names.split()[1:])


@pytest.fixture(scope="module")
def torchserve(asked):
    """Gives a file's settings as TorchServe reads them."""
    process, _ = asked

    def settings_of(content):
        process.stdin.write(f"{content.hex()}\n")
        answer = next(line for line in process.stdout if line.startswith("settings: "))
        if answer == "settings: refused\n":
            return REFUSED
        pairs = [map(bytes.fromhex, pair.split("=")) for pair in answer.split()[1:]]
        found = {key.decode("utf-16-be", "surrogatepass"): value for key, value in pairs}
        return {key: value for key, value in found.items() if key not in ITS_OWN}

    return settings_of


def in_units(found):
    return found and {key: units(value) for key, value in found.items()}


@pytest.mark.parametrize(("content", "expected"), TABLE)
def test_properties_are_read_as_torchserve_reads_them(content, expected):
    assert read(content) == expected


@pytest.mark.parametrize(("content", "expected"), TABLE)
def test_the_table_is_what_torchserve_reads(torchserve, content, expected):
    assert torchserve(content) == in_units(expected)


def test_the_settings_that_we_know_are_torchserve_s(asked):
    _, names = asked
    not_settings = {"version", "file://.*|http(s)?://.*"}  # what it finds out itself, and a default

    assert names - not_settings == (BOOLEANS | NUMBERS | TEXTS) - {"python"}  # of another class's


PIECES = [
    *(b"\\", b"\\", b"\n", b"\r", b"\r\n", b" ", b"\t", b"\x0c", b"=", b":", b"#", b"!", b"$", b"$$WORD$$", b"\\u00e9"),
    *(
        b"\\u",
        b"\\ud83d",
        b"\\ude00",
        b"\\t",
        b"\\\\",
        b"a",
        b"b",
        b"\xe9",
        b"\x85",
        b"\xa0",
        b"\x00",
        b"\x1a",
        b"\x0b",
    ),
]


@given(st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join) | st.binary(max_size=40))
@settings(max_examples=400)
def test_any_file_is_read_as_torchserve_reads_it(torchserve, content):
    assert in_units(read(content)) == torchserve(content)


TEXT = st.text(st.characters(exclude_characters="$"))


# Of a setting that it knows TorchServe wants a right value, and hypothesis finds their names in our source.
KEYS = TEXT.filter(lambda key: key not in ITS_OWN | BOOLEANS | NUMBERS | TEXTS)


@given(st.dictionaries(KEYS, TEXT))
@settings(max_examples=200)
def test_torchserve_reads_what_is_written_for_it(torchserve, given_settings):
    assert torchserve(format_properties(given_settings).encode("ascii")) == in_units(given_settings)


@pytest.mark.parametrize("value", ["a\\b", "a$1", "$", "\\"])
def test_a_variable_that_torchserve_would_misread_is_refused_without_being_shown(value):
    with pytest.raises(ValueError, match=r"^the variable SECRET has a backslash or a dollar sign") as caught:
        resolve_variables("$$SECRET$$", {"SECRET": f"password{value}"})

    assert "password" not in str(caught.value)
