// Head boxes of one video while they are corrected: the saved ones as a table, and above it the frames that were edited.
//
//   const boxes = new BoxEdits(table, { width, height, frame_count })   table: Float64Array, 7 to a box, by frame and id
//   boxes.at(frame)                 Map of id -> { box [x0, y0, x1, y1] in pixels, origin, fresh: edited and not saved }
//   boxes.apply(edit)               as in gazetools/schemas/box_edits.py; throws an Error whose message says why not
//   boxes.undo()                    takes back the last edit -> the edit, or undefined
//   boxes.edits                     the edits since the table was read, in order
// The server applies the same edits once more and decides; tests compare both.

const COLUMNS = 7;
export const GIVEN = 0;
export const HAND = 1;
export const INTERPOLATED = 2;
export const LEAST_PIXELS = 2;

export class BoxEdits {
  constructor(table, size) {
    this.table = table;
    this.size = size;
    this.edits = [];
    this.undos = [];
    this.changed = new Map();
  }

  at(frame) {
    const edited = this.changed.get(frame);
    if (edited) return edited;
    const found = new Map();
    for (let row = this.#firstOf(frame); row < this.table.length && this.table[row] === frame; row += COLUMNS) {
      const box = [...this.table.subarray(row + 2, row + 6)];
      found.set(this.table[row + 1], { box, origin: this.table[row + 6], fresh: false });
    }
    return found;
  }

  ids() {
    const found = new Set();
    for (let row = 0; row < this.table.length; row += COLUMNS) found.add(this.table[row + 1]);
    for (const people of this.changed.values()) for (const id of people.keys()) found.add(id);
    return [...found].sort((one, other) => one - other);
  }

  // The nearest frame before `frame` in which the person has a box; undefined: none.
  before(frame, track) {
    for (let one = frame - 1; one >= 0; one -= 1) if (this.at(one).has(track)) return one;
    return undefined;
  }

  apply(edit) {
    const undo = new Map();
    const touch = (frame) => {
      if (!undo.has(frame)) undo.set(frame, this.changed.get(frame));
      const people = new Map(this.at(frame));
      this.changed.set(frame, people);
      return people;
    };
    this[`_${edit.what}`](edit, touch);
    const last = this.edits.at(-1);
    const again = edit.what === "set" && last?.what === "set" && last.frame === edit.frame && last.track === edit.track;
    if (again && edit.nudge && last.nudge) {
      this.edits[this.edits.length - 1] = edit; // many small steps are one edit
      return;
    }
    this.edits.push(edit);
    this.undos.push(undo);
  }

  undo() {
    for (const [frame, people] of this.undos.pop() ?? []) {
      if (people) this.changed.set(frame, people);
      else this.changed.delete(frame);
    }
    return this.edits.pop();
  }

  _set({ frame, track, box }, touch) {
    const cut = this.inside(box);
    if (!cut) throw new Error(`A box needs at least ${LEAST_PIXELS} pixels of a side inside the picture.`);
    touch(frame).set(track, { box: cut, origin: HAND, fresh: true });
  }

  _remove({ frame, track, onwards }, touch) {
    for (const one of this.#framesOf(track, frame, onwards)) touch(one).delete(track);
  }

  _assign({ frame, track, to, onwards }, touch) {
    if (track === to) throw new Error(`The box has the id ${to} already.`);
    const frames = new Set(this.#framesOf(track, frame, onwards));
    for (const one of onwards ? this.#allOf(to, frame) : [frame]) frames.add(one);
    for (const one of frames) {
      const people = touch(one);
      const [mine, other] = [people.get(track), people.get(to)];
      people.delete(track);
      people.delete(to);
      if (mine) people.set(to, { ...mine, fresh: true });
      if (other) people.set(track, { ...other, fresh: true });
    }
  }

  _interpolate({ track, first, last }, touch) {
    const ends = [first, last].map((frame) => this.at(frame).get(track)?.box);
    if (!ends[0] || !ends[1]) throw new Error(`Id ${track} needs a box in frame ${first} and in frame ${last}.`);
    if (last <= first + 1) throw new Error(`No frame lies between ${first} and ${last}.`);
    for (let frame = first + 1; frame < last; frame += 1) {
      const share = (frame - first) / (last - first);
      const box = ends[0].map((side, i) => hundredths(side + share * (ends[1][i] - side)));
      touch(frame).set(track, { box, origin: INTERPOLATED, fresh: true });
    }
  }

  // The box cut at the edges of the frame; null where too little is left.
  inside(box) {
    const { width, height } = this.size;
    const cut = box.map((side, i) => hundredths(Math.max(0, Math.min(side, i % 2 ? height : width))));
    return cut[2] - cut[0] >= LEAST_PIXELS && cut[3] - cut[1] >= LEAST_PIXELS ? cut : null;
  }

  #framesOf(track, frame, onwards) {
    if (!this.at(frame).has(track)) throw new Error(`There is no box of id ${track} in frame ${frame}.`);
    return onwards ? this.#allOf(track, frame) : [frame];
  }

  #allOf(track, from) {
    const found = [];
    for (let row = this.#firstOf(from); row < this.table.length; row += COLUMNS) {
      if (this.table[row + 1] === track && !this.changed.has(this.table[row])) found.push(this.table[row]);
    }
    for (const [frame, people] of this.changed) if (frame >= from && people.has(track)) found.push(frame);
    return found;
  }

  // Place in the table of the first box of this frame or a later one.
  #firstOf(frame) {
    let [low, high] = [0, this.table.length / COLUMNS];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.table[middle * COLUMNS] < frame) low = middle + 1;
      else high = middle;
    }
    return low * COLUMNS;
  }
}

function hundredths(value) {
  return Math.round(100 * value) / 100;
}
