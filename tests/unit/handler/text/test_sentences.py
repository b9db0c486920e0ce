"""Where sentences end around initials, abbreviations, and marks inside names, against what a reader would say.

In the tables, ``|`` stands where a sentence ends; it is taken out of the text, which is then split.
"""

import pytest

from handler.text.sentences import split_sentences


def split(marked):
    """The sentences of *marked* without its ``|``, each as the text that it holds."""
    text = marked.replace("|", "")
    return [text[sentence.starts[0] : sentence.ends[-1]] for sentence in split_sentences(text)]


def as_marked(marked):
    return [part.strip() for part in marked.split("|")]


@pytest.mark.parametrize(
    "marked",
    [
        "Senator Robert I. Kahn spoke in Boston.",
        "The museum was designed by I. M. Pei in 1989.",
        "Alfred I. Goldberg joined Merck.",
        "I. M. Pei was born in Canton.",
        "I. Newton wrote it.| I. Kant did not.",
        "Ann I. and Bob I. Miller are twins.",
        "The prize went to I. Kahn and to M. I. Rostovtzeff.",
        "She thanked Isaac I. van Dam.",
        "K. He works at Facebook.",
        "J. K. He and Y.Z. So met.",
        "The paper by Y. He and K. So was cited in Beijing.",
        "The authors are X. Zhang, S. Ren and J. Sun; K. He, who led them, left.",
        "K. He, X. Zhang, S. Ren, and J. Sun won a prize.",
        "Prof. W. She of Peking University spoke.",
        "Professor W. She of Peking University spoke.",
        "Dr. M. An said so.",
        "A student of Y. No found it.",
        "We met K. He in Beijing.",
        "She asked B. To and C. On for help.",
        "It was written by S. My and N. By.",
        "They cite D. So (2010) and H. As, who disagree.",
        "Kaiming K. He works at Facebook.",
        "The talk by Daniel K. So was good.",
        "He met H. An in Seoul.",
        "(K. He left.)",
        "It rained.| K. He was late.",
        '"K. He is here," she said.',
        "George W. Bush met J.K. Rowling.",
        "Read the booklet by D. Seyfort Ruegg and the introductory matter of A. MacDonald's tomes.",
        "Ask technician J. Smith for details.",
        "John W. (Jack) Smith left.",
        "The C. elegans worm lives.",
        "Kevin K. He, a professor, spoke.",
        "Who is K. He?| She asked.",
        '"I don\'t know K. He."',
        "Did I. Kant write it?",
        "Morrison, Charles D. “Prolongation in Music” is old.",
        '"Brown, Sherman O." wrote to Bob.',
        "The list has M. B. Arthur, M. A. Peiperl and Said, I., Durier, S.",
        "Smith, J. A., He, K., & To, B. (2010).| In the thing.",
        "The firm of A. He & Sons.| The law by B. I. He passed.",
    ],
)
def test_an_initial_before_a_surname_ends_no_sentence(marked):
    assert split(marked) == as_marked(marked)


@pytest.mark.parametrize(
    "marked",
    [
        "So did I.| He left.",
        "So did I.| Peter left.",
        "It was I.| Then he came.",
        "It was I.| Peter knew.",
        "My wife and I.| He stayed.",
        "My wife and I.| Peter stayed.",
        "She is taller than I.| We know.",
        "Here am I.| Send me.",
        "Oranges have vitamin C.| It helps.",
        "Oranges have vitamin C.| He eats them.",
        "Oranges have vitamin C.| Researchers know.",
        "They eat vitamins A and C.| He knows.",
        "It goes from A to Z.| He knows.",
        "We need a Plan B.| We have none.",
        "We need a Plan B.| Germany has one.",
        "He died in World War I.| It was 1916.",
        "He died in World War I.| Germany lost it.",
        "They followed King Louis I.| He was old.",
        "They followed King Louis I.| Spain lost.",
        "They followed Louis I.| He was old.",
        "She got an A.| He got a B.| They got a C.",
        "They shot Malcolm X.| In 1965 he was known.",
        "They like Kenny G.| He plays well.",
        "They like Mel B.| She sings.",
        "It is written in C.| He knows it.",
        "They live in Group C.| So does he.",
        "B follows A.| Then comes C.",
        "England are in Group B.| On Monday they play.",
        "He chose option D.| You chose A.",
        "It is Proteinase K.| They add it.",
        "He works in Washington, D.C.| He likes it.",
        "He lives in the U. S.| The house is big.",
        "He came at 5 p.m.| She left.",
        "They were led by Elizabeth I.| She was queen.",
        "He took the throne as Michael I.| Carol then returned.",
        "You and I.| Peter left.",
        "It is kept at 70 ° C.| Tests show it.",
        "They play D, F, and G.| You hear them.",
        "It is on page 15 A.| The end.",
        "He spoke to Ann Lee, M.D.| He was ill.",
        "It goes from F to D.| According to Lane it ends.",
    ],
)
def test_a_letter_that_is_no_initial_ends_a_sentence(marked):
    assert split(marked) == as_marked(marked)


