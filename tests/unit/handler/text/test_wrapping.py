"""A wrapped, quoted or indented text gives what the same text gives on one line: its sentences and its entities.

The standard library's textwrap wraps.  The texts are ours, and of many kinds; they decide no number in the code.
"""

import random
import re
import textwrap
from pathlib import Path

import pytest

from handler.tagger import Tagger
from handler.text.sentences import split_sentences

TEXTS = {
    "news": (
        "German Chancellor Angela Merkel met French President Emmanuel Macron in Paris on Tuesday to discuss the "
        "future of the European Union. The two leaders were joined by Ursula von der Leyen, head of the European "
        "Commission, and by Christine Lagarde of the European Central Bank. A spokesman for the Bank of England in "
        "London said that Andrew Bailey would follow the talks closely. Protesters from Greenpeace blocked the Avenue "
        "des Champs Elysees for an hour."
    ),
    "biography": (
        "Marie Curie was born in Warsaw, then part of the Russian Empire, and moved to France in 1891. She studied at "
        "the University of Paris, where she met Pierre Curie, and shared the prize of 1903 with him and Henri "
        "Becquerel. Her daughter Irene Joliot Curie worked at the Radium Institute until the war. In 1921 she "
        "travelled to the United States, visited New York and Pittsburgh, and was received by President Warren Harding "
        "at the White House in Washington."
    ),
    "football": (
        "Manchester United beat Real Madrid by two goals to one in front of a full house at Old Trafford. Wayne Rooney "
        "opened the score after a pass from Ryan Giggs, and Cristiano Ronaldo answered before the break. Sir Alex "
        "Ferguson praised the work of Rio Ferdinand and his young partner from South Africa. The return match will be "
        "played in Spain on Wednesday, while Bayern Munich meet Juventus in Turin and Celtic travel from Glasgow to "
        "San Sebastian."
    ),
    "travel": (
        "From New Orleans we drove to Baton Rouge and on to San Antonio, where my sister lives. The road to Mexico "
        "City took us three days, and we slept in small towns on the way. In Buenos Aires we met John Carter, a "
        "teacher from New Zealand who had walked from Santiago over the Andes. He told us to see the Iguazu Falls in "
        "Brazil, and to fly home from Rio de Janeiro by way of Cape Verde and Lisbon."
    ),
    "business": (
        "Shares of General Motors fell in New York after the company said that it would close two plants in Ohio and "
        "Michigan. Mary Barra told reporters in Detroit that demand had dropped since March. Rival Ford Motor gained "
        "a little, and Toyota held its ground in Tokyo. Analysts at Goldman Sachs and Morgan Stanley had warned of "
        "this in a letter to the pension fund of California, which owns a large part of the shares."
    ),
    "history": (
        "In the spring of 1815 Napoleon Bonaparte left Elba and marched from Cannes to Paris with a thousand men. "
        "Louis the Eighteenth fled to Belgium, and the powers that sat in Vienna sent armies. The Duke of Wellington "
        "waited near Brussels for Marshal Blucher of Prussia. After the battle the emperor was brought to Saint "
        "Helena, an island in the South Atlantic, where Hudson Lowe watched over him until his death."
    ),
    "e-mail": (
        "I spoke to Susan Miller yesterday and she says that the office in San Francisco is ready for us. Could you "
        "ask David Chen whether the people from Deutsche Bank will come on Thursday as well? My flight from Boston "
        "lands at noon, so I can meet Karen Walker and the team from Hong Kong before lunch. Tell Robert that the "
        "papers for the Ford Foundation are still on my desk in Cambridge."
    ),
    "science": (
        "The paper was written by Jane Goodall of the University of Cambridge together with colleagues from Stanford "
        "University and the Max Planck Society in Germany. They had watched the animals near Lake Tanganyika in "
        "Tanzania for almost ten years. Louis Leakey, who worked in Kenya at that time, found the money for it in the "
        "United States. Later work by Frans de Waal in Atlanta came to the same result."
    ),
    "obituary": (
        "The singer Miriam Makeba has died in Italy at the age of seventy six, shortly after a concert near Naples. "
        "Born in Johannesburg, she left South Africa in 1959 and sang with Harry Belafonte in New York and Las Vegas. "
        "She spoke before the United Nations against the rulers of her country and lived in Guinea as a guest of Sekou "
        "Toure. Nelson Mandela called her the mother of our struggle, and asked her to come home in 1990."
    ),
    "novel": (
        "When Elizabeth Bennet came to the inn at Lambton, her aunt had already gone to bed. The carriage from London "
        "was late, and old Thomas Hill, who kept the house, feared for the bridge near Kympton. He had served under "
        "Admiral Croft in the West Indies and was afraid of nothing but water. All night he walked between the door "
        "and the fire, and spoke of Portsmouth, of Captain Wentworth, and of a girl from the Isle of Wight."
    ),
    "village": (
        "Grafton is a small town in the north of Vermont, about ten miles from Bellows Falls. It was named after "
        "Grafton in Massachusetts when it was founded in 1754 under another name. The inn on Main Street has given a "
        "bed to Ulysses Grant, Theodore Roosevelt and Rudyard Kipling, and it belongs to the Windham Foundation. "
        "Every summer the Vermont Symphony Orchestra plays in the meadow behind the church of Saint Mary."
    ),
    "forum": (
        "Has anyone here bought a guitar from the shop of Dave Simpson in Leeds? My brother says that he used to build "
        "amplifiers for Marshall and later worked with Brian May on the tour of South America. I would rather drive to "
        "Nottingham than order from Thomann again, because the last parcel from Germany took three weeks and came "
        "back from Northern Ireland with a broken neck."
    ),
}
WIDTHS = range(30, 101, 5)
STYLES = {"plain": ("", ""), "quoted": ("> ", "> "), "indented": ("    ", "    "), "item": ("- ", "  ")}


