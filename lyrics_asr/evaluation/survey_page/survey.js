// The listening test. A classic script: pages that are opened as files may not load modules or fetch anything.
"use strict";

(() => {
  const survey = JSON.parse(document.getElementById("survey").textContent);
  const SCALES = ["isolation", "artifacts"];
  const HIGHEST = 7;
  const byId = (id) => document.getElementById(id);
  const storageKey = `lyrics-asr survey ${survey.id}`;
  const session = restored() ?? {
    id: Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    rater: "",
    started: new Date().toISOString(),
    done: 0,
    order: shuffled(survey.excerpts.map((excerpt, number) => [number, shuffled([...excerpt.samples.keys()])])),
    ratings: {},
    heard: {},
  };
  const player = new Map(); // audio elements of the excerpt, by file
  let current = null; // the file that is chosen

  // What a rater did survives a reload. Browsers may forbid storage for files.
  function restored() {
    try {
      return JSON.parse(localStorage.getItem(storageKey));
    } catch {
      return null;
    }
  }

  function save() {
    try {
      localStorage.setItem(storageKey, JSON.stringify(session));
    } catch {
      // the ratings are still in the page
    }
  }

  function shuffled(items) {
    for (let last = items.length - 1; last > 0; last--) {
      const other = crypto.getRandomValues(new Uint32Array(1))[0] % (last + 1);
      [items[last], items[other]] = [items[other], items[last]];
    }
    return items;
  }

  // ---- Sound: one element for each file. Switching keeps the place in the music.

  function audioOf(file) {
    if (!player.has(file)) {
      const audio = new Audio(file);
      audio.loop = true;
      audio.preload = "auto";
      player.set(file, audio);
    }
    return player.get(file);
  }

  async function play(file) {
    const before = player.get(current);
    const audio = audioOf(file);
    if (before && before !== audio) {
      before.pause();
      audio.currentTime = before.currentTime;
    }
    current = file;
    await audio.play().catch((error) => {
      if (error.name !== "AbortError") byId("missing").textContent = `This sample cannot be played: ${error.message}`;
    });
    show();
  }

  function toggle(file) {
    const audio = player.get(file);
    if (file === current && audio && !audio.paused) {
      audio.pause();
      show();
    } else {
      play(file);
    }
  }

  function silence() {
    for (const audio of player.values()) {
      audio.pause();
      audio.removeAttribute("src");
    }
    player.clear();
    current = null;
  }

  function tick() {
    const audio = player.get(current);
    if (audio) {
      byId("time").style.transform = `scaleX(${audio.duration ? audio.currentTime / audio.duration : 0})`;
      if (!audio.paused && audio.currentTime > 0.5 && !session.heard[current]) {
        session.heard[current] = true;
        save();
        show();
      }
    }
    requestAnimationFrame(tick);
  }

  // ---- The excerpt

  const excerpt = () => survey.excerpts[session.order[session.done][0]];
  const files = () => session.order[session.done][1].map((number) => excerpt().samples[number]);
  const isDone = (file) => session.heard[file] && SCALES.every((scale) => session.ratings[file]?.[scale]);

  function showExcerpt() {
    silence();
    for (const file of [excerpt().mixture, ...files()]) audioOf(file);
    byId("samples").replaceChildren(...files().map(makeRow));
    byId("position").textContent = `Excerpt ${session.done + 1} of ${survey.excerpts.length}`;
    byId("progress").max = survey.excerpts.length;
    byId("progress").value = session.done;
    byId("mixture").onclick = () => toggle(excerpt().mixture);
    byId("next").textContent = session.done + 1 < survey.excerpts.length ? "Next" : "Finish";
    show();
    scrollTo(0, 0);
    byId("position").focus();
  }

  function makeRow(file, number) {
    const row = byId("sample").content.firstElementChild.cloneNode(true);
    const letter = String.fromCharCode(65 + number);
    const button = row.querySelector(".play");
    button.textContent = `Sample ${letter}`;
    button.onclick = () => toggle(file);
    row.dataset.file = file;
    for (const scale of SCALES) {
      const fieldset = row.querySelector(`.${scale}`);
      fieldset.querySelector("legend").append(` of ${letter}`);
      for (let value = 1; value <= HIGHEST; value++) {
        const label = document.createElement("label");
        const input = document.createElement("input");
        const shown = document.createElement("span");
        input.type = "radio";
        input.name = `${scale} ${letter}`;
        input.value = value;
        input.checked = session.ratings[file]?.[scale] === value;
        input.onchange = () => rate(file, scale, value);
        shown.textContent = value;
        label.append(input, shown);
        fieldset.querySelector(".choices").append(label);
      }
    }
    return row;
  }

  function rate(file, scale, value) {
    session.ratings[file] = { ...session.ratings[file], [scale]: value };
    save();
    show();
  }

  function show() {
    const isPlaying = (file) => file === current && !player.get(file).paused;
    byId("try").setAttribute("aria-pressed", String(current !== null && isPlaying(current)));
    if (byId("rating").hidden) return;
    byId("mixture").setAttribute("aria-pressed", String(isPlaying(excerpt().mixture)));
    for (const row of byId("samples").children) {
      const { file } = row.dataset;
      row.classList.toggle("is-done", Boolean(isDone(file)));
      row.classList.toggle("is-playing", file === current);
      row.querySelector(".play").setAttribute("aria-pressed", String(isPlaying(file)));
    }
    const missing = files().filter((file) => !isDone(file));
    const unheard = missing.filter((file) => !session.heard[file]).length;
    byId("missing").textContent = !missing.length ? "All rated" : unheard ? `${unheard} to hear` : `${missing.length} to rate`;
    byId("next").setAttribute("aria-disabled", String(missing.length > 0));
  }

  function next() {
    const missing = files().find((file) => !isDone(file));
    if (missing) {
      const row = [...byId("samples").children].find((each) => each.dataset.file === missing);
      row.scrollIntoView({ block: "center" });
      row.querySelector(".play").focus();
      return;
    }
    session.done++;
    save();
    showView();
  }

  // ---- The end

  function results() {
    return {
      schema: "lyrics-asr/survey-result/1",
      survey: survey.id,
      session: session.id,
      rater: session.rater,
      started: session.started,
      finished: session.finished,
      ratings: survey.excerpts.flatMap(({ samples }) => samples.map((sample) => ({ sample, ...session.ratings[sample] }))),
    };
  }

  function showEnd() {
    silence();
    session.finished ??= new Date().toISOString();
    save();
    const isServed = location.protocol.startsWith("http");
    byId("how").textContent = isServed
      ? "Please send your results."
      : "Please download your results, and send the file to whoever gave you this test.";
    const blob = new Blob([JSON.stringify(results(), null, 1)], { type: "application/json" });
    byId("download").href = URL.createObjectURL(blob);
    byId("download").download = `survey_${session.id.slice(0, 8)}.json`;
    byId("download").classList.toggle("primary", !isServed);
    byId("send").hidden = !isServed;
  }

  async function send() {
    byId("sent").textContent = "Sending ...";
    try {
      const answer = await fetch("results", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(results()),
      });
      if (!answer.ok) throw new Error((await answer.json()).error.message);
      byId("sent").textContent = "Sent. You can close this page.";
      byId("send").hidden = true;
    } catch (error) {
      byId("sent").textContent = `Not sent: ${error.message}. Download the results instead.`;
    }
  }

  function showView() {
    const isEnd = session.done >= survey.excerpts.length;
    const isWelcome = !isEnd && !session.begun;
    byId("welcome").hidden = !isWelcome;
    byId("rating").hidden = isWelcome || isEnd;
    byId("end").hidden = !isEnd;
    if (isEnd) {
      showEnd();
      byId("end").querySelector("h1").focus();
    } else if (!isWelcome) {
      showExcerpt();
    }
  }

  // ---- Keys

  document.addEventListener("keydown", (event) => {
    if (byId("rating").hidden || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const letter = event.key.length === 1 ? event.key.toUpperCase() : "";
    const number = letter.charCodeAt(0) - 65;
    const digit = /^(?:Digit|Numpad)([1-7])$/.exec(event.code)?.[1];
    if (event.key === " ") {
      if (event.target.closest("button, input, summary")) return; // they use it themselves
      toggle(current ?? excerpt().mixture);
    } else if (digit) {
      const file = files().find((each) => each === current);
      if (!file) return;
      rate(file, event.shiftKey ? "artifacts" : "isolation", Number(digit));
      const row = [...byId("samples").children].find((each) => each.dataset.file === file);
      row.querySelector(`.${event.shiftKey ? "artifacts" : "isolation"} input[value="${digit}"]`).checked = true;
    } else if (letter === "M") {
      toggle(excerpt().mixture);
    } else if (letter === "N") {
      next();
    } else if (number >= 0 && number < files().length) {
      toggle(files()[number]);
    } else {
      return;
    }
    event.preventDefault();
  });

  byId("start").onsubmit = (event) => {
    event.preventDefault();
    Object.assign(session, { begun: true, rater: byId("rater").value.trim() });
    save();
    showView();
  };
  byId("try").onclick = () => toggle(survey.excerpts[0].mixture);
  byId("next").onclick = next;
  byId("send").onclick = send;
  byId("again").onclick = () => {
    localStorage.removeItem(storageKey);
    location.reload();
  };
  for (const place of document.querySelectorAll(".stem")) place.textContent = survey.stem === "vocals" ? "the voice" : "the music";
  byId("rater").value = session.rater;
  const samples = survey.excerpts.reduce((sum, each) => sum + each.samples.length, 0);
  byId("size").textContent = `${survey.excerpts.length} excerpts, ${samples} samples of ${survey.seconds} s.`;
  showView();
  tick();
})();
