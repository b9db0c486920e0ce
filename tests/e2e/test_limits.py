"""The longest text is the same on both tiers, by default and raised; one character more is refused with the limit."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import requests

from archive.build import build_mar
from tests.e2e.instance import Up

RAISED = 300_000
#: Of a common shape, so that offsets tell whether all of the text was read.
SENTENCE = "Nothing of the kind was found here, a spokesman said on Tuesday. "
NAME = "Barack Obama"
HAN = "\u5317"


@pytest.fixture(scope="module")
def raised(tmp_path_factory):
    """A nerserve with the shipped model that takes texts of RAISED characters; the variable says less."""
    up = Up(tmp_path_factory.mktemp("raised"))
    (up.model_store / "en.mar").unlink()
    build_mar(Path("models/en"), up.model_store)
    up.start("--max-chars", str(RAISED), NERSERVE_MAX_CHARS="5000")
    try:
        yield up.wait_until_ready()
    finally:
        up.end()


@pytest.fixture(params=["default", "raised"])
def limited(request):
    """A nerserve and the limit it promises."""
    if request.param == "default":
        return request.getfixturevalue("served"), 100_000
    return request.getfixturevalue("raised"), RAISED


@pytest.fixture(params=["site", "inference"])
def post_and_limit(request, limited):
    """Posts to one of the two tiers, and the limit it promises."""
    nerserve, limit = limited
    path = {"site": "/api/predict", "inference": "/predictions/en"}[request.param]
    return partial(requests.post, getattr(nerserve, request.param) + path, auth=nerserve.inference_key), limit


def text_of(length):
    """A text of *length* characters that ends in NAME."""
    return (SENTENCE * (length // len(SENTENCE) + 1))[: length - len(NAME) - 2] + f" {NAME}."


def test_a_text_of_exactly_the_limit_is_answered_to_its_end(post_and_limit):
    post, limit = post_and_limit

    reply = post(json={"text": text_of(limit)}, timeout=120)

    assert reply.status_code == 200, reply.text[:500]
    last = reply.json()["entities"][-1]
    assert (last["text"], last["label"], last["end"]) == (NAME, "PER", limit - 1)


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param(lambda text: {"json": {"text": text}}, id="JSON"),
        pytest.param(
            lambda text: {"data": text.encode(), "headers": {"Content-Type": "text/plain; charset=utf-8"}}, id="plain"
        ),
    ],
)
def test_one_character_more_is_refused_with_the_limit(post_and_limit, request_of):
    post, limit = post_and_limit

    reply = post(**request_of(text_of(limit + 1)), timeout=120)

    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "text_too_long"
    assert str(limit) in reply.json()["error"]["message"].replace(",", "")


def test_the_limit_counts_characters_whatever_they_take_on_the_way(post_and_limit):
    post, limit = post_and_limit
    rare = {ord(letter): 0x1D41A + i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}  # bold; 4 bytes in UTF-8
    text = text_of(limit).removesuffix(f" {NAME}.").translate(rare) + f" {NAME}."

    fits, too_long = (
        post(data=body.encode(), headers={"Content-Type": "text/plain"}, timeout=120) for body in (text, f"{text} ")
    )

    assert len(text.encode()) > 3 * limit
    assert fits.status_code == 200, fits.text[:500]
    assert fits.json()["entities"][-1]["end"] == limit - 1
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (413, "text_too_long")


def test_the_characters_of_all_texts_together_have_the_same_limit(post_and_limit):
    post, limit = post_and_limit
    half = text_of(limit // 2)

    fits = post(json={"texts": [half, half]}, timeout=120)
    too_many = post(json={"texts": [half, half, "more"]}, timeout=120)

    assert fits.status_code == 200, fits.text[:500]
    assert [row["entities"][-1]["text"] for row in fits.json()["results"]] == [NAME, NAME]
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (413, "request_too_large")
    assert str(limit) in too_many.json()["error"]["message"].replace(",", "")


def test_a_text_of_nothing_but_entities_is_answered_however_long_the_reply(post_and_limit):
    post, limit = post_and_limit

    reply = post(json={"text": "UK\n" * (limit // 3)}, timeout=120)

    assert reply.status_code == 200, reply.text[:500]
    assert len(reply.content) > 23 * limit  # with the raised limit, more than TorchServe takes unless it is told
    entities = reply.json()["entities"]
    assert [entity["start"] for entity in entities] == list(range(0, limit - limit % 3, 3))


@pytest.mark.parametrize(("limit", "num_bytes"), [("default", 1_048_576), ("raised", 3_145_728)])
def test_torchserve_takes_bodies_of_the_size_that_follows_and_no_larger_ones(request, limit, num_bytes):
    nerserve = request.getfixturevalue({"default": "served", "raised": "raised"}[limit])
    post = partial(requests.post, f"{nerserve.inference}/predictions/en", auth=nerserve.inference_key)

    largest = post(data=b" " * num_bytes, headers={"Content-Type": "application/json"}, timeout=60)
    larger = post(data=b" " * (num_bytes + 1), headers={"Content-Type": "application/json"}, timeout=60)

    assert largest.status_code == 400  # by the worker, which found no JSON in it
    assert largest.json()["error"]["code"] == "malformed_request"
    assert (larger.status_code, larger.content) == (413, b"")  # by TorchServe itself


def test_short_texts_are_answered_while_two_long_ones_are_worked_on(served):
    def ask(text):
        return requests.post(f"{served.site}/api/predict", json={"text": text}, timeout=120)

    def is_asked():
        numbers = requests.get(f"{served.site}/metrics", timeout=60).text
        return "\nnerserve_upstream_in_flight 0.0\n" not in numbers

    with ThreadPoolExecutor() as pool:
        long_ones = [pool.submit(ask, HAN * 80_000)]  # the costliest there is: one sentence, a token each
        while not is_asked():
            assert not long_ones[0].done()
            time.sleep(0.05)
        time.sleep(0.2)  # so that TorchServe has no batch of both
        long_ones.append(pool.submit(ask, HAN * 80_000))
        time.sleep(0.3)  # until it is where it will be worked on
        short_ones = [ask(f"{NAME} was born in Hawaii.") for _ in range(2)]
        is_long_done = [one.done() for one in long_ones]

    assert [reply.json()["entities"][0]["text"] for reply in short_ones] == [NAME] * 2
    assert is_long_done == [False, False]
    assert sorted(one.result().status_code for one in long_ones) in ([200, 200], [200, 429])  # the second waited 5 s
