"""What `check --deploy` does not find by its name is there."""

import pytest
from django.conf import settings
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.module_loading import import_string

SILENCED = {
    "security.W001": SecurityMiddleware,
    "security.W002": XFrameOptionsMiddleware,
    "security.W003": CsrfViewMiddleware,
}


@pytest.mark.parametrize("check", SILENCED)
def test_a_check_is_silenced_only_for_a_middleware_that_is_there(check: str) -> None:
    assert set(settings.SILENCED_SYSTEM_CHECKS) == set(SILENCED)
    assert any(issubclass(import_string(path), SILENCED[check]) for path in settings.MIDDLEWARE)
