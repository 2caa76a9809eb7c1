"""A real Chromium for tests: Debian's packages, headless, nothing fetched and nothing kept."""

import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

INSTALL = "apt-get install --no-install-recommends chromium chromium-driver"
# No network but ours, and no first-run business; --no-sandbox because tests may run as root.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def started(profile: Path) -> webdriver.Chrome:
    """A browser with this empty profile; skips where there is none, fails if CI has none."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        _without_browser()
    options = webdriver.ChromeOptions()
    options.binary_location = str(browser)
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1400,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(str(driver)))
    chrome.set_script_timeout(30)  # seconds
    return chrome


def _without_browser() -> None:
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"CI must run the browser tests: {INSTALL}")
    pytest.skip(f"there is no Chromium: {INSTALL}")
