"""
Settings of the project; what concerns usage points is at the end.
"""

import os
from pathlib import Path

HERE = Path(__file__).parent
PLACE = Path(os.environ.get("PLACE", HERE / "data"))  # database and results
PLACE.mkdir(exist_ok=True)

DEBUG = os.environ.get("DEBUG") == "1"
# Good for a try on one machine, where everybody starts with the same data; a real project has its own.
SECRET_KEY = os.environ.get("SECRET_KEY", "not-secret-in-an-example")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "wsgi.application"
STATIC_URL = "static/"
MEDIA_ROOT = PLACE / "results"
DATA_UPLOAD_MAX_MEMORY_SIZE = 50_000_000  # bytes of a body that is not a form
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "remotion_licensing_integrations.django",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
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
        "DIRS": [HERE / "templates"],
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": PLACE / "db.sqlite3",
        # Several processes write: each waits for its turn instead of failing.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}

# The pages that may name themselves as the host of a usage point, besides ALLOWED_HOSTS.
CSRF_TRUSTED_ORIGINS = ["https://myapp.com"]

# Every setting can stand here or in the environment, as REMOTION_LICENSING_BASE_URL does while there is a sandbox.
REMOTION_LICENSING = {"LICENSE_KEY": os.environ.get("REMOTION_LICENSE_KEY")}
