// Keeps the page of a running operation up to date: by its websocket, else by asking.

import { openDialogs } from "./dialog.js";
import { duration, lasted, number, partOf, rate, timeLeft } from "./formatting.js";
import { isWished, notify, reload, wish } from "./notified.js";
import { fill } from "./texts.js";
import { showTimes } from "./times.js";

const POLL = 1000;
const RETRY_AT_MOST = 15000;

const root = document.getElementById("operation");
const texts = root.dataset;
const stateTexts = { running: texts.sayRunning, done: texts.sayDone };
const status = document.getElementById("announcement");
let seq = Number(root.dataset.after);
let ended = false;
let asking = null;
let wait = 1000;
let patience = 250;
const title = document.title;

const part = (name) => root.querySelector(`[data-show="${name}"]`);

function say(text) {
  if (status.textContent !== text) status.textContent = text;
}

const hasEnded = (state) => state !== "queued" && state !== "running";

const stepOf = (event) => root.querySelector(`[data-step="${CSS.escape(event.step)}"]`);

function showStep(event) {
  const row = stepOf(event);
  if (!row) return;
  row.dataset.state = event.state;
  row.querySelector('[data-part="state"]').textContent = stateTexts[event.state];
  if (event.seconds !== undefined) {
    row.querySelector('[data-part="amount"]').textContent = duration(event.seconds);
  }
  part("done").textContent = root.querySelectorAll('[data-state="done"]').length;
  if (event.state === "running") say(fill(texts.sayStep, event));
}

function showTitle() {
  document.title = `${part("percent").textContent} % · ${title}`;
}

function showProgress(event) {
  part("percent").textContent = Math.round(event.percent);
  showTitle();
  root.querySelector("progress").value = event.percent;
  const known = event.seconds_left !== null && event.percent < 100;
  part("left").textContent = known ? `, ${timeLeft(event.seconds_left)}` : "";
  let amount = "";
  if (event.bytes_total) {
    amount = `${partOf(event.bytes_done, event.bytes_total)}, ${rate(event.bytes_per_second)}`;
  } else if (event.items_total) {
    amount = fill(event.items_total === 1 ? texts.sayRecord : texts.sayRecords, {
      done: number(event.items_done),
      count: number(event.items_total),
    });
  }
  const row = stepOf(event);
  if (row) row.querySelector('[data-part="amount"]').textContent = amount;
}

function showLine(event) {
  const log = part("log");
  const list = log.querySelector("ol");
  const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
  const line = document.createElement("li");
  line.className = "py-0.5";
  const where = event.record ? `, ${event.record}` : "";
  const kind = event.type === "warning" ? `${texts.sayWarning}${where}: ` : "";
  line.textContent = kind + event.message;
  list.append(line);
  while (list.children.length > 200) list.firstChild.remove();
  log.classList.remove("hidden");
  if (atEnd) list.scrollTop = list.scrollHeight;
}

// The server knows best how to tell an outcome: its page takes the place of this one.
async function showResult() {
  ended = true;
  stopAsking();
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.status >= 500) throw new Error(answer.status);
  } catch {
    // A server that stops ends its operation first: to reload would lose even this page.
    connection(texts.sayUnreachable);
    setTimeout(showResult, POLL);
    return;
  }
  try {
    if (!answer.ok || answer.redirected) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const outcome = page.getElementById("operation");
    // An inspection gives way to the plan that it made.
    if (!outcome) throw new Error("another page");
    // The row of an operation is written after its last event, and where the database is away
    // just then it is recovery that writes it.
    if (!hasEnded(outcome.dataset.state)) {
      setTimeout(showResult, patience);
      patience = Math.min(patience * 2, RETRY_AT_MOST);
      return;
    }
    const heading = page.querySelector(".hexhub-backup h1");
    const focused = root.contains(document.activeElement);
    notify(heading.textContent.trim());
    root.replaceWith(outcome);
    openDialogs(outcome);
    showTimes(document);
    document.querySelector(".hexhub-backup h1").replaceWith(heading);
    if (focused) {
      heading.tabIndex = -1;
      heading.focus();
    }
    document.title = page.title;
    document.querySelectorAll("[data-hexhub-backup-running]").forEach((badge) => badge.remove());
    say(heading.textContent.trim());
  } catch {
    reload();
  }
}

