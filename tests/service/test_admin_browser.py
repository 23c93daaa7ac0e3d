"""The operations page in a real browser: by keyboard alone, readable, in two tabs at once.

Needs Chromium and its driver; without them these tests are skipped.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.service.rollout import DIVIDENDS

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MEASURE = Path(__file__).parents[1] / "reports" / "measure.js"
# Buttons whose label is larger than they are.
BROKEN_OUT = """
return [...document.querySelectorAll("button")]
    .filter((b) => b.scrollHeight > b.clientHeight || b.scrollWidth > b.clientWidth)
    .map((b) => b.textContent)"""
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
pytestmark = [
    pytest.mark.long,
    pytest.mark.stack,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium or no driver of it"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in QUIET:
        options.add_argument(argument)
    service = webdriver.ChromeService(executable_path=str(DRIVER))
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


@pytest.fixture
def site(stack, browser: webdriver.Chrome) -> str:
    """The page's address; nobody is logged in."""
    url = stack.client_url("api-1") + "/admin"
    # The page has the focus even if its tab is not in front, as after another tab was closed:
    # without it nothing is drawn as focused, though `activeElement` is there.
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    browser.get(url + "/login")
    browser.delete_all_cookies()
    return url


def focused(browser: webdriver.Chrome) -> str:
    element = browser.switch_to.active_element
    return element.get_attribute("id") or element.text


def wait_until(
    browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], bool], what: str
) -> None:
    """Wait for what the page that comes will show; until then it may be any page."""
    ignored = (WebDriverException,)
    wait = WebDriverWait(browser, 10, poll_frequency=0.02, ignored_exceptions=ignored)
    wait.until(condition, what)


def tab_to(browser: webdriver.Chrome, name: str) -> None:
    """Press Tab until the element with this id or text has the focus, which must be seen."""

    def outlined(driver: webdriver.Chrome) -> bool:
        element = driver.switch_to.active_element
        return element.value_of_css_property("outline-style") == "solid"

    for _ in range(40):
        if focused(browser) == name:
            wait_until(browser, outlined, f"the focus on {name} is not seen")
            return
        press(browser, Keys.TAB)
    raise AssertionError(f"Tab never came to {name}")


def press(browser: webdriver.Chrome, *keys: str) -> None:
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def log_in(browser: webdriver.Chrome, token: str) -> None:
    tab_to(browser, "token")
    press(browser, token, Keys.ENTER)


def wait_to_see(browser: webdriver.Chrome, words: str, selector: str) -> None:
    """Wait until the page that comes shows these words there."""

    def shown(driver: webdriver.Chrome) -> bool:
        ready = driver.execute_script("return document.readyState") == "complete"
        return ready and words in driver.find_element(By.CSS_SELECTOR, selector).text

    wait_until(browser, shown, f"{selector} never showed {words!r}")


def test_by_keyboard_alone_a_flag_is_switched_off_and_audited(stack, flags, browser, site) -> None:
    browser.get(site)
    assert focused(browser) == "token"
    log_in(browser, "not the token")
    wait_to_see(browser, "no administrator", "[role=alert]")
    log_in(browser, stack.admin_token)
    wait_to_see(browser, "Feature flags", "h1")
    tab_to(browser, f"{DIVIDENDS}-enabled")
    press(browser, Keys.SPACE)
    tab_to(browser, f"{DIVIDENDS}-pct")
    press(browser, Keys.ARROW_DOWN)
    tab_to(browser, f"{DIVIDENDS}-reason")
    press(browser, "no payouts tonight")
    tab_to(browser, "Save")
    press(browser, Keys.SPACE)
    wait_to_see(browser, "Dividends was changed.", "[role=status]")
    wait_to_see(browser, "Off", f"#{DIVIDENDS} .badge")
    flag = flags.all()[DIVIDENDS]
    assert (flag["enabled"], flag["pct"]) == (False, 99)
    for words in ("Dividends", "on for 100 %", "off (99 %)", "no payouts tonight"):
        wait_to_see(browser, words, "tbody tr")
    # Loaded again, nothing is sent again.
    browser.refresh()
    assert flags.all()[DIVIDENDS]["version"] == flag["version"]
    tab_to(browser, "Log out")
    press(browser, Keys.ENTER)
    wait_to_see(browser, "Log in", "h1")
    browser.get(site)
    wait_to_see(browser, "Log in", "h1")


