"""Pages in a browser, for tests that do what a user does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


def in_browser(test: Any) -> Any:
    """For a test that calls browser(), whose first call in a process loads OpenSSL."""
    there_is_none = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no Chromium with its chromedriver")
    return pytest.mark.loads(there_is_none(test))


@contextmanager
def browser(width: int = 1280, height: int = 800, dark: bool = False) -> Iterator[Any]:
    """Headless Chromium, driven, with a window of this size in pixels; at the end it must have logged no error."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    quiet = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    for option in (*quiet.split(), *["--blink-settings=preferredColorScheme=0"] * dark):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield driver
        assert not driver.get_log("browser")
    finally:
        driver.quit()
