// Filters the list of methods as one types. The page is whole without it.
"use strict";

const form = document.querySelector("form.filter");
if (form) {
  const input = form.querySelector("input");
  const nothing = document.querySelector(".nothing");
  const sections = [...document.querySelectorAll("section.listing")];

  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const section of sections) {
      let here = 0;
      for (const item of section.querySelectorAll("li[data-text]")) {
        const text = item.dataset.text.toLowerCase();
        item.hidden = !words.every((word) => text.includes(word));
        here += item.hidden ? 0 : 1;
      }
      section.hidden = here === 0;
      shown += here;
    }
    nothing.hidden = shown > 0;
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", apply);
  apply();
}