def test_two_tabs_do_not_overwrite_each_other(stack, flags, browser, site) -> None:
    browser.get(site)
    log_in(browser, stack.admin_token)
    wait_to_see(browser, "Feature flags", "h1")
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(site)
    second = browser.current_window_handle

    def save(handle: str, pct: int, reason: str) -> None:
        browser.switch_to.window(handle)
        share = browser.find_element(By.ID, f"{DIVIDENDS}-pct")
        share.clear()
        share.send_keys(str(pct))
        reason_field = browser.find_element(By.ID, f"{DIVIDENDS}-reason")
        reason_field.clear()
        reason_field.send_keys(reason, Keys.ENTER)

    save(first, 40, "the first tab")
    wait_to_see(browser, "Dividends was changed.", "[role=status]")
    save(second, 60, "the second tab")
    wait_to_see(browser, "Dividends was not changed.", "[role=alert]")
    wait_to_see(browser, "On for 40 %", f"#{DIVIDENDS} .badge")
    kept = browser.find_element(By.ID, f"{DIVIDENDS}-reason").get_attribute("value")
    assert kept == "the second tab"
    assert flags.all()[DIVIDENDS]["pct"] == 40
    # Having seen it, one may save again.
    reason_field = browser.find_element(By.ID, f"{DIVIDENDS}-reason")
    reason_field.send_keys(Keys.ENTER)
    wait_to_see(browser, "Dividends was changed.", "[role=status]")
    assert flags.all()[DIVIDENDS]["pct"] == 60
    browser.close()
    browser.switch_to.window(first)


def test_an_expired_session_asks_to_log_in_and_changes_nothing(
    stack, flags, database, browser, site
) -> None:
    browser.get(site)
    log_in(browser, stack.admin_token)
    wait_to_see(browser, "Feature flags", "h1")
    database.execute("UPDATE admin_sessions SET expires_at = now()")
    browser.find_element(By.ID, f"{DIVIDENDS}-reason").send_keys("too late", Keys.ENTER)
    wait_to_see(browser, "Your session has ended", "[role=alert]")
    assert flags.all()[DIVIDENDS]["pct"] == 100


def test_a_page_of_another_site_cannot_send_the_form(
    stack, flags, browser, site, tmp_path: Path
) -> None:
    browser.get(site)
    log_in(browser, stack.admin_token)
    wait_to_see(browser, "Feature flags", "h1")
    page = tmp_path / "evil.html"
    page.write_text(
        f'<form method="post" action="{site}/flags/{DIVIDENDS}"><input name="pct" value="0">'
        '<input name="reason" value="forged"><input name="version" value="1"><button>Go</button>'
    )
    browser.get(page.as_uri())
    browser.find_element(By.TAG_NAME, "button").click()
    # The cookie does not even come along.
    wait_to_see(browser, "Log in", "h1")
    assert flags.all()[DIVIDENDS]["pct"] == 100


@pytest.mark.parametrize(("width", "dark"), [(320, True), (1280, False)], ids=["narrow", "wide"])
def test_pages_fit_and_all_text_can_be_read(
    stack, flags, browser, site, width: int, dark: bool
) -> None:
    flags.set(DIVIDENDS, enabled=False, pct=30)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    script = MEASURE.read_text("utf-8").replace('document.querySelector(".word")', "document.body")
    browser.get_log("browser")
    browser.get(site)
    for title in ("Log in", "Feature flags"):
        wait_to_see(browser, title, "h1")
        browser.execute_script(script)
        measured = json.loads(browser.find_element(By.ID, "measured").text)
        assert measured["dark"] is dark
        assert measured["overflow_px"] <= 0
        assert measured["faint"] == []
        assert browser.execute_script(BROKEN_OUT) == []
        if title == "Log in":
            log_in(browser, stack.admin_token)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
