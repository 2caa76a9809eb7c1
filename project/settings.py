"""Django's settings.

Everything that differs between machines comes from the environment: DATABASE_URL, REDIS_URL,
SECRET_KEY, DEBUG, ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS, TRUSTED_PROXIES, METRICS_FROM, LOG_LEVEL,
LOG_FORMAT, HTTPS, LOCKSTEP_DATA. Whichever of the first two is missing, `manage.py` has `project.services` start
that server and sets it; without DATABASE_URL DEBUG is on. Settings never start anything themselves. With DEBUG off they
are those of production (docs/security.md), and `check --deploy` says what is missing.
"""

import os
from pathlib import Path

from project.addresses import database_from_url, listed
from project.keys import secret_key
from project.logs import level
from project.proxies import networks

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("LOCKSTEP_DATA") or BASE_DIR / ".lockstep")

DEBUG = os.environ.get("DEBUG", "").lower() in {"1", "true", "yes", "on"}
SECRET_KEY_GIVEN = bool(os.environ.get("SECRET_KEY"))
SECRET_KEY = os.environ.get("SECRET_KEY") or secret_key(DATA_DIR / "secret_key")
ALLOWED_HOSTS = listed(os.environ.get("ALLOWED_HOSTS") or "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = listed(os.environ.get("CSRF_TRUSTED_ORIGINS", ""))

# Browsers reach production by TLS, which a proxy ends: HTTPS=0 says that they don't.
HTTPS = os.environ.get("HTTPS", "0" if DEBUG else "1").lower() in {"1", "true", "yes", "on"}
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0  # a year; told only to who came by TLS

# Networks whose X-Forwarded-For and X-Forwarded-Proto are believed, and those that may read /metrics.
TRUSTED_PROXIES = networks(os.environ.get("TRUSTED_PROXIES", ""), setting="TRUSTED_PROXIES")
METRICS_FROM = networks(os.environ.get("METRICS_FROM") or "127.0.0.1,::1", setting="METRICS_FROM")

INSTALLED_APPS = [
    "project",  # before staticfiles: its `runserver` speaks ASGI
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "ninja",  # so that /api/docs is served from here and works offline
    "presence",
    "messaging",
    "perf",
]

MIDDLEWARE = [  # Django's own, without a thread for each
    "project.middleware.Policy",
    "project.middleware.Security",
    "project.middleware.Sessions",
    "project.middleware.Common",
    "project.middleware.Forms",
    "project.middleware.Users",
    "project.middleware.Messages",
    "project.middleware.Framing",
]
# `check --deploy` looks for Django's three by name; a test holds ours to be the same. What it would
# ask of them, it does not ask then: `project.checks` does.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

# The dummy database serves the commands that need none, such as `check` and `makemigrations`.
DATABASES = {"default": database_from_url(os.environ.get("DATABASE_URL", ""))}
REDIS_URL = os.environ.get("REDIS_URL", "")

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "messaging.hub.layer.PipelinedChannelLayer",
        # redis-py 8 closes a socket that is silent for 5 s unless it is told to wait, and with
        # RESP3 it makes a text of every message it receives, for a log line that nobody reads.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None, "protocol": 2}]},
    },
}

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        # The cache only counts wrong passwords: a login must not hang on it.
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
    },
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576  # bytes of a request, as of a WebSocket message
# Bytes of it in memory while the rest is on its way; the others wait on the disk. The longest text fits, and how many
# files are on their way is not bounded.
FILE_UPLOAD_MAX_MEMORY_SIZE = 131_072

AUTH_USER_MODEL = "presence.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static"
MEDIA_ROOT = DATA_DIR / "media"

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    # What messages have taken along (docs/files.md). Servers on several machines share one storage.
    "files": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": DATA_DIR / "files",
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "project.logs.Line"},
        "json": {"()": "project.logs.Json"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json" if os.environ.get("LOG_FORMAT", "").lower() == "json" else "text",
        }
    },
    "loggers": {
        "django": {"handlers": []},  # it has one of its own in development: every line came twice
        # What these say about starting and stopping, `serve` says better.
        "uvicorn": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        # Scanners ask for any host: a stack trace for each would be theirs to write.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # It writes a traceback per second while Redis is away; `messaging.hub.bus` says it in a line.
        "channels_redis": {"level": "CRITICAL"},
    },
    "root": {"handlers": ["console"], "level": level(os.environ.get("LOG_LEVEL", ""))},
}
