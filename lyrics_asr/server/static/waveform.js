// The waveform of the vocals around a line, with the words over it; their edges are dragged.

import { isUnsure } from "/static/lines.js";

const MARGIN_SECONDS = 0.8;
const KEY_SECONDS = 0.01;

export class Waveform {
  // onDrag(index, edge, seconds) while an edge is dragged or moved by arrow keys, onDrop() at its end.
  constructor(root, { onDrag, onDrop }) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.words = root.querySelector(".wave-words");
    this.cursor = root.querySelector(".wave-cursor");
    this.first = 0;
    this.last = 1;
    this.words.addEventListener("pointerdown", (event) => {
      const { edge, index } = event.target.dataset;
      if (!edge) return;
      event.preventDefault();
      this.words.setPointerCapture(event.pointerId);
      const move = (moved) => onDrag(Number(index), edge, this.seconds(moved.clientX));
      this.words.addEventListener("pointermove", move);
      this.words.addEventListener("lostpointercapture", () => {
        this.words.removeEventListener("pointermove", move);
        onDrop();
      }, { once: true });
    });
    this.words.addEventListener("keydown", (event) => {
      const { edge, index } = event.target.dataset;
      const step = { ArrowLeft: -KEY_SECONDS, ArrowRight: KEY_SECONDS }[event.key];
      if (!edge || !step) return;
      event.preventDefault();
      onDrag(Number(index), edge, Number(event.target.ariaValueNow) + step);
      onDrop();
      this.words.querySelector(`[data-index="${index}"][data-edge="${edge}"]`).focus();
    });
  }

  seconds(x) {
    const box = this.root.getBoundingClientRect();
    return this.first + ((x - box.left) / box.width) * (this.last - this.first);
  }

  // Show a part of the song; the window stays while a line is edited.
  show(buffer, line) {
    if (line.isMissing) return;
    this.first = Math.max(0, Math.min(...line.words.map((word) => word.start)) - MARGIN_SECONDS);
    this.last = Math.min(buffer.duration, Math.max(...line.words.map((word) => word.end)) + MARGIN_SECONDS);
    this.#draw(buffer);
    this.showWords(line);
  }

  showWords(line) {
    this.words.replaceChildren(...line.words.map((word, index) => {
      const block = document.createElement("div");
      block.className = "wave-word";
      block.classList.toggle("is-set", word.isSet);
      block.classList.toggle("is-unsure", isUnsure(word));
      block.style.left = `${this.#percent(word.start)}%`;
      block.style.width = `${this.#percent(word.end) - this.#percent(word.start)}%`;
      block.textContent = word.text;
      for (const edge of ["start", "end"]) {
        const handle = document.createElement("i");
        handle.className = `edge ${edge}`;
        handle.dataset.edge = edge;
        handle.dataset.index = index;
        handle.tabIndex = 0;
        handle.role = "slider";
        handle.ariaLabel = `${edge === "start" ? "Start" : "End"} of ${word.text}, in seconds`;
        handle.ariaValueNow = word[edge].toFixed(2);
        handle.ariaValueMin = this.first.toFixed(2);
        handle.ariaValueMax = this.last.toFixed(2);
        block.append(handle);
      }
      return block;
    }));
  }

  showCursor(seconds) {
    this.cursor.style.left = `${this.#percent(seconds)}%`;
    this.cursor.hidden = seconds < this.first || seconds > this.last;
  }

  #percent(seconds) {
    return (100 * (seconds - this.first)) / (this.last - this.first);
  }

  #draw(buffer) {
    const { canvas } = this;
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
    const context = canvas.getContext("2d");
    const samples = buffer.getChannelData(0);
    context.fillStyle = getComputedStyle(canvas).color;
    const perColumn = ((this.last - this.first) * buffer.sampleRate) / canvas.width;
    const peaks = new Float32Array(canvas.width);
    for (let x = 0; x < canvas.width; x += 1) {
      const from = Math.floor(this.first * buffer.sampleRate + x * perColumn);
      for (let i = from; i < from + perColumn; i += 1) peaks[x] = Math.max(peaks[x], Math.abs(samples[i] ?? 0));
    }
    const scale = (0.9 * canvas.height) / Math.max(0.01, ...peaks);
    peaks.forEach((peak, x) => {
      const height = Math.max(1, scale * peak);
      context.fillRect(x, (canvas.height - height) / 2, 1, height);
    });
  }
}
