// The editor: fix words, drag their edges, tap along, split and join lines, align again. Every change can be undone.

import { json, request } from "/static/api.js";
import {
  countDoubts, fromTranscript, isUnsure, join, moveEdge, nextDoubt, place, split, tap, textOf, toEditedLyrics,
  toTranscript, withText,
} from "/static/lines.js";
import { clock } from "/static/timeline.js";
import { Waveform } from "/static/waveform.js";

const element = (id) => document.getElementById(id);
const MARGIN_SECONDS = 0.3;
let editor = null; // { id, player, transcript, lines, past, future, selected, tapped, onSaved, frame }

const waveform = new Waveform(element("wave"), {
  onDrag: (index, edge, seconds) => {
    if (!editor.dragged) editor.dragged = editor.lines;
    editor.lines = moveEdge(editor.lines, editor.selected, index, edge, seconds);
    waveform.showWords(editor.lines[editor.selected]);
  },
  onDrop: () => {
    const { dragged, lines } = editor;
    editor.dragged = null;
    if (!dragged) return;
    editor.lines = dragged;
    change(lines);
  },
});

export function openEditor(id, player, transcript, onSaved) {
  editor = {
    id, player, transcript, lines: fromTranscript(transcript), past: [], future: [], selected: -1, tapped: 0, onSaved,
  };
  element("editor").showModal();
  tell("");
  render();
  const heard = editor.lines.findLastIndex((line) => !line.isMissing && line.words[0].start <= player.position());
  goTo(Math.max(0, heard));
  follow();
}

function follow() {
  if (!editor) return;
  editor.player.tick();
  waveform.showCursor(editor.player.position());
  editor.frame = requestAnimationFrame(follow);
}

function change(lines) {
  if (lines === editor.lines) return;
  editor.past.push(editor.lines);
  editor.future = [];
  editor.lines = lines;
  render();
}

function undo(from, to) {
  if (!editor[from].length) return;
  editor[to].push(editor.lines);
  editor.lines = editor[from].pop();
  render();
}

// Items of lines that did not change stay, so that a click on one of them is not lost.
function render() {
  const list = element("editor-lines");
  const items = new Map([...list.children].map((item) => [item.line, item]));
  const shown = editor.lines.map((line, number) => numbered(items.get(line) ?? newItem(line), number));
  if (shown.length !== list.children.length || shown.some((item, number) => item !== list.children[number])) {
    list.replaceChildren(...shown);
  }
  const { words, lines } = countDoubts(editor.lines);
  const doubts = words || lines ? `${plural(words, "unsure word")}, ${plural(lines, "line")} not found` : "No unsure words";
  element("doubts").textContent = `${doubts} · How to edit`;
  element("next-doubt").disabled = !(words || lines);
  element("undo").disabled = !editor.past.length;
  element("redo").disabled = !editor.future.length;
  if (editor.selected >= 0) select(Math.min(editor.selected, editor.lines.length - 1));
}

function newItem(line) {
  const item = element("editor-item").content.firstElementChild.cloneNode(true);
  item.line = line;
  item.classList.toggle("is-missing", line.isMissing);
  const field = item.querySelector(".line");
  line.words.forEach((word, index) => {
    if (index) field.append(" ");
    field.append(line.isMissing ? word.text : marked(word));
  });
  item.querySelector("button").textContent = line.isMissing ? "Place" : clock(line.words[0].start);
  const unsure = line.words.filter(isUnsure).map((word) => word.text);
  const note = item.querySelector(".note");
  note.textContent = line.isMissing ? "not found in the song" : unsure.length ? `unsure: ${unsure.join(", ")}` : "";
  note.classList.toggle("visually-hidden", !line.isMissing); // unsure words are marked in the line
  return item;
}

function marked(word) {
  if (!isUnsure(word)) return word.text;
  const mark = document.createElement("mark");
  mark.textContent = word.text;
  mark.title = `unsure (${Math.round(100 * word.confidence)} %)`;
  return mark;
}

