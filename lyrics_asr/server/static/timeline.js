// What is shown at which time. Pure functions over the transcript's JSON; times are seconds.

export const COUNTDOWN_SECONDS = 3;
const PAUSE_SECONDS = 4;
const ECHO_SECONDS = 1; // backing vocals that start later have a line of their own

// The sung lines in order of time, each with rows of words: the line, and the backing vocals that accompany it below.
export function displayLines(transcript) {
  const found = transcript.lines.filter((line) => line.start_seconds !== null);
  const lines = [];
  for (const line of found.sort((a, b) => a.start_seconds - b.start_seconds)) {
    const row = { isBacking: line.voice === "backing", words: line.words.map(shown) };
    const last = lines.at(-1);
    if (row.isBacking && last && line.start_seconds < last.end + ECHO_SECONDS) {
      last.rows.push(row);
      last.end = Math.max(last.end, line.end_seconds);
    } else {
      lines.push({ start: line.start_seconds, end: line.end_seconds, rows: [row] });
    }
  }
  return lines;
}

function shown(word) {
  return { text: word.text, start: word.start_seconds, end: word.end_seconds };
}

export function wordState(word, seconds) {
  if (seconds < word.start) return "coming";
  return seconds < word.end ? "active" : "sung";
}

// The line to look at: the first that is not over. During a pause that is the next one.
export function currentLine(lines, seconds) {
  const index = lines.findIndex((line) => line.end > seconds);
  return index < 0 ? lines.length - 1 : index;
}

// The line that is sung, or else the last one that was.
export function lastLine(lines, seconds) {
  return Math.max(0, lines.findLastIndex((line) => line.start <= seconds + 0.01));
}

// Seconds until the voice comes back, if that is after a long pause and soon; else null.
export function countdown(lines, seconds) {
  const next = lines.findIndex((line) => line.start > seconds);
  if (next < 0) return null;
  let silentSince = 0;
  for (const line of lines.slice(0, next)) silentSince = Math.max(silentSince, line.end);
  const left = lines[next].start - seconds;
  return lines[next].start - silentSince >= PAUSE_SECONDS && left <= COUNTDOWN_SECONDS ? left : null;
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
