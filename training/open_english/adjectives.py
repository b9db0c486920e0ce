"""Words for nations, peoples, languages, religions and followers of parties: MISC by the CoNLL-2003 definition.

The lists are general knowledge.  Parties themselves ("Labour", "Democratic Party") are organisations, in none of them.
"""

from __future__ import annotations

from handler.labels import Span
from training.corpora import Sentence

_NATIONS = """
Afghan Albanian Algerian American Andorran Angolan Argentine Argentinian Armenian Australian Austrian Azerbaijani Azeri
Bahraini Bangladeshi Barbadian Basque Bavarian Belarusian Belgian Bengali Bolivian Bosnian Brazilian British Briton
Bulgarian Burmese Burundian Byzantine Cambodian Cameroonian Canadian Catalan Chadian Chechen Chilean Chinese Colombian
Congolese Cornish Croat Croatian Cuban Cypriot Czech Danish Dane Dominican Dutch Ecuadorian Egyptian English Eritrean
Estonian Ethiopian Fijian Filipino Finn Finnish Flemish French Gabonese Gambian Georgian German Ghanaian Greek
Guatemalan Guinean Guyanese Haitian Hawaiian Honduran Hungarian Icelandic Indian Indonesian Iranian Iraqi Irish Israeli
Italian Ivorian Jamaican Japanese Jordanian Kazakh Kenyan Korean Kosovar Kuwaiti Kyrgyz Laotian Latvian Lebanese
Liberian Libyan Lithuanian Macedonian Malagasy Malawian Malaysian Maltese Mauritanian Mexican Moldovan Mongolian
Montenegrin Moroccan Mozambican Namibian Nepalese Nepali Nicaraguan Nigerian Norwegian Omani Ottoman Pakistani
Palestinian Panamanian Paraguayan Persian Peruvian Pole Polish Portuguese Prussian Qatari Roman Romanian Russian Rwandan
Salvadoran Samoan Saudi Scottish Scot Senegalese Serb Serbian Sicilian Singaporean Slovak Slovakian Slovene Slovenian
Somali Soviet Spanish Spaniard Sudanese Swede Swedish Swiss Syrian Taiwanese Tajik Tanzanian Thai Tibetan Togolese
Tunisian Turk Turkish Turkmen Ugandan Ukrainian Uruguayan Uzbek Venetian Venezuelan Vietnamese Welsh Yemeni Yugoslav
Zambian Zimbabwean
""".split()
_PAIRS = """
Sri Lankan|Sri Lankans|South African|South Africans|North Korean|North Koreans|South Korean|South Koreans|New Zealander|
New Zealanders|Saudi Arabian|Saudi Arabians|Costa Rican|Costa Ricans|Puerto Rican|Puerto Ricans|El Salvadoran|
Sierra Leonean|East Timorese|West Indian|East German|West German|Latin American|North American|South American|
Latin Americans|North Americans|African American|African Americans|Northern Irish|Bosnian Serb|Bosnian Serbs
""".replace("\n", "").split("|")
_PEOPLES = """
African Asian European Arab Arabic Aramaic Aztec Berber Celtic Cossack Gaelic Germanic Hebrew Hindi Hispanic Hutu Inca
Inuit Javanese Kurd Kurdish Latin Latino Maori Māori Maya Mayan Norse Pashtun Punjabi Roma Sanskrit Scandinavian Semitic
Sinhalese Slavic Swahili Tamil Tartar Tatar Telugu Tutsi Uighur Urdu Viking Western Yiddish Yoruba Zulu Balkan Nordic
""".split()
_RELIGIONS = """
Alawite Anglican Baptist Buddhism Buddhist Calvinist Catholic Catholicism Christian Christianity Hindu Hinduism Islam
Islamic Islamism Islamist Jain Jainism Jesuit Jew Jewish Judaism Lutheran Methodist Mormon Moslem Muslim Orthodox
Presbyterian Protestant Protestantism Quaker Rastafarian Salafi Salafist Shia Shi'a Shiite Shi'ite Sikh Sikhism Sufi
Sunni Taoism Taoist Zionism Zionist
""".split()
_FOLLOWERS = """
Baathist Ba'athist Communist Conservative Democrat Fascist Leninist Maoist Marxist Nazi Nazism Republican Stalinist
Trotskyist
""".split()
#: As whole mentions only: elsewhere they begin the names of parties and bodies.
_WHOLE = frozenset({"Democratic", "Roman Catholic", "Greek Orthodox", "Russian Orthodox", "Eastern Orthodox"})
#: Common nouns and adjectives when they are not tagged: "orthodox views", "a conservative".
_DOUBTFUL = frozenset({"Conservative", "Orthodox", "Latin", "Roman", "Dominican", "Pole", "Finn", "Scot", "Maya"})

#: Adjectives and nouns of one or two words, singular and plural.
ADJECTIVES: frozenset[str] = frozenset(
    {*_PAIRS, *_WHOLE}
    | {
        form
        for word in (*_NATIONS, *_PEOPLES, *_RELIGIONS, *_FOLLOWERS)
        for form in ((word,) if word.endswith(("ism", "ish", "ese", "ch", "Islam")) else (word, f"{word}s"))
    }
    | {"Frenchman", "Frenchmen", "Englishman", "Englishmen", "Dutchman", "Dutchmen", "Irishman", "Irishmen", "Swiss"}
)

_LONGEST = 2


def are_adjectives(words: tuple[str, ...]) -> bool:
    """True if *words* are adjectives of the lists from the first to the last.

    >>> are_adjectives(("Sunni", "Muslims")), are_adjectives(("South", "African")), are_adjectives(("Islamic", "Jihad"))
    (True, True, False)
    """
    i = 0
    while i < len(words):
        length = _length_at(words, i)
        if not length:
            return False
        i += length
    return bool(words)


def tag_untagged(sentence: Sentence) -> Sentence:
    """*sentence* with the adjectives that are in no entity as MISC, those side by side as one.

    An adjective before another capital that is in no entity is left alone: it may begin a name that nobody tagged.

    >>> tag_untagged(Sentence(("Shi'ite", "Muslims", "and", "the", "Islamic", "Courts"), ())).spans
    (Span(start=0, end=2, label='MISC'),)
    """
    words, taken = sentence.words, {i for span in sentence.spans for i in range(span.start, span.end)}
    spans, i = list(sentence.spans), 0
    while i < len(words):
        start = i
        while i < len(words) and (length := _length_at(words, i)) and taken.isdisjoint(range(i, i + length)):
            i += length
        is_cut = i < len(words) and words[i][:1].isupper() and i not in taken and not words[i].isupper()
        follows = start > 1 and words[start - 1][:1].isupper() and start - 1 not in taken
        doubtful = words[start:i] and all(word.removesuffix("s") in _DOUBTFUL for word in words[start:i])
        if start < i and not is_cut and not follows and not doubtful:
            spans.append(Span(start, i, "MISC"))
        i = max(i, start + 1)
    return sentence._replace(spans=tuple(sorted(spans)))


def _length_at(words: tuple[str, ...], i: int) -> int:
    """The number of words of the longest adjective that begins at *i*, else 0."""
    lengths = range(_LONGEST, 0, -1)
    return next((n for n in lengths if i + n <= len(words) and " ".join(words[i : i + n]) in ADJECTIVES), 0)
