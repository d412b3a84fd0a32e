"""Short biographies of invented people in Traditional Chinese, and questions about them.

A passage states a few facts about each of a few people, each fact in one of several wordings. Two people of a passage
often have facts of the same kind: then only the clause about the question's person answers the question.
"""

import random
from typing import NamedTuple

SURNAMES = "林陳黃張李王吳劉蔡楊許鄭謝郭洪曾邱廖賴周"
GIVEN = "文德志明秀英建華淑美俊傑玉蘭家豪雅婷國春麗雲天福榮昌清泉金水"
RARE = "彧旻犇堃垚喆淼焱"
"""Characters that occur in names of the question-answering data only: a vocabulary learnt from the corpus of
`bert-pretrain` lacks them."""
PLACES = ("東西南北大小新舊上下內外", "山河湖林橋港田湯崎坪溪洲", "縣市鎮村")
BOOKS = ("秋夜春江寒山雪月風雨舊夢", "秋夜春江寒山雪月風雨舊夢", "集記譜傳論詩")
FIRST_YEAR, LAST_YEAR = 1700, 1999


class Relation(NamedTuple):
    """One kind of fact; `{s}` is replaced by the person and `{v}` by the value."""

    value: str
    """Type of the value: person, place, year or book."""
    full: tuple[str, ...]
    """Clauses that name the person."""
    short: tuple[str, ...]
    """Clauses without a subject, which continue a sentence about the person."""
    questions: tuple[str, ...]
    """Questions that ask for the value."""


RELATIONS = (
    Relation(
        "place",
        ("{s}出生於{v}", "{s}是{v}人", "{s}的故鄉是{v}"),
        ("出生於{v}", "是{v}人"),
        ("{s}在哪裡出生？", "{s}是哪裡人？", "{s}的故鄉是哪裡？"),
    ),
    Relation("year", ("{s}生於{v}", "{s}在{v}誕生"), ("生於{v}", "{v}誕生"), ("{s}生於哪一年？", "{s}在哪一年誕生？")),
    Relation(
        "person",
        ("{s}拜{v}為師", "{v}是{s}的老師", "{v}教過{s}"),
        ("拜{v}為師", "跟{v}讀書"),
        ("{s}的老師是誰？", "誰教過{s}？", "{s}拜誰為師？"),
    ),
    Relation(
        "person",
        ("{s}與{v}結婚", "{v}嫁給了{s}", "{s}娶了{v}"),
        ("與{v}結婚", "娶了{v}"),
        ("{s}與誰結婚？", "誰嫁給了{s}？", "{s}娶了誰？"),
    ),
    Relation(
        "person",
        ("{s}和{v}是好友", "{s}常和{v}下棋"),
        ("和{v}是好友", "常和{v}下棋"),
        ("{s}的好友是誰？", "{s}常和誰下棋？"),
    ),
    Relation(
        "book",
        ("{s}寫了{v}", "{v}是{s}的作品"),
        ("寫了{v}", "著有{v}"),
        ("{s}寫了哪一本書？", "哪一本書是{s}的作品？"),
    ),
    Relation(
        "place",
        ("{s}到{v}求學", "{s}在{v}讀過書"),
        ("到{v}求學", "在{v}讀過書"),
        ("{s}到哪裡求學？", "{s}在哪裡讀過書？"),
    ),
    Relation(
        "place",
        ("{s}晚年住在{v}", "晚年的{s}搬到{v}"),
        ("晚年住在{v}", "晚年搬到{v}"),
        ("{s}晚年住在哪裡？", "{s}晚年搬到哪裡？"),
    ),
    Relation("year", ("{s}死於{v}", "{s}在{v}去世"), ("死於{v}", "{v}去世"), ("{s}死於哪一年？", "{s}在哪一年去世？")),
)


class Fact(NamedTuple):
    """A fact that a passage states: `passage[start : start + len(value)] == value`."""

    person: str
    relation: Relation
    value: str
    start: int


class PassageGenerator:
    """Draws passages, and questions about their facts.

    Args:
        seed: two generators with the same seed draw the same texts.
        rare_fraction: fraction of names with a character of `RARE`.
        named_fraction: fraction of a person's later clauses that repeat the person's name.
    """

    def __init__(self, seed: str, rare_fraction: float = 0.0, named_fraction: float = 0.7) -> None:
        self.rng = random.Random(seed)
        self.rare_fraction, self.named_fraction = rare_fraction, named_fraction

    def passage(self, people: int, facts: int) -> tuple[str, list[Fact]]:
        """A text with one sentence for each of `people` people, of `facts` clauses, and the facts that it states."""
        text, stated = "", list[Fact]()
        for _ in range(people):
            person = self._value("person")
            for number, relation in enumerate(self.rng.sample(RELATIONS, facts)):
                named = number == 0 or self.rng.random() < self.named_fraction
                fact, clause = self._clause(person, relation, named)
                stated.append(fact._replace(start=fact.start + len(text)))
                text += clause + ("。" if number == facts - 1 else "，")
        return text, stated

    def question(self, fact: Fact) -> str:
        """A question that asks for the fact's value."""
        return self.rng.choice(fact.relation.questions).replace("{s}", fact.person)

    def paraphrase(self, fact: Fact) -> str:
        """The fact on its own, in a wording drawn anew: as a clause, or as a question followed by its answer."""
        if self.rng.random() < 0.5:
            return self.question(fact) + fact.value
        return self.rng.choice(fact.relation.full).replace("{s}", fact.person).replace("{v}", fact.value)

    def _clause(self, person: str, relation: Relation, named: bool) -> tuple[Fact, str]:
        value = self._value(relation.value)
        wording = self.rng.choice(relation.full if named else relation.short).replace("{s}", person)
        return Fact(person, relation, value, wording.index("{v}")), wording.replace("{v}", value)

    def _value(self, kind: str) -> str:
        rng = self.rng
        if kind == "year":
            return f"{rng.randint(FIRST_YEAR, LAST_YEAR)}年"
        if kind == "place":
            return "".join(map(rng.choice, PLACES))
        if kind == "book":
            return f"《{''.join(map(rng.choice, BOOKS))}》"
        given = rng.sample(GIVEN, 2)
        if rng.random() < self.rare_fraction:
            given[rng.randrange(2)] = rng.choice(RARE)
        return rng.choice(SURNAMES) + "".join(given)
