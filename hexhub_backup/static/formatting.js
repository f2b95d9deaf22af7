// Sizes and times for people, as formatting.py has them, in the language of the page.

import { fill } from "./texts.js";

const language = document.querySelector(".hexhub-backup[lang]").lang;
const texts = document.querySelector("[data-say-left]").dataset;

export const number = (count) => count.toLocaleString(language);

// Rounded as Python does: by the binary value, where Intl takes the shortest decimal one.
const decimal = (value, digits) =>
  Number(value.toFixed(digits)).toLocaleString(language, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    useGrouping: false,
  });

export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (Math.round(bytes) >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  if (unit === 0) {
    const count = Math.round(bytes);
    return fill(count === 1 ? texts.sayByte : texts.sayBytes, { count: number(count) });
  }
  return `${decimal(bytes, Math.max(0, 3 - String(Math.trunc(bytes)).length))} ${units[unit]}`;
}

export const rate = (bytes) => fill(texts.sayRate, { size: size(bytes) });

export const partOf = (done, total) => fill(texts.sayPart, { done: size(done), total: size(total) });

export function duration(seconds) {
  if (seconds < 0.05) return `< ${decimal(0.1, 1)} s`;
  if (seconds < 10) return `${decimal(seconds, 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (whole < 3600) return fill(texts.sayMinutes, { minutes, seconds: whole % 60 });
  return fill(texts.sayHours, { hours: Math.floor(whole / 3600), minutes: minutes % 60 });
}

// How long something has lasted: never parts of a second.
export const lasted = (whole) => (whole < 60 ? `${whole} s` : duration(whole));

// An estimate is in steps of five seconds.
export const timeLeft = (seconds) =>
  fill(texts.sayLeft, { time: lasted(Math.max(5, 5 * Math.ceil(seconds / 5))) });