@pytest.mark.parametrize(
    "marked",
    [
        "They moved from St. Louis to Ste. Genevieve, Missouri.",
        "Wm. Wrigley Jr. Co. sold gum in Chicago.",
        "Geo. Washington, Chas. Darwin, Thos. Paine, Jos. Smith and Jas. Madison wrote.",
        "He studied in Pt. Reyes and Ft. Worth.",
        "Sec. Blinken met Amb. Ford and Atty. Gen. Garland.",
        "Maj. Gen. Smith and Maj. Tom met Lt. Col. North, Cpl. Jones and Pvt. Ryan.",
        "Msgr. Ronald Knox and Rt. Rev. John Smith met Bp. Tutu.",
        "Prof. He met Dr. So and Mr. An.",
        "Miss. Smith and Mme. Curie met Mlle. Lenglen.",
        "He moved from Oakland, Calif. to Boston, Mass. and Reading, Pa. in May.",
        "He lives in Springfield, Ill.| She lives in Portland, Ore.| They do not.",
        "The Sept. 11 attacks and the Mar. 3 vote are in No. 5.",
        "The case is Roe v. Wade.| It is old.",
        "It was shown by Smith et al. (2010) and Jones et al.| The work is new.",
        "Martin Luther King Sr.| He was a pastor.",
        "He lives on Main St.| The house is big.",
        "He is 6 ft.| The door is not.",
        "Acme Inc.| The firm is big.",
        "Acme Inc. of Ohio met Foo Pty. Ltd. in Perth.",
        "Brown v. Board of Education and Roe vs. Wade.",
        "It stands in Proc. Natl. Acad. Sci. of 1999.",
        "He met Md. Rahman and Mohd. Ali.",
        "She holds a Ph.D. from Yale and an M.Sc. from Oxford.",
    ],
)
def test_the_full_stop_of_an_abbreviation_ends_a_sentence_where_a_new_one_starts(marked):
    assert split(marked) == as_marked(marked)


@pytest.mark.parametrize(
    "marked",
    [
        "She sat down for a sec.| Then she rose.",
        "He felt ill.| Peter did not.",
        "He went to mass.| Peter did not.",
        "They wash.| Peter does not.",
        "He met Ed.| She met Al.| They talked.",
        "She said no.| Peter said yes.",
        "It is art.| Peter knows.",
        "He sat in the sun.| Peter did not.",
        "This is the point v.| Wade knows.",
        "Do one more rep.| The next is harder.",
        "He saw me.| Peter did not.",
        "She asked her pa.| Peter knows.",
    ],
)
def test_words_that_look_like_abbreviations_end_sentences(marked):
    assert split(marked) == as_marked(marked)


@pytest.mark.parametrize(
    "marked",
    [
        "Yahoo! Inc. reported higher profit on Tuesday.",
        "She joined Yum! Brands in Louisville.",
        "The board of Yahoo! Inc. met in Sunnyvale.",
        "Shares of Guess? Inc. fell in New York.",
        "Boohoo! Ltd. sold Kaboom! Corp in May.",
        "Yahoo! said it would sell Yahoo! Japan and Yahoo! Finance.",
        "The Jeopardy! host met Panic! at the Disco.",
        "He saw Panic! At The Disco and Godspeed You! Black Emperor.",
        "Yahoo! CEO Marissa Mayer left.",
        "It is on E! News and in Hello! Magazine.",
        "Yahoo!'s board and Yahoo!(the firm) met.",
        "The FRITZ!Box is a router.",
        "P!nk sang.",
    ],
)
def test_a_mark_inside_a_name_ends_no_sentence(marked):
    assert split(marked) == as_marked(marked)


@pytest.mark.parametrize(
    "marked",
    [
        "Oklahoma!| Broadway loved it.",
        "What?| Inc. who?",
        "Stop!| Brands are not allowed.",
        "You are a Yahoo!| I hate you!",
        "I use Yahoo!| Google is better.",
        "Guess!| Brands like it.",
        "Hello!| How are you?",
        "Which?| The big one.",
        "They like Apple!| Inc. magazine agrees.",
        "We won!| Inc. is a word.",
        "Is this it?| News travels fast.",
        "Help!| Corporation tax is due.",
        "Wow!| Microsoft wins.",
        "Did Peter call?| Paul did.",
    ],
)
def test_a_mark_after_a_sentence_ends_it(marked):
    assert split(marked) == as_marked(marked)


@pytest.mark.parametrize(
    "marked",
    [
        "I met Merkel.|she was nice",
        "He lives in Paris.|she works in Rome.",
        "He works at Siemens.|it is in Munich.",
        "He works at Siemens.|It is in Munich.",
        "They left Rome.|in 1990 they came back.",
        "He left Paris.|The city is big.",
        "Really?|He left Paris!|She did not.",
        "They met Ann.|he's nice.",
        "_He left._| She stayed.",
        "**He left.**| *She* stayed.",
        "<b>He left.</b>| She stayed.",
        "<p>Angela Merkel</p>|<p>Barack Obama</p>",
        "Angela Merkel<br/>|Barack Obama",
        "<ul>|<li>Paris</li>|<li>Rome</li>|</ul>",
        "He left.| &quot;Why?&quot; she said.",
        "He said &ldquo;no.&rdquo;| She left.",
    ],
)
def test_a_sentence_ends_without_a_space_and_inside_markup(marked):
    assert split(marked) == as_marked(marked)


@pytest.mark.parametrize(
    "text",
    [
        "Visit example.com or Amazon.co.uk, open file.txt and node.js.",
        "The U.S.-led war, e.g. in v1.2.3 of ASP.NET, is old.",
        "Visit www.siemens.it in May.",
        "Their site is amazon.it and google.my and bit.ly.",
        "Call Promise.that() and x.his or re.sub.",
        "We use Siemens.it for mail.",
    ],
)
def test_a_stop_inside_an_address_or_a_version_ends_no_sentence(text):
    assert len(split_sentences(text)) == 1
