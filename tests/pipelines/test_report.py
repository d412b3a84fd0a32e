"""`labs report`: what the page says, and that a browser shows it: on a desk, on a phone, in the dark, on paper."""

import random
import re
import time
from collections.abc import Callable, Iterator
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import labs
from pipelines.home import write_record
from tests.browser import Watched, opened
from tests.conftest import Said, said
from tests.stand_in_runs import write_run, write_sweep

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Cli = Callable[..., Said]
NAN = float("nan")
ANSWERS = """# Answers

<script>alert(1)</script> and `code`, [the paper](https://arxiv.org/abs/1412.6980), [a file](../config.json).

![the filters](filters.png) ![from elsewhere](https://example.com/tracker.png)
"""
PHONE = {"viewport": {"width": 390, "height": 844}}


def write(home: Path, lab: str, preset: str, seed: int, **more: Any) -> Path:
    """A run with its preset's own settings and a few others."""
    settings = more.pop("settings", {})
    config = labs.get(lab).resolve(preset, "small", settings).model_dump(mode="json")
    return write_run(home, lab, preset, seed, config=config, settings=settings, **more)


def picture(file: Path, size: tuple[int, int] = (60, 40)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", size, random.Random(0).randbytes(3 * size[0] * size[1])).save(file)


def write_pipeline(home: Path, folders: dict[str, Path], **nodes: dict[str, Any]) -> Path:
    """A pipeline of two CPUs that took a hundred seconds; a node takes ten, one after the other."""
    start = 2_000_000_000.0
    rest = {"preset": "simple", "size": "small", "seed": 0, "status": "FINISHED", "reused": False, "error": "",
            "lab": "regression", "needs": [], "data": "", "cpus": 1.0, "seconds": 10.0}  # fmt: skip
    table = {
        name: {**rest, "folder": str(folder), "started": start + 10 * place, "ended": start + 10 * place + 10,
               **nodes.get(name, {})}
        for place, (name, folder) in enumerate(folders.items())
    }  # fmt: skip
    data = {"/data/regression/made": {"lab": "regression", "status": "FINISHED", "error": "", "seconds": 5.0,
                                      "started": start, "ended": start + 5}}  # fmt: skip
    del table["third"]["started"]
    folder = home / "pipelines" / "three-0123"
    write_record(folder, key="p", name="three", status="FAILED", created=start, started=start, ended=start + 100,
                 seconds=100.0, error="", params={}, tags={}, nodes=table, preparations=data, cpus=2.0)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labs with all that can become of a run, a pipeline and a sweep."""
    home = tmp_path_factory.mktemp("report") / "home"
    for seed, score in enumerate((3.0, 3.2, 3.4)):
        write(home, "regression", "simple", seed, test=score, curve=(9.0, 5.0, score))
    best = write(home, "regression", "medium", 0, test=1.5, curve=(8.0, 4.0, 1.5), settings={"lr": 0.25})
    (best / "environment.txt").write_text("# Python 3.11.7\nray==2.54.0\ntorch==2.9.1\n")
    picture(best / "deliver" / "filters.png")
    picture(best / "deliver" / "errors.png")
    (best / "deliver" / "report.md").write_text(ANSWERS)
    failed = write(home, "regression", "strong", 1, status="FAILED", error="ValueError: <b>bad</b> & worse")
    (failed / "error.txt").write_text("ValueError")
    write(home, "regression", "strong", 2, curve=(5.0, NAN), status="FAILED", error="BadInput: never finite",
          settings={"lr": 1e6})  # fmt: skip
    write(home, "regression", "boss", 3, curve=(5.0, 4.0), status="KILLED")
    write(home, "classification", "simple", 0, test=0.5)
    write_pipeline(home, {"first": best, "second": failed, "third": home / "runs" / "never"},
                   second={"status": "FAILED", "error": "ValueError: <b>bad</b> & worse"},
                   third={"status": "BLOCKED", "error": "a node that it needs did not finish"})  # fmt: skip
    sweep = write_sweep(home, "regression", name="regression-simple-small-5eed")
    for number, value in enumerate((2.0, 1.0)):
        write_run(home, "regression", number=number, parent=sweep, curve=(value,), settings={"lr": 0.1 * (number + 1)})
    write_run(home, "regression", number=2, parent=sweep, status="FAILED", error="ValueError: no such luck")
    picture(sweep / "figures" / "best-so-far.png")
    return home


@pytest.fixture(scope="module")
def file(filled: Path) -> Path:
    """The report of the whole home."""
    result = said("report", "--home", filled)
    assert result.code == 0, result.err
    assert result.err.splitlines()[-1].startswith(f"report: {filled}/reports/all.html (")
    return filled / "reports" / "all.html"


@pytest.fixture(scope="module")
def desk(chromium: "Browser", file: Path) -> Iterator[Watched]:
    """The page on a desk."""
    with opened(chromium, file, viewport={"width": 1200, "height": 900}) as watched:
        yield watched


def text_of(file: Path) -> str:
    """The words of a page, each group of blanks as one."""
    body = re.sub(r"<style>.*?</style>", "", file.read_text(), flags=re.S)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def section(file: Path, name: str) -> str:
    """The words of a part of the page."""
    part = file.read_text().split(f'<section id="{name}"')[1].split("</section>")[0]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", part)))


def test_the_page_shows_without_a_complaint_or_a_request(desk: Watched) -> None:
    assert desk.complaints == []
    assert desk.requests == []


def test_every_figure_is_drawn(desk: Watched) -> None:
    assert (
        desk.page.evaluate(
            "[...document.images].map(i => [i.complete, i.naturalWidth > 0, i.getBoundingClientRect().width > 0])"
        )
        == [[True, True, True]] * 3
    )
    sizes = desk.page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect().width, s.getBBox().width])"
    )
    assert len(sizes) > 6
    assert all(width > 10 and drawn > 0 for width, drawn in sizes)


def test_every_link_leads_to_a_part_of_the_page(desk: Watched) -> None:
    """But for those to the web that a text of the lab's own has."""
    found = desk.page.evaluate(
        "[...document.links].map(a => [a.getAttribute('href'), !!document.querySelector(a.hash || 'none')])"
    )
    assert [address for address, there in found if not there] == ["https://arxiv.org/abs/1412.6980"]
    assert len(found) > 10


def test_who_hears_the_page_finds_their_way(desk: Watched) -> None:
    """Landmarks, headings without a gap, names of all figures, heads of all tables, the skip link first."""
    page = desk.page
    assert [page.locator(name).count() for name in ("h1", "main", "nav[aria-label]", "header", "footer")] == [1] * 5
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("svg[role=img]:not([aria-label])").count() == 0
    assert page.locator("svg:not([role=img]):not([aria-hidden])").count() == 0
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.caption && t.querySelector('th[scope=col]'))"
    )
    assert (
        page.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size")
        == page.locator("[id]").count()
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"


def test_a_phone_shows_the_page_without_scrolling_sideways(chromium: "Browser", file: Path) -> None:
    with opened(chromium, file, **PHONE) as watched:
        width = watched.page.evaluate("document.documentElement.scrollWidth")
        hidden = watched.page.evaluate(
            "[...document.querySelectorAll('.overview tbody .number.strong')].filter(e => "
            "e.getBoundingClientRect().right > innerWidth).length"
        )
    assert width == 390
    assert hidden == 0


CONTRAST = """() => {
  const parse = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length == 3 || c[3] > 0) return c; } };
  const texts = [...document.body.querySelectorAll('*')].filter(e =>
    [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()));
  return texts.map(e => { const style = getComputedStyle(e);
    const drawn = e.namespaceURI.endsWith('svg') && style.fill != 'none' ? style.fill : style.color;
    const [a, b] = [light(parse(drawn)), light(behind(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.tagName, e.className.toString(), e.textContent.slice(0, 20)]; });
}"""
"""Contrast of each text to what is behind it, as WCAG 2 defines it."""


@pytest.mark.parametrize(("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("dark", "print")])
def test_every_text_can_be_read(chromium: "Browser", file: Path, scheme: str, media: str) -> None:
    """A contrast of 4.5, as WCAG 2 asks for (level AA); on paper in dark ink, whatever the screen has."""
    with opened(chromium, file, color_scheme=scheme) as watched:
        watched.page.emulate_media(media=media)
        found = watched.page.evaluate(CONTRAST)
        paper = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(found) > 100
    assert [text for text in found if text[0] < 4.5] == []
    assert (int(re.findall(r"\d+", paper)[0]) > 200) is ((scheme, media) != ("dark", "screen"))


def test_a_setting_is_shown_with_its_seeds_and_what_differs_from_the_preset(file: Path) -> None:
    shown = section(file, "lab-regression")
    assert "simple 3.2 2.703 to 3.697 0-2" in shown
    assert "lr 0.25 (preset: " in shown
    assert "as the preset" in shown
    assert "digest 0a1b2c3d" in shown
    assert "Python 3.11.7, torch 2.9.1, ray 2.54.0" in shown


def test_runs_without_a_score_are_shown_as_what_they_are(file: Path) -> None:
    shown = section(file, "lab-regression").split("Runs without a score")[1]
    assert "failed strong small, seed 1" in shown
    assert "ValueError: <b>bad</b> & worse" in shown
    assert "error.txt" in shown
    assert "diverged strong small, seed 2" in shown
    assert "lr 1,000,000 (preset: " in shown
    assert "killed boss small, seed 3" in shown
    assert "after epoch 2 of 2" in shown
    assert "<b>" not in file.read_text()
    assert "4 finished · 1 failed · 1 diverged · 1 killed" in section(file, "overview")


def test_a_run_that_goes_on_is_shown_as_running(tmp_path: Path) -> None:
    from pipelines.home import driver_lock

    run = write(tmp_path, "regression", "simple", 0, curve=(3.0,), status="RUNNING")
    with driver_lock(run):
        assert said("report", "--home", tmp_path).code == 0
    assert "running simple small, seed 0" in section(tmp_path / "reports" / "all.html", "lab-regression")


def test_written_answers_are_a_part_of_the_page(file: Path) -> None:
    """With their pictures; neither HTML of their own, nor what would be fetched, nor links into the run's folder."""
    page = file.read_text()
    assert "<h4>Answers</h4>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'alt="the filters"' in page
    assert "from elsewhere" in page
    assert "example.com" not in page
    assert "config.json" not in page
    assert page.count('src="data:image/png') == 3  # the text's, the other one of the lab, the sweep's


def test_the_timeline_has_work_and_idle_time(file: Path) -> None:
    """25 of 200 CPU seconds were used: two nodes of ten seconds, and data of five."""
    shown = section(file, "timeline")
    assert "failed in 1m40s" in shown
    assert "12% of the time of 2 CPUs; 2m55s of CPU time were idle" in shown
    assert "data of regression finished, from 0s on 5s" in shown
    assert "second failed, from 10s on 10s" in shown
    assert "third blocked – a node that it needs did not finish" in shown


def test_a_sweep_is_shown_with_its_best_and_its_failed_trials(filled: Path) -> None:
    assert said("report", "regression-simple-small-5e", "--home", filled).code == 0
    shown = section(filled / "reports" / "regression-simple-small-5eed.html", "sweep-regression-simple-small-5eed")
    assert "2 finished, 1 failed" in shown
    assert "1 1 1m00s lr 0.2 0 2 1m00s lr 0.1" in shown
    assert "trial 2 ValueError: no such luck" in shown
    assert "best so far" in shown


def test_a_pipelines_report_has_its_own_runs_alone(filled: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "mine.html"
    assert said("report", "three", "--out", out, "--home", filled).code == 0
    assert "2 runs of 1 lab" in text_of(out)
    assert "Phoneme" not in text_of(out)


def test_a_labs_report_has_its_own_runs_alone(filled: Path) -> None:
    assert said("report", "--lab", "classification", "--home", filled).code == 0
    shown = text_of(filled / "reports" / "lab-classification.html")
    assert "1 run of 1 lab" in shown
    assert "COVID" not in shown


def test_the_same_folders_give_the_same_file(filled: Path, file: Path) -> None:
    before, modified = file.read_bytes(), file.stat().st_mtime_ns
    time.sleep(0.01)
    assert said("report", "--home", filled).code == 0
    assert file.stat().st_mtime_ns > modified
    assert file.read_bytes() == before


def test_pictures_that_are_too_large_together_are_made_smaller(tmp_path: Path) -> None:
    run = write(tmp_path, "regression", "simple", 0, test=3.0)
    picture(run / "deliver" / "large.png", (1800, 1300))
    (run / "deliver" / "damaged.png").write_bytes(b"\x89PNG")
    assert said("report", "--home", tmp_path).code == 0
    file = tmp_path / "reports" / "all.html"
    assert file.stat().st_size < 10e6
    assert "The pictures were made smaller" in text_of(file)
    assert "data:image/webp" in file.read_text()


def test_a_home_without_runs_says_what_makes_one(tmp_path: Path) -> None:
    assert said("report", "--home", tmp_path).code == 0
    assert "labs train regression makes the first run" in text_of(tmp_path / "reports" / "all.html")


@pytest.mark.parametrize(("asked", "answer"), [
    (["four"], "no pipeline or sweep 'four' in {filled}: it has regression-simple-small-5eed, three"),
    (["three", "--lab", "cnn"], "a report is of a pipeline, of a sweep, or of a lab (--lab): name one of them"),
    (["--lab", "ccn"], "unknown lab 'ccn'"),
    (["--out", "/dev/null/report.html"], "--out /dev/null: the folder can't be made"),
])  # fmt: skip
def test_what_is_not_there_is_said_in_a_sentence(filled: Path, asked: list[str], answer: str) -> None:
    result = said("report", *asked, "--home", filled)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: " + answer.format(filled=filled))


def test_a_pipeline_ends_with_the_place_of_its_report(labs_cli: Cli, tmp_path: Path) -> None:
    """And with a warning where it can't be written: the pipeline has ended well all the same."""
    spec = tmp_path / "spec.yaml"
    spec.write_text("name: short\nnodes:\n  a: {lab: regression, size: tiny, resources: {workers: 0}}\n")
    ran = labs_cli("pipeline", "run", spec)
    assert ran.code == 0, ran.err
    last = ran.err.splitlines()[-1]
    file = Path(re.fullmatch(r"report: (.*) \([\d.]+ MB\)", last)[1])  # type: ignore[index]
    assert re.search(r"a finished, from \d+s on", section(file, "timeline"))
    file.unlink()
    file.parent.rmdir()
    file.parent.touch()
    again = labs_cli("pipeline", "run", spec)
    assert again.code == 0
    assert again.err.splitlines()[-1].startswith("warning: the report was not written")
