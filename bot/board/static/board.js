"use strict";
// Keeps the page as the platform is. Everything can be read without this script.
// It asks for the page that is shown and changes what differs: focus, scrolling, marked text and opened parts stay.

const main = document.getElementById("main");
const live = document.getElementById("live");
const old = document.getElementById("old");
const looked = document.getElementById("looked");
const pause = document.getElementById("pause");
const everyMs = 1000 * (Number(main.dataset.refresh) || 2);
const oldMs = 5 * everyMs;
let shown = "";
let heard = Date.now();
let paused = false;
let isAsking = false;

// --- changing what differs -----------------------------------------------------------------------------------------

const idOf = (node) => node.id || "";
const isSame = (one, other) => one.nodeName === other.nodeName && idOf(one) === idOf(other);

function become(node, wanted) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
    return;
  }
  // Whether a part is open is a person's choice.
  const names = new Set([...node.getAttributeNames(), ...wanted.getAttributeNames()].filter((name) => name !== "open"));
  for (const name of names) {
    const value = wanted.getAttribute(name);
    if (value === null) node.removeAttribute(name);
    else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  childrenBecome(node, wanted);
}

function childrenBecome(parent, wanted) {
  const known = new Map([...parent.children].filter(idOf).map((child) => [child.id, child]));
  const stay = new Set([...wanted.children].map(idOf));
  let at = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    // What is no longer there, and the blanks around it, are in nobody's way.
    while (at && !isSame(at, next) && (idOf(at) ? !stay.has(at.id) : at.nodeType === Node.TEXT_NODE)) at = removed(at);
    const same = idOf(next) ? known.get(next.id) : at && isSame(at, next) ? at : null;
    if (!same) parent.insertBefore(document.importNode(next, true), at);
    else {
      if (same === at) at = at.nextSibling;
      else move(parent, same, at);
      become(same, next);
    }
  }
  while (at) at = removed(at);
}

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function move(parent, child, at) {
  const focused = child.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(child, at);
  focused?.focus({ preventScroll: true });
}

// --- asking --------------------------------------------------------------------------------------------------------

async function answer() {
  const address = new URL(location.href);
  address.searchParams.set("part", "main");
  try {
    const found = await fetch(address, { cache: "no-cache", signal: AbortSignal.timeout(oldMs) });
    return found.ok || found.status === 404 ? await found.text() : null;
  } catch {
    return null; // said as soon as it lasts
  }
}

async function ask() {
  const text = await answer();
  if (text === null) return;
  heard = Date.now();
  if (text === shown || paused) return;
  const wanted = document.createElement("div");
  for (const { name, value } of live.attributes) wanted.setAttribute(name, value);
  wanted.append(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  become(live, wanted);
  shown = text;
  const said = document.getElementById("said");
  if (said) document.title = `${said.textContent} Promobot`;
}

async function look() {
  setTimeout(look, everyMs);
  if (paused || document.hidden || isAsking) return;
  isAsking = true;
  await ask().finally(() => (isAsking = false));
  say();
}

function say() {
  const at = `${new Date(heard).toISOString().slice(11, 19)} UTC`;
  const isLate = Date.now() - heard > oldMs;
  let words = "";
  if (paused) words = `Paused at ${at}: nothing changes here until you press Go on.`;
  else if (isLate) words = `The board has not answered since ${at}. This was true then. promobot status says what is now.`;
  looked.textContent = words ? "" : `Looked at ${at}`;
  document.body.classList.toggle("is-old", words !== "");
  old.hidden = words === "";
  if (old.firstElementChild.textContent !== words) old.firstElementChild.textContent = words;
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Go on" : "Pause";
  if (paused) say();
  else ask().then(say);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) ask().then(say);
});
setInterval(() => document.hidden || say(), everyMs);
say();
setTimeout(look, everyMs);
