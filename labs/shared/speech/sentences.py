"""Random English sentences from a small grammar, the texts of the synthetic speech."""

import random

SUBJECTS = (
    "my uncle|the young teacher|our neighbour|a quiet boy|the old judge|her cousin|that tall girl|the village doctor|"
    "a French painter|the brave captain|their mother|his twin sister|the lazy clerk|a famous author|the cook|"
    "the shoemaker|a thin soldier|our guide|the Asian dancer|the royal guard|two strangers|both brothers|"
    "the whole family|a group of pupils|the loud children|many people|the young engineer|everyone|nobody|"
    "the new mayor|an honest farmer|the shy student|a wise king|George|Joyce|Matthew|Ruth|Charlotte|Hugh|Zoe"
).split("|")
OBJECTS = (
    "a wooden chair|the yellow book|some cheese|a huge map|the broken watch|fresh fish|a treasure|"
    "the orange leather bag|an ancient coin|five good photographs|the garage door|a pair of shoes|cold water|"
    "the kitchen knife|a bunch of roses|the blue vase|an unusual toy|a few pounds of sugar|the long letter|"
    "a glass of juice|the engine|his thick jacket|the white horse|a bowl of soup|some onions|the evening news|"
    "a thousand questions|an old television|the shutters|the whole truth|a jar of honey|a rough stone|"
    "her wool gloves|a new bridge|the small boat|olive oil|the judge's advice|eight eggs|a song about love|"
    "the church bell|the coffee|a measure of cloth|beige paint|the choir|a feather"
).split("|")
TRANSITIVE_VERBS = (
    "bought|carried|found|wanted|chose|forgot|showed us|pushed away|watched|washed|took|changed|enjoyed|"
    "would not sell|should have kept|never touched|always loved|could hear|put down|threw out|looked for|joined|"
    "described|examined|measured|brought back|sketched|paid for|hid|asked about|dropped|cleaned|borrowed|used|"
    "thought of|fought over|collected|exchanged|might need|will bring|gave away|finally used|just noticed|gathered|"
    "painted|stole|shared|refused|served|stretched|covered|emptied|polished|mentioned"
).split("|")
PREDICATES = (
    "laughed|went home|was very tired|smiled with pleasure|shouted|slept through the noise|walked in the rain|"
    "fell asleep|stood there without a word|was waiting for an answer|came back too late|danced with joy|"
    "coughed and sneezed|argued about the decision|sang in the choir|swam across the lake|looked around|"
    "grew up there|stayed calm|could not breathe|will leave tomorrow|got up early|had to pay|felt proud of it|"
    "thought about the future|played outside|rushed down the hill|yawned"
).split("|")
PLACES = (
    "at the market|near the harbour|in the garden|behind the stone wall|under the bridge|on the beach|"
    "across the river|in the south of England|at school|by the fire|in a narrow street|on top of the mountain|"
    "above the clouds|between two houses|at the railway station|through the thick fog|along the coast|in the library|"
    "inside the castle|beyond the woods|at the theatre|in the village square|next to the power station|"
    "around the corner|towards the north"
).split("|")
TIMES = (
    "yesterday|after lunch|in the afternoon|last Thursday|every morning|before the storm|at three o'clock|in August|"
    "once a month|during the long winter|for a while|on Wednesday evening|two years ago|as usual|in July|"
    "at the end of the week|again and again|all day|at noon|when it was dark"
).split("|")
CONJUNCTIONS = ", and|, but|, so|, while|, because|, although|;|, for| and| before| until".split("|")
OPENINGS = "Perhaps|However|Of course|To be fair|In other words|Oh|Well|As you know|Finally|Without a doubt".split("|")


def sentence(rng: random.Random) -> str:
    """One sentence of 3 to 60 words, 17 on average: one to four clauses, in some sentences after an opening or with a
    question mark."""
    clauses = [_clause(rng)]
    while len(clauses) < 4 and rng.random() < 0.45:
        clauses.append(f"{rng.choice(CONJUNCTIONS)} {_clause(rng)}")
    text = "".join(clauses)
    if rng.random() < 0.2:
        text = f"{rng.choice(OPENINGS)}, {text}"
    return text[0].upper() + text[1:] + ("?" if rng.random() < 0.1 else ".")


def _clause(rng: random.Random) -> str:
    """Subject and predicate, mostly with a place or a time."""
    if rng.random() < 0.35:
        predicate = rng.choice(PREDICATES)
    else:
        predicate = f"{rng.choice(TRANSITIVE_VERBS)} {rng.choice(OBJECTS)}"
    phrases = [rng.choice(SUBJECTS), predicate]
    if rng.random() < 0.5:
        phrases.append(rng.choice(PLACES))
    if rng.random() < 0.25:
        phrases.append(rng.choice(TIMES))
    elif rng.random() < 0.3:
        phrases.insert(0, f"{rng.choice(TIMES)},")
    return " ".join(phrases)
