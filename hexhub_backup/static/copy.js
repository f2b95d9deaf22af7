// Copies a line of the page, where the browser lets a page do that.

const said = document.getElementById("copied");

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  button.classList.remove("hidden");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      said.textContent = said.dataset.sayCopied;
      button.textContent = said.dataset.sayPressed;
    } catch {
      said.textContent = said.dataset.sayRefused;
    }
  });
}
