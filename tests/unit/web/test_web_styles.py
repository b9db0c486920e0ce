"""The colours keep WCAG 2.2 AA: 4.5 : 1 for text, 3 : 1 for the edge of a field, in light and in dark mode."""

import re
from pathlib import Path

import pytest

import web.app
from web.render import NUM_HUES

CSS = (Path(web.app.__file__).parent / "static" / "site.css").read_text(encoding="utf-8")
LIGHT, DARK = CSS.split("@media (prefers-color-scheme: dark)")
DARK = DARK.split("\n}\n")[0]


def colours(css):
    """The colour of each variable outside hues by its name, of those inside by its name and hue."""
    found = {}
    for selector, block in re.findall(r"(:root|\.hue-\d) \{(.*?)\}", css, re.DOTALL):
        for name, colour in re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block):
            found[name if selector == ":root" else f"{name}-{selector[-1]}"] = colour
    return found


def luminance(colour):
    """Relative luminance as WCAG defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("hue", range(NUM_HUES))
def test_marked_text_and_labels_can_be_read(css, hue):
    colour = colours(css)

    assert contrast(colour["text"], colour[f"tint-{hue}"]) >= 7
    assert contrast(colour["on-ink"], colour[f"ink-{hue}"]) >= 4.5
    assert contrast(colour[f"ink-{hue}"], colour["panel"]) >= 3


@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "ratio"),
    [
        ("text", "page", 7),
        ("text", "panel", 7),
        ("muted", "page", 4.5),
        ("muted", "panel", 4.5),
        ("accent", "page", 4.5),
        ("accent", "panel", 4.5),
        ("accent-strong", "panel", 4.5),
        ("on-accent", "accent", 4.5),
        ("on-accent", "accent-strong", 4.5),
        ("error", "error-tint", 4.5),
        ("error", "panel", 3),
        ("field", "panel", 3),
    ],
)
def test_everything_else_can_be_read(css, front, back, ratio):
    colour = colours(css)

    assert contrast(colour[front], colour[back]) >= ratio
