"""
Which host a usage point gets in a Django project.
"""

from __future__ import annotations

import re

import pytest
from django.test import RequestFactory

from remotion_licensing_integrations.django.exchange import Exchange
from remotion_licensing_integrations.django.origins import is_trusted
from remotion_licensing_integrations.django.recorder import get_recorder


def host(*, secure=True, **headers):
    """
    Return the host of the point of a request with *headers*, and how it was chosen.
    """
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    found = Exchange(get_recorder(), RequestFactory().post("/", secure=secure, headers=headers)).find_host()
    return found.value, found.source


def given(settings, **values):
    settings.REMOTION_LICENSING = {**settings.REMOTION_LICENSING, **values}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "https://myapp.com"}, "https://myapp.com"),
        ({"Origin": "https://myapp.com:8443"}, "https://myapp.com:8443"),
        ({"Origin": "https://other.example"}, None),
        ({"Origin": "null"}, None),
        ({"Origin": "https://myapp.com, https://myapp.com"}, None),
        ({"Referer": "https://myapp.com/editor?id=1"}, "https://myapp.com"),
        ({"Referer": "https://other.example/"}, None),
        ({"Sec_Fetch_Site": "same-origin"}, "https://testserver"),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, "https://testserver"),
        ({"Sec_Fetch_Site": "cross-site"}, None),
        ({}, None),
    ],
)
def test_headers(headers, expected):
    """
    The host is the page's origin, if the project trusts it, and never a guess.
    """
    assert host(**headers)[0] == expected


def test_configured(settings):
    """
    A host in the settings is the host.
    """
    given(settings, HOST="https://frontend.example")

    assert host(Origin="https://myapp.com") == ("https://frontend.example", "configured")


def test_allowed_hosts_of_ours(settings):
    """
    Our own list replaces what the project's settings say.
    """
    given(settings, ALLOWED_HOSTS=["https://only.example"])

    assert host(Origin="https://only.example")[0] == "https://only.example"
    assert host(Origin="https://myapp.com") == (None, "refused")


def test_host_that_django_refuses(settings):
    """
    A request whose Host header Django refuses has no host of its own, and no error.
    """
    assert host(Host="evil.example", Sec_Fetch_Site="same-origin")[0] is None


@pytest.mark.parametrize("name", ["ho_st.example", "a b"])
def test_host_that_is_no_origin(settings, name):
    """
    A Host header that makes no origin is no host.
    """
    settings.ALLOWED_HOSTS = ["*"]
    found = host(Host=name, Sec_Fetch_Site="same-origin")[0]

    assert found is None or found == f"https://{name}"


def test_behind_a_proxy(settings):
    """
    The request's own origin is what Django makes of its trusted proxy's headers.
    """
    settings.USE_X_FORWARDED_HOST = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    headers = {"X_Forwarded_Host": "myapp.com", "X_Forwarded_Proto": "https", "Sec_Fetch_Site": "same-origin"}

    assert host(secure=False, **headers)[0] == "https://myapp.com"


def test_untrusted_proxy_headers():
    """
    Without those settings the headers are anybody's, and ignored.
    """
    assert host(X_Forwarded_Host="myapp.com", Sec_Fetch_Site="same-origin")[0] == "https://testserver"


@pytest.mark.parametrize(
    ("name", "value", "origin", "trusted"),
    [
        ("ALLOWED_HOSTS", [".myapp.com"], "https://eu.myapp.com", True),
        ("ALLOWED_HOSTS", ["*"], "https://any.example", True),
        ("ALLOWED_HOSTS", ["[::1]"], "http://[::1]:3000", True),
        ("ALLOWED_HOSTS", [], "http://localhost:3000", False),
        ("CSRF_TRUSTED_ORIGINS", ["https://front.example"], "https://front.example", True),
        ("CSRF_TRUSTED_ORIGINS", ["https://front.example"], "http://front.example", False),
        ("CSRF_TRUSTED_ORIGINS", ["https://front.example"], "https://front.example:444", False),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.front.example"], "https://eu.front.example", True),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.front.example"], "http://eu.front.example", False),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.front.example"], "https://front.example", False),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.front.example"], "https://evilfront.example", False),
        ("CORS_ALLOWED_ORIGINS", ["https://cors.example"], "https://cors.example", True),
        ("CORS_ALLOWED_ORIGIN_REGEXES", [r"^https://\w+\.cors\.example$"], "https://eu.cors.example", True),
        ("CORS_ALLOWED_ORIGIN_REGEXES", [re.compile(r"^https://cors\d$")], "https://cors1", True),
        ("CORS_ALLOWED_ORIGIN_REGEXES", [r"^https://\w+\.cors\.example$"], "https://cors.example", False),
    ],
)
def test_what_the_project_trusts(settings, name, value, origin, trusted):
    """
    Hosts that may be allowed, trusted or shared with by the project's settings are allowed here.
    """
    setattr(settings, name, value)

    assert is_trusted(origin) is trusted


@pytest.mark.parametrize(("origin", "trusted"), [("http://localhost:3000", True), ("https://myapp.com", False)])
def test_development(settings, origin, trusted):
    """
    While DEBUG is on and no host is allowed, local ones are, as everywhere in Django.
    """
    settings.DEBUG, settings.ALLOWED_HOSTS = True, []

    assert is_trusted(origin) is trusted


@pytest.mark.django_db
@pytest.mark.parametrize(("debug", "expected"), [(False, ["host_local"]), (True, [])])
def test_local_own_host(settings, caplog, client, debug, expected):
    """
    A project that is asked under a local address says so once, but not while DEBUG is on.
    """
    settings.DEBUG = debug
    for _ in range(2):
        client.post("/sync/200", headers={"Sec-Fetch-Site": "same-origin"})

    assert [record.action for record in caplog.records if hasattr(record, "action")] == expected
