"""Short lives of invented people in Traditional Chinese, and questions about them: what the embedded reading lab reads.

A passage tells a few facts of each of a few people, and says each fact in one of several ways. Other people of the
passage have facts of the same kind, so a question is answered by the clause that is about its person and its relation.
"""

import random
from typing import NamedTuple

SURNAMES = "林陳黃張李王吳劉蔡楊許鄭謝郭洪曾邱廖賴周"
GIVEN = "文德志明秀英建華淑美俊傑玉蘭家豪雅婷國春麗雲天福榮昌清泉金水"
RARE = "彧旻犇堃垚喆淼焱"
"""Characters of names that only questions' passages have, so a vocabulary learnt elsewhere lacks them."""
PLACES = ("東西南北大小新舊上下內外", "山河湖林橋港田湯崎坪溪洲", "縣市鎮村")
BOOKS = ("秋夜春江寒山雪月風雨舊夢", "秋夜春江寒山雪月風雨舊夢", "集記譜傳論詩")
FIRST_YEAR, LAST_YEAR = 1700, 1999


class Relation(NamedTuple):
    """One kind of fact; `{s}` stands for its person and `{v}` for its value."""

    value: str
    """Kind of value: person, place, year or book."""
    full: tuple[str, ...]
    """Clauses that name the person."""
    short: tuple[str, ...]
    """Clauses about the person who was named before."""
    questions: tuple[str, ...]


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
    """A fact as a passage tells it: `passage[start : start + len(value)] == value`."""

    person: str
    relation: Relation
    value: str
    start: int


class Teller:
    """Draws passages and what is asked about them.

    Args:
        seed: two tellers with the same seed tell the same.
        rare: share of names with a character of `RARE`.
        again: share of a person's later clauses that name the person again.
    """

    def __init__(self, seed: str, rare: float = 0.0, again: float = 0.7) -> None:
        self.rng, self.rare, self.again = random.Random(seed), rare, again

    def passage(self, people: int, facts: int) -> tuple[str, list[Fact]]:
        """A sentence of `facts` clauses about each of `people` people."""
        text, told = "", list[Fact]()
        for _ in range(people):
            person = self._value("person")
            for number, relation in enumerate(self.rng.sample(RELATIONS, facts)):
                named = number == 0 or self.rng.random() < self.again
                fact, clause = self._clause(person, relation, named)
                told.append(fact._replace(start=fact.start + len(text)))
                text += clause + ("。" if number == facts - 1 else "，")
        return text, told

    def question(self, fact: Fact) -> str:
        """One of the ways to ask for the fact's value."""
        return self.rng.choice(fact.relation.questions).replace("{s}", fact.person)

    def again_said(self, fact: Fact) -> str:
        """The fact as a clause that stands alone, in words that are drawn anew, or as a question with its answer."""
        if self.rng.random() < 0.5:
            return self.question(fact) + fact.value
        return self.rng.choice(fact.relation.full).replace("{s}", fact.person).replace("{v}", fact.value)

    def _clause(self, person: str, relation: Relation, named: bool) -> tuple[Fact, str]:
        value = self._value(relation.value)
        form = self.rng.choice(relation.full if named else relation.short).replace("{s}", person)
        return Fact(person, relation, value, form.index("{v}")), form.replace("{v}", value)

    def _value(self, kind: str) -> str:
        rng = self.rng
        if kind == "year":
            return f"{rng.randint(FIRST_YEAR, LAST_YEAR)}年"
        if kind == "place":
            return "".join(map(rng.choice, PLACES))
        if kind == "book":
            return f"《{''.join(map(rng.choice, BOOKS))}》"
        given = rng.sample(GIVEN, 2)
        if rng.random() < self.rare:
            given[rng.randrange(2)] = rng.choice(RARE)
        return rng.choice(SURNAMES) + "".join(given)
