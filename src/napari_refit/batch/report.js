"use strict";
(() => {
  const table = document.getElementById("cases");
  if (!table) return;
  const cases = Array.from(table.tBodies);

  // Without scripts a browser shows what is in <noscript>; with them it is text, and costs nothing until it is wanted.
  const ADDRESS = /src="(data:image\/(?:webp|jpeg|png);base64,[A-Za-z0-9+/=]+)"/;
  function show(place) {
    const kept = place.querySelector("noscript");
    if (!kept) return;
    const address = ADDRESS.exec(kept.textContent);
    kept.remove();
    if (!address) return;
    const picture = new Image();
    picture.alt = place.dataset.alt;
    picture.decoding = "async";
    picture.src = address[1];
    place.append(picture);
  }
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      show(entry.target);
    }
  }, { rootMargin: "600px 0px" });
  const places = Array.from(table.querySelectorAll(".picture"));
  places.forEach((place) => near.observe(place));
  window.addEventListener("beforeprint", () => {
    for (const place of places) if (!place.closest("tbody").hidden) show(place);
  });

  const letters = new Intl.Collator("en", { numeric: true });
  const heads = Array.from(table.tHead.rows[0].cells);
  function value(body, column) {
    const cell = body.rows[0].cells[column];
    return heads[column].dataset.kind === "text" ? cell.textContent : cell.dataset.value;
  }
  function compare(one, two, column) {
    if (heads[column].dataset.kind === "text") return letters.compare(one, two);
    return Number(one) - Number(two);
  }
  function sort(column) {
    const down = heads[column].getAttribute("aria-sort") === "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const found = cases.map((body, place) => ({ body, place, value: value(body, column) }));
    found.sort((one, two) => {
      // A case without a figure stands last either way.
      if (!one.value || !two.value) return Number(!one.value) - Number(!two.value) || one.place - two.place;
      const order = compare(one.value, two.value, column);
      return (down ? -order : order) || one.place - two.place;
    });
    table.append(...found.map((item) => item.body));
  }
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  });
  heads[0].setAttribute("aria-sort", "ascending");

  const search = document.getElementById("search");
  const selects = Array.from(document.querySelectorAll("#controls select"));
  const count = document.getElementById("count");
  const plain = (text) => text.normalize("NFKC").toLowerCase();
  const texts = new Map(cases.map((body) => [
    body, plain(Array.from(body.querySelectorAll(".told"), (element) => element.textContent).join("\n")),
  ]));
  function filter() {
    const wanted = plain(search.value.trim());
    let shown = 0;
    for (const body of cases) {
      const fits = selects.every((select) => !select.value || body.dataset[select.name] === select.value);
      body.hidden = !(fits && texts.get(body).includes(wanted));
      shown += !body.hidden;
    }
    count.textContent = `${shown} of ${cases.length} cases`;
  }
  search.addEventListener("input", filter);
  selects.forEach((select) => select.addEventListener("change", filter));
  const pictures = document.getElementById("pictures");
  pictures.addEventListener("change", () => table.classList.toggle("bare", !pictures.checked));
  document.getElementById("print").addEventListener("click", () => window.print());
  document.getElementById("controls").hidden = false;
  filter();
})();
