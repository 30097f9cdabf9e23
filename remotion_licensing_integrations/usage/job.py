"""
The decorator for job functions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

from ..points import Event
from ..recording import UsageRecorder
from . import queues
from .block import Conversion, begin
from .options import UsageOptions

R = TypeVar("R")

#: Keywords that a job takes beside its own arguments.
_KEYWORDS: Final = ("usage_token", "usage_host", "usage_key")

_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def conversion_job(
    event: Event,
    *,
    host: str | None = None,
    is_still: bool = False,
    is_production: bool | None = None,
    recorder: UsageRecorder | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """
    Count each job that runs the decorated function as one usage point, failed when it raises.

    Put it directly on the function, below the queue's own decorator. Beside its own arguments the job takes
    `usage_token=`, what `defer()` returned, or `usage_host=` and `usage_key=`; the function gets those of them that it
    declares. A job that runs again (a retry, a redelivery) is one point, see `docs/guides/jobs.md`.

    Args:
        event: `"web-render"`, `"cloud-render"` or `"webcodec-conversion"`; a token has its own.
        host: Fixed origin of the frontend, for jobs without a token or host.
        is_still: Whether a still image is rendered.
        is_production: Whether the point may be billed; defaults to the setting.
        recorder: Defaults to the current request's, then to `default_recorder()`.

    Raises:
        ConfigurationError: An argument is unusable.
        TypeError: The decorated object is not a function, or a generator.
    """
    if callable(event):
        msg = 'conversion_job needs an event: @conversion_job("cloud-render")'
        raise TypeError(msg)
    return functools.partial(_decorate, UsageOptions(event, host, is_still, is_production), recorder)


def _decorate(options: UsageOptions, recorder: UsageRecorder | None, function: Callable[..., R]) -> Callable[..., R]:
    if not inspect.isroutine(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        msg = f"conversion_job: {function!r} is not a plain function or coroutine function"
        raise TypeError(msg)
    signature = inspect.signature(function)
    by_place = [parameter.name for parameter in signature.parameters.values() if parameter.kind in _BY_PLACE]

    def begin_job(args: tuple[Any, ...], keywords: dict[str, Any]) -> Conversion:
        arguments = {**dict(zip(by_place, args, strict=False)), **keywords}
        for name in _KEYWORDS:
            if name not in signature.parameters:
                keywords.pop(name, None)
        token, host, key = map(arguments.get, _KEYWORDS)
        run = queues.current_run(function)
        return begin(options, recorder, token=token, host=host, key=key or run.key, run=run)

    wrapper = _wrapper(function, begin_job)
    # Queues check the arguments against it when they enqueue a job.
    wrapper.__signature__ = signature.replace(parameters=list(_with_keywords(signature)))
    return cast("Callable[..., R]", wrapper)


def _wrapper(function: Callable[..., Any], begin_job: Callable[[tuple[Any, ...], dict[str, Any]], Conversion]) -> Any:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def work_async(*args: Any, **keywords: Any) -> Any:
            async with (block := begin_job(args, keywords)):
                return block.returned(await function(*args, **keywords))

        return work_async

    @functools.wraps(function)
    def work(*args: Any, **keywords: Any) -> Any:
        with (block := begin_job(args, keywords)):
            return block.returned(function(*args, **keywords))

    return work


def _with_keywords(signature: inspect.Signature) -> Iterable[inspect.Parameter]:
    parameters = list(signature.parameters.values())
    rest = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    added = [name for name in _KEYWORDS if name not in signature.parameters]
    yield from parameters[: len(parameters) - len(rest)]
    yield from (inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in added)
    yield from rest
