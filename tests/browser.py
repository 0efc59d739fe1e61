"""A real browser for tests: headless Chromium, driven by the chromedriver that comes with it, cut off from the network.

Selenium and not Playwright: its driver is the system's own, of the same version as the browser, and nothing is
downloaded; Playwright's is made for the browsers that it downloads itself.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ALLOWED = ("127.0.0.1", "localhost")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip


def missing() -> str:
    """Say what of the browser is not on this machine; empty if all is."""
    if not any(map(shutil.which, BROWSERS)):
        return f"none of {', '.join(BROWSERS)} is installed (Debian: chromium)"
    return "" if shutil.which("chromedriver") else "chromedriver is not installed (Debian: chromium-driver)"


class Browser:
    """One window.

    Parameters
    ----------
    driver : selenium.webdriver.Chrome
        The driver of a browser that logs its console and its network.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._requests: list[str] = []

    def open(self, url: str) -> None:
        self.driver.get(url)

    def resize(self, width: int, height: int) -> None:
        """Let the page have exactly this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str) -> Any:
        """Run JavaScript, the body of a function."""
        return self.driver.execute_script(script)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        return WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(lambda _: condition())

    def text(self) -> str:
        """All that can be read on the page, with what Bokeh keeps in shadow roots."""
        return self.run(
            "const all = n => [...n.childNodes].map(c => c.nodeType == 3 ? c.data : ['STYLE', 'SCRIPT'].includes("
            "c.tagName) ? '' : (c.shadowRoot ? all(c.shadowRoot) : '') + all(c)).join('\\n'); return all(document.body)"
        )

    def console_errors(self) -> list[str]:
        """What the console has said of level SEVERE since the last look."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """Addresses of all requests so far, websockets included."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self._requests.append(message["params"]["url"])
        return self._requests

    def foreign_requests(self) -> list[str]:
        """Requests that leave this machine."""
        urls = [url for url in self.requests() if not url.startswith(("data:", "blob:"))]
        return [url for url in urls if urlsplit(url).hostname not in ALLOWED]

    def save(self, file: str) -> None:
        """Take a picture of the whole page."""
        width = self.run("return window.innerWidth")
        height = self.run("return Math.max(document.body.scrollHeight, document.documentElement.scrollHeight)")
        self.resize(width, height)
        self.driver.save_screenshot(file)


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """Start Chromium, and end it."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser = Browser(driver)
        browser.resize(width, height)
        yield browser
    finally:
        driver.quit()
