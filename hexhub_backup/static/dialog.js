// Opens a dialog of the page in place of the page that a link leads to.

export function openDialogs(part) {
  for (const link of part.querySelectorAll("a[data-dialog]")) {
    link.setAttribute("role", "button");
    link.setAttribute("aria-haspopup", "dialog");
    const open = (event) => {
      event.preventDefault();
      document.getElementById(link.dataset.dialog).showModal();
    };
    link.addEventListener("click", open);
    // What says that it is a button has to work like one.
    link.addEventListener("keydown", (event) => event.key === " " && open(event));
  }
}

openDialogs(document);
