"use strict";
const main = document.getElementById("main");
const seconds = Number(main.dataset.refresh) || 2;
async function refresh() {
  try {
    const address = new URL(location.href);
    address.searchParams.set("part", "main");
    const answer = await fetch(address, { cache: "no-cache" });
    if (answer.ok || answer.status === 404) {
      const text = await answer.text();
      if (text !== refresh.last) {
        main.innerHTML = text;
        refresh.last = text;
      }
      document.body.classList.remove("away");
    } else {
      document.body.classList.add("away");
    }
  } catch {
    document.body.classList.add("away");
  }
  setTimeout(refresh, seconds * 1000);
}
setTimeout(refresh, seconds * 1000);
