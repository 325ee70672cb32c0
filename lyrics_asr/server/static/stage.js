// The stage: two stems in sync, the singer's volume, and words that fill while they are sung.

import { Filling } from "/static/filling.js";
import { Player } from "/static/player.js";
import {
  clock, countdown, COUNTDOWN_SECONDS, currentLine, displayLines, lastLine, wordState,
} from "/static/timeline.js";

const OFFSET_STEP_SECONDS = 0.05;
const SEEK_STEP_SECONDS = 5;
const VOLUME_STEP = 10;
const LONGEST_WAIT_SECONDS = 0.25; // the slider of the position moves four times a second
const FRAME_SECONDS = 0.016;

const element = (id) => document.getElementById(id);
const faders = { vocals: element("vocals"), accompaniment: element("accompaniment") };
let stage = null; // what is open: { id, player, lines, words, offset, ... }
let wakeLock = null;

// Show a song whose parts are loading.
//   load: a function that returns { title, transcript, stems, offset } as a promise
//   onOffset(seconds): the shift of the words was changed; onEdit(player, transcript), if the song can be edited
export async function openStage({ load, onOffset, onEdit = null }) {
  const opened = { onOffset, onEdit, player: null, lines: [], words: [], offset: 0, current: -1, unmuted: 100, timer: 0 };
  stage = opened;
  element("edit").hidden = !onEdit;
  element("lines").replaceChildren();
  element("loading").textContent = "Loading the song …";
  try {
    const song = await load();
    const player = new Player();
    await player.load(song.stems);
    if (stage !== opened) {
      await player.close();
      return;
    }
    Object.assign(opened, { player, transcript: song.transcript, offset: song.offset });
    opened.lines = displayLines(song.transcript);
    element("stage-title").textContent = song.title;
    document.title = `${song.title} · Sing along`;
    player.addEventListener("change", () => {
      showPlaying();
      updateIn(0);
    });
  } catch (error) {
    if (stage === opened) element("loading").textContent = `The song cannot be opened: ${error.message}`;
    return;
  }
  element("loading").textContent = opened.lines.length ? "" : "No words were found in this song.";
  element("position").max = opened.player.duration;
  element("duration").textContent = clock(opened.player.duration);
  buildLines();
  showOffset();
  showPlaying();
  for (const stem of Object.keys(faders)) applyVolume(stem);
  setLoop(false);
  element("play").focus();
  window.player = opened.player; // for the browser's console
  update();
}

export function closeStage() {
  if (!stage) return;
  clearTimeout(stage.timer);
  stage.player?.close();
  stage = null;
  wakeLock?.release();
  wakeLock = null;
  document.title = "Sing along";
  if (document.fullscreenElement) document.exitFullscreen();
}

// Show an edited transcript of the song that is open.
export function showTranscript(transcript) {
  stage.transcript = transcript;
  stage.lines = displayLines(transcript);
  stage.current = -1;
  element("lines").replaceChildren();
  buildLines();
  updateIn(0);
}

function buildLines() {
  const list = element("lines");
  stage.words = [];
  for (const line of stage.lines) {
    const item = document.createElement("li");
    for (const row of line.rows) {
      const paragraph = document.createElement("p");
      paragraph.className = row.isBacking ? "backing" : "sung";
      for (const word of row.words) {
        const span = document.createElement("span");
        span.className = "word";
        span.textContent = word.text;
        span.dataset.start = word.start;
        stage.words.push({ ...word, span, shown: "coming", filling: null });
        paragraph.append(span, " ");
      }
      item.append(paragraph);
    }
    list.append(item);
  }
}

function updateIn(seconds) {
  clearTimeout(stage.timer);
  stage.timer = setTimeout(update, 1000 * seconds);
}

// Show the position. Only what begins or ends is touched, and the compositor fills the words in between: while the song
// plays, this page has work a few times a second, not in every frame.
function update() {
  const { player } = stage;
  player.tick();
  const position = player.position();
  const seconds = position - stage.offset;
  let next = Math.min(seconds + LONGEST_WAIT_SECONDS, (player.loop?.end ?? player.duration) - stage.offset);
  for (const word of stage.words) {
    if (showWord(word, wordState(word, seconds), seconds, player.isPlaying)) next = seconds + FRAME_SECONDS;
    for (const time of [word.start, word.end]) if (time > seconds && time < next) next = time;
  }
  const current = currentLine(stage.lines, seconds);
  if (current !== stage.current) showLine(current);
  showCountdown(countdown(stage.lines, seconds));
  showPosition(position);
  if (player.isPlaying) updateIn(next - seconds);
}

// Returns whether the word begins to fill, which needs a frame.
function showWord(word, state, seconds, isPlaying) {
  if (state === word.shown) {
    word.filling?.follow(seconds, isPlaying);
    return false;
  }
  word.shown = state;
  word.span.classList.toggle("is-active", state === "active");
  word.span.classList.toggle("is-sung", state === "sung");
  word.filling?.remove();
  word.filling = state === "active" ? new Filling(word, seconds) : null;
  return state === "active";
}

function showPosition(position) {
  element("position").value = position;
  const time = clock(position);
  if (time !== element("time").textContent) element("time").textContent = time;
}

