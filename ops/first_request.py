"""The first request to a nerserve that is up, to paste into a shell."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

from contract.entities import CANARY_TEXT

_DATA = f"-d {quote(json.dumps({'text': CANARY_TEXT}))}"


def ask_site(url: str) -> str:
    """What asks the site at *url* for the entities of a sentence.

    >>> print(ask_site("http://127.0.0.1:8000"))
    curl http://127.0.0.1:8000/api/predict -d '{"text": "Barack Obama was born in Hawaii."}'
    """
    return f"curl {quote(url)}/api/predict {_DATA}"


def ask_inference(url: str, model: str, *, key_file: Path | None, ca: Path | None) -> str:
    """The same for the inference port at *url*, with the key in *key_file* and trust in the certificates of *ca*.

    >>> print(ask_inference("https://[::1]:8", "en", key_file=Path("a key"), ca=Path("/ca")).partition(" -H 'C")[0])
    curl 'https://[::1]:8'/predictions/en --cacert /ca -H "Authorization: Bearer $(cat 'a key')"
    """
    words = ["curl", f"{quote(url)}/predictions/{model}"]
    if ca is not None:
        words.append(f"--cacert {quote(str(ca))}")
    if key_file is not None:
        words.append(f'-H "Authorization: Bearer $(cat {quote(str(key_file))})"')
    return " ".join([*words, "-H 'Content-Type: application/json'", _DATA])
