"""Phrases of the English-Chinese grammar (`labs.transformer.grammar`), each generated in both languages together.

The two sides differ as the languages do: Chinese has a measure word after a number and the relative clause before its
noun, and the translation of a verb depends on its object.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

from labs.transformer import lexicon as words
from labs.transformer.lexicon import Noun, Verb

T = TypeVar("T")


class Pair(NamedTuple):
    """A phrase in both languages."""

    en: str
    zh: str


class Nominal(NamedTuple):
    """A phrase that can be a subject (`en`) or an object (`me`), with the forms of `be` that agree with it."""

    en: str
    zh: str
    be: str
    was: str
    me: str

    @property
    def third(self) -> bool:
        """Whether the verb is in the third person singular."""
        return self.be == "is"


class Phrases:
    """Draws phrases; all random choices are made by `rng`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def maybe(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def word(self, table: Sequence[T]) -> T:
        """A random entry; the probability of the entry at rank r is proportional to 1 / (r + 3), as in Zipf's law."""
        weights = list(accumulate(1 / (rank + 3) for rank in range(len(table))))
        return self.rng.choices(table, cum_weights=weights)[0]

    def verb(self, active: bool = False) -> tuple[Verb, str]:
        """A verb and a kind of object that it takes; with `active`, a verb of action that has an object."""
        verbs = [
            verb for verb in words.VERBS if not active or ("-" not in verb.zh and verb.base not in words.STATIVE_VERBS)
        ]
        verb = self.word(verbs)
        return verb, self.word(list(verb.zh))

    def time(self, tense: str) -> Pair:
        if self.maybe(0.25):
            (hour, number), (part, zh) = self.rng.choice(words.HOURS), self.rng.choice(words.PARTS_OF_DAY)
            return Pair(f"at {hour} {part}", f"{zh}{number}點")
        return Pair(*self.word(words.TIMES[tense]))

    def place(self) -> Pair:
        """`in the kitchen`: 在廚房裡."""
        if self.maybe(0.25):
            return self.surface()
        (en, zh), (place, there) = self.word(words.PREPOSITIONS), self.word(words.ROOMS)
        return Pair(f"{en} the {place}", f"在{there}{zh}")

    def surface(self) -> Pair:
        (en, zh), under = self.word(words.SURFACES), self.maybe(0.3)
        return Pair(f"{'under' if under else 'on'} the {en}", f"在{zh}{'下' if under else '上'}")

    def agent(self, depth: int) -> Nominal:
        return self.noun_phrase("animal", depth) if self.maybe(0.08) else self.person(depth)

    def person(self, depth: int) -> Nominal:
        """A pronoun, a name or a noun phrase."""
        kind = self.rng.random()
        if kind < 0.35:
            en, me, _, zh, be, was = self.word(words.PRONOUNS)
            return Nominal(en if en != "i" else "I", zh, be, was, me)
        if kind < 0.5:
            name, zh = self.word(words.NAMES)
            return Nominal(name.title(), zh, "is", "was", name.title())
        if kind < 0.56:
            (a, first), (b, second) = self.rng.sample(words.NAMES, 2)
            both = f"{a.title()} and {b.title()}"
            return Nominal(both, f"{first}和{second}", "are", "were", both)
        return self.noun_phrase("person", depth)

    def object(self, kind: str, depth: int) -> Nominal:
        if kind == "-":
            return Nominal("", "", "", "", "")
        return self.person(depth) if kind == "person" else self.noun_phrase(kind, depth)

    def noun_phrase(self, kind: str, depth: int, definite: bool = False) -> Nominal:
        """Determiner, adjective, noun and optional relative clause, which in Chinese stands before the noun."""
        noun = self.word(words.NOUNS[kind])
        relative = self.relative(noun, depth - 1) if depth > 0 and self.maybe(0.3) else None
        plural, measure, determiner_zh, determiner = self.determiner(noun, relative is not None, definite)
        en, zh = noun.plural if plural else noun.en, noun.zh
        if self.maybe(0.25):
            adjective, adjective_zh, _ = self.word(words.ADJECTIVES[kind])
            particle = "" if len(adjective_zh) == 1 else "的"
            en, zh = f"{adjective} {en}", f"{adjective_zh}{particle}{zh}"
        if relative is not None:
            en, zh = f"{en} {relative.en}", f"{relative.zh}的{zh}"
        en = article(en) if determiner == "a" else f"{determiner} {en}"
        be, was = ("are", "were") if plural else ("is", "was")
        return Nominal(en, f"{determiner_zh}{measure}{zh}", be, was, en)

    def determiner(self, noun: Noun, restricted: bool, definite: bool) -> tuple[bool, str, str, str]:
        """Whether the noun is plural, the Chinese measure word, the Chinese determiner, the English determiner."""
        forms, weights = ("the", "a", "this", "number", "my", "quantity", "every"), (34, 22, 12, 11, 14, 5, 4)
        form = self.rng.choices(forms, weights)[0]
        if form == "the" or (definite and form in ("a", "number", "quantity", "every")):
            if self.maybe(0.25):
                return True, "", "那些", "the"
            return False, noun.measure if restricted else "", "那" if restricted else "", "the"
        if form == "a":
            return False, noun.measure, "一", "a"
        if form == "this":
            en, zh = self.rng.choice((("this", "這"), ("that", "那"), ("these", "這些"), ("those", "那些")))
            return len(zh) > 1, "" if len(zh) > 1 else noun.measure, zh, en
        if form == "number":
            en, zh = self.word(words.NUMBERS)
            return True, noun.measure, zh, en
        if form == "my":
            if self.maybe(0.3):
                name, zh = self.word(words.NAMES)
                return False, "", f"{zh}的", f"{name.title()}'s"
            _, _, en, zh, _, _ = self.word(words.PRONOUNS)
            return False, "", f"{zh}的", en
        if form == "quantity":
            en, zh = self.word(words.QUANTITIES)
            return True, noun.measure if zh == "幾" else "", zh, en
        return False, noun.measure, "每", "every"

    def relative(self, noun: Noun, depth: int) -> Pair:
        """`who bought a car` or `that the teacher wrote`: the noun is the subject or the object of the clause."""
        verbs = [verb for verb in words.VERBS if noun.kind in verb.zh]
        if noun.kind in ("person", "animal") and (not verbs or self.maybe(0.6)):
            (verb, kind), place = self.verb(active=True), self.place() if self.maybe(0.2) else Pair("", "")
            thing = self.object(kind, depth)
            pronoun = "who" if noun.kind == "person" else "that"
            en = joined(pronoun, verb.past, thing.me, place.en)
            return Pair(en, f"{place.zh}{verb.zh[kind]}了{thing.zh}")
        if not verbs:
            place = self.place()
            return Pair(f"that stands {place.en}", f"位於{place.zh[1:]}")
        verb, subject = self.word(verbs), self.person(depth)
        return Pair(f"that {subject.en} {verb.past}", f"{subject.zh}{verb.zh[noun.kind]}")


def joined(*parts: str) -> str:
    """The parts that are not empty, with spaces between them."""
    return " ".join(part for part in parts if part)


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" and not noun.startswith("uni") else f"a {noun}"
