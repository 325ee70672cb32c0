// The editor: fix words, drag their edges, tap along, split and join lines, align again. Every change can be undone.

import { json, request } from "/static/api.js";
import {
  DOUBTFUL_CONFIDENCE, fromTranscript, join, moveEdge, split, tap, textOf, toEditedLyrics, toTranscript, withText,
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
    id, player, transcript, lines: fromTranscript(transcript), past: [], future: [], selected: 0, tapped: 0, onSaved,
  };
  element("editor").showModal();
  tell("");
  render();
  select(0);
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

function render() {
  const list = element("editor-lines");
  list.replaceChildren(...editor.lines.map((line, number) => {
    const item = element("editor-item").content.firstElementChild.cloneNode(true);
    const doubtful = line.words.filter((word) => !word.isSet && word.confidence < DOUBTFUL_CONFIDENCE);
    item.dataset.number = number;
    item.classList.toggle("is-missing", line.isMissing);
    const input = item.querySelector("input");
    input.value = textOf(line);
    input.setAttribute("aria-label", `Line ${number + 1}`);
    const listen = item.querySelector("button");
    listen.textContent = line.isMissing ? "–" : clock(line.words[0].start);
    listen.disabled = line.isMissing;
    listen.setAttribute("aria-label", `Play line ${number + 1}`);
    item.querySelector(".note").textContent = line.isMissing
      ? "not found in the song" : doubtful.length ? `unsure: ${doubtful.map((word) => word.text).join(", ")}` : "";
    return item;
  }));
  element("undo").disabled = !editor.past.length;
  element("redo").disabled = !editor.future.length;
  select(Math.min(editor.selected, editor.lines.length - 1));
}

function select(number) {
  editor.selected = number;
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
element("editor-lines").addEventListener("focusin", (event) => select(numberOf(event.target)));
element("editor-lines").addEventListener("click", (event) => {
  if (event.target.closest("button")) playSelected();
});
element("editor-lines").addEventListener("change", (event) => {
  const number = numberOf(event.target);
  const line = withText(editor.lines[number], event.target.value);
  if (line) change(editor.lines.map((each, n) => (n === number ? line : each)));
  else if (editor.lines.length > 1) change(editor.lines.filter((_, n) => n !== number));
  else render();
});
element("editor").addEventListener("keydown", (event) => {
  event.stopPropagation(); // the stage has keys of its own
  const isField = event.target.matches("#editor-lines input");
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z" && !isField) undo(...(event.shiftKey ? ["future", "past"] : ["past", "future"]));
  else if (!isField && key === "t") tapWord();
  else if (!isField && key === " " && !event.target.matches("button")) {
    event.preventDefault();
    if (editor.player.isPlaying) editor.player.pause();
    else playSelected();
  } else if (isField && key === "enter") {
    event.preventDefault();
    const number = numberOf(event.target);
    const before = event.target.value.slice(0, event.target.selectionStart).split(/\s+/).filter(Boolean).length;
    const line = withText(editor.lines[number], event.target.value);
    if (line) change(split(editor.lines.map((each, n) => (n === number ? line : each)), number, before));
  } else if (isField && key === "backspace" && event.target.selectionEnd === 0) {
    event.preventDefault();
    change(join(editor.lines, numberOf(event.target)));
  }
});
