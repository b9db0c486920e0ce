"""What a web page of somebody else can do to a nerserve on the machine of its visitor: nothing, in a real browser.

One page is of another origin; the other has had its name rebound to this machine, so that the browser takes the servers
for a part of the page's own site.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.conftest import chromium
from tests.e2e.instance import ANSWER_S

#: Tries all that a page can send without asking; says of each what it could read.
FOREIGN = """
async ({site, inference, management, metrics, archives}) => {
  const found = {}
  const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
  const loaded = (element, parent = document.body) => new Promise((resolve) => {
    element.onload = () => resolve("loaded")
    element.onerror = () => resolve("failed")
    parent.append(element)
    setTimeout(() => resolve("nothing"), 10000)
  })
  const read = async (name, url, options) => {
    try {
      const reply = await fetch(url, options)
      found[`${name} ${url}`] = reply.type === "opaque" ? "" : await reply.text()
    } catch {
      found[`${name} ${url}`] = ""
    }
  }
  const register = (name, archive) =>
    `${management}/models?url=${archive}&model_name=${name}&initial_workers=1&synchronous=true`
  const frame = async (name, fill) => {
    const frame = document.createElement("iframe")
    frame.name = name
    document.body.append(frame)
    const done = new Promise((resolve) => { frame.onload = resolve; setTimeout(resolve, 30000) })
    fill(frame)
    await done
    let text = ""
    try { text = frame.contentDocument.body.innerText } catch {}
    found[name] = text
  }
  const send = (url, type, fields) => frame(`form ${type} ${url}`, (frame) => {
    const form = document.createElement("form")
    Object.assign(form, {method: "post", action: url, enctype: type, target: frame.name})
    for (const [name, value] of Object.entries(fields)) {
      const field = document.createElement("textarea")
      Object.assign(field, {name, value})
      form.append(field)
    }
    document.body.append(form)
    form.submit()
  })

  const types = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
  for (const [i, archive] of archives.entries()) {
    for (const [j, type] of types.entries()) await send(register(`form-${i}-${j}`, archive), type, {a: "b"})
    for (const mode of ["no-cors", "cors"])
      await read(mode, register(`fetch-${mode}-${i}`, archive), {method: "POST", mode})
    await read("text", register(`text-${i}`, archive), {method: "POST", mode: "no-cors", body: "a"})
    navigator.sendBeacon(register(`beacon-${i}`, archive), "a")
    for (const tag of ["img", "script", "iframe"])
      await loaded(Object.assign(document.createElement(tag), {src: register(`${tag}-${i}`, archive)}))
  }
  const changes = ["models/en?min_worker=0&max_worker=0", "models/en/1.0?min_worker=0", "models/en/1.0/set-default"]
  for (const mode of ["no-cors", "cors"]) {
    for (const path of changes)
      for (const method of ["PUT", "DELETE", "POST"])
        await read(`${mode} ${method}`, `${management}/${path}`, {method, mode})
    for (const url of [`${management}/models`, `${management}/models/en`, `${management}/token?type=management`,
                       `${inference}/ping`, `${metrics}/metrics`, `${site}/`, `${site}/metrics`, `${site}/readyz`])
      await read(`${mode} GET`, url, {mode})
    for (const url of [`${inference}/predictions/en`, `${site}/api/predict`, `${site}/predict`])
      await read(`${mode} POST`, url, {method: "POST", mode, body: "Angela Merkel"})
  }
  for (const type of [...types, ""])  // JSON in each of the types that need no leave
    await read(`json ${type}`, `${site}/api/predict`, {
      method: "POST", mode: "no-cors", body: new Blob(['{"text": "Angela Merkel"}'], {type}),
    })
  for (const type of types) await send(`${inference}/predictions/en`, type, {text: "Angela Merkel"})
  await send(`${site}/predict`, types[0], {text: "Angela Merkel", model: "en"})
  for (const type of types) await send(`${site}/api/predict`, type, {text: "Angela Merkel"})
  for (const url of [`${site}/`, `${site}/docs`, `${management}/models`])
    await frame(`frame ${url}`, (frame) => { frame.src = url })
  await loaded(Object.assign(document.createElement("script"), {src: `${site}/openapi.json`}))
  await later(500)
  return found
}
"""

#: Asks every request, from a page that the browser takes for a part of the server; says how each was answered.
REBOUND = """
async (requests) => {
  const found = {}
  for (const [method, path] of requests) {
    const text = {body: '{"text": "Angela Merkel"}', headers: {"Content-Type": "application/json"}}
    try {
      const reply = await fetch(path, {method, ...(method === "POST" && !path.startsWith("/models") ? text : {})})
      found[`${method} ${path}`] = [reply.status, await reply.text()]
    } catch (error) {
      found[`${method} ${path}`] = [999, String(error)]
    }
  }
  return found
}
"""
#: All names below .example are this machine; and Chromium's own guard of the local network is off, as other browsers
#: have none.
WEAK = ("--host-resolver-rules=MAP *.example 127.0.0.1", "--disable-features=LocalNetworkAccessChecks")


@pytest.fixture(scope="module")
def browser():
    with chromium(*WEAK) as browser:
        yield browser


@pytest.fixture
def foreign_url():
    """The address of an empty page of somebody else."""

    class EmptyPage(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><title>x</title>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://stranger.example:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def archives(served):
    """What TorchServe would register for whoever may: an archive of its store, and an unpacked one's directory."""
    unpacked = next(path.parent for path in (served.log_dir / "tmp").rglob("MAR-INF"))
    return ["en.mar", quote(str(unpacked), safe="")]


