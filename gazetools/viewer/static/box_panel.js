// The panel of the correction of boxes: what is selected, its buttons, saving, and the command to run afterwards.

import { player } from "./page.js";

export class BoxPanel {
  constructor(editor) {
    this.editor = editor;
    this.element = document.createElement("section");
    this.element.id = "box-panel";
    this.element.hidden = true;
    this.element.setAttribute("aria-label", "Correct boxes");
    const { element } = this;
    this.words = line(element, "box-words");
    this.words.setAttribute("role", "status");
    const chosen = group(element);
    this.id = document.createElement("input");
    Object.assign(this.id, { type: "number", min: "0", step: "1", id: "box-id" });
    this.id.setAttribute("list", "box-ids");
    const label = document.createElement("label");
    label.htmlFor = "box-id";
    label.textContent = "Id";
    this.ids = document.createElement("datalist");
    this.ids.id = "box-ids";
    chosen.append(label, this.id, this.ids);
    const id = () => (this.id.value === "" ? NaN : Number(this.id.value));
    this.idHere = button(chosen, "id-here", "This frame", "Give this box the id, in this frame only", () => editor.assign(id(), false));
    this.idOn = button(chosen, "id-on", "From here on", "Give the person the id from this frame on", () => editor.assign(id(), true));
    this.id.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      editor.assign(id(), event.shiftKey);
      this.id.blur();
    });
    const boxes = group(element);
    this.add = button(boxes, "add-box", "Add box", "Add a box (c); or draw one on the picture", () => editor.add());
    this.remove = button(boxes, "remove-box", "Delete", "Delete the box in this frame (Delete)", () => editor.remove(false));
    this.removeOn = button(boxes, "remove-on", "Delete from here on", "Delete the person from this frame on (Shift Delete)", () => editor.remove(true));
    const between = group(element);
    this.key = button(between, "key-box", "Key box", "Make this a key box (x)", () => editor.setKey());
    this.fill = button(between, "fill", "Interpolate", "Fill the frames from the key box to here (f)", () => editor.interpolate());
    const saving = group(element);
    this.undo = button(saving, "undo", "Undo", "Undo (u)", () => editor.undo());
    this.save = button(saving, "save", "Save", "Save as a new CSV (Control S)", () => editor.save());
    this.merging = document.createElement("div");
    this.merging.className = "banner warning";
    this.merging.hidden = true;
    const why = document.createElement("p");
    why.textContent = "Not saved: the boxes of this video were saved meanwhile, in another tab or by another program. Your edits are still here.";
    this.merging.append(why);
    button(this.merging, "merge", "Reload and put my edits on top", "", () => this.#merge(true));
    button(this.merging, "give-up", "Reload and give my edits up", "", () => this.#merge(false));
    this.after = document.createElement("div");
    this.after.className = "box-after";
    element.append(this.merging, this.after);
    document.querySelector(".controls").after(element);
  }

  focusId() {
    this.id.focus();
    this.id.select();
  }

  offerMerge() {
    this.merging.hidden = false;
    this.merging.querySelector("button").focus();
  }

  #merge(keep) {
    this.merging.hidden = true;
    this.editor.merge(keep);
  }

  show() {
    const { editor } = this;
    this.element.hidden = !editor.on;
    if (!editor.on || !editor.boxes) return;
    const { marked, selected, key, boxes, facts } = editor;
    for (const one of [this.id, this.idHere, this.idOn, this.remove, this.removeOn, this.key]) one.disabled = !marked;
    if (document.activeElement !== this.id) this.id.value = marked ? String(selected) : "";
    const shown = [...this.ids.children].map((one) => one.value).join();
    const ids = boxes.ids().slice(0, 200);
    if (shown !== ids.join()) this.ids.replaceChildren(...ids.map((one) => new Option(String(one))));
    this.fill.disabled = !key || Math.abs(key.frame - player.frameIndex) < 2;
    this.fill.textContent = key ? `Interpolate id ${key.track}: frame ${key.frame} to here` : "Interpolate";
    this.undo.disabled = !boxes.edits.length;
    this.save.disabled = editor.busy || !boxes.edits.length;
    this.save.textContent = editor.busy ? "Saving …" : "Save";
    const count = boxes.edits.length;
    const states = [count ? `${count} ${count === 1 ? "edit" : "edits"} not saved.` : "No unsaved edits."];
    if (marked) states.unshift(`Id ${selected}: ${marked.box.map((side) => side.toFixed(0)).join(", ")}.`);
    else states.unshift(editor.people.size ? "Click a box to select it; drag on the picture to draw one." : "Nobody in this frame; drag on the picture to draw a box.");
    this.words.textContent = states.join(" ");
    this.#showAfter(facts);
  }

  #showAfter(facts) {
    if (this.shownFacts === facts) return;
    this.shownFacts = facts;
    const where = document.createElement("p");
    where.className = "soft small";
    const from = facts.base.kind === "file" ? "the box file" : "the store's own boxes in";
    where.textContent = facts.saved
      ? `Saved: ${facts.path} (${facts.saved.edits} edits, ${facts.saved.rows} boxes; begun with ${from} ${facts.base.path}). Its history lies next to it.`
      : `Begins with ${from} ${facts.base.path}, which stays as it is. Save writes ${facts.path}.`;
    this.after.replaceChildren(where);
    if (!facts.saved) return;
    const words = document.createElement("p");
    words.textContent = "To compute the frames whose boxes have changed:";
    const command = document.createElement("pre");
    command.id = "box-command";
    command.tabIndex = 0;
    command.textContent = facts.command;
    this.after.append(words, command);
    const copy = button(this.after, "copy-command", "Copy", "Copy the command", async () => {
      await navigator.clipboard.writeText(facts.command);
      copy.textContent = "Copied";
    });
  }
}

function line(parent, id) {
  const element = document.createElement("p");
  element.id = id;
  parent.append(element);
  return element;
}

function group(parent) {
  const element = document.createElement("span");
  element.className = "group";
  parent.append(element);
  return element;
}

function button(parent, id, words, title, act) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", id, textContent: words, title });
  element.addEventListener("click", act);
  parent.append(element);
  return element;
}
