// Keeps the list of backups up to date while somebody looks at it.

import { openDialogs } from "./dialog.js";

const POLL = 10000;
const announcement = document.getElementById("announcement");
let root = document.getElementById("history");

// Tokens differ in every page.
function content(part) {
  const copy = part.cloneNode(true);
  copy.querySelectorAll("input[name=csrf_token]").forEach((field) => field.remove());
  return copy.innerHTML;
}

// What can have the focus is found again by where it leads.
function sameAs(element) {
  const address = CSS.escape(element.getAttribute("href") ?? element.form?.getAttribute("action"));
  const wanted = element.matches("a") ? `a[href="${address}"]` : `form[action="${address}"] button`;
  return root.querySelector(wanted);
}

async function look() {
  if (document.visibilityState !== "visible" || document.querySelector("dialog[open]")) return;
  let page;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // It looks again.
  }
  const latest = page.getElementById("history");
  // Whoever types or chooses something here goes on with that.
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  if (!latest || focused?.matches("input, select") || content(latest) === content(root)) return;
  const ended = root.dataset.running !== "" && latest.dataset.running === "";
  root.replaceWith(latest);
  root = latest;
  openDialogs(root);
  if (focused) sameAs(focused)?.focus();
  if (ended) announcement.textContent = "The operation has ended.";
}

setInterval(look, POLL);
document.addEventListener("visibilitychange", look);
