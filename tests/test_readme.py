"""The READMEs: every command in them is one that the program takes, every file that they name is there, and every table
of results is what `labs/results.csv` gives."""

import re
import shlex
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import Said

ROOT = Path(__file__).parents[1]
TOP, CHINESE = "README.md", "README.zh-TW.md"
PAGES = (
    TOP,
    CHINESE,
    "labs/README.md",
    "pipelines/README.md",
    "cluster/README.md",
    "cluster/deploy/README.md",
    "tests/benchmarks/README.md",
)
TEXTS = {name: (ROOT / name).read_text() for name in PAGES}
PLACEHOLDERS = ("COMMAND", "...")
ADDED = "digits"
"""The lab that `labs/README.md` adds as an example."""


def commands(text: str, program: str) -> set[str]:
    """What a text says to type: lines of code blocks and spans of code that begin with `program`."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.M | re.S))
    lines = [line.split("#")[0] for line in blocks.splitlines()]
    spans = [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    ]
    found = [line.strip() for line in [*lines, *spans] if line.startswith(f"{program} ")]
    return {line for line in found if not any(word in line.split() for word in PLACEHOLDERS)}


def of_all(program: str) -> list[str]:
    return sorted(set().union(*(commands(text, program) for text in TEXTS.values())))


@pytest.mark.parametrize("command", of_all("labs"))
def test_the_program_takes_the_readmes_commands(labs_cli: Callable[..., Said], command: str) -> None:
    """With `--help` after the command's name its options are read and nothing is run: an unknown one fails."""
    words = shlex.split(command)[1:]
    before = words[: words.index("--")] if "--" in words else words
    arguments = ["--help", *before] if before[0].startswith("-") else [*before, "--help"]
    assert labs_cli(*arguments).code == 0


@pytest.mark.parametrize("command", [line for line in of_all("labs") if " -- " in line])
def test_what_is_submitted_is_a_command_as_well(labs_cli: Callable[..., Said], command: str) -> None:
    assert labs_cli(*shlex.split(command.partition(" -- ")[2]), "--help").code == 0


def test_the_labs_presets_and_sizes_of_commands_are_the_courses() -> None:
    import labs

    for command in of_all("labs"):
        words = shlex.split(command.rpartition(" -- ")[2].removeprefix("labs "))
        if words[0] in ("train", "tune") and words[1:] and words[1] not in ("LAB", ADDED):
            options = dict(pairwise(words))
            heading = labs.heading(words[1])
            heading.choose(options.get("--preset", heading.presets[0]), options.get("--size", "small"))


def test_the_targets_and_modules_of_commands_are_there() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert {line.split()[1] for line in of_all("make")} <= set(targets)
    modules = [line.split()[2] for line in of_all("python") if line.split()[1] == "-m"]
    assert modules
    assert [name for name in modules if not ROOT.joinpath(*name.split(".")).with_suffix(".py").exists()] == []


def blocks() -> list[str]:
    """The YAML blocks of all pages."""
    return [block for text in TEXTS.values() for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]


@pytest.mark.parametrize("block", [block for block in blocks() if not block.startswith("#")])
def test_the_readmes_pipelines_are_valid_specs(tmp_path: Path, block: str) -> None:
    from pipelines.spec import read_spec

    whole = block if block.startswith("name:") else f"name: part\nnodes:\n{block}"
    (tmp_path / "mine.yaml").write_text(whole)
    assert [node.name for node in read_spec(tmp_path / "mine.yaml")[1]]


def test_the_readmes_search_space_is_one_that_the_lab_takes(tmp_path: Path) -> None:
    import labs
    from pipelines.tuning.space import Space, read_space

    (block,) = (block for block in blocks() if block.startswith("# labs tune regression"))
    (tmp_path / "space.yaml").write_text(block)
    assert Space(labs.get("regression"), read_space(tmp_path / "space.yaml"), "strong", "small", {}).entries


def missing_links(page: str) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            yield link


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_links_to_are_there(page: str) -> None:
    assert list(missing_links(page)) == []


def missing_in_map(block: str) -> Iterator[str]:
    """A map is a block that begins with a folder: a line for each folder, indented lines for what is in it."""
    folder = ROOT
    for line in block.splitlines():
        name, _, meaning = line.strip().partition(" ")
        if re.match(r"\w+/", line):
            inside = folder = ROOT / name
        elif re.match(r"  \w", line):
            inside = folder / name
        else:
            continue
        named = re.findall(r"\b\w+(?:\.py|\.yaml|/)", meaning)
        yield from [line for path in named if not any((place / path).exists() for place in (ROOT, folder, inside))]
        if not inside.exists():
            yield line


@pytest.mark.parametrize("page", PAGES)
def test_the_files_in_a_pages_maps_are_there(page: str) -> None:
    maps = re.findall(r"^```\n(\w+/.*?)^```", TEXTS[page], re.M | re.S)
    assert [line for block in maps for line in missing_in_map(block)] == []


def test_the_top_page_is_short() -> None:
    assert [page for page in (TOP, CHINESE) if len(TEXTS[page].splitlines()) > 130] == []


def test_the_chinese_page_has_what_the_english_one_has() -> None:
    """The same commands, links, headings, rows of tables and figures; what is written around them is a translation."""
    english, chinese = TEXTS[TOP], TEXTS[CHINESE]
    for program in ("labs", "make", "source"):
        assert commands(english, program) == commands(chinese, program)

    def links(text: str) -> set[str]:
        return set(re.findall(r"\]\(([^)]+)\)", text)) - {TOP, CHINESE}

    assert links(english) == links(chinese)
    for what in (r"^#+ ", r"^\|", r"^\d\. "):
        assert len(re.findall(what, english, re.M)) == len(re.findall(what, chinese, re.M))

    def figures(text: str) -> set[str]:
        return set(re.findall(r"\d[\d.,-]*\d|\d", text)) - {"28", "9", "01", "14"}  # 9m28s is 9 分 28 秒

    assert figures(english) == figures(chinese)


@pytest.mark.slow
def test_the_tables_of_results_are_those_of_the_csv_file() -> None:
    """`make hub` writes them."""
    from tests.benchmarks import hub

    results = hub.rows()
    texts = {page: page.read_text() for page in hub.PAGES}
    assert [page for page, text in texts.items() if hub.write(text, results, hub.PAGES[page]) != text] == []


def test_the_table_of_benchmarks_has_the_newest_figure_of_each_name() -> None:
    """`make bench` writes it."""
    from tests.benchmarks.__main__ import PAGE, with_table
    from tests.benchmarks.record import RESULTS

    assert with_table(PAGE.read_text(), RESULTS.read_text().splitlines()) == PAGE.read_text()


def test_results_are_of_labs_and_presets_that_exist_and_are_dated() -> None:
    import labs
    from tests.benchmarks import hub

    for row in hub.rows():
        assert row["preset"] in ("trivial", *labs.heading(row["lab"]).presets)
        assert row["date"]
        assert row["machine"]
        float(row["value"])


def test_the_picture_is_small() -> None:
    assert 0 < (ROOT / "pipelines" / "run.svg").stat().st_size < 200_000