function numbered(item, number) {
  const { isMissing } = item.line;
  item.dataset.number = number;
  item.querySelector(".note").id = `note-${number}`;
  item.querySelector(".line").setAttribute("aria-label", `Line ${number + 1}`);
  item.querySelector(".line").setAttribute("aria-describedby", `note-${number}`);
  item.querySelector("button").setAttribute(
    "aria-label", isMissing ? `Place line ${number + 1} at the position of the song` : `Play line ${number + 1}`,
  );
  return item;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function select(number) {
  if (editor.selected === number && editor.shown === editor.lines[number]) return;
  editor.selected = number;
  editor.shown = editor.lines[number];
  editor.tapped = 0;
  [...element("editor-lines").children].forEach((item, n) => item.classList.toggle("is-selected", n === number));
  const line = editor.lines[number];
  element("wave").hidden = !line || line.isMissing;
  if (line) waveform.show(editor.player.buffers.vocals, line);
}

function playSelected() {
  const line = editor.lines[editor.selected];
  if (line.isMissing) return;
  editor.tapped = 0;
  const end = Math.max(...line.words.map((word) => word.end));
  editor.player.loop = { start: line.words[0].start - MARGIN_SECONDS, end: end + MARGIN_SECONDS };
  editor.player.seek(line.words[0].start - MARGIN_SECONDS);
  editor.player.play();
}

function tapWord() {
  const line = editor.lines[editor.selected];
  if (line.isMissing || editor.tapped >= line.words.length) return;
  const { tapped, selected } = editor;
  change(tap(editor.lines, selected, tapped, editor.player.position()));
  editor.tapped = tapped + 1;
}

function tell(text) {
  element("editor-message").textContent = text;
}

async function alignAgain() {
  tell("Aligning …");
  const began = performance.now();
  const transcript = await json(`/v1/jobs/${editor.id}/align`, {
    method: "POST", body: JSON.stringify(toEditedLyrics(editor.lines)), headers: { "Content-Type": "application/json" },
  });
  change(fromTranscript(transcript));
  tell(`Aligned in ${((performance.now() - began) / 1000).toFixed(1)} s`);
}

async function save() {
  const transcript = toTranscript(editor.transcript, editor.lines);
  await request(`/v1/jobs/${editor.id}/transcript`, {
    method: "PUT", body: JSON.stringify(transcript), headers: { "Content-Type": "application/json" },
  });
  editor.onSaved(transcript);
  element("editor").close();
}

async function discard() {
  if (!confirm("Go back to the words and times as they were found?")) return;
  await request(`/v1/jobs/${editor.id}/transcript`, { method: "DELETE" });
  editor.onSaved(await json(`/v1/jobs/${editor.id}/results/transcript.json`));
  element("editor").close();
}

const numberOf = (target) => Number(target.closest("li").dataset.number);
const attempt = (act) => () => act().catch((error) => tell(error.message));
element("undo").addEventListener("click", () => undo("past", "future"));
element("redo").addEventListener("click", () => undo("future", "past"));
element("align-again").addEventListener("click", attempt(alignAgain));
element("save").addEventListener("click", attempt(save));
element("discard").addEventListener("click", attempt(discard));
element("tap").addEventListener("click", tapWord);
element("editor-close").addEventListener("click", () => element("editor").close());
element("editor").addEventListener("close", () => {
  cancelAnimationFrame(editor.frame);
  editor.player.pause();
  editor.player.loop = null;
  editor = null;
});
element("next-doubt").addEventListener("click", goToDoubt);
element("editor-lines").addEventListener("focusin", (event) => select(numberOf(event.target)));
element("editor-lines").addEventListener("click", (event) => {
  if (!event.target.closest("button")) return;
  const number = numberOf(event.target);
  if (!editor.lines[number].isMissing) playSelected();
  else change(place(editor.lines, number, editor.player.position()));
});
element("editor-lines").addEventListener("focusout", (event) => {
  if (!event.target.matches(".line") || !editor) return;
  const number = numberOf(event.target);
  const before = editor.lines[number];
  if (event.target.closest("li").line !== before || typed(event.target) === textOf(before)) return;
  const line = withText(before, typed(event.target));
  if (line) change(editor.lines.map((each, n) => (n === number ? line : each)));
  else if (editor.lines.length > 1) change(editor.lines.filter((_, n) => n !== number));
  else event.target.textContent = textOf(before);
});
element("editor").addEventListener("keydown", (event) => {
  event.stopPropagation(); // the stage has keys of its own
  const isField = event.target.matches(".line");
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z" && !isField) undo(...(event.shiftKey ? ["future", "past"] : ["past", "future"]));
  else if (!isField && key === "t") tapWord();
  else if (!isField && key === "u") goToDoubt();
  else if (!isField && key === " " && !event.target.matches("button")) {
    event.preventDefault();
    if (editor.player.isPlaying) editor.player.pause();
    else playSelected();
  } else if (isField && key === "enter") {
    event.preventDefault();
    splitAt(event.target, numberOf(event.target));
  } else if (isField && key === "backspace" && getSelection().isCollapsed && textBefore(event.target) === "") {
    event.preventDefault();
    joinAt(event.target, numberOf(event.target));
  }
});

// The text of a field as it is typed.
function typed(field) {
  return field.textContent.split(/\s+/).filter(Boolean).join(" ");
}

// The text of a field before the caret.
function textBefore(field) {
  const caret = getSelection().getRangeAt(0);
  const range = document.createRange();
  range.selectNodeContents(field);
  range.setEnd(caret.startContainer, caret.startOffset);
  return range.toString();
}

function splitAt(field, number) {
  const line = withText(editor.lines[number], typed(field));
  const count = textBefore(field).split(/\s+/).filter(Boolean).length;
  if (!line) return;
  change(split(editor.lines.map((each, n) => (n === number ? line : each)), number, count));
  if (count && count < line.words.length) focusLine(number + 1, 0);
}

function joinAt(field, number) {
  const line = withText(editor.lines[number], typed(field));
  if (!line || !number) return;
  const count = editor.lines[number - 1].words.length;
  const joined = join(editor.lines.map((each, n) => (n === number ? line : each)), number);
  if (joined.length === editor.lines.length) return;
  change(joined);
  focusLine(number - 1, count);
}

// Put the caret before a word of a line.
function focusLine(number, word) {
  const field = element("editor-lines").children[number].querySelector(".line");
  field.focus();
  getSelection().collapse(field.childNodes[2 * word], 0);
}

function goToDoubt() {
  const number = nextDoubt(editor.lines, editor.selected);
  if (number >= 0) goTo(number);
}

function goTo(number) {
  const item = element("editor-lines").children[number];
  if (!item) return;
  select(number);
  item.scrollIntoView({ block: "center" });
  item.querySelector("button").focus();
}
