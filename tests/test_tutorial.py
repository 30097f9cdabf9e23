"""
The tutorial, followed to the letter; `PICTURES=1 scripts/test tests/test_tutorial.py` takes its pictures anew.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

from tests._pages import Page, same
from tests.processes.servers import eventually, free_port

pytest_plugins = ["tests._browser"]

PATH = Path(__file__).parent.parent / "docs" / "tutorial.md"


def test_tutorial(tmp_path, request) -> None:
    """
    A reader who follows the tutorial sees what it shows: two conversions, a job, and an outage that loses nothing.
    """
    ports = {"8484": free_port(), "8000": free_port()}
    page = Page(PATH, tmp_path, ports)
    _, sandbox, serve, convert, start_job, show, convert_in_outage, report = page.shell
    page.export(serve)

    def take_picture(name: str, port: str, path: str = "/") -> None:
        if os.environ.get("PICTURES"):
            tab = request.getfixturevalue("chromium").new_page(viewport={"width": 1000, "height": 640})
            tab.goto(f"http://127.0.0.1:{ports[port]}{path}", wait_until="load")
            tab.screenshot(path=PATH.parent / "images" / f"tutorial-{name}.png")

    page.save(0, 1)
    page.run("python make_sample.py")
    with ExitStack() as api:
        api.enter_context(page.running(sandbox, "8484"))
        with page.running(serve, "8000"):
            *calls, listing = convert.splitlines()
            said = page.run("\n".join(calls)).rstrip()
            eventually(lambda: page.run(listing).count("registered") == 2)
            assert same(f"{said}\n{page.run(listing)}") == same(page.shown[0])
            take_picture("sandbox", "8484")
        page.save(2)
        with page.running(serve, "8000"):
            call, listing = start_job.splitlines()
            assert same(page.run(call).rstrip()) == same(page.shown[1].splitlines()[0])
            [key] = re.findall(r"\S+(?= +cloud-render)", page.run(listing))
            show = re.sub(r"(?<=show )\S+", key, show)
            eventually(lambda: "Registered at" in page.run(show))
            assert same(page.run(show)) == same(page.shown[2])
            take_picture("dashboard", "8000", "/usage/")
            api.close()
            assert same(page.run(convert_in_outage)) == same(page.shown[3])
            take_picture("outage", "8000", "/usage/")
            api.enter_context(page.running(sandbox, "8484"))
            eventually(lambda: re.search("pending +0", page.run("remotion-licensing status")))
    assert same(page.run(report)) == same(page.shown[4])
