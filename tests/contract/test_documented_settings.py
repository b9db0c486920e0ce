"""The list of our variables is what something reads and the documents name; the table of the site's is right."""

import re
from pathlib import Path

import pytest

from contract.errors import SettingError
from contract.settings import NAMES, WORKER_NAMES
from web.config import WebConfig

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\bNERSERVE_[A-Z0-9_]+")
READERS = ("contract", "web", "ops", "nerserve", "handler", "archive", "deploy", "examples", "scripts")
BUILDERS = ("docker-compose.yml", "Dockerfile.serve", "Dockerfile.web")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")


def variables_in(*paths):
    return {variable for path in paths for variable in VARIABLE.findall(path.read_text("utf-8", "ignore"))}


def sources():
    """The files that may read a variable."""
    folders = [path for name in READERS for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts]
    folders.remove(ROOT / "contract" / "settings.py")
    return [*(path for path in folders if path.is_file()), *(ROOT / name for name in BUILDERS)]


def settings():
    """(variable, default, range, meaning) of each row of "Settings of the site"; values as a shell would get them."""
    section = OPERATIONS.partition("\n## Settings of the site\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| `NERSERVE_.*", section, re.MULTILINE):
        variable, default, allowed, meaning = (cell.strip() for cell in row.strip("|").split(" | "))
        yield variable.strip("`"), default.replace(",", "").strip("`"), allowed.replace(",", ""), meaning


def ranges():
    for variable, _, allowed, _ in settings():
        if bounds := re.fullmatch(r"([\d.]+) to ([\d.]+)", allowed):
            yield variable, float(bounds[1]), float(bounds[2])


def taken(variable, number):
    """Whether the site takes *number* for *variable*."""
    try:
        WebConfig.from_env({variable: f"{number:g}" if number % 1 else f"{number:.0f}"})
    except SettingError:
        return False
    return True


def test_the_list_has_what_something_reads_and_nothing_else():
    assert variables_in(*sources(), ROOT / "tests" / "e2e" / "test_fuzz.py") == NAMES


def test_every_variable_is_documented():
    read = variables_in(*sources())

    assert len(read) > 20
    assert read - variables_in(ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) == set()


def test_workers_get_what_their_own_code_reads():
    assert variables_in(*(ROOT / "handler").rglob("*.py"), ROOT / "contract" / "limits.py") == WORKER_NAMES


def test_the_table_has_the_settings_of_the_site_and_no_other():
    assert sorted(variable for variable, *_ in settings()) == sorted(
        variables_in(ROOT / "web" / "config.py") | {"NERSERVE_MAX_CHARS"}
    )


@pytest.mark.parametrize(
    ("variable", "default"),
    [(variable, default) for variable, default, *_ in settings() if default != "none" and " " not in default],
)
def test_the_default_in_the_table_is_the_site_s(variable, default):
    assert WebConfig.from_env({variable: default}) == WebConfig()


@pytest.mark.parametrize(("variable", "low", "high"), list(ranges()))
def test_the_range_in_the_table_is_what_the_site_takes(variable, low, high):
    assert taken(variable, low)
    assert taken(variable, high)
    assert not taken(variable, low - 1 if low.is_integer() else low / 2)
    assert not taken(variable, high + 1)


def test_the_deadline_in_the_table_follows_from_the_longest_text():
    (default,) = [default for variable, default, *_ in settings() if variable == "NERSERVE_TIMEOUT_S"]
    per_second, least = map(int, re.fullmatch(r"NERSERVE_MAX_CHARS` / (\d+) at least (\d+)", default).groups())

    assert WebConfig().deadline_s == max(least, WebConfig().max_chars / per_second)
    assert WebConfig(max_chars=1_000_000).deadline_s == 1_000_000 / per_second


def test_the_table_says_what_nerserve_up_sets():
    said = {variable for variable, _, _, meaning in settings() if "`nerserve up`" in meaning}

    assert said == variables_in(ROOT / "ops" / "process" / "site.py") | {"NERSERVE_MAX_CHARS"}
