"""A model that is lost comes back: archives damaged when TorchServe starts anew, models that it forgot."""

import shutil

import pytest
import requests

from tests.e2e.instance import ANSWER_S, TEXT, Up, write_archive


@pytest.fixture
def up(tmp_path):
    """One that serves two models and has had the time to keep their archives."""
    up = Up(tmp_path)
    write_archive(up.model_store / "de.mar", name="de")
    yield up
    up.end()


def answers(up, model):
    url = f"{up.inference}/predictions/{model}"
    reply = requests.post(url, json={"text": TEXT}, auth=up.inference_key, timeout=5)
    return reply.status_code == 200 and reply.json()["model"]["name"] == model


def forget(up, model):
    url, key = f"{up.management}/models/{model}", up.management_key
    requests.put(url, params={"min_worker": "0", "max_worker": "0"}, auth=key, timeout=ANSWER_S)
    reply = requests.delete(f"{url}/1.0", auth=key, timeout=ANSWER_S)
    assert reply.status_code == 200, reply.text


def test_models_come_back_without_a_human(up):
    kept = [up.state_dir / "archives" / f"{model}.mar" for model in ("en", "de")]
    up.start("--models", "en,de").wait_until_ready()
    up.wait_until(lambda: all(path.exists() for path in kept))
    en = (up.model_store / "en.mar").read_bytes()

    # One archive is half written, and its copy gone; another is gone.
    (up.model_store / "en.mar").write_bytes(en[:1000])
    kept[0].unlink()
    (up.model_store / "de.mar").unlink()
    up.jvm.kill()
    up.wait_until(lambda: answers(up, "de"))
    up.wait_until(lambda: "model en is not registered with TorchServe" in up.text)
    ready = requests.get(f"{up.site}/readyz", timeout=ANSWER_S)
    assert (ready.status_code, ready.json()["status"]) == (503, "unready")
    assert {name: state["ready"] for name, state in ready.json()["models"].items()} == {"en": False, "de": True}
    assert f"model en is not registered with TorchServe: {up.model_store / 'en.mar'}: damaged" in up.text
    assert "de.mar does not exist" in up.text
    assert "a restart of TorchServe would load the last good one" in up.text

    # It is whole again.
    (up.model_store / "en.mar").write_bytes(en)
    up.wait_until(lambda: answers(up, "en") and answers(up, "de"))

    # TorchServe forgets a model whose archive, and all others, are gone.
    shutil.rmtree(up.model_store)
    forget(up, "de")
    up.wait_until(lambda: answers(up, "en") and answers(up, "de"))

    assert up.ends() == [("TorchServe", "killed by signal 9")]
