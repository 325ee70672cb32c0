// The lines of the editor: pure functions from and to the transcript's JSON, and edits that return new lines.
// A word is { text, start, end, confidence, isSet }; one that a person has set has confidence 1, which is how the
// transcript keeps it. Times of words in lines that were not found are null.

const UNSURE_CONFIDENCE = 0.5;
const PLACED_WORD_SECONDS = 0.4;

export function fromTranscript(transcript) {
  return transcript.lines.map((line) => ({
    isMissing: line.start_seconds === null,
    voice: line.voice ?? "lead",
    words: line.words.map((word) => ({
      text: word.text, start: word.start_seconds, end: word.end_seconds, confidence: word.confidence,
      isSet: word.confidence === 1,
    })),
  }));
}

export function toTranscript(transcript, lines) {
  const documents = lines.map((line, number) => {
    const text = line.words.map((word) => word.text).join(" ");
    const words = line.words.map((word) => ({
      text: word.text, start_seconds: word.start, end_seconds: word.end, confidence: word.isSet ? 1 : word.confidence,
    }));
    const start = line.isMissing ? null : Math.min(...line.words.map((word) => word.start));
    const end = line.isMissing ? null : Math.max(...line.words.map((word) => word.end));
    const confidence = Math.min(...words.map((word) => word.confidence));
    const status = line.isMissing ? "not_found" : "sung";
    return { text, start_seconds: start, end_seconds: end, confidence, words, status, number, voice: line.voice };
  });
  return { ...transcript, task: "align", text: documents.map((line) => line.text).join("\n"), lines: documents };
}

// What POST /v1/jobs/{id}/align takes.
export function toEditedLyrics(lines) {
  return {
    lines: lines.map((line) => ({
      words: line.words.map((word) => (word.isSet && !line.isMissing
        ? { text: word.text, start_seconds: word.start, end_seconds: word.end, is_set: true }
        : { text: word.text })),
    })),
  };
}

export function textOf(line) {
  return line.words.map((word) => word.text).join(" ");
}

// Whether a word may be at the wrong time.
export function isUnsure(word) {
  return !word.isSet && word.confidence < UNSURE_CONFIDENCE;
}

// How many words are unsure, and how many lines were not found.
export function countDoubts(lines) {
  const found = lines.filter((line) => !line.isMissing);
  return { words: found.flatMap((line) => line.words).filter(isUnsure).length, lines: lines.length - found.length };
}

// The next line after this one, from the first again after the last, that has an unsure word or was not found; or -1.
export function nextDoubt(lines, number) {
  const order = [...lines.keys()].map((step) => (number + 1 + step) % lines.length);
  return order.find((n) => lines[n].isMissing || lines[n].words.some(isUnsure)) ?? -1;
}

// The lines with one that was not found placed by hand.
export function place(lines, number, seconds) {
  const words = lines[number].words.map((word, i) => ({
    ...word, start: seconds + i * PLACED_WORD_SECONDS, end: seconds + (i + 1) * PLACED_WORD_SECONDS, isSet: true,
  }));
  return lines.map((line, n) => (n === number ? { ...line, isMissing: false, words } : line));
}

// The line with another text: words at its start and end that are the same keep their times, the others share the rest.
export function withText(line, text) {
  const texts = text.split(/\s+/).filter(Boolean);
  const old = line.words;
  if (!texts.length) return null;
  if (texts.length === old.length) return { ...line, words: old.map((word, i) => ({ ...word, text: texts[i] })) };
  let head = 0;
  while (head < Math.min(texts.length, old.length) && texts[head] === old[head].text) head += 1;
  let tail = 0;
  while (tail < Math.min(texts.length, old.length) - head && texts.at(-1 - tail) === old.at(-1 - tail).text) tail += 1;
  const start = head ? old[head - 1].end : old[0].start;
  const end = tail ? old[old.length - tail].start : old.at(-1).end;
  const fresh = texts.slice(head, texts.length - tail);
  const share = (end - start) / Math.max(1, fresh.length);
  const middle = fresh.map((each, i) => ({
    text: each,
    start: line.isMissing ? null : start + i * share,
    end: line.isMissing ? null : start + (i + 1) * share,
    confidence: 0,
    isSet: false,
  }));
  return { ...line, words: [...old.slice(0, head), ...middle, ...old.slice(old.length - tail)] };
}

export function split(lines, number, before) {
  const { words } = lines[number];
  if (before <= 0 || before >= words.length) return lines;
  const parts = [words.slice(0, before), words.slice(before)].map((each) => ({ ...lines[number], words: each }));
  return [...lines.slice(0, number), ...parts, ...lines.slice(number + 1)];
}

export function join(lines, number) {
  if (number === 0 || lines[number].isMissing !== lines[number - 1].isMissing) return lines;
  const joined = { ...lines[number - 1], words: [...lines[number - 1].words, ...lines[number].words] };
  return [...lines.slice(0, number - 1), joined, ...lines.slice(number + 1)];
}

// The lines with an edge ("start" or "end") of a word moved, as far as the word keeps 20 ms; it is set from then on.
export function moveEdge(lines, number, index, edge, seconds) {
  const word = lines[number].words[index];
  const moved = { ...word, isSet: true };
  if (edge === "start") moved.start = Math.max(0, Math.min(seconds, word.end - 0.02));
  else moved.end = Math.max(seconds, word.start + 0.02);
  return lines.map((line, n) => (n === number
    ? { ...line, words: line.words.map((each, i) => (i === index ? moved : each)) } : line));
}

// Tapping along: the word starts now, and the one before is over by then.
export function tap(lines, number, index, seconds) {
  const words = lines[number].words.map((word, i) => {
    if (i === index) return { ...word, start: seconds, end: Math.max(word.end, seconds + 0.1), isSet: true };
    if (i === index - 1) return { ...word, end: Math.max(word.start + 0.02, Math.min(word.end, seconds)) };
    return word;
  });
  return lines.map((line, n) => (n === number ? { ...line, words } : line));
}
