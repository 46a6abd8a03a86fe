// Where the pictures of frames come from: stills of the server, exact and for every video; while playing, the video.
//
//   await stills.get(frame)     ImageBitmap of exactly this frame, from a small cache
//   film.play(fromFrame, onFrame, onEnd, onFail)   onFrame(index, image) for each picture that is shown
//
// The index of a playing picture is that of the frame whose pts is nearest to the picture's own time. The time is read
// from the very object that is painted (VideoFrame), where the browser has it; else from the callback's mediaTime.

import { address, getBlob } from "./server.js";

const KEPT = 48;
const AROUND = [1, -1, 2, 3, -2];

export class Stills {
  constructor(id, frameCount, height) {
    Object.assign(this, { id, frameCount, height });
    this.kept = new Map();
    this.loading = new Map();
  }

  async get(frame) {
    const known = this.kept.get(frame);
    if (known) {
      this.kept.delete(frame);
      this.kept.set(frame, known);
      return known;
    }
    if (!this.loading.has(frame)) {
      this.loading.set(frame, this.#fetch(frame).finally(() => this.loading.delete(frame)));
    }
    return this.loading.get(frame);
  }

  async prefetch(frame) {
    for (const step of AROUND) {
      const one = frame + step;
      if (one >= 0 && one < this.frameCount && !this.kept.has(one)) this.get(one).catch(() => {});
    }
  }

  close() {
    for (const image of this.kept.values()) image.close();
    this.kept.clear();
    this.closed = true;
  }

  async #fetch(frame) {
    const blob = await getBlob("/api/still", { id: this.id, frame, height: this.height });
    const image = await createImageBitmap(blob);
    if (this.closed) return image;
    this.kept.set(frame, image);
    for (const [old, one] of this.kept) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(old);
      one.close();
    }
    return image;
  }
}

// Index of the time nearest to `seconds` in ascending `times`.
export function nearest(times, seconds) {
  let low = 0;
  let high = times.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < seconds) low = middle + 1;
    else high = middle;
  }
  return low > 0 && seconds - times[low - 1] <= times[low] - seconds ? low - 1 : low;
}

export class Film {
  // `start`: pts in seconds at which the element's clock has 0.
  constructor(element, id, times, path, start) {
    Object.assign(this, { element, times, start });
    this.strange = 0;
    this.run = 0;
    element.src = address(path, { id });
    element.preload = "auto";
  }

  async play(frame, { rate, muted, onFrame, onEnd, onFail }) {
    const run = (this.run += 1);
    const { element } = this;
    element.playbackRate = rate;
    element.muted = muted;
    element.onerror = () => run === this.run && onFail("The browser can't decode this file.");
    element.onended = () => run === this.run && onEnd();
    // half a frame into the frame, so that rounding does not show the one before
    const next = this.times[Math.min(frame + 1, this.times.length - 1)];
    const inside = Math.max(0, Math.min((next - this.times[frame]) / 2, 0.01));
    element.currentTime = Math.max(0, this.times[frame] - this.start + inside);
    const shown = (_, metadata) => {
      if (run !== this.run) return;
      this.#show(metadata, onFrame, onFail);
      element.requestVideoFrameCallback(shown);
    };
    if (!element.requestVideoFrameCallback) {
      onFail("This browser does not tell which frame it shows.");
      return;
    }
    element.requestVideoFrameCallback(shown);
    try {
      await element.play();
    } catch (error) {
      if (run === this.run && error.name !== "AbortError") onFail("The browser can't play this file.");
    }
  }

  stop() {
    this.run += 1;
    this.element.pause();
  }

  close() {
    this.stop();
    this.element.removeAttribute("src");
    this.element.load();
  }

  #show(metadata, onFrame, onFail) {
    let image = this.element;
    let seconds = metadata.mediaTime;
    let taken = null;
    if (window.VideoFrame) {
      try {
        taken = new VideoFrame(this.element);
        image = taken;
        seconds = taken.timestamp / 1e6;
      } catch {
        taken = null; // no picture yet
        return;
      }
    }
    const index = nearest(this.times, seconds + this.start);
    const period = (this.times[this.times.length - 1] - this.times[0]) / Math.max(1, this.times.length - 1);
    this.strange = Math.abs(this.times[index] - seconds - this.start) > 0.4 * period ? this.strange + 1 : 0;
    if (this.strange >= 3) onFail("The browser's times do not agree with those of the frames.");
    else onFrame(index, image);
    taken?.close();
  }
}
