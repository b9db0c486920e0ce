"""Which full stops belong to the word before them.

The lists hold what English newspapers, addresses, papers and old registers abbreviate.  An abbreviation that is also a
word ("Sec.", "Mass.", "No.") is one only where the text around says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handler.text.initials import is_initial, words_before

if TYPE_CHECKING:
    from handler.text.tokens import Tokens

#: Titles before a name, and first names: a full stop after one never ends a sentence.
TITLES = frozenset(
    """
    mr mrs ms mx messrs mme mmes mlle dr drs prof profs hon fr rev revd msgr bp abp sra srta dra esqr
    gen gens col cols sgt sgts capt capts cpt cmdr cdr lt lts ltc adm vadm radm maj brig cpl pfc pvt supt
    sen sens rep reps gov govs pres amb atty secy treas asst dep exec cong congs ald insp rt
    wm geo chas thos jos jas benj saml danl edw robt richd jno eliz nathl margt mohd
    """.split()
)
#: Other words whose full stop never ends a sentence, since what they announce follows.
_OPENING = TITLES | frozenset("ste vs viz cf fig figs eq eqs vol vols pp approx nos".split())
#: Abbreviations that may also end a sentence.
_CLOSING = frozenset(
    """
    st mt ft jr sr inc corp co cos ltd llc plc bros pty pte cie bhd sdn mfg intl etc ave blvd rd hwy pkwy esq ph.d
    dept univ assn assoc natl govt jan feb aug sept oct nov dec tues thurs
    eds ariz calif colo conn fla mich minn nebr okla tenn wis wyo
    """.split()
)
#: Words that are abbreviations in lower case only ("Al", "Ed" and "Ca" are names).
_LOWER_CASE = frozenset("al ed ca resp ibid incl".split())
#: Words that are abbreviations only before a digit ("No. 5", "Mar. 3").
_BEFORE_NUMBERS = frozenset(
    """
    no nr mar apr jun jul sep mon tue wed thu thur fri sat sun p art sec ch c ca d b fl r ed op pt par para reg ser app
    """.split()
)
#: Capitalised words that are abbreviations only before another capitalised word ("Pt. Reyes", "Sec. Blinken").
_BEFORE_NAMES = frozenset(
    """
    md pt pte sec miss det del comdr comm dir bro br ens ven sta sto mons
    inst acad soc sci proc phys chem hosp lib trans div dist ser amer brit
    """.split()
)
#: Capitalised words that are abbreviations only after a comma ("Boston, Mass."): states, provinces and ranks.
_AFTER_COMMAS = frozenset(
    """
    ala ark cal del ga ill ind kan kans ky la mass me miss mo mont neb nev ore oreg pa penn tex va vt wash w.va
    alta man ont que sask md sgt ret dec
    """.split()
)
#: Words that are abbreviations between two names ("Roe v. Wade").
_VERSUS = frozenset(["v"])


def takes_full_stop(text: str, tokens: Tokens, end: int) -> bool:
    """True if the full stop directly after the last of *tokens*, ending at *end* of *text*, is a part of that word."""
    word = tokens.words[-1]
    if len(word) == 1 and word.isupper():
        return is_initial(text, tokens, end)
    folded = word.lower()
    if folded in _OPENING or folded in _CLOSING or word in _LOWER_CASE:
        return True
    following = text[end : end + 2].lstrip()[:1]
    if following.isdigit() and folded in _BEFORE_NUMBERS:
        return True
    if word in _VERSUS:
        return following.isupper() and _before(text, tokens)[:1].isupper()
    if not word[0].isupper():
        return False
    return (following.isupper() and word.istitle() and folded in _BEFORE_NAMES) or (
        folded in _AFTER_COMMAS and _before(text, tokens) == ","
    )


def _before(text: str, tokens: Tokens) -> str:
    """The word before the last of *tokens* in the same paragraph, or ""."""
    return "".join(words_before(text, tokens, len(tokens) - 1)[-1:])


def announces(abbreviation: str) -> bool:
    """True if the full stop of *abbreviation* never ends a sentence, because what it announces follows.

    >>> announces("Dr."), announces("Inc."), announces("W."), announces("rep.")
    (True, False, True, False)
    """
    word = abbreviation[:-1]
    if len(word) == 1:
        return word.isupper() or word in _VERSUS
    folded = word.lower()
    return folded in _OPENING and (folded not in TITLES or word[0].isupper())
