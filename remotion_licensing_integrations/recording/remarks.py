"""
What a recorder says, once, of the points that it takes.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final

from .._support.log import logger
from ..points import ResolvedHost, is_local
from ..settings import find_unknown_variables

#: The first uWSGI whose threads run without an option, and the options that let them run in an older one.
_UWSGI_WITH_THREADS: Final = (2, 0, 28)
_UWSGI_OPTIONS: Final = {"enable-threads", "threads", "gevent"}


class Remarks:
    """
    The part of a recorder that counts hosts and warns.

    Args:
        warns_of_local_hosts: Whether to warn when the host of a point is the server's own, local address.
    """

    def __init__(self, *, warns_of_local_hosts: bool) -> None:
        self._warns_of_local_hosts = warns_of_local_hosts
        self._hosts: Counter[str] = Counter()
        self._warned: set[str] = set()

    def count_host(self, host: ResolvedHost) -> None:
        """
        Count how a host was chosen, and warn when it is not allowed or most likely not the page's.
        """
        self._hosts[host.source] += 1
        if host.source == "own" and host.value and self._warns_of_local_hosts and is_local(host.value):
            self.warn_once(
                "host_local",
                f"The host of a usage point is the server's own address, {host.value}. The API treats it as "
                "development and does not bill it. Behind a proxy, set host, or make the proxy forward Host and "
                "X-Forwarded-Proto and the server trust them. In development, set is_production to false.",
            )
        if host.source == "refused":
            self.warn_once(
                "host_refused",
                "A request's origin is not in allowed_hosts; its usage point has no host. If the origin is yours, "
                "add it to allowed_hosts. Further cases are only counted.",
            )

    def warn_of_variables(self) -> None:
        """
        Warn of environment variables that look like settings and are none, such as misspelt ones.
        """
        for name, text in find_unknown_variables().items():
            self.warn_once(f"unknown_variable {name}", text)

    def warn_of_uwsgi(self) -> None:
        """
        Warn of an older uWSGI whose threads stand still between requests.
        """
        uwsgi: Any = sys.modules.get("uwsgi")  # a module that only its processes have
        version = getattr(uwsgi, "version_info", _UWSGI_WITH_THREADS)
        if version < _UWSGI_WITH_THREADS and _UWSGI_OPTIONS.isdisjoint(uwsgi.opt):
            self.warn_once(
                "threads_stand_still",
                "uWSGI runs without enable-threads: usage points are recorded, but delivered only while requests run, "
                "and other processes may find the outbox locked. Set enable-threads = true.",
            )

    def warn_once(self, action: str, message: str) -> bool:
        """
        Log *message* once for each *action*, whose first word is the record's `action`; the rest may name a case.

        Returns whether this is the first time.
        """
        is_first = action not in self._warned
        if is_first:
            self._warned.add(action)
            logger.warning(message, extra={"action": action.split(maxsplit=1)[0]})
        return is_first
