"""
A real Chromium for browser tests.
"""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests._environment import skip_missing

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# Not of session scope: while Playwright's sync API is started, an event loop counts as running in this thread, and
# `asyncio.run` in the tests of other modules would fail.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """
    A running Chromium; skips where none is installed, except in CI, where that is a failure.
    """
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        skip_missing(f"no browser found: none of {', '.join(NAMES)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield browser
        browser.close()
