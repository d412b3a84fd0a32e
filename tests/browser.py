"""Headless Chromium for tests of pages; a test that asks for it is skipped where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
"""No window, and no request of the browser's own; a container gives it no sandbox."""


@dataclass
class Watched:
    """An open page, with what it has complained about and asked for."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of its console, and errors of its scripts."""
    requests: list[str] = field(default_factory=list)
    """Addresses that it has asked for, beside its own and what stands in it."""


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """A browser for the tests of a file: while it is open, nothing else in this thread can run an event loop."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: on Debian, `apt-get install chromium` brings it")
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: it drives Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def opened(browser: "Browser", address: str | Path, **how: Any) -> Iterator[Watched]:
    """Open a file or an address in a context of its own.

    Args:
        browser: the fixture `chromium`.
        address: a file, or the address of a server.
        how: of the context, such as `viewport`, `color_scheme` or `java_script_enabled`.
    """
    url = address.as_uri() if isinstance(address, Path) else address
    with browser.new_context(**how) as context:
        watched = Watched(context.new_page())
        page = watched.page
        page.on("console", lambda said: said.type in ("error", "warning") and watched.complaints.append(said.text))
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(("data:", url)) or watched.requests.append(asked.url))
        page.goto(url)
        yield watched
