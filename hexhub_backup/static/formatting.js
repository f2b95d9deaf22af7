// Sizes and times for people, as formatting.py has them.

export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (Math.round(bytes) >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  if (unit === 0) return Math.round(bytes) === 1 ? "1 byte" : `${Math.round(bytes)} bytes`;
  return `${bytes.toFixed(Math.max(0, 3 - String(Math.trunc(bytes)).length))} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 0.05) return "< 0.1 s";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

// How long something has lasted: never parts of a second.
export const lasted = (whole) => (whole < 60 ? `${whole} s` : duration(whole));

// An estimate is in steps of five seconds.
export const timeLeft = (seconds) => `about ${lasted(Math.max(5, 5 * Math.ceil(seconds / 5)))} left`;