def state(served):
    """All models, versions and workers of *served*, as its management API tells them to whoever has the key."""

    def ask(path):
        reply = requests.get(f"{served.management}/models{path}", auth=served.management_key, timeout=ANSWER_S)
        reply.raise_for_status()
        return reply.json()

    names = [model["modelName"] for model in ask("?limit=100")["models"]]
    return {
        (name, one["modelVersion"]): [(worker["id"], worker["pid"]) for worker in one["workers"]]
        for name in names
        for one in ask(f"/{name}/all")
    }


def refused(served, method, path):
    """How often the management API has refused a request that *method* and *path* begin, by its own log."""
    lines = map(json.loads, (served.log_dir / "logs" / "access_log.log").read_text().splitlines())
    return sum(f'"{method} {path}' in line["message"] and '" 400 ' in line["message"] for line in lines)


def test_a_page_of_another_origin_changes_and_reads_nothing(served, browser, foreign_url):
    served.wait_for_workers(2)
    before, count = state(served), refused(served, "POST", "/models")
    page = browser.new_page()
    page.goto(foreign_url)

    urls = {name: getattr(served, name) for name in ("site", "inference", "management", "metrics")}
    found = page.evaluate(FOREIGN, urls | {"archives": archives(served)})
    page.close()

    assert state(served) == before
    assert len(found) > 50
    assert {name: text for name, text in found.items() if text} == {}
    assert refused(served, "POST", "/models") - count >= 14  # so they did arrive
    assert "Merkel" not in requests.get(served.site, timeout=ANSWER_S).text


@pytest.mark.parametrize(
    ("server", "open_to_all"),
    [
        ("management", ["OPTIONS /", "GET /api-description"]),
        ("inference", ["OPTIONS /", "GET /api-description"]),
        ("site", ["GET /livez", "GET /readyz", "GET /metrics"]),
    ],
)
def test_a_page_under_a_rebound_name_changes_and_reads_nothing(served, browser, server, open_to_all):
    served.wait_for_workers(2)
    before = state(served)
    names = [f"rebound-{i}" for i, _ in enumerate(archives(served))]
    attempts = [
        *(("POST", f"/models?url={url}&model_name={name}") for url, name in zip(archives(served), names, strict=True)),
        *((method, path) for method in ("GET", "PUT", "DELETE") for path in ("/models/en", "/models/en/1.0")),
        *[("GET", "/models"), ("PUT", "/models/en?min_worker=0&max_worker=0"), ("PUT", "/models/en/1.0/set-default")],
        *[("GET", "/token?type=management"), ("GET", "/token?type=inference"), ("GET", "/ping"), ("GET", "/")],
        *[("POST", "/predictions/en"), ("POST", "/explanations/en"), ("POST", "/v1/models/en:predict")],
        *[("POST", "/api/predict"), ("POST", "/predict"), ("GET", "/docs"), ("GET", "/openapi.json")],
        *[("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/api-description"), ("OPTIONS", "/")],
    ]
    page = browser.new_page()
    address = f"http://rebound.example:{urlsplit(getattr(served, server)).port}/attack.html"
    # The page itself came from the stranger's server, before the name was rebound.
    page.route(address, lambda route: route.fulfill(content_type="text/html", body="<!DOCTYPE html><title>x</title>"))
    page.goto(address)

    found = page.evaluate(REBOUND, attempts)
    page.close()

    assert state(served) == before
    assert len(found) == len(attempts)
    statuses = {name: status for name, (status, _) in found.items()}
    assert {name for name, status in statuses.items() if status < 400} <= set(open_to_all), statuses
    assert set(statuses.values()) & {400, 421}
    assert "PER" not in "".join(text for name, (_, text) in found.items() if name.startswith("POST"))
