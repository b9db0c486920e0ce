"""CoNLL columns as tools and people write them: read rightly, or refused with the line, the cause and the way out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from handler.labels import Span
from training.corpora import Sentence, numbered_sentences, read_corpus, write_conll
from training.errors import CorpusError


def write(folder, content):
    path = folder / "corpus.conll"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder, content):
    """Each sentence as ``first line: words {entities}``."""
    return [
        f"{line}: {' '.join(words)} {{{', '.join(f'{label} {start}-{end}' for start, end, label in spans)}}}"
        for line, (words, spans, *_) in numbered_sentences(write(folder, content))
    ]


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ("1\tAnn\tB-PER\n2\tLee\tI-PER\n\n1\tOslo\tB-LOC\n", ["1: Ann Lee {PER 0-2}", "4: Oslo {LOC 0-1}"]),
        ("0 Ann B-PER\n1 left O\n", ["1: Ann left {PER 0-1}"]),
        ("1 Ann B-PER\n2 left O\n\n3 Oslo B-LOC\n", ["1: Ann left {PER 0-1}", "4: Oslo {LOC 0-1}"]),  # on and on
        ("1-2\tdon't\tO\n1\tdo\tO\n2\tn't\tO\n", ["2: do n't {}"]),
        ("1-2 del _ _\n1 de B-LOC _\n2 el I-LOC _\n2.1 y _ _\n", ["2: de el {LOC 0-2}"]),
        (
            "# sent_id = 1\n# text = Ann saw Vitamin B-12\n1\tAnn\tB-PER\t-\t-\n2\tsaw\tO\t-\t-\n",
            ["3: Ann saw {PER 0-1}"],
        ),
        ("# newdoc\nAnn B-PER\n# text = We left O\nleft O\n", ["2: Ann left {PER 0-1}"]),
        ("# id 4711-abc domain=train\nann _ _ B-PER\n\n# id 4712\tdomain=dev\nleft _ _ O\n",
         ["2: ann {PER 0-1}", "5: left {}"]),
        ("#\thttp://example.org/a [2009-10-17]\n1\tAnn\tB-PER\n2\tLee\tI-PER\n", ["2: Ann Lee {PER 0-2}"]),
        ("#\tO\n1\tO\nAnn\tB-PER\n", ["1: # 1 Ann {PER 2-3}"]),
        ("# O\n#nlp B-MISC\nAnn B-PER\n", ["1: # #nlp Ann {MISC 1-2, PER 2-3}"]),
        ("# text = all\t\n#\tB-MISC\n", ["2: # {MISC 0-1}"]),
        ("-DOCSTART-x\tO\nAnn\tB-PER\n", ["1: -DOCSTART-x Ann {PER 1-2}"]),
        ("-DOCSTART- (1 EU)\nEU\tB-ORG\n", ["2: EU {ORG 0-1}"]),
        ("Ann\tB-PER\rleft\tO\r\rOslo\tB-LOC\r", ["1: Ann left {PER 0-1}", "4: Oslo {LOC 0-1}"]),
        ("Ann\tB-PER\r\r\nleft\tO\r\n", ["1: Ann left {PER 0-1}"]),
        ("Ann\tB-PER\t\nleft\tO\t \n", ["1: Ann left {PER 0-1}"]),
        ("Ann B-PER\n \t\nOslo B-LOC\n\u3000\nhe O\n", ["1: Ann {PER 0-1}", "3: Oslo {LOC 0-1}", "5: he {}"]),
        ("Ann B-PER\nleft\tO\nNew York\tB-LOC\n", ["1: Ann left New York {PER 0-1, LOC 2-3}"]),
        ("Token\tNER_Tag\nAnn\tB-PER\n", ["2: Ann {PER 0-1}"]),
        ("word\tO\nAnn\tB-PER\n", ["1: word Ann {PER 1-2}"]),
        ("\ufeffAnn O\n\ufeffOslo B-LOC\n", ["1: Ann Oslo {LOC 1-2}"]),  # as cat joins two files
        ("Ann\tB-PER\nleft\tO\n".encode("utf-16"), ["1: Ann left {PER 0-1}"]),
        ("Ann\tB-PER\n".encode("utf-32"), ["1: Ann {PER 0-1}"]),
        ("a\x85b\tO\nc\u2028d\tO\ne\x0b\x0cf\tB-PER\n", ["1: a\x85b c\u2028d e\x0b\x0cf {PER 2-3}"]),
        ("It O +\nFrench B-LOC -\n", ["1: It French {LOC 1-2}"]),  # the tag is not last
        ("EU NNP I-NP I-ORG\ncalls VBZ I-VP O\n", ["1: EU calls {ORG 0-1}"]),  # chunks before it
        ("Wien NE I-NC I-LOC\nist VAFIN I-VC O\n", ["1: Wien ist {LOC 0-1}"]),  # German ones
        ("O O\no B-PER\n", ["1: O o {PER 1-2}"]),
        ("EU NNP I-NP\ncalls VBZ I-VP\n", ["1: EU calls {NP 0-1, VP 1-2}"]),  # nothing but chunks
        ("Ann O B-PER\nleft O O\n", ["1: Ann left {PER 0-1}"]),
        ("1 _ O\nAnn _ B-PER\n", ["1: 1 Ann {PER 1-2}"]),
        ("1 CD O\n984 CD O\nmen NN O\nAnn NNP B-PER\n", ["1: 1 984 men Ann {PER 3-4}"]),
        ("Ann\tB-Multi-tissue_x\nLee\tI-Multi-tissue_x\n", ["1: Ann Lee {Multi-tissue_x 0-2}"]),
        ("Ann\tB-Given Name\nLee\tI-Given Name\n", ["1: Ann Lee {Given Name 0-2}"]),
        ("Ann\tB-PER|LOC\n", ["1: Ann {PER|LOC 0-1}"]),
    ],
)  # fmt: skip
def test_a_file_of_another_tool_is_read_as_it_means(tmp_path, content, sentences):
    assert read(tmp_path, content) == sentences


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("W-PER O B-LOC E-LOC", ["PER 0-1", "LOC 2-4"]),  # BMEWO
        ("b-PER i-PER o b-LOC", ["PER 0-2", "LOC 3-4"]),
        ("B_PER I_PER O B_LOC", ["PER 0-2", "LOC 3-4"]),
        ("PER-B PER-I O LOC-B", ["PER 0-2", "LOC 3-4"]),
        ("PER_B PER_E O LOC_S", ["PER 0-2", "LOC 3-4"]),
        ("I-PER E-PER E-PER O", ["PER 0-2", "PER 2-3"]),  # IOE2
        ("PER PER O LOC", ["PER 0-2", "LOC 3-4"]),  # IO
        ("creative-work O O creative-work", ["creative-work 0-1", "creative-work 3-4"]),
    ],
)
def test_tags_may_be_spelt_in_any_one_way(tmp_path, tags, spans):
    text = "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split()))

    assert read(tmp_path, text) == [f"1: w0 w1 w2 w3 {{{', '.join(spans)}}}"]


def test_tags_without_prefixes_are_pointed_out(tmp_path, caplog):
    read_corpus(write(tmp_path, "Ann\tPER\nBob\tPER\nleft\tO\nOslo\tLOC\n"))

    assert "no prefixes, so that neighbours of one label are one entity; labels are LOC, PER" in caplog.text


@pytest.mark.parametrize("suffix", [False, True])
@settings(deadline=None)
@given(data=st.data())
def test_tags_are_read_as_seqeval_reads_them(tmp_path_factory, suffix, data):
    tag = st.one_of(st.just("O"), st.tuples(st.sampled_from("BIES"), st.sampled_from(["PER", "LOC", "new-work"])))
    drawn = data.draw(st.lists(tag, min_size=1, max_size=9))
    order = -1 if suffix else 1
    tags = [one if one == "O" else "-".join(one[::order]) for one in drawn]
    if any(one != "O" for one in drawn):
        tags = ["-".join(("B", label)[::order]) for label in ("PER", "LOC", "new-work")] + ["O", *tags]

    (sentence,) = read_corpus(
        write(tmp_path_factory.getbasetemp(), "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags)))
    )

    expected = [(label, start, last + 1) for label, start, last in get_entities(tags, suffix)]
    assert [(label, start, end) for start, end, label in sentence.spans] == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("EU NNP I-NP I-ORG\nsays VBZ I-NP\n", ":2: expected 4 columns, as in line 1, got 3"),
        ("# a = b\nAnn\tB-PER\n\n#hash\n", ":4: expected 2 columns, as in line 2, got 1"),
        ("Ann\tB-PER\nNew York\t\n", ":2: expected 2 columns, as in line 1, got 1"),
        ("Ann\tB-PER\n\tO\n", ":2: expected a token and a tag, got white space for a token"),
        ("Ann\tB-PER\n\u00a0\tO\n", ":2: expected a token and a tag, got white space for a token"),
        ("1\tAnn\tB-PER\tO\n2\tLee\tI-PER\tB-MISC\n", ":1: expected one column of tags, got columns 3, 4; choose one"),
        ("1\tAnn\tB-PER\n2\tBob\tB-PER\nx\tLee\tI-PER\n", ":3: expected tokens in the first column, or their numbers"),
        ("1-1 0-3 Ann B-PER\n1-2 4-7 Lee I-PER\n", ":1: expected tokens in the first column, or their numbers"),
        ("7 Ann B-PER\n9 Lee I-PER\n", ":1: expected tokens in the first column, or their numbers"),
        ("1 Ann B-PER\n\n1 Bob B-PER\n", ":1: expected tokens in the first column, or their numbers"),
        ("1 O\n2 O\n3 O\n4 O\n5 O\n", ":1: expected a token and a tag, got token numbers without a column of tokens"),
        ("1-2 del B-LOC\n1 de O\n2 el O\n", ":1: expected the tag 'B-LOC' in the next line, too"),
        ("1. Ann B-PER\n2. left O\n", ":1: expected tokens in the first column, or their numbers"),
        ("s1 Ann B-PER\ns1 Lee I-PER\ns1 left O\n", ":1: expected tokens in the first column, got one value in each"),
        ("B-PER\tAnn\nO\to\nO\tleft\n", ":1: expected a token and then its tag, got tags in column 1"),
        ("Ann\tB\nleft\tO\n", ":1: expected O or a tag such as B-PER, got 'B'"),
        ("Ann\tB-PER\nBob\tB-PER\ufeff\n", ":2: expected O or a tag such as B-PER, got 'B-PER\\ufeff'"),
        ("Ann\tPER\nBob\tO\nleft\tO\u200b\n", ":3: expected O or a tag such as B-PER, got 'O\\u200b'"),
        ("Ann\tX-PER\nleft\tO\n", ":1: expected O or a tag such as B-PER, got 'X-PER'"),
        ("Ann\tB:PER\nleft\tO\n", ":1: expected O or a tag such as B-PER, got 'B:PER'"),
        ("Ann\tBPER\nLee\tIPER\nleft\tO\n", ":1: expected O or a tag such as B-PER, got 'BPER'"),
        ("Ann\tB-PER\nleft\t0\n", ":2: expected O or a tag such as B-PER, got '0'"),
        ("Ann\tB-PER\nOslo\tLOC\n", ":2: expected O or a tag such as B-PER, got 'LOC'"),
        ("Ann\tB-person\n##n\tX\n[SEP]\tO\n", ":2: expected O or a tag such as B-person, got 'X'"),
        ("Ann\tPER-B\nLee\tPER-I\nOslo\tB-LOC\n", ":3: expected O or a tag such as PER-B, got 'B-LOC'"),
        ("Ann\tB-PER\nx\tE-MAIL\n", ":2: expected 'MAIL' to begin somewhere, got 'E-MAIL' alone"),
        ("x\te-mail\ny\tO\n", ":1: expected O or a tag such as B-PER, got 'e-mail'"),
        ("Ann NNP\nleft VBD\n", ":1: expected O or a tag such as B-PER, got 'NNP'"),
        ("Ann\tPER\nleft\tO\nNew York\n", ":3: expected columns parted as in line 1, by tabs or by spaces"),
        ("tok tagg\nAnn B-PER\n", ":1: expected O or a tag such as B-PER, got 'tagg'"),
        ("Ann,B-PER\nleft,O\n", ":1: expected a token and a tag, got 1 column(s)"),
        ("Ann\tB-PER\nBob\tB-PER\rLee\tI-PER\n", ":2: expected lines to end alike, in LF, CR LF or CR, got a CR"),
        ("Jos\u00e9\tB-PER\n".encode("latin-1"), ":1: expected UTF-8, got byte 0xE9; if it is Windows-1252 or Latin-1"),
        ("Ann\tB-PER\n".encode("utf-16-le"), ":1: expected text, got the character U+0000; if it is UTF-16: iconv"),
        (b"\xff\xfeA\x00\x00", ":1: expected UTF-16, got byte 0x00"),
        ("", ": expected sentences, got none"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_line_and_cause(tmp_path, content, problem):
    with pytest.raises(CorpusError) as caught:
        read(tmp_path, content)

    assert f"corpus.conll{problem}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ("Sentence #,Word,POS,Tag\nSentence: 1,Ann,NNP,B-PER\n,left,VBD,O\nSentence: 2,Bob,NNP,B-PER\n",
         ["2: Ann left {PER 0-1}", "4: Bob {PER 0-1}"]),
        ('sentence_id,token,label\n1,"""",O\n1,"1,000",O\n2,Ann,PER\n', ['2: " 1,000 {}', "4: Ann {PER 0-1}"]),
    ],
)  # fmt: skip
def test_comma_separated_columns_with_a_header_are_read(tmp_path, content, sentences):
    assert read(tmp_path, content) == sentences


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("Word,Tag\nAnn,B-PER\n", ":1: expected one column of sentences in the header, got 0"),
        ("Sentence #,Word,Tag,Label\n1,Ann,B-PER,x\n", ":1: expected one column of tags in the header, got 2"),
        ("Sentence #,Word,Tag\n1,Ann,B-PER\n,1,000,O\n", ":3: expected 3 columns, got 4"),
        ("Sentence #,Word,Tag\n1,,B-PER\n", ":2: expected a token, got white space"),
        ('Sentence #,Word,Tag\n1,"Ann"s,B-PER\n', ":2: expected comma-separated columns: "),
        ("Sentence #,Word,Tag\n1,Ann,B-PER\n,Lee,PER\n", ":3: expected O or a tag such as B-PER, got 'PER'"),
        ("Sentence #,Word,Tag\n", ": expected sentences, got none"),
    ],
)
def test_comma_separated_columns_that_cannot_be_read_are_refused(tmp_path, content, problem):
    with pytest.raises(CorpusError) as caught:
        read(tmp_path, content)

    assert f"corpus.conll{problem}" in str(caught.value)


words = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), min_size=1, max_size=6).filter(
    lambda word: word.strip() and word == word.strip(" ") and not word.startswith("\ufeff")
)


@settings(deadline=None)
@given(st.lists(st.lists(words, min_size=1, max_size=5), min_size=1, max_size=4), st.data())
def test_any_words_that_are_written_are_read_again(tmp_path_factory, rows, data):
    sentences = [
        Sentence(
            tuple(row), (Span(0, data.draw(st.integers(1, len(row))), data.draw(st.sampled_from(["PER", "a b-c"]))),)
        )
        for row in rows
    ]
    path = tmp_path_factory.getbasetemp() / "again.conll"

    write_conll(path, sentences)

    assert read_corpus(path) == sentences


@pytest.mark.parametrize("word", ['{"', '[{"text":', '[["'])
def test_a_word_that_begins_as_json_does_is_a_word(tmp_path, word):
    write_conll(tmp_path / "corpus.txt", [Sentence((word, "Ann"), (Span(1, 2, "PER"),))])

    assert read_corpus(tmp_path / "corpus.txt") == [Sentence((word, "Ann"), (Span(1, 2, "PER"),))]


@pytest.mark.parametrize("word", ["", " ", "a\tb", "a\nb", "a\r", "a ", " a", "\ufeffa", "-DOCSTART-", "\ud83d", "\0"])
def test_a_word_that_would_not_be_read_again_is_not_written(tmp_path, word):
    with pytest.raises(CorpusError, match=r"sentence 2: .* cannot be written"):
        write_conll(tmp_path / "again.conll", [Sentence(("a",), ()), Sentence(("b", word), ())])
