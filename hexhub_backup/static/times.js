// Exact times in the reader's zone: without scripts they are in UTC.

const format = new Intl.DateTimeFormat(document.querySelector(".hexhub-backup[lang]").lang, {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZoneName: "short",
});

function exact(moment, seconds) {
  const part = Object.fromEntries(format.formatToParts(moment).map(({ type, value }) => [type, value]));
  const time = `${part.hour}:${part.minute}${seconds ? `:${part.second}` : ""}`;
  return `${part.year}-${part.month}-${part.day} ${time} ${part.timeZoneName}`;
}

export function showTimes(root) {
  for (const element of root.querySelectorAll(".hexhub-backup time[data-exact]")) {
    const moment = new Date(element.dateTime);
    if (element.dataset.exact === "title") element.title = exact(moment, true);
    else element.textContent = exact(moment, false);
  }
}

showTimes(document);
