"use strict";
// Renews the parts of the page while somebody looks at it. The server has escaped what they hold.
const INTERVAL = 5000;  // milliseconds
const policy = window.trustedTypes?.createPolicy("usage", {createHTML: html => html}) ?? {createHTML: html => html};
const shown = new Map();
let waiting = 0;

// What a person has opened, or is about to press, must not change under their hands.
function isBusy(part) {
  return part.contains(document.activeElement) && document.activeElement.matches("button, summary, select, input");
}

function renew(name, html) {
  const part = document.getElementById(name);
  if (!shown.has(name)) shown.set(name, part.innerHTML);
  if (shown.get(name) === html || isBusy(part)) return;
  const open = [...part.querySelectorAll("details[open]")].map(details => details.id);
  const scrolled = part.querySelector(".scroll")?.scrollTop ?? 0;
  part.innerHTML = policy.createHTML(html);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  const scroll = part.querySelector(".scroll");
  if (scroll) scroll.scrollTop = scrolled;
  shown.set(name, html);
}

function show(text) {
  const pill = document.querySelector("#status .pill");
  pill.textContent = text;
  pill.dataset.state = "gone";
  shown.set("status", "");
}

async function poll() {
  if (document.hidden) return;
  const started = performance.now();
  try {
    const response = await fetch("live" + location.search.replace(/&?(done|number)=[^&]*/g, ""), {cache: "no-store", redirect: "error"});
    if (response.status === 401 || response.status === 403) return show("You are signed out: reload the page");
    if (!response.ok) throw new Error(response.statusText);
    for (const [name, html] of Object.entries(await response.json())) renew(name, html);
  } catch {
    show("The page cannot be renewed now");
  }
  // An outbox that answers slowly is asked less often.
  clearTimeout(waiting);
  waiting = setTimeout(poll, Math.max(INTERVAL, 20 * (performance.now() - started)));
}

document.addEventListener("visibilitychange", poll);
waiting = setTimeout(poll, INTERVAL);
