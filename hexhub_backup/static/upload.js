// Sends the archive in pieces, by tus: what has arrived stays where the line, the page or the server
// goes, and is not sent again. Without scripts the form sends all of it at once.

import { partOf, rate, timeLeft } from "./formatting.js";
import { fill } from "./texts.js";
import { fresh, renew } from "./tokens.js";
import { Upload, defaultOptions } from "./tus.js";

const AGE = "age-encryption.org/v1";
const LOST = 0;
const AGAIN = [LOST, 409, 423, 502, 503, 504];
// Milliseconds; after that every 20 seconds, for an hour.
const DELAYS = [0, 1000, 3000, 5000, 10000, ...Array(180).fill(20000)];

const form = document.getElementById("upload");
const texts = form.dataset;
const part = (name) => form.querySelector(`[data-show="${name}"]`);
const button = (name) => form.querySelector(`[data-do="${name}"]`);
const field = form.querySelector("#file");
const token = form.querySelector("[name=csrf_token]");
const status = document.getElementById("announcement");
let upload = null;
let fields = null;
let paused = false;
let away = false;
// Where and when the bytes began to flow from which the rate is told.
let from = null;
let announced = 0;

function show(name, shown) {
  part(name).classList.toggle("hidden", !shown);
}

function showProgress(done, total) {
  const now = performance.now();
  const percent = Math.floor((100 * done) / total);
  if (from === null) {
    if (away) status.textContent = texts.sayResumed;
    away = false;
    from = { done, now };
    announced = Math.max(announced, percent - (percent % 25));
  }
  const speed = (done - from.done) / Math.max((now - from.now) / 1000, 0.001);
  const left = done < total ? speed && timeLeft((total - done) / speed) : texts.sayChecking;
  const amounts = [partOf(done, total), speed && rate(speed), left];
  part("amount").textContent = amounts.filter(Boolean).join(", ");
  form.querySelector("progress").value = percent;
  if (percent >= announced + 25) {
    announced = percent - (percent % 25);
    status.textContent = fill(texts.sayUploaded, { percent: announced });
  }
}

function say(text) {
  part("amount").textContent = text;
  status.textContent = text;
}

// The fields stay as they are, but nothing can be changed while they are sent.
function sending(is) {
  show("upload", is);
  form.querySelectorAll("fieldset, #file, [data-send]").forEach((each) => (each.disabled = is));
  form.querySelectorAll("[data-do]").forEach((each) => (each.disabled = false));
  button("pause").textContent = texts.sayPause;
}

// What the page of an error says is said here: another file can be chosen at once.
function fail(text, watch) {
  upload = null;
  sending(false);
  const link = part("error").querySelector("a");
  part("error").querySelector("[data-part=words]").textContent = text;
  link.classList.toggle("hidden", !watch);
  if (watch) link.href = watch.href;
  show("error", true);
  field.focus();
  // It may have been refused for an old one.
  renew();
}

function refuse(answer) {
  const page = new DOMParser().parseFromString(answer, "text/html");
  // A proxy may have answered.
  const said = page.querySelector("[data-message]")?.textContent.trim();
  fail(said ?? texts.sayRefused, page.querySelector("[data-watch]"));
}

const answerTo = (error) => error.originalResponse ?? error.causingError?.answer;

// Whether the server is only away, or not done with the request before.
function isTriedAgain(error) {
  const code = answerTo(error)?.getStatus() ?? LOST;
  if (!AGAIN.includes(code)) return false;
  // Nothing has begun: an operation is running.
  if (code === 409 && error.originalRequest.getMethod() === "POST") return false;
  from = null;
  if (upload && ![409, 423].includes(code) && !away) {
    away = true;
    say(texts.sayAway);
  }
  return true;
}

// The library would begin anew wherever a server that restarts can't say how much has arrived.
function look(request, answer) {
  const code = answer.getStatus();
  if (request.getMethod() === "HEAD" && code >= 400 && code !== 404 && code !== 410) {
    throw Object.assign(new Error(`status ${code}`), { answer });
  }
}

async function prepare(request) {
  await fresh();
  request.setHeader("X-CSRFToken", token.value);
}

// Rather before gigabytes of it are sent than after them.
async function lacksKey(file) {
  if ((await file.slice(0, AGE.length).text()) !== AGE) return false;
  return !fields.get("identity").trim() && !fields.get("identity_file").size;
}

async function forget() {
  for (const each of await upload.findPreviousUploads()) {
    await defaultOptions.urlStorage.removeUpload(each.urlStorageKey);
  }
}

// All of it is there: the rest of the form says what is to be done with it.
async function finish() {
  form.querySelectorAll("[data-do]").forEach((each) => (each.disabled = true));
  await fresh();
  fields.set(token.name, token.value);
  fields.set("upload", upload.url.split("/").pop());
  try {
    const headers = { Accept: "text/html" };
    const answer = await fetch(form.action, { method: "POST", body: fields, headers });
    if (!answer.ok) return refuse(await answer.text());
    await forget();
    upload = null;
    location.assign(answer.url);
  } catch {
    fail(texts.sayLost);
  }
}

async function begin() {
  // What is disabled would not be sent.
  fields = new FormData(form);
  fields.delete("file");
  const [file] = field.files;
  paused = away = false;
  from = null;
  announced = 0;
  show("error", false);
  sending(true);
  if (await lacksKey(file)) {
    fail(texts.sayEncrypted);
    form.querySelector("details").open = true;
    return;
  }
  const begun = new Upload(file, {
    endpoint: form.dataset.uploads,
    chunkSize: Number(form.dataset.chunk),
    headers: { Accept: "text/html" },
    metadata: { filename: file.name },
    retryDelays: DELAYS,
    onBeforeRequest: prepare,
    onAfterResponse: look,
    onShouldRetry: isTriedAgain,
    onProgress: showProgress,
    onSuccess: finish,
    onError: (error) => {
      const answer = answerTo(error);
      if (answer) refuse(answer.getBody());
      else fail(texts.sayLost);
    },
  });
  upload = begun;
  const [before] = await begun.findPreviousUploads();
  if (before) begun.resumeFromPreviousUpload(before);
  // It may have been cancelled meanwhile.
  if (upload === begun) begun.start();
}

function goOn() {
  from = null;
  upload.abort();
  upload.start();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
button("pause").addEventListener("click", () => {
  paused = !paused;
  button("pause").textContent = paused ? texts.sayResume : texts.sayPause;
  if (paused) {
    upload.abort();
    say(texts.sayPaused);
  } else {
    status.textContent = texts.sayResumed;
    goOn();
  }
});
button("cancel").addEventListener("click", () => {
  const cancelled = upload;
  upload = null;
  sending(false);
  field.focus();
  // What can't be removed now goes after a day.
  cancelled.abort(true).catch(() => {});
});
window.addEventListener("online", () => {
  if (upload && away && !paused) goOn();
});
window.addEventListener("beforeunload", (event) => {
  if (upload) event.preventDefault();
});

// A file may be dropped anywhere on the form.

show("drop", true);
for (const name of ["dragenter", "dragover"]) {
  form.addEventListener(name, (event) => {
    event.preventDefault();
    form.toggleAttribute("data-over", !upload);
  });
}
for (const name of ["dragleave", "drop"]) {
  form.addEventListener(name, () => form.removeAttribute("data-over"));
}
form.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (!file || upload) return;
  const chosen = new DataTransfer();
  chosen.items.add(file);
  field.files = chosen.files;
  field.focus();
});
