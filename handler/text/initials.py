"""Whether a capital letter with a full stop is an initial of a name, or the last word of a sentence.

"Robert I. Kahn" and "K. He works at Facebook" go on; "So did I. He left", "vitamin C. It helps" and "Louis I. He was
king" end.  The words on both sides decide: what can stand before a name, whether a name can follow, and whether the
word after reads on as a sentence would.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handler.text.tokens import Tokens

#: Words that start sentences far more often than names.
STARTERS = frozenset(
    """
    A After Also Although An And Another As At Because Before But By Despite During Every For From Furthermore He
    Hence Her Here His How However I If In Instead It Its Later Many Meanwhile Moreover My Nevertheless No On Once
    Other Our She Since So Some Still That The Their Then There Therefore These They This Those Though Thus To Today
    Two Unlike Until Upon We What When Where Which While Who Why With Within Yesterday Yet You Your
    """.split()
)
_PRONOUNS = frozenset("He She I We You".split())
_POSSESSIVES = frozenset("Her His My Our".split())
#: Starters that are surnames as well.
_SURNAMES = _PRONOUNS | _POSSESSIVES | frozenset("An As At By In No On So To".split())

#: Marks and words that a name with initials often follows, and few single letters do.
_BEFORE_NAMES = frozenset(
    """
    , ; & ( [ / by and or with from to of for between than via per et author authors under
    """.split()
)
#: Words before a name; those with a full stop are abbreviations that never end a sentence.
_TITLES = frozenset(
    """
    professor doctor president senator judge justice captain colonel general major minister governor mayor director
    chairman officer sergeant lieutenant detective inspector mister sir lord lady reverend father sister brother author
    researcher scientist engineer student colleague coach
    """.split()
)
#: Words whose members are named by letters or Roman numerals.
_CLASSES = frozenset(
    """
    ° act annex appendix article bank bay block book box category channel chapter chart choice class clause column
    company compartment corps deck degrees division document drive element exhibit figure flight form formula gate
    grade group hall hepatitis influenza key label league lemma letter level line list lot method model module note
    number option page panel paragraph part parts period phase plan plans plant plate platform point points pool
    position protein proteinase question region road room route row schedule scheme season section serie series set
    sheet side site solution stage stand star step street strip table tables team terminal test theorem tier title
    topic track train type types union unit variant version vitamin vitamins volume war wars ward wing zone
    """.split()
)
_AUXILIARIES = frozenset("am can could did do does had have may might must shall should was were will would".split())
_COMPARING = frozenset("and as but is like nor or than".split())
_RULERS = frozenset(
    """
    king kings queen pope emperor empress tsar tsarina czar kaiser sultan shah duke prince patriarch monarch regent
    throne crown crowned reign reigned dynasty
    """.split()
)
#: Names of two letters that are written with blanks, too.
_SPACED = frozenset("U.S. U.K. U.N. D.C. L.A. N.Y. N.J. N.C. S.C. B.C. A.D. A.M. P.M. E.U. P.O. P.S.".split())

_DETERMINERS = frozenset(
    """
    a all an any both each every her his its many most my one other our some such that the their these this those what
    which your
    """.split()
)
#: After a surname that is also a pronoun; a clause does not go on with one of these after its subject.
_AFTER_NAMES = frozenset("' 's ’s and at by et for from in of on or to who whose with & ( ) , . ; : ] / ? !".split())
#: After a surname that is also a preposition or an adverb.
_REPORTS = _AFTER_NAMES - {"to"} | frozenset(
    """
    added announced argued asked believes born came died explained found had has is joined leads left lives made met
    moved noted played plays proposed published received reported said says scored showed told took visited was went
    were will won works writes wrote
    """.split()
)
_SO_ON = frozenset("far he I it long many much she that the there they this too we what you ,".split())

# Two words ahead in the same paragraph, and the opening marks before the first; the limits keep the work constant.
_BLANK = r"[^\S\t\n\r\x0b\x0c\x1c-\x1e\u2029]{0,32}"
_AHEAD = re.compile(
    rf"([\"'”’»)\]}}*_]{{0,3}}){_BLANK}(?:(?:\r\n?|\n){_BLANK})?([\"'“‘«(\[*_`]{{0,3}}){_BLANK}(\w{{1,32}}|[^\w\s])?"
    rf"(?:{_BLANK}(?:(?:\r\n?|\n){_BLANK})?(['’](?:s|m|d|re|ve|ll)\b|\w{{1,32}}|[^\w\s]))?"
)
_PARAGRAPH_END = re.compile(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)|[\t\x0b\x0c\x1c-\x1e\u2029]")
_NUM_WORDS_BEFORE = 12


def words_before(text: str, tokens: Tokens, at: int) -> list[str]:
    """The last words of the paragraph before token *at* of *text*, at most 12."""
    first = max(0, at - _NUM_WORDS_BEFORE)
    while first < at and _PARAGRAPH_END.search(text, tokens.ends[first], tokens.starts[at]):
        first += 1
    return tokens.words[first:at]


def word_after(text: str, tokens: Tokens, at: int) -> str:
    """The word after token *at* of *text* in the same paragraph, or ""."""
    if at + 1 == len(tokens) or _PARAGRAPH_END.search(text, tokens.ends[at], tokens.starts[at + 1]):
        return ""
    return tokens.words[at + 1]


def is_initial(text: str, tokens: Tokens, end: int) -> bool:
    """True if the last of *tokens*, a capital letter, is an initial: the full stop after it ends at *end* of *text*."""
    letter = tokens.words[-1]
    earlier = words_before(text, tokens, len(tokens) - 1)
    before = earlier[-1] if earlier else ""
    ahead = _AHEAD.match(text, end)
    closing, opening, following, second = (group or "" for group in ahead.groups()) if ahead else ("",) * 4
    is_acronym = before + letter + "." in _SPACED
    if is_acronym or not following or (closing and following in STARTERS):  # nothing else of this sentence
        return _is_initial_with_stop(before)
    if following[0].islower():
        return letter != "I" or before.lower() not in _AUXILIARIES
    is_member = before.lower() in _CLASSES or _is_listed(earlier)
    if not following[0].isalpha():
        return not (is_member and following.isdigit())
    if is_member or (letter == "I" and (_is_pronoun(earlier, following) or _is_ruled(earlier))):
        return False
    if following not in STARTERS or (len(following) == 1 and second == "."):  # "M. A. Peiperl"
        return True
    return not opening and is_surname(earlier, letter, following, second)


def is_surname(earlier: Sequence[str], initials: str, following: str, second: str) -> bool:
    """True if *following*, a word that starts sentences, is a surname after *initials*.

    *earlier* are words before, *second* is the word after *following*, or "".
    """
    if following not in _SURNAMES:
        return False
    if following in _PRONOUNS:
        follows_name = second in _AFTER_NAMES
        may_follow_name = True  # "K. He works" and "the song by Kenny G. He works" look alike
    elif following == "An":
        follows_name = may_follow_name = second in _REPORTS or second[:1].lower() not in tuple("aeiouh8")
    else:
        follows_name = second in _REPORTS
        may_follow_name = following not in _POSSESSIVES and not _reads_on(following, second)
    if follows_name or not second:
        return True
    if _stand_before_names(earlier):
        return may_follow_name
    # A first name before it, and no verb yet: "Kaiming K. He works".
    is_first = initials != "I" and earlier[-1][0].isupper()
    return is_first and following in _PRONOUNS and not _have_clause(earlier)


def _reads_on(following: str, second: str) -> bool:
    """True if *second* goes on with a sentence that *following*, no pronoun, starts: "In the", "So far", "On 5"."""
    if following in ("No", "So"):
        return second in _SO_ON
    return second in _DETERMINERS or second[0].isdigit()


def _stand_before_names(words: Sequence[str]) -> bool:
    """True if *words* end with a sentence, a title, an initial, or a word like "by", or are none."""
    if not words:
        return True
    before = words[-1]
    folded = before.lower()
    if before[-1] in '.!?…:"“”‘*_#>-–—•' or folded in _TITLES:
        return True
    return folded in _BEFORE_NAMES and not (len(words) > 1 and (_is_letter(words[-2]) or words[-2].lower() in _CLASSES))


def _is_listed(words: list[str]) -> bool:
    """True before the last of several letters: "vitamins A and C", "F, G, and H", "from A to Z"."""
    earlier = words[:-2] if words[-1:] in (["and"], ["or"]) and words[-2:-1] == [","] else words[:-1]
    return bool(earlier) and words[-1] in ("and", "or", ",", "to", "&", "than", "from") and _is_letter(earlier[-1])


def _is_letter(word: str) -> bool:
    """True for a capital letter alone."""
    return len(word) == 1 and word.isupper()


def _is_initial_with_stop(word: str) -> bool:
    return len(word) == 2 and word[1] == "." and word[0].isupper()


def _is_pronoun(words: Sequence[str], following: str) -> bool:
    """True if "I" is the pronoun after *words*: "So did I.", "taller than I."."""
    before = words[-1].lower() if words else ""
    earlier = words[-2] if len(words) > 1 else ""
    if before in ("is", "was", "were"):
        return earlier.lower() in ("it", "this", "that") or following in STARTERS
    if before in _AUXILIARIES:
        return following in STARTERS or not words[-1].istitle()  # "Did I. Kant write it?"
    return before in _COMPARING and (following in STARTERS or earlier.islower() or earlier in _PRONOUNS)


def _is_ruled(words: Sequence[str]) -> bool:
    """True if "I" is the numeral of a ruler after *words*: "King Louis I.", "on the throne as Michael I."."""
    for word in reversed(words):
        if word.lower() in _RULERS:
            return True
        if not word[0].isupper():
            break
    return words[-1:] != [] and words[-1][0].isupper() and not _RULERS.isdisjoint(words)


def _have_clause(words: Sequence[str]) -> bool:
    """True if a word in lower case is among those of the last sentence in *words*."""
    for word in reversed(words):
        if word in (".", "!", "?", "…"):
            return False
        if word.islower():
            return True
    return False
