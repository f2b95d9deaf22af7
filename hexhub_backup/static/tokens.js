// Renews the CSRF tokens of a page that is open for long, while somebody looks at it.

const page = document.querySelector("[data-renew-token]");
const every = 1000 * Number(page?.dataset.seconds);
let renewed = performance.now();

export async function renew() {
  try {
    const answer = await fetch(page.dataset.renewToken, { headers: { Accept: "application/json" } });
    // Of whoever is signed out the server asks for a login when a button is pressed.
    if (!answer.ok || answer.redirected) return;
    const { token } = await answer.json();
    document
      .querySelectorAll(".hexhub-backup input[name=csrf_token]")
      .forEach((field) => (field.value = token));
    renewed = performance.now();
  } catch {
    // It is tried again.
  }
}

// Renew a token that is due.
export async function fresh() {
  if (performance.now() - renewed >= every) await renew();
}

function look() {
  if (document.visibilityState === "visible") fresh();
}

if (page) {
  // A page that was asleep or hidden is late: it renews as soon as it is looked at.
  setInterval(look, Math.min(every, 30000));
  document.addEventListener("visibilitychange", look);
}
