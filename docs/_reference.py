"""
What the site's pages take from the code: a comment such as `<!-- api: module -->` in a page becomes what it names.

- `<!-- api: module -->`: all public names of a module; `<!-- api: module: name other -->`: these, in this order.
- `<!-- settings -->`: the table of settings. `<!-- usage -->`: the members of `PendingUsage`.
- `<!-- options -->`: the options before a command of `remotion-licensing`; `<!-- command: name -->`: what one does.

A public name or a command that no page shows is a warning, so that the build fails.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin, get_type_hints

from sphinx.util import logging

import remotion_licensing_integrations as package
from remotion_licensing_integrations import usage, webhooks
from remotion_licensing_integrations.operations import cli
from remotion_licensing_integrations.settings import ENVIRONMENT, Settings, SettingsFields

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: The modules whose `__all__` is public, beside the root's.
MODULES: Final = ("asgi", "starlette", "fastapi", "wsgi", "flask", "django", "testing", "dashboard")
_COMMENT: Final = re.compile(
    r"^<!-- (api|settings|usage|options|command)(?:: ([\w.]+))?(?:: ([\w ]+))? -->$", re.MULTILINE
)
_SECTION: Final = re.compile(r"(?:Args|Attributes|Raises):")
#: For annotations with names that their modules import for type checkers only.
_LATER: Final = {**{name: getattr(usage, name) for name in usage.__all__}, **vars(webhooks)}
_shown: Final = set[str]()
#: The default of a keyword whose docstring says what leaving it out means.
_LEFT_OUT: Final = type("LeftOut", (), {"__repr__": lambda _: "..."})()
#: Where the reference describes an object that has several names, by its identity.
_described: Final = dict[int, str]()
_log = logging.getLogger(__name__)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (head, ("---",) * len(head), *rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


# --- The API ---


def _api(module: str, names: str | None) -> str:
    imported = importlib.import_module(module)
    text, shared = "", []
    for name in names.split() if names else imported.__all__:
        thing = getattr(imported, name)
        _shown.add(f"{module}.{name}")
        where = f"{package.__name__}.{name}" if thing is getattr(package, name, None) else f"{module}.{name}"
        where = _described.setdefault(id(thing), where)
        if where != f"{module}.{name}":
            shared.append(f"{{py:obj}}`{name} <{where}>`")
        elif get_origin(thing) is Literal:
            words = ", ".join(f'``"{word}"``' for word in get_args(thing))
            text += f"```{{eval-rst}}\n.. py:data:: {module}.{name}\n\n   One of {words}.\n```\n\n"
        elif not inspect.isclass(thing):
            _spell_out(thing)
            text += f"```{{eval-rst}}\n.. autofunction:: {module}.{name}\n```\n\n"
        elif issubclass(thing, BaseException):
            text += f"```{{eval-rst}}\n.. autoexception:: {module}.{name}\n   :members:\n```\n\n"
        else:
            for member in (member for each in thing.__mro__ for member in vars(each).values()):
                if inspect.isfunction(member) and member.__module__.startswith(package.__name__):
                    _spell_out(member)
            text += f"```{{eval-rst}}\n.. autoclass:: {module}.{name}\n   :members:\n   :inherited-members:\n```\n\n"
    return f"{text}The same as elsewhere: {', '.join(shared)}.\n" if shared else text


def _spell_out(function: Any) -> None:
    """
    Give *function* a signature with the keywords that its `**name: Unpack[…]` stands for; those of settings stay.
    """
    signature = inspect.signature(function)
    last = next(reversed(signature.parameters.values()), None)
    packed = re.fullmatch(r"Unpack\[(\w+)\]", str(last.annotation)) if last else None
    if packed is None or packed[1] == SettingsFields.__name__:
        return
    keywords = {**_LATER, **function.__globals__}[packed[1]]
    client = package.LicensingClient
    known = {**inspect.signature(client).parameters, **inspect.signature(client.register_usage_event).parameters}
    added = []
    for name, annotation in get_type_hints(keywords).items():
        default = inspect.Parameter.empty
        if name in keywords.__optional_keys__:
            default = known[name].default if name in known else default
            default = _LEFT_OUT if default is inspect.Parameter.empty else default
        added.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default))
    added.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    function.__signature__ = signature.replace(parameters=[*list(signature.parameters.values())[:-1], *added])


def _sections(thing: object) -> dict[str, list[str]]:
    title, sections = "", dict[str, list[str]]()
    for line in (inspect.getdoc(thing) or "").splitlines():
        title = line if _SECTION.fullmatch(line) else title
        sections.setdefault(title, []).append(line)
    return sections


def _refer(*event: Any) -> None:
    """
    Where a docstring says "Same as `X`", add what that says of itself, of arguments and of errors.
    """
    _, what, name, thing, _, lines = event
    arguments, errors = list[str](), list[str]()
    text, holder = "\n".join(lines), name.split(".")[-2] if what == "method" else ""
    while match := re.match(r"Same as `(?:(\w+)\.)?(\w+)`(?s:.*(client's options))?", text):
        module = sys.modules[thing.__module__]
        target = getattr(getattr(package, match[1] or holder, module), match[2])
        text, holder = inspect.getdoc(target) or "", match[1] or holder
        sections = _sections(target)
        arguments = sections.get("Args:", []) + arguments
        errors = sections.get("Raises:", errors)
        if match[3]:
            own = inspect.signature(target).parameters
            entries = re.split(r"\n(?=    \w)", "\n".join(_sections(package.LicensingClient)["Args:"]))[1:]
            arguments += [entry.rstrip() for entry in entries if entry.strip().partition(":")[0] not in own]
    if text != "\n".join(lines):
        lines[:0] = [text.splitlines()[0], ""]
    lines += ["", *(line for entry in arguments for line in entry.splitlines() if line), "", *errors]


# --- Tables ---


def _settings() -> str:
    rows = []
    for field in fields(Settings):
        default = f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"
        if field.default is None:
            default = "any" if field.name == "allowed_hosts" else "none"
        rows.append((f"`{field.name}`", f"`{ENVIRONMENT[field.name]}`", default, field.metadata["means"]))
    return _table(("Keyword", "Environment variable", "Default", "Meaning"), rows)


def _usage() -> str:
    rows = []
    for name, member in vars(package.PendingUsage).items():
        if not name.startswith("_"):
            text = " ".join((inspect.getdoc(member) or "").split())
            rows.append((f"`{name}`" if isinstance(member, property) else f"`{name}()`", text))
    return _table(("Member", "Meaning"), rows)


def _options(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=1_000)
    left_out = (argparse._HelpAction, argparse._SubParsersAction)
    rows = [
        (f"`{formatter._format_action_invocation(action)}`", formatter._expand_help(action) if action.help else "")
        for action in parser._actions
        if not isinstance(action, left_out)
    ]
    return _table(("Argument", "Meaning"), rows)


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = cli._parser()
    [commands] = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return parser, dict(commands)


def _command(name: str) -> str:
    parser = _parsers()[1][name]
    _shown.add(name)
    return f"{parser.description}\n\n{_options(parser)}"


# --- Into the pages ---


def _expand(match: re.Match[str]) -> str:
    what, name, names = match.groups()
    if what == "api":
        return _api(f"{package.__name__}{'.' + name if name != 'root' else ''}", names)
    if what == "command":
        return _command(name)
    return {"settings": _settings, "usage": _usage, "options": lambda: _options(_parsers()[0])}[what]()


def _fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _COMMENT.sub(_expand, source[0])


def _check(*_: object) -> None:
    expected = {f"{package.__name__}.{name}" for name in package.__all__} | set(_parsers()[1])
    for module in MODULES:
        name = f"{package.__name__}.{module}"
        expected |= {f"{name}.{each}" for each in importlib.import_module(name).__all__}
    for name in sorted(expected - _shown):
        _log.warning("no page of the reference shows %s", name)


def setup(app: Sphinx) -> dict[str, bool]:
    """
    Let pages be filled as they are read, and see afterwards that nothing is missing.
    """
    app.connect("source-read", _fill)
    app.connect("env-updated", _check)
    app.connect("autodoc-process-docstring", _refer, priority=400)  # before Napoleon reads the sections
    return {"parallel_read_safe": False}
