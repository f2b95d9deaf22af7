// Sends the archive with its progress in sight, and a way to stop. Without scripts the form does.

import { size, timeLeft } from "./formatting.js";
import { renew } from "./tokens.js";

const form = document.getElementById("upload");
const part = (name) => form.querySelector(`[data-show="${name}"]`);
const status = document.getElementById("announcement");
let request = null;
let announced = 0;

function show(name, shown) {
  part(name).classList.toggle("hidden", !shown);
}

function showProgress(done, total, seconds) {
  const rate = done / Math.max(seconds, 0.001);
  const left = done < total ? `, ${timeLeft((total - done) / rate)}` : ", checking it";
  part("amount").textContent = `${size(done)} of ${size(total)}, ${size(rate)} a second${left}`;
  const percent = Math.floor((100 * done) / total);
  form.querySelector("progress").value = percent;
  if (percent >= announced + 25) {
    announced = percent - (percent % 25);
    status.textContent = `${announced} % is uploaded`;
  }
}

// The fields stay as they are, but nothing can be changed while they are sent.
function sending(is) {
  show("upload", is);
  form.querySelectorAll("fieldset, #file, [data-send]").forEach((each) => (each.disabled = is));
}

// What the page of an error says is said here: another file can be chosen at once.
function fail(text, watch) {
  sending(false);
  const link = part("error").querySelector("a");
  part("error").querySelector("[data-part=words]").textContent = text;
  link.classList.toggle("hidden", !watch);
  if (watch) link.href = watch.href;
  show("error", true);
  form.querySelector("#file").focus();
  // It may have been refused for an old one.
  renew();
}

function refused() {
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  // A proxy may have answered.
  const said = page.querySelector("[data-message]")?.textContent.trim();
  fail(said ?? "The server refused the upload. Try again.", page.querySelector("[data-watch]"));
}

function send() {
  // What is disabled would not be sent.
  const fields = new FormData(form);
  const began = performance.now();
  announced = 0;
  show("error", false);
  sending(true);
  request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "text/html");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) {
      showProgress(event.loaded, event.total, (performance.now() - began) / 1000);
    }
  });
  request.addEventListener("load", () => {
    if (request.status < 400) location.assign(request.responseURL);
    else refused();
  });
  request.addEventListener("error", () => fail("The connection was lost. Upload the file again."));
  request.addEventListener("abort", () => sending(false));
  request.addEventListener("loadend", () => (request = null));
  request.send(fields);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
part("upload").querySelector("button").addEventListener("click", () => {
  request.abort();
  form.querySelector("#file").focus();
});
window.addEventListener("beforeunload", (event) => {
  if (request) event.preventDefault();
});
