"use strict";
// Keeps what is seen fresh, and sends what is done to /people/{user}/… as the person who is chosen.

const user = document.body.dataset.user;
const channel = document.body.dataset.channel;
const REFRESH_MS = 700;

async function does(deed, said) {
  const answer = await fetch(`/people/${encodeURIComponent(user)}/${deed}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(said),
  });
  const done = await answer.json();
  // What goes wrong with a command is said by Slackbot, and beside the inputs what was left out.
  if (!done.ok && (done.said || deed === "acts")) toast(done.said || `The app did not do it: ${done.error}`);
  await refresh();
  return done;
}

let fading;
function toast(text) {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.classList.add("on");
  clearTimeout(fading);
  fading = setTimeout(() => box.classList.remove("on"), 6000);
}

// --- what is seen ---------------------------------------------------------------------------------------------

function atTheEnd(box) {
  return box.scrollHeight - box.scrollTop - box.clientHeight < 80;
}

function toTheEnd() {
  for (const box of document.querySelectorAll(".messages")) box.scrollTop = box.scrollHeight;
}

const seen = {};
async function refresh() {
  const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const shown = document.getElementById(part.id);
    if (!shown) continue;
    // A modal is left alone while somebody fills it in: it changes when its key does.
    const key = part.querySelector("[data-key]")?.dataset.key ?? part.innerHTML;
    if (seen[part.id] === key) continue;
    const first = !(part.id in seen);
    const follow = atTheEnd(shown);
    seen[part.id] = key;
    if (first && part.id !== "modal" && shown.innerHTML === part.innerHTML) continue;
    shown.innerHTML = part.innerHTML;
    if (follow && shown.classList.contains("messages")) shown.scrollTop = shown.scrollHeight;
    if (part.id === "modal") shown.querySelector("[autofocus], .inside input, .inside select")?.focus();
  }
}

// --- what is done ---------------------------------------------------------------------------------------------

function valueOf(input) {
  switch (input.dataset.kind) {
    case "checkboxes":
      return [...input.querySelectorAll("input:checked")].map((box) => box.value);
    default:
      return input.value || null;
  }
}

function valuesIn(form) {
  const values = {};
  for (const input of form.querySelectorAll("[data-input]")) {
    (values[input.dataset.block] ??= {})[input.dataset.action] = valueOf(input);
  }
  return values;
}

function sure(confirm) {
  return new Promise((resolve) => {
    const veil = document.createElement("div");
    veil.className = "veil confirm";
    const box = document.createElement("div");
    box.className = "ask-box";
    box.setAttribute("role", "alertdialog");
    const header = document.createElement("header");
    const title = document.createElement("h2");
    title.textContent = confirm.title?.text || "Are you sure?";
    header.append(title);
    const inside = document.createElement("div");
    inside.className = "inside";
    inside.textContent = confirm.text?.text || "";
    const footer = document.createElement("footer");
    const answer = (text, style, said) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = `button ${style}`;
      button.textContent = text;
      button.addEventListener("click", () => (veil.remove(), resolve(said)));
      footer.append(button);
      return button;
    };
    answer(confirm.deny?.text || "Cancel", "", false);
    const yes = answer(confirm.confirm?.text || "Yes", confirm.style || "primary", true);
    box.append(header, inside, footer);
    veil.append(box);
    document.body.append(veil);
    yes.focus();
  });
}

async function act(element) {
  const { block, action, ts } = element.dataset;
  if (element.dataset.confirm && !(await sure(JSON.parse(element.dataset.confirm)))) return;
  const said = { block_id: block, action_id: action };
  if (element.dataset.act === "choose") said.value = valueOf(element);
  element.classList.add("busy");
  if (element instanceof HTMLButtonElement) element.disabled = true;
  try {
    await does("acts", { ...said, channel: element.dataset.channel, ts });
  } finally {
    element.classList.remove("busy");
    element.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-act=press]");
  if (pressed) act(pressed);
  const close = event.target.closest("[data-close]");
  if (close) does("closes", { view_id: close.closest("[data-view]").dataset.view });
});

document.addEventListener("change", (event) => {
  if (event.target.id === "as") {
    const address = new URL(location.href);
    address.searchParams.set("as", event.target.value);
    location.assign(address);
    return;
  }
  const chosen = event.target.closest("[data-act=choose]");
  if (chosen) act(chosen);
});

document.addEventListener("input", (event) => {
  if (event.target.form?.dataset.commands) suggest(event.target.form);
});

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.classList.contains("composer")) {
    const input = form.elements.text;
    const text = input.value.trim();
    if (!text) return;
    input.value = "";
    form.querySelector(".suggestions").hidden = true;
    await does("types", { channel, text, thread_ts: form.dataset.thread || null });
    toTheEnd();
  } else {
    const submit = form.querySelector("footer .primary");
    if (submit) submit.disabled = true;
    await does("submits", { view_id: form.closest("[data-key]").dataset.view, values: valuesIn(form) });
    if (submit) submit.disabled = false;
  }
});

// --- commands, as one types them --------------------------------------------------------------------------------

function suggest(form) {
  const box = form.querySelector(".suggestions");
  const typed = form.elements.text.value;
  const fitting = JSON.parse(form.dataset.commands).filter((one) => one.command.startsWith(typed.split(" ")[0]));
  box.hidden = !typed.startsWith("/") || !fitting.length;
  box.replaceChildren(
    ...fitting.map((one) => {
      const row = document.createElement("button");
      row.type = "button";
      const name = document.createElement("strong");
      name.textContent = one.command;
      const hint = document.createElement("small");
      hint.textContent = one.hint;
      const description = document.createElement("div");
      description.className = "hint";
      description.textContent = one.description;
      row.append(name, hint, description);
      row.addEventListener("click", () => {
        form.elements.text.value = `${one.command} `;
        box.hidden = true;
        form.elements.text.focus();
      });
      return row;
    }),
  );
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const box of document.querySelectorAll(".suggestions")) box.hidden = true;
  }
  if (event.key === "Tab" && event.target.form?.dataset.commands) {
    const first = event.target.form.querySelector(".suggestions:not([hidden]) button");
    if (first && !event.target.value.includes(" ")) {
      event.preventDefault();
      first.click();
    }
  }
});

if (!location.hash) toTheEnd();
(async function keepFresh() {
  for (;;) {
    try {
      await refresh();
    } catch {
      // The workspace is starting again, or gone; the next try says.
    }
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
})();
