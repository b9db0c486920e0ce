"use strict";

// Comfort only: the page does everything without this file.
(() => {
  const form = document.getElementById("form");
  if (!form) return;
  const text = document.getElementById("text");
  const button = document.getElementById("predict");
  const caption = button.textContent;

  document.getElementById("shortcut").hidden = false;
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!button.disabled) form.requestSubmit(button);
    }
  });

  // One click, one request; the caption says that something happens.
  form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = "Predicting…";
  });
  const reset = () => {
    button.disabled = false;
    button.textContent = caption;
  };
  // The browser may show this very page again when the visitor goes back.
  window.addEventListener("pageshow", reset);
  // Whoever stops the browser from loading the result stays here. Not every browser says so; then a key does.
  if ("navigation" in window) navigation.addEventListener("navigateerror", reset);
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape") reset();
  });
  form.addEventListener("input", reset);
})();
