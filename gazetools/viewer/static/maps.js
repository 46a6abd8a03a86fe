// Heatmaps of one video from one source, loaded block by block and kept with a bound.
//
//   const stream = new MapStream(id, source, facts)     facts: one of `sources` in /api/video
//   stream.rows(frame)       rows of a frame that is loaded, else null: {frame, track, box, inout, peak, top, map, width, height}
//   await stream.load(frame) loads its block; stream.prefetch(frame) loads it and the next one without waiting
//
// `box` [x0, y0, x1, y1], `peak` [x, y] in 0..1, `inout` 0..1, each null where there is none; `track` null: no people.
// The form of a block: gazetools/viewer/blocks.py.

import { getBytes } from "./server.js";

const MOST_BYTES = 96 << 20;

export class MapStream {
  constructor(id, source, facts) {
    this.id = id;
    this.source = source;
    this.facts = facts;
    this.blocks = new Map();
    this.loading = new Map();
    this.bytes = 0;
    this.problem = facts.problem ?? "";
    this.damaged = 0; // maps seen so far with numbers that are not finite
    this.counted = new Set();
  }

  get usable() {
    return this.facts.frames_per_block !== undefined;
  }

  rows(frame) {
    if (!this.usable) return [];
    const block = this.blocks.get(this.#number(frame));
    if (!block) return null;
    return block.byFrame.get(frame) ?? [];
  }

  async load(frame) {
    if (!this.usable || frame < 0) return;
    const number = this.#number(frame);
    const known = this.blocks.get(number);
    if (known) {
      this.blocks.delete(number);
      this.blocks.set(number, known); // the last one used
      return;
    }
    if (!this.loading.has(number)) {
      this.loading.set(number, this.#fetch(number).finally(() => this.loading.delete(number)));
    }
    await this.loading.get(number);
  }

  prefetch(frame, frameCount) {
    const step = this.facts.frames_per_block;
    if (!this.usable) return;
    for (const one of [frame, frame + step]) {
      if (one < frameCount) this.load(one).catch(() => {});
    }
  }

  #number(frame) {
    return Math.floor(frame / this.facts.frames_per_block);
  }

  async #fetch(number) {
    const step = this.facts.frames_per_block;
    const query = { id: this.id, source: this.source, start: number * step, stop: (number + 1) * step };
    const buffer = await getBytes("/api/block", query);
    this.blocks.set(number, readBlock(buffer));
    if (!this.counted.has(number)) this.damaged += this.blocks.get(number).damaged;
    this.counted.add(number);
    this.bytes += buffer.byteLength;
    for (const [old, block] of this.blocks) {
      if (this.bytes <= MOST_BYTES || old === number) break;
      this.blocks.delete(old);
      this.bytes -= block.bytes;
    }
  }
}

export function readBlock(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const { rows, height, width } = header;
  let place = 4 + length;
  const column = (Type, count) => {
    const found = new Type(buffer, place, count);
    place += found.byteLength;
    return found;
  };
  const frame = column(Int32Array, rows);
  const track = column(Int32Array, rows);
  const box = column(Float32Array, rows * 4);
  const inout = column(Float32Array, rows);
  const peak = column(Float32Array, rows * 2);
  const top = column(Float32Array, rows);
  const maps = column(Uint8Array, rows * height * width);
  const byFrame = new Map();
  const cells = height * width;
  for (let i = 0; i < rows; i += 1) {
    const row = {
      frame: frame[i],
      track: track[i] < 0 ? null : track[i],
      box: Number.isNaN(box[4 * i]) ? null : Array.from(box.subarray(4 * i, 4 * i + 4)),
      inout: Number.isNaN(inout[i]) ? null : inout[i],
      peak: Number.isNaN(peak[2 * i]) ? null : [peak[2 * i], peak[2 * i + 1]],
      top: top[i],
      map: maps.subarray(i * cells, (i + 1) * cells),
      height,
      width,
    };
    if (!byFrame.has(row.frame)) byFrame.set(row.frame, []);
    byFrame.get(row.frame).push(row);
  }
  return { byFrame, bytes: buffer.byteLength, damaged: header.damaged };
}