function showLine(current) {
  stage.current = current;
  const list = element("lines");
  [...list.children].forEach((item, number) => {
    item.classList.toggle("is-current", number === current);
    item.classList.toggle("is-past", number < current);
  });
  const item = list.children[current];
  if (!item) return;
  const middle = item.offsetTop + item.offsetHeight / 2 - element("lyrics-view").clientHeight * 0.42;
  list.style.transform = `translateY(${-middle}px)`;
}

function showCountdown(left) {
  const dots = element("countdown");
  const lit = left === null ? 0 : Math.ceil(COUNTDOWN_SECONDS - left);
  if (stage.lit === lit) return;
  stage.lit = lit;
  dots.hidden = left === null;
  [...dots.children].forEach((dot, index) => dot.classList.toggle("is-on", index < lit));
}

function showPlaying() {
  const { isPlaying } = stage.player;
  element("play").classList.toggle("is-playing", isPlaying);
  element("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
  keepAwake(isPlaying);
}

async function keepAwake(isPlaying) {
  if (!navigator.wakeLock) return;
  if (isPlaying && !wakeLock) wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
  if (!isPlaying) {
    await wakeLock?.release();
    wakeLock = null;
  }
}

function applyVolume(stem) {
  element(`${stem}-value`).textContent = `${faders[stem].value} %`;
  stage?.player?.setVolume(stem, faders[stem].value / 100);
  if (stem === "vocals") element("mute").setAttribute("aria-pressed", String(faders.vocals.value === "0"));
}

function setVocals(value) {
  faders.vocals.value = value;
  applyVolume("vocals");
}

function toggleMute() {
  const now = Number(faders.vocals.value);
  if (now) stage.unmuted = now;
  setVocals(now ? 0 : stage.unmuted);
}

function toggle() {
  if (stage.player.isPlaying) stage.player.pause();
  else stage.player.play();
}

function seekTo(seconds) {
  stage.player.seek(seconds + stage.offset);
}

function step(lines) {
  const from = lastLine(stage.lines, stage.player.position() - stage.offset);
  const line = stage.lines[Math.min(stage.lines.length - 1, Math.max(0, from + lines))];
  if (!line) return;
  seekTo(line.start);
  if (stage.player.loop) setLoop(true);
}

function setLoop(isOn) {
  const { player, lines, offset } = stage;
  const line = lines[lastLine(lines, player.position() - offset)];
  player.loop = isOn && line ? { start: line.start + offset - 0.3, end: line.end + offset + 0.3 } : null;
  element("loop").setAttribute("aria-pressed", String(Boolean(player.loop)));
}

function shift(seconds) {
  stage.offset = Math.round(100 * Math.min(10, Math.max(-10, stage.offset + seconds))) / 100;
  showOffset();
  updateIn(0);
  stage.onOffset(stage.offset);
}

function showOffset() {
  element("offset").textContent = `${Math.round(1000 * stage.offset)} ms`;
}

function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else element("stage").requestFullscreen?.();
}

const KEYS = {
  " ": toggle,
  g: toggleMute,
  l: () => setLoop(!stage.player.loop),
  n: () => step(1),
  p: () => step(-1),
  f: toggleFullscreen,
  "-": () => shift(-OFFSET_STEP_SECONDS),
  "+": () => shift(OFFSET_STEP_SECONDS),
  "=": () => shift(OFFSET_STEP_SECONDS),
  arrowleft: () => stage.player.seek(stage.player.position() - SEEK_STEP_SECONDS),
  arrowright: () => stage.player.seek(stage.player.position() + SEEK_STEP_SECONDS),
  arrowup: () => setVocals(Math.min(100, Number(faders.vocals.value) + VOLUME_STEP)),
  arrowdown: () => setVocals(Math.max(0, Number(faders.vocals.value) - VOLUME_STEP)),
  escape: () => { location.hash = ""; },
};

document.addEventListener("keydown", (event) => {
  if (!stage?.player || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  const isControl = event.target.matches("button, summary") && (key === " " || key === "enter");
  const isFader = event.target.matches("input[type=range]") && key.startsWith("arrow");
  if (!KEYS[key] || isControl || isFader) return;
  event.preventDefault();
  KEYS[key]();
});

const ready = (act) => () => stage?.player && act();
element("play").addEventListener("click", ready(toggle));
element("mute").addEventListener("click", ready(toggleMute));
element("loop").addEventListener("click", ready(() => setLoop(!stage.player.loop)));
element("earlier").addEventListener("click", ready(() => shift(-OFFSET_STEP_SECONDS)));
element("later").addEventListener("click", ready(() => shift(OFFSET_STEP_SECONDS)));
element("edit").addEventListener("click", ready(() => {
  stage.player.pause();
  stage.onEdit(stage.player, stage.transcript);
}));
element("fullscreen").addEventListener("click", toggleFullscreen);
element("back").addEventListener("click", () => { location.hash = ""; });
element("position").addEventListener("input", ready(() => stage.player.seek(Number(element("position").value))));
for (const stem of Object.keys(faders)) faders[stem].addEventListener("input", () => applyVolume(stem));
element("lines").addEventListener("click", (event) => {
  const start = event.target.closest(".word")?.dataset.start;
  if (start !== undefined && stage?.player) seekTo(Number(start));
});
addEventListener("resize", () => { if (stage?.player) showLine(stage.current); });
