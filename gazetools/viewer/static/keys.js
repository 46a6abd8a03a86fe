// The keys of the page: one registry, from which the help overlay is made.
//
//   keys.add({ key: "n", words: "Next finding", act: () => ..., group: "Move", when: () => true })
//
// `key` is KeyboardEvent.key, with "Shift+", "Control+" or "Alt+" before it where one is held; a list gives several keys
// to one act. A later entry of the same key wins where its `when` allows. Keys do nothing while somebody types.

class Keys {
  constructor() {
    this.entries = [];
    document.addEventListener("keydown", (event) => this.#pressed(event));
  }

  add(entry) {
    const whole = { group: "Other", when: () => true, ...entry, keys: [entry.key].flat() };
    this.entries.push(whole);
    return () => this.entries.splice(this.entries.indexOf(whole), 1);
  }

  press(key) {
    const entry = this.entries.findLast((one) => one.keys.includes(key) && one.when());
    if (entry) entry.act();
    return Boolean(entry);
  }

  // Fill the table of the help overlay.
  describe(table) {
    table.replaceChildren();
    const groups = [...new Set(this.entries.map((entry) => entry.group))];
    for (const group of groups) {
      const head = table.insertRow();
      const title = document.createElement("th");
      title.colSpan = 2;
      title.textContent = group;
      head.append(title);
      for (const entry of this.entries.filter((one) => one.group === group)) {
        const row = table.insertRow();
        const cell = row.insertCell();
        for (const key of entry.keys) {
          const mark = document.createElement("kbd");
          mark.textContent = nameOf(key);
          cell.append(mark, " ");
        }
        row.insertCell().textContent = entry.words;
      }
    }
  }

  #pressed(event) {
    const target = event.target;
    const types = target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName);
    const input = target.tagName === "INPUT" && target.type !== "checkbox";
    if (types || input || event.metaKey || document.querySelector("dialog[open]")) return;
    if (target.tagName === "BUTTON" && [" ", "Enter"].includes(event.key)) return;
    const held = [event.ctrlKey && "Control", event.altKey && "Alt"].filter(Boolean);
    const shifted = event.shiftKey && (event.key.length > 1 || /[A-Z]/.test(event.key));
    const key = [...held, shifted && "Shift", event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (this.press(key.filter(Boolean).join("+"))) event.preventDefault();
  }
}

function nameOf(key) {
  const names = { " ": "space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  return key === "+" ? key : key.split("+").map((part) => names[part] ?? part).join(" ");
}

export const keys = new Keys();
