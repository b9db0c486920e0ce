"""Words that names of firms, bands, teams, societies and events are made of; general knowledge, from no corpus."""

from __future__ import annotations

#: Countries with teams and governments in results and datelines.
COUNTRIES = """
Albania|Algeria|Argentina|Australia|Austria|Bahrain|Belgium|Bolivia|Bosnia and Herzegovina|Brazil|Bulgaria|Cameroon|
Canada|Chile|China|Colombia|Costa Rica|Croatia|Cuba|Cyprus|Czech Republic|Denmark|Ecuador|Egypt|England|Estonia|
Ethiopia|Fiji|Finland|France|Georgia|Germany|Ghana|Greece|Honduras|Hungary|Iceland|India|Indonesia|Iran|Iraq|
Ireland|Israel|Italy|Ivory Coast|Jamaica|Japan|Jordan|Kazakhstan|Kenya|Kuwait|Latvia|Lebanon|Libya|Lithuania|
Luxembourg|Malaysia|Mali|Malta|Mexico|Moldova|Morocco|Namibia|Netherlands|New Zealand|Nigeria|North Korea|Norway|
Oman|Pakistan|Panama|Paraguay|Peru|Philippines|Poland|Portugal|Qatar|Romania|Russia|Saudi Arabia|Scotland|Senegal|
Serbia|Singapore|Slovakia|Slovenia|South Africa|South Korea|Spain|Sri Lanka|Sudan|Sweden|Switzerland|Syria|Thailand|
Togo|Tunisia|Turkey|Uganda|Ukraine|United Arab Emirates|United States|Uruguay|Uzbekistan|Venezuela|Vietnam|Wales|
Yemen|Zambia|Zimbabwe
""".replace("\n", "").split("|")

#: Their adjectives.
NATIONS = """
Argentine Australian Austrian Belgian Brazilian British Canadian Chilean Chinese Croatian Czech Danish Dutch
Egyptian English Finnish French German Greek Hungarian Indian Irish Israeli Italian Japanese Kenyan Korean Mexican
Norwegian Polish Portuguese Romanian Russian Scottish Serbian Spanish Swedish Swiss Turkish Ukrainian Welsh
""".split()

#: Beginnings of coined names of firms.
STARTS = """
Al Ar Bel Bri Cal Cor Del Dor El Fen Gal Hel In Jor Kel Lan Lum Mar Mel Nor Ol Par Quan Rin Sel Tal Ul Ver Vor Wen
Xan Zel Zy
""".split()

#: Middles of coined names.
MIDDLES = """
a be co da e fi go i ka le ma mi no o pa ra ri sa ta ti u va vi zo
""".split()

#: Ends of coined names.
ENDS = """
bix com cor dex dyn fy gen lex lo lon lytics mark max mo nex nix on ora pex que ra rix scan sys tech tek tra via vo
xa zen
""".split()

#: What a firm does.
TRADES = """
Airlines Automotive Bank Biotech Brewing Builders Capital Chemicals Communications Consulting Electric Electronics
Energy Engineering Entertainment Financial Foods Games Holdings Industries Insurance International Labs Logistics
Media Motors Networks Oil Partners Petroleum Pharmaceuticals Pictures Press Properties Publishing Records
Semiconductor Shipping Software Solutions Steel Stores Studios Systems Technologies Telecom Textiles Trust
""".split()

#: Legal forms.
FORMS = """
Inc. Inc Corp. Corp Ltd Ltd. plc AG GmbH LLC Co. Group S.A. Company Corporation
""".split()

#: First words of names of bands.
ADJECTIVES = """
Black Blue Broken Burning Cold Crimson Dark Electric Empty Faded Golden Green Hollow Iron Little Lost Neon New Old
Paper Purple Red Rusty Silent Silver Stone Velvet White Wild Young
""".split()

#: Last words of names of bands.
THINGS = """
Arrow Avenue Bird Bullet Candle Castle City Coyote Crow Dream Engine Fire Flower Garden Ghost Heart Highway Horse
Island Kite Lion Machine Mirror Monkey Moon Mountain Owl Pilot Rabbit River Rocket Season Shadow Spoon Star Stranger
Sun Tiger Train Valley Wave Whale Winter Wolf
""".split()

#: Last words of names of teams.
MASCOTS = """
Aces Bears Bobcats Braves Buffaloes Bulls Chargers Cougars Cyclones Eagles Falcons Flyers Gulls Hawks Hornets
Hurricanes Knights Lions Mariners Owls Panthers Pioneers Pirates Rams Rangers Raptors Rockets Sharks Stallions Storm
Thunder Tigers Titans Wildcats Wolves
""".split()

#: What a society is for.
CAUSES = """
Archaeology Astronomy Bird Cancer Chess Climate Dairy Design Engineering Farmers Fisheries Garden Geography Heart
Heritage History Housing Library Literacy Medical Mining Music Nurses Railway Refugee Rowing Sailing Teachers
Theatre Tourism Veterans Water Wildlife Workers
""".split()

#: What a society is.
BODIES = """
Agency Alliance Association Board Center Centre Coalition Commission Committee Council Federation Forum Foundation
Fund Initiative Institute League Network Society Trust Union
""".split()

#: Last words of names of newspapers.
PAPERS = """
Chronicle Courier Daily Express Gazette Globe Herald Journal Mail Mercury Monitor News Observer Post Record Register
Standard Star Sun Telegraph Times Tribune Weekly
""".split()

#: Last words of names of events.
EVENTS = """
Open|Cup|Grand Prix|Masters|Marathon|Championships|Classic|Film Festival|Games|Derby
""".replace("\n", "").split("|")

#: Last words of names of clubs.
CLUBS = "United City Town Rovers Wanderers Athletic FC SC Albion".split()

#: Last words of names of schools.
SCHOOLS = "High School|Elementary School|Middle School|Primary School|Academy|Grammar School|College|Prep".split("|")
