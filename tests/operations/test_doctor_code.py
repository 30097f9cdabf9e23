"""
What the doctor finds in an app's own code: renderers that report by themselves.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import pytest

from remotion_licensing_integrations.operations.doctor import code
from remotion_licensing_integrations.operations.doctor.code import examine_code
from tests._systems import make_link

Write = Callable[..., None]


@pytest.fixture(autouse=True)
def _without_remotion_lambda(monkeypatch):
    # Installed for other tests, and something to warn of.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def write(tmp_path) -> Write:
    """
    Write a file of the app.
    """

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


@pytest.fixture
def found(tmp_path) -> Callable[[], list[str]]:
    """
    Name the places that are found, each with the words that were found there.
    """

    def found() -> list[str]:
        findings = [*examine_code(tmp_path)]
        assert {finding.name for finding in findings} <= {"reports_itself"}
        return [finding.text.partition(" a renderer")[0] for finding in findings]

    return found


CONFIG = 'import {Config} from "@remotion/cli/config";\n\nConfig.setPublicLicenseKey("rm_pub_abc123");\n'
LAMBDA = """
params = RenderMediaParams(
    composition="Main",
    webhook=Webhook(url="https://myapp.com"),
    license_key=key,
)
"""


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("remotion.config.ts", CONFIG, 3, "setPublicLicenseKey"),
        ("render.py", 'run(["npx", "remotion", "render", "--license-key", key])', 1, "--license-key"),
        (
            "render.py",
            'run(\n    f"npx remotion still --public-license-key={key}",\n    shell=True,\n)',
            2,
            "--public-license-key",
        ),
        ("web/render.mjs", "await renderMedia({\n  composition,\n  licenseKey: process.env.KEY,\n});", 3, "licenseKey"),
        ("web/player.tsx", "renderMediaOnWeb({licenseKey})", 1, "licenseKey"),
        ("render.py", 'props = {"licenseKey": key}', 1, "licenseKey"),
        ("render.py", LAMBDA, 5, "license_key"),
        ("render.py", "remotion_lambda.RenderStillParams(api_key=key)", 1, "api_key"),
        ("package.json", '{"scripts": {"render": "remotion render --license-key=$KEY"}}', 1, "--license-key"),
        ("Dockerfile", "FROM node\nCMD npx remotion render --license-key $KEY", 2, "--license-key"),
        ("deploy/render.sh", "npx remotion render --license-key $KEY", 1, "--license-key"),
    ],
)
def test_key_for_a_renderer(name, text, line, words, write, found) -> None:  # noqa: PLR0917 - pytest names them
    """
    A licence key that a renderer of Remotion gets is named with its file and line, and without its value.
    """
    write(name, text)

    assert found() == [f"{name}:{line}: with {words}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("main.py", 'app.add_middleware(UsageMiddleware, license_key=os.environ["REMOTION_LICENSE_KEY"])'),
        ("main.py", "# npx remotion render --license-key\n"),
        ("main.py", '"""\nRender with `--license-key`.\n"""'),
        ("main.py", "Client(api_key=key)"),
        ("main.py", "license_key ="),
        ("main.py", "license_key = '\0'"),
        ("main.py", "print('\\d')  # license_key"),
        ("render.ts", "// licenseKey: key"),
        ("render.sh", "npx remotion render --license-keys"),
        ("README.md", "npx remotion render --license-key"),
        ("package-lock.json", '"--license-key"'),
        ("node_modules/remotion/index.js", "licenseKey"),
        ("web/node_modules/remotion/index.js", "licenseKey"),
        (".venv/lib/remotion.py", '"licenseKey"'),
        ("dist/index.js", "licenseKey"),
        ("big.js", "licenseKey" + " " * code._MAX_SIZE),
    ],
)
def test_what_is_left_alone(name, text, write, found) -> None:
    """
    Our own settings, comments, other people's code and what is no code are not named.
    """
    write(name, text)

    assert found() == []


def test_virtual_environment(write, found) -> None:
    """
    A virtual environment is left out under any name.
    """
    write("py311/pyvenv.cfg", "")
    write("py311/render.py", '"licenseKey"')

    assert found() == []


def test_bounds(write, found, monkeypatch) -> None:
    """
    The search has an end in a folder that has too many files, findings or levels.
    """
    for number in range(30):
        write(f"render{number:02}.ts", "licenseKey")
    write("/".join("abcdefghijklmn") + "/render.ts", "licenseKey")

    assert len(found()) == 20
    monkeypatch.setattr(code, "_MAX_FILES", 5)
    assert found()[-1] == "render04.ts:1: with licenseKey"


def test_depth(write, found) -> None:
    """
    Folders far below the app are not searched.
    """
    write("/".join("abcdefghijklmn") + "/render.ts", "licenseKey")

    assert found() == []


def test_broken_link(write, found, tmp_path) -> None:
    """
    A link to nowhere is left out.
    """
    make_link(tmp_path / "render.ts", tmp_path / "gone.ts")
    write("more.ts", "licenseKey")

    assert found() == ["more.ts:1: with licenseKey"]


def test_package_that_reports_by_itself(tmp_path, monkeypatch) -> None:
    """
    With `remotion_lambda` installed the doctor warns of counting twice.
    """
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))

    [finding] = examine_code(tmp_path)
    assert finding.name == "lambda_installed"
    assert finding.text.startswith("remotion_lambda is installed: it reports renders by itself")


def test_command(run, api, write, tmp_path, monkeypatch) -> None:
    """
    The command looks into the current directory.
    """
    monkeypatch.chdir(tmp_path)
    write("remotion.config.ts", CONFIG)
    out = run("doctor").out

    assert "remotion.config.ts:3: with setPublicLicenseKey a renderer" in out
    assert "[reports_itself]" in out
    assert "rm_pub_abc123" not in out
