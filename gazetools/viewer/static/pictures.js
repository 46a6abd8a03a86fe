// Where the pictures of frames come from: stills of the server, exact and for every video; while playing, the video.
//
//   await stills.get(frame)     ImageBitmap of exactly this frame, from a small cache
//   await film.prepare(stillOfFrame0)              finds the browser's clock; throws where it can't be trusted
//   film.play(fromFrame, {onFrame, onEnd, onFail}) onFrame(index, image) for each picture that is shown
//
// The index of a playing picture is that of the frame whose pts is nearest to the picture's own time. The time is read
// from the very object that is painted (VideoFrame), where the browser has it; else from the callback's mediaTime.

import { getBlob } from "./server.js";

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

// A video that the browser plays. `clocks`: pts in seconds at which the element's clock may have 0; browsers differ in
// whether they count from the file's own zero, from its start or from the first frame.
export class Film {
  constructor(element, address, times, clocks) {
    Object.assign(this, { element, address, times, clocks });
    this.start = null;
    this.strange = 0;
    this.run = 0;
  }

  // Load the file and find out which of the clocks it has. `first`: the still of frame 0, with which the browser's own
  // first picture is compared: a turned, mirrored or different one must not be played. Throws an Error with words.
  async prepare(first) {
    const { element } = this;
    await new Promise((resolve, reject) => {
      element.onloadeddata = resolve;
      element.onerror = () => reject(new Error("This browser can't play the file."));
      element.preload = "auto";
      element.muted = true;
      element.src = this.address;
    });
    if (!element.requestVideoFrameCallback) throw new Error("This browser does not tell which frame it shows.");
    const taken = await this.#firstPicture();
    try {
      const measured = this.times[0] - taken.seconds;
      const found = this.clocks.find((clock) => Math.abs(clock - measured) < 0.4 * this.#period());
      if (found === undefined) throw new Error("This browser's clock does not fit the times of the frames.");
      if (first && !alike(taken.image, first)) throw new Error("This browser shows the first frame in another way.");
      this.start = found;
    } finally {
      taken.close();
    }
  }

  async play(frame, { rate, muted, onFrame, onEnd, onFail }) {
    const run = (this.run += 1);
    const mine = () => run === this.run;
    const { element } = this;
    element.playbackRate = rate;
    element.muted = muted;
    element.onerror = () => mine() && onFail("This browser can't play the file to its end.");
    element.onended = () => mine() && onEnd();
    // a little into the frame, so that rounding does not show the one before
    const next = this.times[Math.min(frame + 1, this.times.length - 1)];
    const inside = Math.max(0, Math.min((next - this.times[frame]) / 2, 0.01));
    element.currentTime = Math.max(0, this.times[frame] - this.start + inside);
    if (element.seeking) await new Promise((resolve) => element.addEventListener("seeked", resolve, { once: true }));
    if (!mine()) return;
    const shown = (_, metadata) => {
      if (!mine()) return;
      this.#show(metadata, onFrame, onFail);
      element.requestVideoFrameCallback(shown);
    };
    element.requestVideoFrameCallback(shown);
    try {
      await element.play();
    } catch (error) {
      if (mine() && error.name !== "AbortError") onFail("This browser can't play the file.");
    }
  }

  stop() {
    this.run += 1;
    this.element.pause();
  }

  close() {
    this.stop();
    this.element.onerror = this.element.onended = this.element.onloadeddata = null;
    this.element.removeAttribute("src");
    this.element.load();
  }

  #period() {
    return (this.times[this.times.length - 1] - this.times[0]) / Math.max(1, this.times.length - 1) || 1;
  }

  // The picture that the element shows, with its own time; without VideoFrame the time is that of the callback.
  #taken(mediaTime) {
    if (!window.VideoFrame) return { image: this.element, seconds: mediaTime, close: () => {} };
    const frame = new VideoFrame(this.element);
    return { image: frame, seconds: frame.timestamp / 1e6, close: () => frame.close() };
  }

  async #firstPicture() {
    if (window.VideoFrame) return this.#taken(0);
    const metadata = await new Promise((resolve) => {
      this.element.requestVideoFrameCallback((_, found) => resolve(found));
      this.element.currentTime = 0;
    });
    return this.#taken(metadata.mediaTime);
  }

  #show(metadata, onFrame, onFail) {
    const taken = this.#taken(metadata.mediaTime);
    try {
      const seconds = taken.seconds + this.start;
      const index = nearest(this.times, seconds);
      this.strange = Math.abs(this.times[index] - seconds) > 0.4 * this.#period() ? this.strange + 1 : 0;
      if (this.strange >= 3) onFail("This browser's times do not agree with those of the frames.");
      else onFrame(index, taken.image);
    } finally {
      taken.close();
    }
  }
}

// Whether two pictures show the same, compared as small grey ones; colours and sharpness may differ a little.
function alike(one, other) {
  const [mine, yours] = [one, other].map((image) => {
    const small = new OffscreenCanvas(24, 24).getContext("2d", { willReadFrequently: true });
    small.drawImage(image, 0, 0, 24, 24);
    const { data } = small.getImageData(0, 0, 24, 24);
    return Array.from({ length: 576 }, (_, i) => (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3);
  });
  const mean = yours.reduce((sum, value) => sum + value, 0) / 576;
  const contrast = yours.reduce((sum, value) => sum + Math.abs(value - mean), 0) / 576;
  const difference = mine.reduce((sum, value, i) => sum + Math.abs(value - yours[i]), 0) / 576;
  return difference < 8 + 0.4 * contrast;
}
