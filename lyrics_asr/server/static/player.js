// Plays stems in sync: their sources start at the same sample of the audio clock.

const START_SECONDS = 0.03; // sources are scheduled so much ahead, so that they start together

export class Player extends EventTarget {
  constructor() {
    super();
    this.context = new AudioContext();
    this.gains = {};
    this.buffers = {};
    this.sources = [];
    this.isPlaying = false;
    this.duration = 0;
    this.loop = null; // { start, end } in seconds
    this.startedAt = 0; // time of the context at which the song's second 0 is or would have been played
    this.pausedAt = 0;
  }

  async load(stems) {
    const decoded = Object.entries(stems).map(async ([name, bytes]) => {
      this.buffers[name] = await this.context.decodeAudioData(bytes);
      this.gains[name] = this.context.createGain();
      this.gains[name].connect(this.context.destination);
    });
    await Promise.all(decoded);
    this.duration = Math.max(...Object.values(this.buffers).map((buffer) => buffer.duration));
  }

  // What is heard now: the output's latency is subtracted.
  position() {
    if (!this.isPlaying) return this.pausedAt;
    const heard = this.context.currentTime - this.startedAt - (this.context.outputLatency || 0);
    return Math.min(this.duration, Math.max(0, heard));
  }

  async play() {
    if (this.isPlaying) return;
    await this.context.resume();
    if (this.pausedAt >= this.duration - 0.01) this.pausedAt = 0;
    this.#start(this.pausedAt);
    this.dispatchEvent(new Event("change"));
  }

  pause() {
    if (!this.isPlaying) return;
    this.pausedAt = this.position();
    this.#stop();
    this.dispatchEvent(new Event("change"));
  }

  seek(seconds) {
    const target = Math.min(this.duration, Math.max(0, seconds));
    if (this.isPlaying) {
      this.#stop();
      this.#start(target);
    } else {
      this.pausedAt = target;
    }
    this.dispatchEvent(new Event("change"));
  }

  // Call often: repeats the loop, and ends at the end.
  tick() {
    if (!this.isPlaying) return;
    const now = this.position();
    if (this.loop && now >= this.loop.end) this.seek(this.loop.start);
    else if (now >= this.duration) {
      this.pausedAt = 0;
      this.#stop();
      this.dispatchEvent(new Event("change"));
    }
  }

  setVolume(stem, fraction) {
    // A short ramp: a step would click.
    this.gains[stem]?.gain.setTargetAtTime(fraction, this.context.currentTime, 0.015);
  }

  close() {
    this.#stop();
    return this.context.close();
  }

  #start(offset) {
    const when = this.context.currentTime + START_SECONDS;
    this.sources = Object.entries(this.buffers).map(([name, buffer]) => {
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.gains[name]);
      source.start(when, offset);
      return source;
    });
    this.startedAt = when - offset;
    this.isPlaying = true;
  }

  #stop() {
    for (const source of this.sources) {
      source.stop();
      source.disconnect();
    }
    this.sources = [];
    this.isPlaying = false;
  }
}
