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
from dataclasses import fields, is_dataclass
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
#: What a page says to those who read it in the repository, where it has comments only.
_NOTE: Final = re.compile(r"^> This is the source of the page\. .*\n\n", re.MULTILINE)
#: For annotations with names that their modules import for type checkers only.
_LATER: Final = {**{name: getattr(usage, name) for name in usage.__all__}, **vars(webhooks)}
_shown: Final = set[str]()
#: The default of a keyword whose docstring says what leaving it out means.
_LEFT_OUT: Final = type("LeftOut", (), {"__repr__": lambda _: "..."})()
#: The dict of keywords that a function takes, where it does.
_packed: Final = dict[Any, Any]()
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
        else:
            for member in filter(inspect.isfunction, vars(thing).values()):
                _spell_out(member)
            what = "exception" if issubclass(thing, BaseException) else "class"
            text += f"```{{eval-rst}}\n.. auto{what}:: {module}.{name}\n   :members:\n```\n\n"
    return f"{text}Also here, described elsewhere: {', '.join(shared)}.\n" if shared else text


def _spell_out(function: Any) -> None:
    """
    Give *function* a signature with the keywords that its `**name: Unpack[…]` stands for; those of settings stay.
    """
    if function.__annotations__.get("return") == "None":
        del function.__annotations__["return"]  # it says nothing
    signature = inspect.signature(function)
    *parameters, last = signature.parameters.values() or [None]
    packed = re.fullmatch(r"Unpack\[(\w+)\]", str(last.annotation)) if last else None
    if packed and packed[1] != SettingsFields.__name__:
        keywords = {**_LATER, **function.__globals__}[packed[1]]
        _packed[function] = keywords
        added = [_parameter(name, annotation, keywords) for name, annotation in get_type_hints(keywords).items()]
        added.sort(key=lambda parameter: parameter.default is not parameter.empty)
        function.__signature__ = signature.replace(parameters=[*parameters, *added])


def _parameter(name: str, annotation: Any, keywords: Any) -> inspect.Parameter:
    client = package.LicensingClient
    known = {**inspect.signature(client).parameters, **inspect.signature(client.register_usage_event).parameters}
    default = inspect.Parameter.empty
    if name in keywords.__optional_keys__:
        default = known[name].default if name in known else default
        default = _LEFT_OUT if default is inspect.Parameter.empty else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


class _Docstring:
    """
    A docstring as its text, and its sections with their entries by name.
    """

    def __init__(self, text: str) -> None:
        self.text: list[str] = []
        self.sections: dict[str, dict[str, list[str]]] = {}
        entries: dict[str, list[str]] | None = None
        for line in text.splitlines():
            if heading := re.fullmatch(r"(Args|Attributes|Raises):", line):
                entries = self.sections.setdefault(heading[1], {})
            elif entries is not None and (start := re.match(r" {4}(\*{0,2}\w+):", line)):
                entries[start[1]] = [line]
            elif entries and line.startswith(" "):
                entries[next(reversed(entries))].append(line)
            else:
                self.text.append(line)

    def lines(self) -> list[str]:
        """
        Return it as lines again.
        """
        lines = list(self.text)
        for heading, entries in self.sections.items():
            if not entries:
                continue  # a dataclass whose fields are described elsewhere
            lines += ["", f"{heading}:", *(line for entry in entries.values() for line in entry)]
        return lines


def _read(thing: object) -> _Docstring:
    return _Docstring(inspect.getdoc(thing) or "")


def _meanings(keywords: Any) -> dict[str, list[str]]:
    """
    Return what a dict of keywords says about each, or the class whose keywords they are, or else the client.
    """
    owner = re.search(r"eywords of `(\w+)`", inspect.getdoc(keywords) or "")
    holder = getattr(package, owner[1], None) or _LATER.get(owner[1]) if owner else None
    meanings = [_read(package.LicensingClient), _read(holder), _read(keywords)]
    return {name: entry for each in meanings for section in each.sections.values() for name, entry in section.items()}


def _complete(*event: Any) -> None:
    """
    Add to a docstring what it takes from elsewhere: "Same as `X`", keywords in a dict, and the fields of a dataclass.
    """
    _, what, name, thing, _, lines = event
    docstring = target = _Docstring("\n".join(lines))
    holder = name.split(".")[-2] if what == "method" else ""
    while same := re.match(r"Same as `(?:(\w+)\.)?(\w+)`", "\n".join(target.text)):
        holder = same[1] or holder
        module = sys.modules[thing.__module__]
        target = _read(getattr(getattr(package, holder, getattr(module, holder, module)), same[2]))
        for heading, entries in target.sections.items():
            docstring.sections[heading] = {**entries, **docstring.sections.get(heading, {})}
    if target is not docstring:
        docstring.text[:0] = [target.text[0], ""]
    function = thing.__init__ if inspect.isclass(thing) else thing
    if function in _packed:
        keywords = _packed[function]
        arguments, meanings = docstring.sections.setdefault("Args", {}), _meanings(keywords)
        for keyword in get_type_hints(keywords):
            if keyword in meanings:
                arguments.setdefault(keyword, meanings[keyword])
        for packed in [argument for argument in arguments if argument.startswith("*")]:
            del arguments[packed]
    if inspect.isclass(thing) and is_dataclass(thing):
        bases = [_read(base).sections.get("Attributes", {}) for base in reversed(thing.__mro__) if is_dataclass(base)]
        docstring.sections.pop("Attributes", None)
        docstring.sections["Args"] = {name: entry for entries in bases for name, entry in entries.items()}
    lines[:] = docstring.lines()


def _shorten(*event: Any) -> tuple[str, str] | None:
    """
    Show `...` for a default that has no text of its own.
    """
    signature, result = event[-2:]
    return (re.sub(r"<(?:[^<>]|<\w+>)*>", "...", signature), result) if signature else None


# --- Tables ---


def _settings() -> str:
    rows = []
    for field in fields(Settings):
        default = f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"
        if field.default is None:
            default = "any" if field.name == "allowed_hosts" else "none"
        # Two columns, so that the meaning is in sight beside the navigation.
        names = f"`{field.name}`<br>`{ENVIRONMENT[field.name]}`"
        rows.append((names, f"{field.metadata['means']}<br>Default: {default}"))
    return _table(("Keyword and environment variable", "Meaning"), rows)


def _usage() -> str:
    _shown.add(f"{package.__name__}.PendingUsage")
    rows = []
    for name, member in vars(package.PendingUsage).items():
        if not name.startswith("_"):
            text = " ".join((inspect.getdoc(member) or "").split())
            rows.append((f"`{name}`" if isinstance(member, property) else f"`{name}()`", text))
    name = f"```{{eval-rst}}\n.. py:class:: {package.__name__}.PendingUsage\n```\n"
    return f"{name}\n{_table(('Member', 'Meaning'), rows)}"


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
    source[0] = _COMMENT.sub(_expand, _NOTE.sub("", source[0]))


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
    app.connect("autodoc-process-docstring", _complete, priority=400)  # before Napoleon reads the sections
    app.connect("autodoc-process-signature", _shorten)
    return {"parallel_read_safe": False}
