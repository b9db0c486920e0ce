"""The page of documentation in a real browser: wide and narrow, light and dark, without JavaScript, by keyboard."""

import pytest
from playwright.sync_api import expect

SIZES = {"phone": (360, 740), "tablet": (820, 1100), "desktop": (1440, 900)}


@pytest.fixture
def open_page(browser, served):
    """Open /docs as asked; what the browser complains about (as of the security policy) fails the test."""
    contexts, complaints = [], []

    def open_one(path="/docs", **settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto(served.site + path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_everything_is_styled(open_page, size, scheme):
    page = open_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)

    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    background = page.evaluate("getComputedStyle(document.querySelector('.docs pre')).backgroundColor")
    brightness = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(", "))) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60
    outside = page.evaluate(
        """() => [...document.querySelectorAll('.docs p, .docs dd, .docs dt, .docs h2, .docs h3, .docs td')]
                 .filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth)
                 .filter((one) => !one.closest('.scroll')).length"""
    )
    assert outside == 0


def test_it_is_all_there_without_javascript(open_page):
    page = open_page(java_script_enabled=False)

    summary = page.locator("article summary").nth(1)
    expect(summary).to_be_visible()
    inside = page.locator("article details").nth(1).locator("pre").first
    expect(inside).to_be_hidden()
    summary.click()
    expect(inside).to_be_visible()


def test_the_keyboard_opens_an_answer(open_page):
    page = open_page()
    details = page.locator("article details").nth(1)

    details.locator("summary").focus()
    page.keyboard.press("Enter")

    expect(details).to_have_attribute("open", "")


def test_a_link_of_the_contents_leads_to_its_section(open_page):
    page = open_page()

    page.get_by_role("navigation", name="On this page").get_by_role("link", name="Errors").click()

    expect(page.get_by_role("heading", name="Errors", exact=True)).to_be_in_viewport()


def test_the_form_leads_to_it(open_page):
    page = open_page("/")

    page.locator("footer").get_by_role("link", name="Documentation of the API").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Documentation of the API")
