// Tells whoever wished for it that an operation has ended, also where its page is loaded anew just
// then: the page of a running operation keeps the wish, that of its outcome finds it.

const wished = `hexhub_backup notify ${location.pathname}`;
const icon = new URL("icon.svg", import.meta.url).href;

export const isWished = () => sessionStorage.getItem(wished) !== null;

export const wish = (how = "while it runs") => sessionStorage.setItem(wished, how);

export function notify(text) {
  if (!isWished()) return;
  sessionStorage.removeItem(wished);
  new Notification(text, { icon });
}

export function reload() {
  if (isWished()) wish("by the next page");
  location.reload();
}

if (!document.querySelector("[data-live]")) {
  const isNext = sessionStorage.getItem(wished) === "by the next page";
  if (isNext) notify(document.querySelector(".hexhub-backup h1").textContent.trim());
  // Whoever comes back later sees it.
  sessionStorage.removeItem(wished);
}
