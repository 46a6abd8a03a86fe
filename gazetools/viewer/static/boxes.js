// Correction of head boxes: move, resize, draw, delete, assign ids, interpolate, undo, save as a new CSV.

import { BoxEdits, GIVEN, HAND, INTERPOLATED } from "./box_edits.js";
import { BoxPanel } from "./box_panel.js";
import { keys } from "./keys.js";
import { player } from "./page.js";
import { colourOf, paintLabel } from "./paint.js";
import { get, getBytes, post } from "./server.js";

const HANDLE = { mouse: 8, touch: 20, pen: 12 };
const CURSORS = { "0,0": "nwse-resize", "2,1": "nwse-resize", "0,1": "nesw-resize", "2,0": "nesw-resize" };

export class BoxEditor {
  constructor() {
    this.on = false;
    this.facts = null;
    this.boxes = null;
    this.selected = null;
    this.key = null;
    this.drag = null;
    this.busy = false;
    this.hadBoxes = false;
    this.stage = null;
    this.panel = new BoxPanel(this);
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.id = "correct";
    this.button.textContent = "Correct boxes";
    this.button.title = "Correct head boxes (e)";
    this.button.setAttribute("aria-pressed", "false");
    this.button.addEventListener("click", () => this.toggle());
    player.tools.append(this.button);
    player.addLayer({ name: "corrected boxes", draw: (context, view) => this.#draw(context, view) });
    player.on("open", ({ facts }) => this.#opened(facts));
    player.on("close", () => this.#closed());
    player.on("frame", () => this.on && this.panel.show());
    window.addEventListener("beforeunload", (event) => {
      if (this.boxes?.edits.length) event.preventDefault();
    });
    this.#addKeys();
  }

  get people() {
    return this.boxes?.at(player.frameIndex) ?? new Map();
  }

  get marked() {
    return this.people.get(this.selected);
  }

  // ---- on and off

  toggle() {
    return this.on ? this.#leave() : this.#enter();
  }

  #opened(facts) {
    this.button.hidden = facts.sources[0]?.kind !== "store" || Boolean(facts.sources[0].problem);
    if (this.on) {
      if (this.button.hidden) this.#leave();
      else this.#enter();
    }
  }

  #closed() {
    Object.assign(this, { boxes: null, facts: null, selected: null, key: null, drag: null });
  }

  async #enter() {
    player.pause();
    this.#switch(true);
    const id = player.videoId;
    try {
      await this.#load(id);
    } catch (error) {
      player.notice("boxes", error.message, "error");
      this.#switch(false);
      return;
    }
    if (id !== player.videoId) return;
    const draft = JSON.parse(sessionStorage.getItem(`boxes:${id}`) ?? "null");
    if (draft?.edits.length) {
      this.#putBack(draft.edits, draft.revision === this.facts.revision ? "" : "The boxes were saved meanwhile. ");
    }
    this.changed();
  }

  #leave() {
    this.#switch(false);
    player.notice("boxes", this.boxes?.edits.length ? "Your edits are kept in this tab until they are saved." : "");
    player.redraw();
  }

