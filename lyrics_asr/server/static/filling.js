// A word that fills from its start to its end, by animations that the compositor runs.

const TOLERANCE_MILLISECONDS = 40; // the audio clock advances in steps

export class Filling {
  // Shows how much is sung at this time; `follow` starts it, once it is painted and so has a layer.
  constructor({ span, text, start, end }, seconds) {
    this.start = start;
    this.frame = document.createElement("i");
    this.frame.className = "filling";
    this.frame.ariaHidden = "true";
    const inner = document.createElement("i");
    inner.dataset.text = text;
    this.frame.append(inner);
    span.append(this.frame);
    const timing = { duration: 1000 * (end - start), fill: "both" };
    this.animations = [
      this.frame.animate({ transform: ["translateX(-100%)", "none"] }, timing),
      inner.animate({ transform: ["translateX(100%)", "none"] }, timing),
    ];
    this.#set(seconds, false);
  }

  // Go on by itself, unless the song stops or jumps.
  follow(seconds, isPlaying) {
    const error = Math.abs(this.animations[0].currentTime - 1000 * (seconds - this.start));
    if (error > TOLERANCE_MILLISECONDS || isPlaying !== this.isPlaying) this.#set(seconds, isPlaying);
  }

  remove() {
    this.frame.remove();
  }

  #set(seconds, isPlaying) {
    this.isPlaying = isPlaying;
    for (const animation of this.animations) {
      animation.currentTime = 1000 * (seconds - this.start);
      if (isPlaying) animation.play();
      else animation.pause();
    }
  }
}
