"""
Settings of a small project with the admin and two conversions, for servers in processes of their own.
"""

import json
import os

from remotion_licensing_integrations.django import enqueuer
from remotion_licensing_integrations.recording import recorder

if wait := os.environ.get("COMMIT_WAIT"):
    recorder.COMMIT_WAIT = float(wait)
if look_every := os.environ.get("LOOK_EVERY"):
    enqueuer.LOOK_EVERY = float(look_every)

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver", "myapp.com"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.django.admin_project.urls"
STATIC_URL = "/static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "remotion_licensing_integrations.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "remotion_licensing_integrations.django.middleware.UsageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# As a project with several processes on one SQLite file has to have it.
_SQLITE = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
DATABASES = {
    "default": json.loads(os.environ.get("TEST_DATABASE", "null"))
    or {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TEST_DATABASE_FILE", ":memory:"),
        "OPTIONS": _SQLITE if "TEST_DATABASE_FILE" in os.environ else {},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if os.environ.get("TEST_SENDER") == "django.tasks":
    REMOTION_LICENSING = {"SENDER": "django.tasks"}
    INSTALLED_APPS.append("django_tasks_db")
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