  #switch(on) {
    this.on = on;
    this.button.setAttribute("aria-pressed", String(on));
    if (on && player.layers.boxes) {
      this.hadBoxes = true; // the store's own boxes would lie under the corrected ones
      keys.press("b");
    } else if (!on && this.hadBoxes) {
      this.hadBoxes = false;
      if (!player.layers.boxes) keys.press("b");
    }
    const stage = player.stages[0];
    stage?.layers.classList.toggle("editing", on);
    if (on) this.#listen(stage);
    this.panel.show();
  }

  async #load(id) {
    const facts = await get("/api/boxes", { id });
    const rows = new Float64Array(await getBytes("/api/boxes/rows", { id, revision: facts.revision }));
    if (id !== player.videoId) return;
    this.facts = facts;
    this.boxes = new BoxEdits(rows, facts);
  }

  // ---- edits

  changed() {
    if (this.boxes) this.#keepDraft(player.videoId, this.facts.revision, this.boxes.edits);
    player.redraw();
    this.panel.show();
  }

  // What is not saved, for a reload of the page.
  #keepDraft(id, revision, edits) {
    try {
      if (edits.length) sessionStorage.setItem(`boxes:${id}`, JSON.stringify({ revision, edits }));
      else sessionStorage.removeItem(`boxes:${id}`);
    } catch {
      player.notice("draft", "There are too many edits to keep for a reload of the page: save them.", "warning");
    }
  }

  apply(edit) {
    try {
      this.boxes.apply(edit);
      player.notice("boxes", "");
    } catch (error) {
      player.notice("boxes", error.message, "warning");
    }
    this.changed();
  }

  undo() {
    const edit = this.busy ? undefined : this.boxes?.undo();
    if (!edit) return;
    const frame = edit.frame ?? edit.first;
    if (frame !== player.frameIndex) player.show(frame);
    this.selected = edit.track;
    this.changed();
  }

  select(track) {
    this.selected = track;
    this.changed();
  }

  selectNext(step) {
    const ids = [...this.people.keys()].sort((one, other) => one - other);
    if (!ids.length) return;
    const place = ids.indexOf(this.selected);
    this.select(ids[(place + (place < 0 && step < 0 ? 0 : step) + ids.length) % ids.length]);
  }

  remove(onwards) {
    if (this.marked) this.apply({ what: "remove", frame: player.frameIndex, track: this.selected, onwards });
  }

  assign(to, onwards) {
    if (!this.marked || !Number.isInteger(to) || to < 0 || to >= 2 ** 31) {
      player.notice("boxes", "An id is a whole number from 0.", "warning");
      return;
    }
    const track = this.selected;
    this.apply({ what: "assign", frame: player.frameIndex, track, to, onwards });
    if (this.people.has(to)) this.select(to);
  }

  // A box where the selected person was last, or else a new person in the middle.
  add() {
    const frame = player.frameIndex;
    const before = this.selected !== null && !this.marked ? this.boxes.before(frame, this.selected) : undefined;
    const { width, height } = this.facts;
    const track = before === undefined ? this.#newId() : this.selected;
    const side = 0.15 * Math.min(width, height);
    const middle = [width / 2 - side / 2, height / 2 - side / 2, width / 2 + side / 2, height / 2 + side / 2];
    const box = before === undefined ? middle : this.boxes.at(before).get(track).box;
    this.apply({ what: "set", frame, track, box });
    this.select(track);
  }

  setKey() {
    if (!this.marked) return;
    this.key = { track: this.selected, frame: player.frameIndex };
    this.changed();
  }

  interpolate() {
    if (!this.key) return;
    const [first, last] = [this.key.frame, player.frameIndex].sort((one, other) => one - other);
    this.apply({ what: "interpolate", track: this.key.track, first, last });
  }

  nudge(dx, dy, resize) {
    if (!this.marked) return;
    const step = Math.max(1, Math.round(this.facts.width / 960));
    const [x0, y0, x1, y1] = this.marked.box;
    const moved = resize ? [x0, y0, x1 + dx * step, y1 + dy * step] : shifted(this.marked.box, dx * step, dy * step, this.facts);
    this.apply({ what: "set", frame: player.frameIndex, track: this.selected, box: moved, nudge: true });
  }

  #newId() {
    const ids = this.boxes.ids();
    return Math.max(0, ...ids) + 1;
  }

  // ---- saving

  async save() {
    if (this.busy || !this.boxes?.edits.length) return;
    const id = player.videoId;
    const { boxes, facts } = this;
    const edits = boxes.edits.map(({ nudge, ...edit }) => edit);
    boxes.edits = [...edits]; // a step of a box that is made from now on is an edit of its own
    this.busy = true;
    this.panel.show();
    try {
      const { revision } = await post("/api/boxes/save", { id }, { revision: facts.revision, edits });
      const later = boxes.edits.slice(edits.length); // made while the server was saving
      this.#keepDraft(id, revision, later);
      if (id === player.videoId) await this.#showSaved(id, later);
    } catch (error) {
      if (error.status === 409) this.panel.offerMerge();
      else player.notice("boxes", `Not saved. ${error.message}`, "error");
    } finally {
      this.busy = false;
      this.changed();
    }
  }

  // What is saved is read again; edits that are in it must not be made twice, so without it nothing is corrected.
  async #showSaved(id, later) {
    try {
      await this.#load(id);
    } catch (error) {
      this.boxes = null;
      this.#leave();
      player.notice("boxes", `Saved, but the boxes can't be shown: ${error.message}`, "error");
      return;
    }
    if (id !== player.videoId) return;
    player.notice("boxes", "");
    if (later.length) this.#putBack(later, "");
  }

  // Read what was saved meanwhile and put the own edits on top, or give them up.
  async merge(keep) {
    const mine = this.boxes.edits;
    try {
      await this.#load(player.videoId);
    } catch (error) {
      player.notice("boxes", error.message, "error");
      return;
    }
    if (keep) this.#putBack(mine, "");
    else player.notice("boxes", "The boxes as they were saved; your edits were given up.");
    this.changed();
  }

  #putBack(edits, words) {
    const lost = [];
    for (const edit of edits) {
      try {
        this.boxes.apply(edit);
      } catch (error) {
        lost.push(error.message);
      }
    }
    const kept = `${edits.length - lost.length} of your ${edits.length} edits are here again, not saved.`;
    const rest = lost.length ? ` These do not fit any more: ${lost.slice(0, 5).join(" ")}` : "";
    player.notice("boxes", `${words}${kept}${rest}`, lost.length ? "warning" : "note");
  }

  // ---- mouse, pen and touch

  #listen(stage) {
    if (!stage || this.stage === stage) return;
    this.stage = stage;
    const { layers } = stage;
    layers.addEventListener("pointerdown", (event) => this.on && this.boxes && this.#grab(event));
    layers.addEventListener("pointermove", (event) => this.on && this.boxes && this.#move(event));
    layers.addEventListener("pointerup", () => this.#drop());
    layers.addEventListener("pointercancel", () => {
      this.drag = null;
      player.redraw();
    });
  }

  #point(event) {
    const { x, y } = this.stage.toFrame(event);
    return [x * this.facts.width, y * this.facts.height];
  }

  // What lies under a pointer: { track, sides: [xs, ys] } with the indices of the sides that move.
  #under(event) {
    const [x, y] = this.#point(event);
    const reach = ((HANDLE[event.pointerType] ?? 8) * this.facts.width) / this.stage.layers.clientWidth;
    const near = (side, value) => Math.abs(side - value) <= reach;
    const handles = ({ box }) => {
      if (x < box[0] - reach || x > box[2] + reach || y < box[1] - reach || y > box[3] + reach) return null;
      const small = box[2] - box[0] < 3 * reach; // a small box is moved by its middle, resized from outside
      const within = small && x > box[0] && x < box[2] && y > box[1] && y < box[3];
      const across = within ? null : near(box[0], x) ? 0 : near(box[2], x) ? 2 : null;
      const down = within ? null : near(box[1], y) ? 1 : near(box[3], y) ? 3 : null;
      return across === null && down === null ? null : [across, down];
    };
    if (this.marked) {
      const sides = handles(this.marked);
      if (sides) return { track: this.selected, sides };
    }
    const hit = [...this.people]
      .filter(([, { box }]) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3])
      .sort(([, one], [, other]) => area(one.box) - area(other.box))[0];
    return hit ? { track: hit[0], sides: null } : null;
  }

  #grab(event) {
    if (event.button !== 0 || this.drag) return;
    event.preventDefault();
    player.pause();
    this.stage.layers.setPointerCapture(event.pointerId);
    const found = this.#under(event);
    const from = this.#point(event);
    if (found) {
      this.select(found.track);
      this.drag = { from, frame: player.frameIndex, track: found.track, sides: found.sides, start: this.marked.box, box: null };
    } else {
      this.select(null);
      this.drag = { from, frame: player.frameIndex, track: this.#newId(), sides: "new", start: null, box: null };
    }
  }

  #move(event) {
    const { layers } = this.stage;
    if (!this.drag) {
      const found = this.#under(event);
      layers.style.cursor = !found ? "crosshair" : found.sides ? cursorOf(found.sides) : "move";
      return;
    }
    const [x, y] = this.#point(event);
    const { from, start, sides } = this.drag;
    const [dx, dy] = [x - from[0], y - from[1]];
    if (Math.hypot(dx, dy) * (layers.clientWidth / this.facts.width) < 3 && !this.drag.box) return;
    if (sides === "new") this.drag.box = ordered([from[0], from[1], x, y]);
    else if (sides === null) this.drag.box = shifted(start, dx, dy, this.facts);
    else this.drag.box = ordered(start.map((side, i) => (sides.includes(i) ? side + (i % 2 ? dy : dx) : side)));
    player.redraw();
  }

  #drop() {
    const { drag } = this;
    this.drag = null;
    if (!drag?.box) return;
    this.apply({ what: "set", frame: drag.frame, track: drag.track, box: drag.box });
    if (this.people.has(drag.track)) this.select(drag.track);
    else player.redraw();
  }

  // ---- keys

  #addKeys() {
    const group = "Correct boxes";
    const add = (key, words, act) => keys.add({ key, words, act, group, when: () => this.on && this.boxes !== null });
    keys.add({ key: "e", words: "Correct boxes: begin or end", act: () => this.toggle(), group, when: () => !this.button.hidden });
    add("]", "Select the next box", () => this.selectNext(1));
    add("[", "Select the previous box", () => this.selectNext(-1));
    for (const [key, dx, dy, side] of [["a", -1, 0, "left"], ["d", 1, 0, "right"], ["w", 0, -1, "up"], ["s", 0, 1, "down"]]) {
      add(key, `Move the box ${side}`, () => this.nudge(dx, dy, false));
      add(`Shift+${key}`, `Move its ${dx ? "right" : "lower"} edge ${side}`, () => this.nudge(dx, dy, true));
    }
    add("c", "Add a box: of the selected person, where it was last, or of a new one", () => this.add());
    add(["Delete", "Backspace"], "Delete the box", () => this.remove(false));
    add("Shift+Delete", "Delete the person from here on", () => this.remove(true));
    add("i", "Type another id", () => this.panel.focusId());
    add("x", "Make this a key box", () => this.setKey());
    add("f", "Fill the frames from the key box to here", () => this.interpolate());
    add(["u", "Control+z"], "Undo", () => this.undo());
    add("Control+s", "Save", () => this.save());
  }

  // ---- drawing

  #draw(context, { source, frameIndex, width, height }) {
    if (!this.on || source !== 0 || !this.boxes) return;
    const [across, down] = [width / this.facts.width, height / this.facts.height];
    const people = new Map(this.boxes.at(frameIndex));
    const { drag } = this;
    if (drag?.box && drag.frame === frameIndex) people.set(drag.track, { box: drag.box, origin: HAND, fresh: true });
    const plates = [];
    for (const [track, { box, origin, fresh }] of people) {
      const [x, y, wide, high] = [box[0] * across, box[1] * down, (box[2] - box[0]) * across, (box[3] - box[1]) * down];
      const chosen = track === this.selected || track === drag?.track;
      context.setLineDash([]);
      context.lineWidth = chosen ? 5 : 4;
      context.strokeStyle = origin === GIVEN && !fresh ? "rgb(20 20 20 / 45%)" : "rgb(255 255 255 / 90%)";
      context.strokeRect(x, y, wide, high);
      context.setLineDash(origin === INTERPOLATED ? [7, 5] : []);
      context.lineWidth = chosen ? 3 : 2;
      context.strokeStyle = colourOf(track);
      context.strokeRect(x, y, wide, high);
      context.setLineDash([]);
      if (chosen) this.#drawHandles(context, x, y, wide, high);
      const made = origin === HAND ? " ✎" : origin === INTERPOLATED ? " ⋯" : fresh ? " ✎" : "";
      paintLabel(context, `id ${track}${made}${fresh ? " unsaved" : ""}`, x, y, colourOf(track), width, plates);
    }
  }

  #drawHandles(context, x, y, wide, high) {
    context.fillStyle = "#fff";
    context.strokeStyle = "#141414";
    context.lineWidth = 1;
    for (const [px, py] of [[x, y], [x + wide, y], [x, y + high], [x + wide, y + high]]) {
      context.fillRect(px - 4, py - 4, 8, 8);
      context.strokeRect(px - 4, py - 4, 8, 8);
    }
  }
}

function area([x0, y0, x1, y1]) {
  return (x1 - x0) * (y1 - y0);
}

function ordered([x0, y0, x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

// The box moved, but not out of the picture.
function shifted([x0, y0, x1, y1], dx, dy, { width, height }) {
  const right = Math.max(-x0, Math.min(dx, width - x1));
  const below = Math.max(-y0, Math.min(dy, height - y1));
  return [x0 + right, y0 + below, x1 + right, y1 + below];
}

function cursorOf([across, down]) {
  if (across === null) return "ns-resize";
  if (down === null) return "ew-resize";
  return CURSORS[`${across},${down === 1 ? 0 : 1}`];
}

export const editor = new BoxEditor();
