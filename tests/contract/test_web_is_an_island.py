"""The site shares no code with the model: it imports none of it, and its pages run none of their own."""

import ast
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
OTHERS = {"handler", "archive", "training", "ops", "bulk", "bench", "tests"}
HEAVY = {"torch", "numpy", "gensim", "onnxruntime", "safetensors", "ts", "model_archiver", "ray"}

IMPORT_WITHOUT_THEM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ImportError("the site must not import " + name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {root!r})
import web.app, web.server.gunicorn_conf
app = web.app.create_app()
print(app.test_client().get("/livez").json, sorted(set(sys.modules) & {forbidden!r}))
"""


def test_web_tier_does_not_import_torch_or_the_handler():
    code = IMPORT_WITHOUT_THEM.format(forbidden=OTHERS | HEAVY, root=str(ROOT))

    ended = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "{'status': 'alive'} []"


@pytest.mark.parametrize("path", sorted(WEB.rglob("*.py")), ids=lambda path: path.name)
def test_no_file_of_the_web_tier_names_the_other_packages(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert {name.partition(".")[0] for name in names} & (OTHERS | HEAVY) == set()


class InlineCode(HTMLParser):
    """Collects what a strict Content-Security-Policy would refuse."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.found.append(tag)
        self.found += [name for name in attributes if name == "style" or name.startswith("on")]
        self.found += [
            value for value in attributes.values() if (value or "").strip().lower().startswith("javascript:")
        ]


@pytest.mark.parametrize("path", sorted((WEB / "templates").glob("*.html")), ids=lambda path: path.name)
def test_templates_have_no_inline_script_or_style(path):
    reader = InlineCode()

    reader.feed(path.read_text(encoding="utf-8"))

    assert reader.found == []


@pytest.mark.parametrize("path", sorted((WEB / "templates").glob("*.html")), ids=lambda path: path.name)
def test_templates_never_switch_escaping_off(path):
    template = path.read_text(encoding="utf-8")

    assert "|safe" not in template.replace(" ", "")
    assert "autoescape" not in template
