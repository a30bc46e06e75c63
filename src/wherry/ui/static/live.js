// Keeps the page as it is by now: asks for it again, and puts what changed in its place. Focus, selection, ticks, opened parts and
// scrolling stay, for nodes that are still there are kept. Without this script the page is whole, and a reload brings it up to date.
"use strict";

const SLOWEST = 30;
let tag = null;
let timer = null;
let pause = 0;

const find = () => document.querySelector("main[data-every]");
const say = (text) => { document.getElementById("link").textContent = text; };

function wait() {
  clearTimeout(timer);
  const main = find();
  if (main && !document.hidden) timer = setTimeout(look, 1000 * Math.max(pause, Number(main.dataset.every)));
}

async function look() {
  try {
    const answer = await fetch(location.href.split("#")[0], { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
    if (answer.status === 200 || answer.status === 404) take(answer, await answer.text());
    else if (answer.status !== 304) throw new Error(answer.statusText);
    pause = 0;
    say("");
  } catch {
    pause = Math.min(SLOWEST, 2 * (pause || 1));
    say("wherry ui does not answer");
  }
  wait();
}

function take(answer, text) {
  tag = answer.headers.get("ETag");
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const ends = [...document.querySelectorAll("[data-follow]")].filter(isAtEnd);
  document.title = fresh.title;
  morph(document.getElementById("main"), fresh.getElementById("main"));
  document.querySelectorAll("[data-follow]").forEach((log) => { if (ends.includes(log) || !log.dataset.seen) goToEnd(log); });
}

const isAtEnd = (log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
function goToEnd(log) { log.scrollTop = log.scrollHeight; log.dataset.seen = "yes"; }

// Makes `old` like `fresh`. What is the same stays the same node.
function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName) { old.replaceWith(fresh); return; }
  if (old.nodeType !== Node.ELEMENT_NODE) { write(old, fresh.data); return; }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open" && name !== "data-seen") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morphChildren(old, fresh);
}

function write(old, data) {
  if (data.startsWith(old.data)) old.appendData(data.slice(old.data.length)); // keeps a selection in a log that grows
  else old.data = data;
}

const nameOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.getAttribute("id")) || ""; // a form's .id may be its field

// Children with an id are told by it, so that a new row moves no other; the rest by their order.
function morphChildren(old, fresh) {
  const stays = new Set([...fresh.children].map(nameOf));
  for (const child of [...old.children]) if (!stays.has(nameOf(child)) && nameOf(child)) child.remove();
  const known = new Map([...old.children].map((child) => [nameOf(child), child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const name = nameOf(child);
    const same = name ? known.get(name) : at && !nameOf(at) ? at : undefined;
    if (!same) { old.insertBefore(child, at); continue; }
    if (same !== at) old.insertBefore(same, at);
    at = same.nextSibling;
    morph(same, child);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else if (find()) look(); });
document.querySelectorAll("[data-follow]").forEach(goToEnd);
wait();
