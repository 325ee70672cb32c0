// The library: add songs, watch their progress, search, sort, delete.

import { download, json, request, RequestError, upload, watch } from "/static/api.js";
import { clock } from "/static/timeline.js";

const LYRICS = /\.(txt|lrc|srt|vtt|ass|ssa|ttml|cho|chordpro|crd|html?|json)$/i;
const DOWNLOADS = [
  ["all.zip", "Everything (zip)"], ["share.html", "Page to share (HTML)"],
  ["vocals.flac", "Vocals (FLAC)"], ["vocals.mp3", "Vocals (MP3)"],
  ["accompaniment.flac", "Accompaniment (FLAC)"], ["accompaniment.mp3", "Accompaniment (MP3)"],
  ["transcript.ultrastar.txt", "Melody (UltraStar)"], ["transcript.mid", "Melody (MIDI)"],
];
const STAGES = {
  decoding: "Reading the file", separation: "Separating the voice", acoustic: "Listening",
  transcriber: "Finding words", writing: "Writing the stems", lyrics: "Timing the words",
};

const element = (id) => document.getElementById(id);
let jobs = [];
let chosen = [];

export function showLibrary() {
  element("files").addEventListener("change", () => choose([...element("files").files]));
  const drop = element("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("is-over", name === "dragover");
      if (name === "drop") choose([...event.dataTransfer.files]);
    });
  }
  element("add").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  element("search").addEventListener("input", render);
  element("sort").addEventListener("change", render);
  watch("/v1/jobs/events", (list) => {
    jobs = list.data;
    render();
  });
}

function stem(name) {
  return name.replace(/\.[^.]*$/, "").normalize();
}

function choose(files) {
  const texts = new Map(files.filter((file) => LYRICS.test(file.name)).map((file) => [stem(file.name), file]));
  const songs = files.filter((file) => !LYRICS.test(file.name));
  chosen = songs.map((file) => ({ file, lyrics: texts.get(stem(file.name)) }));
  const names = chosen.map(({ file, lyrics }) => (lyrics ? `${file.name} with ${lyrics.name}` : file.name));
  element("chosen").textContent = names.join(", ");
  element("send").disabled = !chosen.length;
}

async function send() {
  const pasted = element("lyrics").value.trim();
  if (pasted && chosen.length > 1) {
    element("message").textContent = "Pasted lyrics are of one song: choose one file, or put text files beside them.";
    return;
  }
  element("send").disabled = true;
  const errors = [];
  for (const [index, { file, lyrics }] of chosen.entries()) {
    const form = new FormData();
    form.append("file", file);
    form.append("language", element("language").value.trim() || "auto");
    if (pasted) form.append("lyrics", pasted);
    else if (lyrics) form.append("lyrics_file", lyrics);
    try {
      await upload(form, (fraction) => {
        element("message").textContent =
          `Sending ${file.name} (${index + 1} of ${chosen.length}): ${Math.round(100 * fraction)} %`;
      });
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      errors.push(`${file.name}: ${error.message}`);
    }
  }
  element("message").textContent = errors.join(" · ");
  element("lyrics").value = "";
  element("files").value = "";
  choose([]);
}

function render() {
  const wanted = element("search").value.trim().toLowerCase();
  const orders = {
    new: (a, b) => b.created - a.created,
    name: (a, b) => a.name.localeCompare(b.name),
    length: (a, b) => a.duration_seconds - b.duration_seconds,
  };
  const visible = jobs.filter((job) => job.name.toLowerCase().includes(wanted)).sort(orders[element("sort").value]);
  const list = element("songs");
  const items = new Map([...list.children].map((item) => [item.dataset.id, item]));
  element("empty").hidden = visible.length > 0;
  element("empty").textContent = jobs.length ? "No song has this name." : "No songs yet.";
  visible.forEach((job, place) => {
    const item = items.get(job.id) ?? newItem(job);
    items.delete(job.id);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    update(item, job);
  });
  for (const item of items.values()) item.remove();
}

function newItem(job) {
  const item = element("song-item").content.firstElementChild.cloneNode(true);
  item.dataset.id = job.id;
  const address = `/v1/jobs/${job.id}`;
  const on = (name, act) => item.querySelector(name).addEventListener("click", () => {
    act().catch((error) => { element("message").textContent = error.message; });
  });
  on(".cancel", () => json(`${address}/cancel`, { method: "POST" }));
  on(".retry", () => json(`${address}/retry`, { method: "POST" }));
  on(".delete", async () => {
    if (confirm(`Delete ${job.name} with its results?`)) await request(address, { method: "DELETE" });
  });
  item.querySelector(".downloads").addEventListener("change", (event) => {
    const name = event.target.value;
    event.target.value = "";
    if (name) download(`${address}/results/${name}`);
  });
  return item;
}

function update(item, job) {
  const isDone = job.status === "done";
  const isActive = job.status === "queued" || job.status === "running";
  const singable = isDone && job.task !== "separate";
  const name = item.querySelector(".song-name");
  name.textContent = job.name;
  if (singable) name.href = `#song=${job.id}`;
  else name.removeAttribute("href");
  item.querySelector(".song-state").textContent = describe(job);
  item.classList.toggle("is-failed", job.status === "failed");
  const bar = item.querySelector("progress");
  bar.hidden = job.status !== "running";
  bar.setAttribute("aria-label", `Progress of ${job.name}`);
  if (job.stage === "separation") bar.value = job.progress;
  else bar.removeAttribute("value");
  item.querySelector(".cancel").hidden = !isActive;
  item.querySelector(".retry").hidden = job.status !== "failed" && job.status !== "cancelled";
  for (const kind of ["cancel", "retry", "delete"]) {
    const button = item.querySelector(`.${kind}`);
    button.setAttribute("aria-label", `${button.textContent} ${job.name}`);
  }
  const downloads = item.querySelector(".downloads");
  downloads.hidden = !isDone;
  downloads.setAttribute("aria-label", `Download ${job.name}`);
  if (isDone && downloads.options.length === 1) addDownloads(downloads, job);
}

function addDownloads(select, job) {
  const known = new Map(DOWNLOADS);
  const texts = job.results.filter((name) => name.startsWith("transcript.") && !known.has(name))
    .map((name) => [name, name.slice(11)]);
  for (const [name, title] of [...DOWNLOADS.filter(([name]) => job.results.includes(name)), ...texts]) {
    select.append(new Option(known.get(name) ?? `Lyrics (${title})`, name));
  }
}

function describe(job) {
  const length = clock(job.duration_seconds);
  const left = job.seconds_left === null ? "" : ` · ${clock(Math.ceil(job.seconds_left))} left`;
  switch (job.status) {
    case "queued": return `${length} · number ${job.position} in the queue${left}`;
    case "running": return `${length} · ${STAGES[job.stage] ?? "Starting"}${left}`;
    case "failed": return `failed: ${job.error}`;
    case "cancelled": return `${length} · cancelled`;
    default: {
      const kinds = { align: "given lyrics", transcribe: "transcribed", separate: "stems only" };
      return `${length} · ${kinds[job.task]}${job.is_edited ? " · edited" : ""}`;
    }
  }
}
