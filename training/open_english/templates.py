"""Templates of lines that corpora lack: results, tables, datelines, headlines, signatures, lists, short requests.

A word in braces is a kind of name (:data:`~training.open_english.names.LABEL_OF`) or a filler of :mod:`lines`; what is
outside is in no entity.  They are general knowledge of such text.  Those of dev and test share no template with those
of training, nor with each other.
"""

from __future__ import annotations

from training.open_english.names import Part

#: Templates of each part, one on a line, by what the lines are.
TEMPLATES: dict[Part, dict[str, str]] = {
    "train": {
        "results": """
            {club} {n} {club} {n}
            {club} {n}, {club} {n}
            {club} {n}-{n} {club}
            {club} - {club} {n}:{n}
            {club} v {club}
            {club} vs {club}, {time}
            {country} {n} {country} {n} ( halftime {n}-{n} )
            {country} beat {country} {n}-{n}
            {n}. {person} ({country}) {clock}
            {n} {person} {country} {clock}
            {n}. {initialled}, {country}, {points} points
            {person} ({country}) beat {person} ({country}) {set} {set}
            {initialled} bt {initialled} {set} {set}
            {surname} {n} {small}, {surname} {n} {small}
            {team} {big}, {team} {big}
            {team} at {team}, {time}
            Scorers: {surname} {small}, {surname} {small}
            Attendance: {number}
            {event}, men's singles, second round:
            {event}: {person} wins by {n} strokes
            Final: {club} {n} {club} {n} (aet)
            {day}'s results
            Played at {town}: {club} {n}, {club} {n}
        """,
        "tables": """
            {club} {small} {n} {n} {n} {small} {n} {small}
            {n} {club} {small} {points}
            {team}\t{small}\t{small}\t.{number}
            {country} | {n} | {n} | {n} | {small}
            {country},{n},{n},{n}
            {person},{town},{number}
            {person}\t{firm}\t{phone}
            {firm} {money} {pct}
            {firm} | {town} | {year}
            {firm} ({ticker}) {money} +{n}.{small}
            {town} {small} {small} cloudy
            {surname} {n} {small} {n} {n}
            Team P W D L Pts
            Name Town Votes
            {initialled} {number} {pct}
            {university}\t{town}\t{number} students
            {date} {club} {club} {time}
        """,
        "datelines": """
            {town}, {month} {small} -
            {town}, {country}, {month} {small} -
            {TOWN} (AP) --
            {TOWN}, {country} -- The government said {day} that prices rose.
            {TOWN} {date}
            {town}: Police said {day} that two men were held.
            {TOWN}, {month} {small}: Shares of {firm} rose {pct}.
        """,
        "headlines": """
            {firm} to cut {number} jobs
            {firm} buys {firm} for {money}
            {firm} profit falls {pct} on weak sales
            {country} and {country} sign trade deal
            {surname} quits as {firm} chief
            {club} sack manager {surname}
            {club} sign {person} from {club}
            {person}, {small}, dies after long illness
            {town} mayor {surname} wins second term
            Fire at {school} leaves {n} hurt
            {nation} court frees {surname}
            {university} opens new campus in {town}
            {band} to tour {country} in {month}
            {society} warns of shortage
            Shares in {firm} slide
            Storm hits {town}
            {paper}: {surname} to run again
            Shop Sale Ends {day}
        """,
        "bylines": """
            By {person}
            By {person} and {person}
            By {PERSON}
            By {person}, {paper}
            Reporting by {person} in {town}; editing by {person}
            Photo: {person}/{paper}
            Written by {person}
            Text and photos by {person}
            Story by {person} | {date}
        """,
        "signatures": """
            Best, {first}
            Regards, {person}
            Thanks, {person}
            Cheers, {first}
            -- {person}
            - {first}
            {person}, {firm}
            {person}, Vice President, {firm}
            {person}, Professor of Chemistry, {university}
            Dept. of Physics, {university}, {town}, {country}
            {firm}, {small} Station Road, {town}
            From: {person}
            To: {person}; {person}
            Cc: {person}
            Dear {first},
            Hi {first},
            Tel: {phone}
            Dr. {surname}, {society}
        """,
        "lists": """
            {person}, {person}, {person}, {person}
            {person}, {person} and {person}
            {person}; {person}; {person}
            {surname}, {surname}, {surname}
            {country}, {country}, {country} and {country}
            {town}, {town}, {town}
            {firm}, {firm}, {firm}
            {band}, {band} and {band}
            {club}, {club}, {club}
            - {person}
            * {firm}
            {n}. {university}
            {n}) {person}
            {person} / {person}
            {person} ({firm}), {person} ({firm})
            Present: {person}, {person}, {person}
            Starring {person}, {person}
            milk, eggs, bread
            red, green and blue
        """,
        "short": """
            {person}
            {firm}
            {town}
            {university}
            {school}
            {society}
            {town}, {country}
            Chapter {n}
        """,
        "queries": """
            {first} called
            weather {town}
            flights {town} to {town}
            who is {person}
            {firm} stock price
            {shop} opening hours
            {hyphened} dealers near {town}
            jobs at {firm} {town}
            {club} tickets
            {band} tour dates
            good morning
            see you {day}
        """,
        "work": """
            I work at {firm}.
            I worked for {shop} until {year}.
            She studies at {university}.
            He teaches at {school}.
            We met at {shop} on {day}.
            My sister joined {firm} in {year}.
            the new {firm} report is out
            the old {club} shirt was better
            a former {firm} engineer told me
            our {firm} order never came
            that {hyphened} broke down again
            my {hyphened} needs new tires
            {shop} is cheaper than {shop}
            {firm}'s shares rose {pct}.
            {club}'s keeper was injured.
            {society} said the plan would fail.
            He plays for {club}.
            He left {club} for {club} in {year}.
            {band} played in {town} last night.
            I saw {band} live in {year}
            Both {firm} and {firm} declined to comment.
            The band {band} released a second album.
            She was a director of {firm} and of {society}.
            *{firm}* is hiring
            *{band}* is great
            **{person}** wrote this
            "{band}" were late
            ({club})
            [{person}]: hello
            <{first}> anyone here?
        """,
        "verbs": """
            Mark the date in your calendar.
            Mark every box that applies.
            Bill them at the end of the month.
            Grant access to all users.
            Chase the invoice again.
            Frank the letters before noon.
            Rob a bank and you go to jail.
            Sue them if they do not pay.
            Pat the dough flat.
            Nick the edge with a knife.
            Will this work?
            Will you come on {day}?
            Drew a map, then lost it.
            Hope you are well.
            Grace period ends {day}.
            May I ask a question?
            Jack up the car first.
            Skip the first step.
            Dawn breaks at {time}.
            Art is long.
            Rose by {pct} in {month}.
            Rich people live there.
            {first}, can you call {first}?
            {first} and {first} came late.
        """,
    },
    "dev": {
        "results": """
            FT: {club} {n}-{n} {club}
            {club} {n} ({surname} {small}) {club} {n}
            {country} d. {country} {n}-{n}
            {n}, {person}, {club}, {clock}
            {person}, {country}, def. {person}, {country}, {set}, {set}
            {team} {big} {team} {big} (OT)
            Halftime: {club} {n}, {club} {n}
        """,
        "tables": """
            {n}. {club} {small} {n}-{n}-{n} {points}
            {person} | {country} | {points}
            {team} {small} wins {small} losses
            {firm} in {town}, {pct}
            {country}: gold {n}, silver {n}, bronze {n}
            {initialled} {club} {small}
        """,
    },
    "test": {
        "results": """
            Result: {club} {n}:{n} {club}
            {club} {n}, {club} {n} - {surname} {small}, {surname} {small}
            {country} won against {country} {n}-{n} on penalties
            {n}th: {person} of {country}, {clock}
            {person} ({country}) d. {initialled} ({country}) {set} {set} {set}
            {team} {big} - {team} {big}, final
            {time}: {club} against {club}
        """,
        "tables": """
            {club}\t{small}\t{n}\t{n}\t{points}
            {n} | {country} | {person} | {clock}
            {team} {small}-{small}
            {town}; {firm}; {number}
            {country} {n}, {country} {n} = {small}
            {person} {town} {small} {small} {small}
        """,
    },
}

#: Letter cases of lines, by what they are: as written, in capitals, as a headline, in lower case, in parts.
CASES: dict[str, tuple[int, int, int, int]] = {
    "headlines": (4, 3, 3, 0),
    "results": (8, 1, 0, 1),
    "tables": (9, 1, 0, 0),
    "queries": (6, 0, 0, 4),
    "work": (7, 0, 0, 3),
    "verbs": (10, 0, 0, 0),
}
