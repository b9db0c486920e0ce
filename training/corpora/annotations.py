"""What annotation tools and libraries write as JSON, a text or its words at a time.

======================  =============================================================================================
doccano                 ``label`` or ``labels`` of ``[start, end, label]``; ``entities`` of ``start_offset`` and so on
Prodigy                 ``spans``; what has ``reject`` or ``ignore`` as its ``answer`` is left out
Label Studio            JSON: ``data`` and ``annotations``; JSON_MIN: ``label``
spaCy                   ``[text, {"entities": [...]}]``, ``Doc.to_json`` with ``ents``
Hugging Face            ``tokens`` with ``ner_tags``; a pipeline's ``entity_group``
nerserve                ``entities``, as the API answers them
======================  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from training.corpora.documents import Document, Entity
from training.corpora.json_files import is_pair
from training.errors import CorpusError

_WORDS = ("tokens", "words")
_TAGS = ("ner_tags", "tags", "labels", "ner", "iob_tags")
_ENTITIES = ("entities", "spans", "ents", "label", "labels", "annotations")
_STARTS = ("start", "start_offset", "start_char")
_ENDS = ("end", "end_offset", "end_char")
_LABELS = ("label", "labels", "entity_group")


class TaggedWords(NamedTuple):
    """Words and a tag for each, a name or a number."""

    words: list[str]
    tags: list[str | int]


def read_annotation(value: Any, where: str) -> Document | TaggedWords | None:
    """The text or the words in *value*, one of a JSON file, with its annotation; None if it is not annotated.

    Raises:
        CorpusError: begins with *where* and says what was expected.
    """
    if is_pair(value):
        value = {**value[1], "text": value[0]}
    if not isinstance(value, dict):
        raise CorpusError(f'{where}: expected a JSON object with "text", a string')
    if value.get("answer", "accept") != "accept":
        if value["answer"] not in ("reject", "ignore"):
            raise CorpusError(f'{where}: expected "answer" to be accept, reject or ignore')
        return None
    if "paragraphs" in value:
        raise CorpusError(
            f"{where}: the JSON of spaCy 2 is not read; python -m spacy convert FILE . makes a .spacy of it"
        )
    words = next((value[key] for key in _WORDS if _is_list_of(str, value.get(key))), None)
    if words is not None and (tagged := _tagged_words(value, words, where)):
        return tagged
    data = value.get("data")
    if isinstance(data, dict):
        return _label_studio(value, data, where)
    text = value.get("text", data)
    if not isinstance(text, str):
        raise CorpusError(f'{where}: expected a JSON object with "text", a string')
    return Document(text, tuple(_entity(item, text, where) for item in _items(value, where)), where)


def _is_list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _tagged_words(value: Mapping[str, Any], words: list[str], where: str) -> TaggedWords | None:
    """*words* with the tags in *value*; None if it has no tags but a text."""
    keys = [key for key in _TAGS if _is_list_of(str, value.get(key)) or _is_list_of(int, value.get(key))]
    if not keys and "text" in value:
        spans = [item for key in _ENTITIES if isinstance(value.get(key), list) for item in value[key]]
        if not all(isinstance(span, dict) and span.get("text") is not None for span in spans):
            raise CorpusError(
                f"{where}: expected offsets that count characters, or tokens, got both a text and tokens without a"
                ' "text" in each entity that would tell; leave out the tokens if they are characters'
            )
        return None
    if len(keys) != 1:
        raise CorpusError(f"{where}: expected words with one list of tags, such as ner_tags, got {_named(keys)}")
    tags = value[keys[0]]
    if any(isinstance(tag, bool) for tag in tags):
        raise CorpusError(f"{where}: expected tags, names or numbers, got true or false")
    if len(tags) != len(words):
        raise CorpusError(f"{where}: expected a tag for each of {len(words)} words, got {len(tags)}")
    if others := [key for key in ("entities", "spans", "ents") if value.get(key)]:
        raise CorpusError(f"{where}: expected one annotation, got {_named([*keys, *others])}; leave out one")
    if any(not word.strip() for word in words):
        raise CorpusError(f"{where}: expected words, got white space for one")
    return TaggedWords(words, tags)


def _label_studio(value: Mapping[str, Any], data: Mapping[str, Any], where: str) -> Document | None:
    """A task of Label Studio; None if nobody has annotated it."""
    texts = (
        [data["text"]] if isinstance(data.get("text"), str) else [one for one in data.values() if isinstance(one, str)]
    )
    if len(texts) != 1:
        raise CorpusError(f'{where}: expected "data" to have "text", a string, or one string alone')
    annotations = value.get("annotations", value.get("completions"))
    if not isinstance(annotations, list) or not _is_list_of(dict, annotations):
        raise CorpusError(f'{where}: expected "annotations", a list of objects')
    results = [one.get("result") for one in annotations if not one.get("was_cancelled")]
    if not results:
        return None
    if not all(_is_list_of(dict, result) for result in results):
        raise CorpusError(f'{where}: expected "result" of an annotation to be a list of objects')
    readings = {_regions(result, texts[0], where) for result in results}
    if len(readings) > 1:
        raise CorpusError(f"{where}: expected one annotation, got {len(results)} that differ; keep one of them")
    return Document(texts[0], readings.pop(), where)


def _regions(result: Sequence[Mapping[str, Any]], text: str, where: str) -> tuple[Entity, ...]:
    """The entities in *result*; what is said of the whole text, and relations, is left out."""
    entities = set()
    for item in result:
        kind, region = item.get("type"), item.get("value")
        if kind == "hypertextlabels":
            raise CorpusError(
                f"{where}: labels over HTML are not read, their offsets do not count the text's characters"
            )
        if kind == "labels" or (isinstance(region, dict) and "labels" in region):
            entities.add(_entity(region, text, where))
    return tuple(sorted(entities))


def _items(value: Mapping[str, Any], where: str) -> list[object]:
    """The list of entities in *value*, under one of ``_ENTITIES``."""
    given = {key: value[key] for key in _ENTITIES if key in value}
    listed = {
        key: items
        for key, items in given.items()
        if isinstance(items, list) and not (items and _is_list_of(str, items))
    }
    if len(listed) == 1:
        return next(iter(listed.values()))
    if len(listed) > 1:
        raise CorpusError(f"{where}: expected one list of entities, got {_named(listed)}; leave out all but one")
    if any(items is None for items in given.values()):
        raise CorpusError(
            f"{where}: expected a list of entities, got null; write [] if there are none, or leave out the line"
        )
    if given or "accept" in value or "options" in value:
        raise CorpusError(
            f"{where}: expected spans with a start, an end and a label, got none of these under {_named(given)}"
        )
    if "answer" in value or "_task_hash" in value or "annotator" in value or "annotation_id" in value:
        return []  # Prodigy and JSON_MIN leave out what is empty
    expected = " or ".join(f'"{key}"' for key in _ENTITIES)
    raise CorpusError(f"{where}: expected {expected}, got none of them; write [] if there are no entities")


def _entity(item: object, text: str, where: str) -> Entity:
    """*item*, an object or a list of three or four, as an entity of *text*."""
    own_text = None
    fields: list[object] = []
    if isinstance(item, dict):
        fields = [_field(item, keys) for keys in (_STARTS, _ENDS, _LABELS)]
        own_text = item.get("text")
    elif isinstance(item, list) and len(item) in {3, 4}:
        *fields, own_text = item if len(item) == 4 else [*item, None]
    match [*map(_offset, fields[:2]), *fields[2:]]:
        case [int(start), int(end), str(label) | [str(label)]] if label.strip():
            if not 0 <= start < end <= len(text):
                raise CorpusError(f"{where}: expected 0 <= start < end <= {len(text)}, got start {start}, end {end}")
            if own_text is not None and _bare(own_text) != _bare(text[start:end]):
                raise CorpusError(
                    f"{where}: expected the text of the entity from {start} to {end}, got another; its offsets may"
                    " count bytes or UTF-16 units in place of characters"
                )
            return Entity(start, end, label.strip())
        case [int(), int(), int()]:
            raise CorpusError(f"{where}: expected labels, got numbers; doccano exports names as JSONL (Text label)")
    hint = ""
    if isinstance(item, dict) and "entity" in item:
        hint = '; a pipeline of Hugging Face finds whole ones with aggregation_strategy="simple"'
    raise CorpusError(f"{where}: expected an entity to have start and end, whole numbers, and a label{hint}")


def _field(item: Mapping[str, Any], keys: Sequence[str]) -> object:
    """The value in *item* under one of *keys*; None if there is none, or if two differ."""
    values = [item[key] for key in keys if item.get(key) is not None]
    return values[0] if values and all(value == values[0] for value in values) else None


def _offset(value: object) -> object:
    """*value* as a whole number if it is one, also one with a decimal point or in quotes; else None."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None if isinstance(value, bool) else value


def _bare(text: object) -> str:
    """*text* without white space, and without the line ends that Label Studio writes as a backslash and an n."""
    return "".join(str(text).replace("\\n", "").split())


def _named(keys: Iterable[str]) -> str:
    return " and ".join(f'"{key}"' for key in keys) or "none"
