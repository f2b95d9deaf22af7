// Keeps the list of backups up to date while somebody looks at it.

import { showTimes } from "./times.js";

const POLL = 10000;
const announcement = document.getElementById("announcement");
let root = document.getElementById("history");
// Somebody has typed or chosen something in the filter.
let touched = false;

// Tokens differ in every page, and exact times are in the reader's zone after a while.
function content(part) {
  const copy = part.cloneNode(true);
  copy.querySelectorAll("input[name=csrf_token]").forEach((field) => field.remove());
  copy.querySelectorAll("time[data-exact=title]").forEach((time) => time.removeAttribute("title"));
  copy.querySelectorAll("time[data-exact=text]").forEach((time) => time.replaceChildren());
  return copy.innerHTML;
}

// What can have the focus is found again by where it leads.
function sameAs(element) {
  const address = CSS.escape(element.getAttribute("href") ?? element.form?.getAttribute("action"));
  const wanted = element.matches("a") ? `a[href="${address}"]` : `form[action="${address}"] button`;
  return root.querySelector(wanted);
}

async function look() {
  if (touched || document.visibilityState !== "visible") return;
  let page;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // It looks again.
  }
  const latest = page.getElementById("history");
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  // What was typed meanwhile, and what has the caret, stays.
  if (!latest || touched || focused?.matches("input, select")) return;
  if (content(latest) === content(root)) return;
  const ended = root.dataset.running !== "" && latest.dataset.running === "";
  root.replaceWith(latest);
  root = latest;
  showTimes(document);
  if (focused) sameAs(focused)?.focus();
  if (ended) announcement.textContent = root.dataset.sayEnded;
}

document.addEventListener("input", (event) => (touched ||= root.contains(event.target)));
setInterval(look, POLL);
document.addEventListener("visibilitychange", look);
