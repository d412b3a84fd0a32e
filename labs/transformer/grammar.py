"""A synchronous grammar of English and Traditional Chinese: each derivation is a sentence in both languages.

Every rule generates the two sides together, so a translation is correct by construction. The sides differ as the
languages do: Chinese has measure words after numbers, relative clauses before their noun, time and place before the
verb, particles for aspect, 把 and 被, and question words in the place of the answer. The translation of a verb depends
on its object.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from labs.transformer import lexicon as words
from labs.transformer.lexicon import Verb
from labs.transformer.phrases import Nominal, Pair, Phrases, article, joined

MAX_WORDS = 40
"""Maximum English words of a sentence."""


class Frame(NamedTuple):
    """A verb phrase: the English verb with its auxiliaries, the Chinese before and after the verb, and the time."""

    en: str
    before: str
    after: str
    time: Pair


class Grammar(Phrases):
    """Draws sentence pairs.

    Args:
        rng: makes all random choices.
        depths: numbers of nested clauses, one of which is drawn for each sentence.
    """

    def __init__(self, rng: random.Random, depths: Sequence[int]) -> None:
        super().__init__(rng)
        self.depths = depths

    def sentence(self) -> Pair:
        """A sentence with a capital letter and full-width Chinese punctuation, of at most `MAX_WORDS` English words."""
        while True:
            depth = self.rng.choice(self.depths)
            en, zh = self.question(depth) if self.maybe(0.15) else self.statement(depth)
            if len(en.split()) <= MAX_WORDS:
                return Pair(en[0].upper() + en[1:], zh)

    def statement(self, depth: int) -> Pair:
        if depth and self.maybe(0.12):
            who, said = self.person(0), self.clause(depth - 1)
            return Pair(f'{who.en} said, "{said.en}."', f"{who.zh}說:「{said.zh}。」")
        clause = self.compound(depth) if depth and self.maybe(0.4) else self.clause(depth)
        return Pair(f"{clause.en}.", f"{clause.zh}。")

    def compound(self, depth: int) -> Pair:
        """Two clauses with a conjunction; English may reverse their order, Chinese does not."""
        first, second = self.clause(depth - 1), self.clause(depth - 1)
        en, opening, middle = self.word(words.CONJUNCTIONS)
        zh = f"{first.zh}{middle},{second.zh}" if opening == "~" else f"{opening}{first.zh},{middle}{second.zh}"
        zh = zh.replace(",", "，")
        if self.maybe(0.5):
            return Pair(f"{en} {first.en}, {second.en}", zh)
        return Pair(f"{second.en} {en} {first.en}", zh)

    def clause(self, depth: int) -> Pair:
        rules = (self.action, self.state, self.existence, self.placing, self.giving, self.passive, self.saying)
        return self.rng.choices(rules, (50, 16, 5, 6, 7, 6, 25 if depth else 0))[0](depth)

    def action(self, depth: int) -> Pair:
        """Subject, verb and object, with manner, place and time."""
        subject, (verb, kind) = self.agent(depth), self.verb()
        thing = self.object(kind, depth)
        place = self.place() if self.maybe(0.25) else Pair("", "")
        manner = self.word(words.ADVERBS) if self.maybe(0.15) else ("", "")
        frame = self.frame(subject, verb, kind, bool(place.en))
        tail = joined(frame.en, thing.me, manner[0], place.en)
        zh = f"{frame.time.zh}{frame.before}{place.zh}{manner[1]}{verb.zh[kind]}{frame.after}{thing.zh}"
        if frame.time.en and self.maybe(0.3):
            return Pair(f"{frame.time.en} {subject.en} {tail}", subject.zh + zh)
        return Pair(joined(subject.en, tail, frame.time.en), subject.zh + zh)

    def frame(self, subject: Nominal, verb: Verb, kind: str, placed: bool) -> Frame:
        """Tense, aspect, mood and time of an action."""
        stative = verb.base in words.STATIVE_VERBS
        weights = (34, 14, 14, 0, 0, 10, 6) if stative else (34, 14, 14, 12, 10, 10, 6)
        mood = self.rng.choices(("past", "future", "habit", "now", "perfect", "modal", "want"), weights)[0]
        none, negative = Pair("", ""), self.maybe(0.18)
        does, has, wants = ("does", "has", "wants") if subject.third else ("do", "have", "want")
        if mood == "past":
            time = self.time("past") if self.maybe(0.5) else none
            if negative:
                return Frame(f"did not {verb.base}", "以前不" if stative else "沒有", "", time)
            return Frame(verb.past, "以前" if stative else "", "" if stative else "了", time)
        if mood == "future":
            time = self.time("future") if self.maybe(0.5) else none
            return Frame(
                f"will not {verb.base}" if negative else f"will {verb.base}", "不會" if negative else "會", "", time
            )
        if mood == "habit":
            if negative:
                return Frame(f"{does} not {verb.base}", "不", "", none)
            present, (en, zh) = verb.third if subject.third else verb.base, self.word(words.TIMES["habit"])
            if en.startswith("every"):
                return Frame(present, "", "", Pair(en, zh))
            return Frame(f"{en} {present}", zh, "", none)
        if mood == "now":  # before a place, which begins with 在 itself, 正在 is shortened to 正
            return Frame(f"{subject.be} {verb.ing}", "正" if placed else "正在", "", none)
        if mood == "perfect":
            en, before, after = self.rng.choice(
                (("already", "已經", "了"), ("never", "從來沒有", "過"), ("just", "剛剛", "了"))
            )
            return Frame(f"{has} {en} {verb.participle}", before, after, none)
        if mood == "modal":
            en, zh = self.word(words.MODALS)
            return Frame(f"{en} {verb.base}", zh, "", none)
        if negative:
            return Frame(f"{does} not want to {verb.base}", "不想", "", none)
        return Frame(f"{wants} to {verb.base}", "想要", "", none)

    def state(self, depth: int) -> Pair:
        """A property of somebody or something."""
        kind = self.word(("person", "thing", "animal", "idea", "food", "building", "text", "clothes"))
        subject = self.agent(depth) if kind == "person" else self.noun_phrase(kind, depth)
        en, zh, more = self.word(words.ADJECTIVES[kind])
        form = self.rng.randrange(5)
        if form == 0:
            other = self.object(kind, 0)
            return Pair(f"{subject.en} {subject.be} {more} than {other.me}", f"{subject.zh}比{other.zh}更{zh}")
        if form == 1:
            other = self.object(kind, 0)
            return Pair(f"{subject.en} {subject.be} as {en} as {other.me}", f"{subject.zh}跟{other.zh}一樣{zh}")
        if form == 2:
            return Pair(f"{subject.en} {subject.be} not {en}", f"{subject.zh}不{zh}")
        if form == 3:
            return Pair(f"{subject.en} {subject.was} very {en}", f"{subject.zh}以前很{zh}")
        return Pair(f"{subject.en} {subject.be} very {en}", f"{subject.zh}很{zh}")

    def existence(self, depth: int) -> Pair:
        """`There is` something somewhere; in Chinese the place comes first."""
        place, kind = self.place(), self.word(("thing", "animal", "person", "text", "plant", "food"))
        noun = self.word(words.NOUNS[kind])
        if self.maybe(0.5):
            return Pair(f"there is {article(noun.en)} {place.en}", f"{place.zh[1:]}有一{noun.measure}{noun.zh}")
        en, zh = self.word(words.NUMBERS)
        return Pair(f"there are {en} {noun.plural} {place.en}", f"{place.zh[1:]}有{zh}{noun.measure}{noun.zh}")

    def placing(self, depth: int) -> Pair:
        """Putting something somewhere, with 把."""
        subject, thing = (
            self.agent(depth),
            self.noun_phrase(self.word(("thing", "text", "food", "clothes")), depth, True),
        )
        time = self.time("past") if self.maybe(0.4) else Pair("", "")
        (en, zh), (room, there) = self.surface(), self.word(words.ROOMS)
        if self.maybe(0.6):
            return Pair(joined(subject.en, "put", thing.me, en, time.en), f"{subject.zh}{time.zh}把{thing.zh}放{zh}")
        return Pair(
            joined(subject.en, "took", thing.me, f"to the {room}", time.en),
            f"{subject.zh}{time.zh}把{thing.zh}帶到{there}",
        )

    def giving(self, depth: int) -> Pair:
        """Giving, lending or sending: in Chinese the receiver follows 給 and the thing follows 把."""
        subject, receiver = self.agent(depth), self.object("person", 0)
        thing = self.noun_phrase(self.word(("thing", "text", "accessory", "food")), depth, True)
        past, base, zh = self.rng.choice(
            (("gave", "give", "送給"), ("lent", "lend", "借給"), ("sent", "send", "寄給"), ("handed", "hand", "交給"))
        )
        if self.maybe(0.3):
            return Pair(
                f"{subject.en} will {base} {thing.me} to {receiver.me}", f"{subject.zh}會把{thing.zh}{zh}{receiver.zh}"
            )
        en = f"{past} {receiver.me} {thing.me}" if self.maybe(0.5) else f"{past} {thing.me} to {receiver.me}"
        return Pair(f"{subject.en} {en}", f"{subject.zh}把{thing.zh}{zh}了{receiver.zh}")

    def passive(self, depth: int) -> Pair:
        """A passive clause, with 被."""
        verb, kind = self.verb(active=True)
        thing, agent = self.noun_phrase(kind, depth, True), self.object("person", 0)
        time = self.time("past") if self.maybe(0.4) else Pair("", "")
        en = joined(thing.en, thing.was, verb.participle, "by", agent.me, time.en)
        return Pair(en, f"{thing.zh}{time.zh}被{agent.zh}{verb.zh[kind]}了")

    def saying(self, depth: int) -> Pair:
        """A clause as the object of a verb such as `say`."""
        subject, inner = self.person(0), self.clause(depth - 1)
        third, base, past, zh = self.word(words.SPEECH_VERBS)
        en = past if self.maybe(0.4) else third if subject.third else base
        return Pair(f"{subject.en} {en} that {inner.en}", f"{subject.zh}{zh}{inner.zh}")

    def question(self, depth: int) -> Pair:
        """A question; Chinese keeps the word order of a statement, with the question word in the answer's place."""
        subject, (verb, kind) = self.agent(depth), self.verb(active=True)
        thing, zh = self.object(kind, depth), verb.zh[kind]
        form = self.rng.choice(("yes", "future", "what", "who", "where", "why", "when", "many", "state"))
        if form == "state":
            en, adjective, _ = self.word(words.ADJECTIVES["person"])
            return Pair(f"{subject.be} {subject.en} {en}?", f"{subject.zh}{adjective}嗎？")
        if form == "yes":
            return Pair(f"did {subject.en} {verb.base} {thing.me}?", f"{subject.zh}{zh}了{thing.zh}嗎？")
        if form == "future":
            return Pair(f"will {subject.en} {verb.base} {thing.me}?", f"{subject.zh}會{zh}{thing.zh}嗎？")
        if form == "what":
            what = ("who", "誰") if kind == "person" else ("what", "什麼")
            return Pair(f"{what[0]} did {subject.en} {verb.base}?", f"{subject.zh}{zh}了{what[1]}？")
        if form == "who":
            return Pair(f"who {verb.past} {thing.me}?", f"誰{zh}了{thing.zh}？")
        if form == "many":
            noun = self.word(words.NOUNS[kind])
            en = f"how many {noun.plural} did {subject.en} {verb.base}?"
            return Pair(en, f"{subject.zh}{zh}了幾{noun.measure}{noun.zh}？")
        asked = {"where": "在哪裡", "why": "為什麼", "when": "什麼時候"}[form]
        return Pair(f"{form} did {subject.en} {verb.base} {thing.me}?", f"{subject.zh}{asked}{zh}{thing.zh}？")