// Whoever wants a notification at the end asks for it.
let wasAsked = false;
const asks = part("notify");

async function askForNotification() {
  wasAsked = asks.disabled = true;
  const allowed = (await Notification.requestPermission()) === "granted";
  asks.textContent = allowed ? texts.sayNotified : texts.sayNotNotified;
  if (allowed) wish();
}

if (asks && window.isSecureContext && window.Notification?.permission !== "denied") {
  asks.classList.remove("hidden");
  asks.addEventListener("click", askForNotification);
  if (isWished()) askForNotification();
}

function show(event) {
  if (ended || event.seq <= seq) return;
  // Steps are named in the first event: a page that came before it has no list yet.
  if (event.type === "state" && !root.querySelector("[data-step]")) {
    reload();
    return;
  }
  seq = event.seq;
  if (event.type === "step") showStep(event);
  else if (event.type === "progress") showProgress(event);
  else if (event.type === "log" || event.type === "warning") showLine(event);
  else if (event.type === "result") showResult();
}

function connection(text) {
  const line = part("connection");
  const words = line.querySelector("[data-part=words]");
  if (words.textContent !== text) {
    words.textContent = text;
    if (text) say(text);
  }
  line.classList.toggle("hidden", text === "");
  signedOut(text === texts.saySignedOut);
}

// Whoever is signed out has a link that comes back here, and no button that would do nothing.
function signedOut(is) {
  part("connection").querySelector("a").classList.toggle("hidden", !is);
  root.querySelectorAll("button").forEach((button) => {
    button.disabled = is || (button === asks && wasAsked);
  });
  if (is) {
    part("left").textContent = "";
    document.title = title;
  }
}

function stopAsking() {
  clearInterval(asking);
  asking = null;
}

async function ask() {
  try {
    const answer = await fetch(`${root.dataset.events}?after=${seq}`, {
      headers: { Accept: "application/json" },
    });
    if (answer.redirected || answer.status === 401 || answer.status === 403) {
      connection(texts.saySignedOut);
      return;
    }
    if (!answer.ok) throw new Error(answer.status);
    const { events, more, state } = await answer.json();
    if (asking) connection(texts.sayPolling);
    events.forEach(show);
    if (more) await ask();
    // Its last event may have been lost: a full disk takes none.
    else if (hasEnded(state) && !ended) showResult();
  } catch {
    // A socket may have opened meanwhile.
    if (asking && !ended) connection(texts.sayUnreachable);
  }
}

function connect() {
  const address = new URL(`${root.dataset.live}?after=${seq}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  // A long step may have nothing to tell for a while: it is the open socket that counts.
  socket.addEventListener("open", () => {
    stopAsking();
    connection("");
  });
  socket.addEventListener("message", (message) => {
    wait = 1000;
    show(JSON.parse(message.data));
  });
  socket.addEventListener("close", () => {
    if (ended) return;
    if (!asking) {
      asking = setInterval(ask, POLL);
      ask();
    }
    setTimeout(() => ended || connect(), wait);
    wait = Math.min(wait * 2, RETRY_AT_MOST);
  });
}

// How long it has waited or run. A clock that is set changes nothing.
for (const waited of root.querySelectorAll("[data-waited]")) {
  const began = performance.now() - 1000 * Number(waited.dataset.waited);
  setInterval(() => {
    waited.textContent = lasted(Math.floor((performance.now() - began) / 1000));
  }, 1000);
}

// What waits has done nothing yet.
if (root.querySelector("[data-step]")) showTitle();

// The last event may be in the page already, which will not be told again.
if (root.dataset.result === undefined) connect();
else showResult();
