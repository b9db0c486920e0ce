"use strict";

// Comfort only: without it, the links in the tables pick the sentences by way of :target.
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  document.documentElement.classList.add("js");
  const { kind, gold, predicted, file, search } = form.elements;
  const shown = document.getElementById("shown");
  const sentences = Array.from(document.querySelectorAll(".sentence"), (element) => ({
    element,
    file: element.dataset.file,
    text: element.dataset.text.toLowerCase(),
    faults: Array.from(element.querySelectorAll("[data-kind]"), (fault) => fault.dataset),
  }));

  const fits = (choice, value) => choice.value === "" || choice.value === value;
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    let count = 0;
    for (const sentence of sentences) {
      const isShown =
        fits(file, sentence.file) &&
        sentence.text.includes(wanted) &&
        sentence.faults.some(
          (fault) => fits(kind, fault.kind) && fits(gold, fault.gold) && fits(predicted, fault.predicted),
        );
      sentence.element.hidden = !isShown;
      count += isShown;
    }
    shown.textContent = `${count.toLocaleString("en")} of ${sentences.length.toLocaleString("en")} sentences shown`;
  };

  // A link in a table names a hidden line that says what to choose.
  const follow = () => {
    const line = document.getElementById(location.hash.slice(1));
    if (!line || !line.classList.contains("chosen")) return;
    form.reset();
    kind.value = line.dataset.kind;
    gold.value = line.dataset.gold;
    predicted.value = line.dataset.predicted;
    filter();
    const heading = document.getElementById("sentences");
    heading.scrollIntoView();
    heading.focus({ preventScroll: true });
  };

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter)); // after the fields are empty
  window.addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    if (event.target.closest("a")?.hash === location.hash) follow(); // the same link again
  });
  filter();
  follow();
})();