def wrapped(text, width, style):
    first, others = STYLES[style]
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def words_of(text):
    return [sentence.words for sentence in split_sentences(text)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("style", STYLES)
def test_sentences_of_a_wrapped_text_are_those_of_the_text_on_one_line(style, width):
    first = STYLES[style][0].strip() if style == "item" else ""

    cut = {name: words_of(wrapped(text, width, style)) for name, text in TEXTS.items()}

    assert cut == {name: words_of(f"{first} {text}") for name, text in TEXTS.items()}


#: Names and words of lists, one of them a line.
PEOPLE = """
    Angela Merkel|Barack Obama|J. K. Rowling|Robert I. Kahn|Pelé|Ursula von der Leyen|Martin Luther King|Sinéad O'Connor
    |Jean-Claude Juncker|Merkel|Ngũgĩ wa Thiong'o|Madonna|Lee Kuan Yew|Grace Hopper
""".replace("\n", "").split("|")
PLACES = """
    Paris|New York|San Francisco|Berlin|Rio de Janeiro|Stoke-on-Trent|St. Louis|Isle of Wight|Hong Kong|Reykjavík
    |Kingston upon Hull|Buenos Aires|Oxford|Los Angeles|The Hague|United Arab Emirates
""".replace("\n", "").split("|")
FIRMS = """
    Siemens|Bank of America|Goldman Sachs|Toyota|Marks and Spencer|General Motors|Deutsche Bank AG|AT&T|Procter & Gamble
    |University of Oxford|Real Madrid|FC Bayern München|Yahoo! Inc.|Johnson & Johnson
""".replace("\n", "").split("|")
ROLES = "head of the school of law|goalkeeper|chancellor of Germany|who came late|guitar and vocals|in Berlin".split(
    "|"
)
LISTS = {
    "plain": lambda draw: draw.choice(PEOPLE + PLACES + FIRMS),
    "with commas": lambda draw: draw.choice(PEOPLE + PLACES + FIRMS) + ",",
    "with numbers": lambda draw: f"{draw.choice(PEOPLE + PLACES)} {draw.randint(1, 2000)}",
    "behind numbers": lambda draw: f"{draw.randint(1, 2000)} {draw.choice(PEOPLE + FIRMS)}",
    "numbered": lambda draw: f"{draw.randint(1, 99)}. {draw.choice(PEOPLE + PLACES)}",
    "pairs": lambda draw: f"{draw.choice(PEOPLE)}, {draw.choice(PLACES + FIRMS)}",
    "roles": lambda draw: f"{draw.choice(PEOPLE)}, {draw.choice(ROLES)}",
    "dashes": lambda draw: f"{draw.choice(PEOPLE)} - {draw.choice(ROLES)}",
    "results": lambda draw: f"{draw.choice(PLACES)} {draw.randint(0, 5)}-{draw.randint(0, 5)} {draw.choice(PLACES)}",
    "comma-separated values": lambda draw: f"{draw.choice(PEOPLE)},{draw.choice(PLACES)},{draw.randint(1, 99)}",
    "capital letters": lambda draw: draw.choice(PEOPLE + PLACES + FIRMS).upper(),
}


@pytest.mark.parametrize("kind", LISTS)
def test_no_sentence_holds_words_of_two_lines_of_a_list(kind):
    draw = random.Random(kind)

    for _ in range(200):
        lines = [LISTS[kind](draw) for _ in range(draw.randint(2, 20))]
        text = "\n".join(lines)
        for sentence in split_sentences(text):
            assert "\n" not in text[sentence.starts[0] : sentence.ends[-1]], text


@pytest.fixture(scope="module")
def tagger():
    return Tagger.load(Path(__file__).parents[4] / "models/en")


def spans_of(text, entities):
    """Label of each entity, and how many characters that can be seen are before and in it, without marks of lines."""
    seen = re.sub(r"(?m)^(?:> |- )", lambda match: " " * len(match[0]), text)
    return [
        (entity.label, len("".join(seen[: entity.start].split())), "".join(seen[entity.start : entity.end].split()))
        for entity in entities
    ]


def test_entities_of_a_wrapped_text_are_those_of_the_text_on_one_line(tagger):
    names = list(TEXTS)
    flat = dict(zip(names, tagger.tag(list(TEXTS.values())), strict=True))
    right = {name: set(spans_of(TEXTS[name], flat[name])) for name in names}
    num_right = sum(map(len, right.values()))
    report = []

    for style in STYLES:
        for width in WIDTHS:
            texts = [wrapped(text, width, style) for text in TEXTS.values()]
            found = [set(spans_of(text, entities)) for text, entities in zip(texts, tagger.tag(texts), strict=True)]
            exact = sum(len(found & right[name]) for name, found in zip(names, found, strict=True))
            extra = sum(len(found - right[name]) for name, found in zip(names, found, strict=True))
            report.append((style, width, exact / num_right, extra / num_right))

    assert num_right > 150
    assert all(exact >= 0.95 and extra <= 0.03 for _, _, exact, extra in report), report
