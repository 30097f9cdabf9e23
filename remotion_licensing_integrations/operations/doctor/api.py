"""
Looks at the licensing API, over the same HTTP as delivery: proxies, TLS, an answer. It registers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from ...api import KeyAnswer, validate_license_key
from ...errors import CertificateError, TransportError
from ...outbox import Finding
from ...points import is_local
from ...recording import UsageRecorder
from ...settings import FREE_LICENSE
from .clock import compare_clocks

_TIMEOUT: Final = 10.0  # seconds, for a person who waits


def examine_api(recorder: UsageRecorder, *, check_key: bool) -> Iterable[Finding]:
    """
    Look whether the API answers, and when *check_key* is set, what it says about the key that registers points.
    """
    base_url = recorder.settings.base_url
    if base_url.startswith("http:") and not is_local(base_url):
        yield Finding(
            "warning",
            "base_url_in_clear_text",
            f"base_url is {base_url}: the licence key goes over the network in clear text, and anyone on the way can "
            "answer. Use https://.",
        )
    key = recorder.keys.current if check_key else None
    has_key = key is not None and key != FREE_LICENSE
    try:
        answer = validate_license_key(
            key if key and has_key else "", base_url=base_url, timeout=min(_TIMEOUT, recorder.settings.timeout)
        )
    except CertificateError as error:
        yield Finding(
            "error",
            "api_certificate",
            f"The certificate of the licensing API is refused: {error}. A proxy that opens TLS needs its authority in "
            "SSL_CERT_FILE. Points are kept until then.",
        )
        return
    except TransportError as error:
        yield Finding(
            "error",
            "api_unreachable",
            f"The licensing API at {base_url} cannot be reached: {error}. Points are kept until it answers.",
        )
        return
    yield _examine_answer(base_url, answer)
    if answer.date is not None:
        yield from compare_clocks("the licensing API's", answer.date)
    if check_key:
        yield _examine_key(answer) if has_key else Finding("ok", "key_not_checked", "There is no key to check.")


def _examine_answer(base_url: str, answer: KeyAnswer) -> Finding:
    if answer.location is not None:
        return Finding(
            "error",
            "api_redirects",
            f"{base_url} redirects to {answer.location}, which delivery does not follow: set base_url to the address "
            "that answers.",
        )
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Finding(
            "warning",
            "api_unavailable",
            f"The licensing API at {base_url} answers with HTTP {answer.status}. Points are kept until it recovers.",
        )
    if not answer.is_json:
        return Finding(
            "warning",
            "api_odd_answer",
            f"{base_url} answers with HTTP {answer.status} and no JSON: is it the licensing API, or a proxy's page?",
        )
    return Finding("ok", "api_answers", f"The licensing API at {base_url} answers.")


def _examine_key(answer: KeyAnswer) -> Finding:
    if answer.is_valid is None:
        return Finding(
            "warning", "key_not_checked", f"The API did not say whether it knows the key (HTTP {answer.status})."
        )
    if not answer.is_valid:
        return Finding(
            "error",
            "key_unknown",
            "The API does not know the licence key: copy it from the page of remotion.pro.",
        )
    project = f"the project {answer.project!r}" if answer.project else "a project without a name"
    if answer.has_subscription is False:
        return Finding(
            "warning",
            "key_without_subscription",
            f"The key is of {project}, which has no active subscription; see remotion.pro.",
        )
    return Finding("ok", "key_known", f"The API knows the licence key; it is of {project}.")
