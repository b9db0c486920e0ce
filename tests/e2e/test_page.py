"""What a person gets: the page in a real browser, with JavaScript, without it, and by keyboard alone."""

import pytest
from playwright.sync_api import expect

TEXT = "Barack Obama was born in Hawaii and worked for the United Nations in New York."
ENTITIES = [
    ("Barack Obama", "PER", "0", "12"),
    ("Hawaii", "LOC", "25", "31"),
    ("United Nations", "ORG", "51", "65"),
    ("New York", "LOC", "69", "77"),
]


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def page(request, browser):
    """A new page; what the browser complains about fails the test."""
    context = browser.new_context(java_script_enabled=request.param)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [text for text in complaints if "the server responded with a status of 4" not in text] == []


def rows(page):
    return [tuple(row.locator("td, th").all_inner_texts()) for row in page.locator("table tbody tr").all()]


def predict(page, served, text):
    page.goto(served.site)
    page.get_by_role("textbox").fill(text)
    page.get_by_role("button", name="Predict").click()
    page.wait_for_url("**/predict*")


def test_the_page_finds_the_entities_of_the_canary_sentence(page, served):
    predict(page, served, TEXT)

    assert page.locator("mark").count() == len(ENTITIES)
    for row, entity in zip(rows(page), ENTITIES, strict=True):
        text, label, score, start, end = row
        assert (text, label, start, end) == entity
        assert score.rstrip(" %").replace(".", "").isdigit()
    for mark, (text, label, *_) in zip(page.locator("mark").all(), ENTITIES, strict=True):
        assert text in mark.inner_text()
        assert label in mark.inner_text()
    expect(page.get_by_role("textbox")).to_have_value(TEXT)


def test_a_text_without_entities_says_so(page, served):
    predict(page, served, "nothing to see here")

    expect(page.get_by_text("No entities found")).to_be_visible()


def test_an_empty_text_is_explained(page, served):
    predict(page, served, "")

    expect(page.get_by_role("alert")).to_be_visible()


def test_a_text_over_the_limit_is_explained_and_kept(page, served):
    text = "Paris " * 20_000
    predict(page, served, text)

    expect(page.get_by_role("alert")).to_contain_text("100,000")
    expect(page.get_by_role("textbox")).to_have_value(text)


def test_markup_in_a_text_is_shown_and_not_run(page, served):
    predict(page, served, '<script>alert(1)</script><img src=x onerror=alert(1)> in Paris "&amp;')

    assert page.locator("main script, main img").count() == 0
    expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")


def test_the_page_works_by_keyboard_alone(page, served):
    page.goto(served.site)
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    page.keyboard.insert_text(TEXT)
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Predict":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/predict*")

    assert len(rows(page)) == len(ENTITIES)


WATCH_A_STOP = """async () => {
  const button = document.getElementById("predict");
  const state = () => [button.textContent, button.disabled];
  const pause = () => new Promise((resolve) => setTimeout(resolve, 200));
  const states = [state()];
  button.click();
  await pause();
  states.push(state());
  %s;
  await pause();
  states.push(state());
  window.stop();
  return states;
}"""


@pytest.mark.parametrize("page", [True], ids=["with JavaScript"], indirect=True)
@pytest.mark.parametrize(
    "stop",
    [
        pytest.param("window.stop()", id="stopped"),
        pytest.param("window.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))", id="Escape"),
        pytest.param("document.getElementById('text').dispatchEvent(new Event('input', {bubbles: true}))", id="typed"),
    ],
)
def test_a_visitor_who_stops_the_browser_can_press_predict_again(page, served, stop):
    page.goto(served.site)
    page.get_by_role("textbox").fill(TEXT)
    asked = []
    page.route("**/predict", lambda _: asked.append("/predict"))  # no answer comes

    states = page.evaluate(WATCH_A_STOP % stop)

    assert states == [["Predict", False], ["Predicting…", True], ["Predict", False]]
    assert asked == ["/predict"]
