// The list of videos: only the lines in view are in the page; parts of it are asked for as somebody scrolls.

import { get } from "./server.js";

const LINE = 54;
const PART = 100;

export class VideoList {
  constructor({ lines, space, query, sort, down, words }, onChoose) {
    Object.assign(this, { lines, space, query, sort, down, words, onChoose });
    this.parts = new Map();
    this.total = 0;
    this.chosen = null;
    this.active = 0;
    this.generation = 0;
    lines.addEventListener("scroll", () => this.#draw());
    lines.addEventListener("keydown", (event) => this.#pressed(event));
    new ResizeObserver(() => this.#draw()).observe(lines);
    let timer = 0;
    query.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.restart(), 150);
    });
    sort.addEventListener("change", () => {
      this.#setDown(sort.value !== "name" && sort.value !== "coverage");
      this.restart();
    });
    down.addEventListener("click", () => {
      this.#setDown(down.getAttribute("aria-pressed") !== "true");
      this.restart();
    });
  }

  #setDown(pressed) {
    this.down.setAttribute("aria-pressed", String(pressed));
    this.down.textContent = pressed ? "↓" : "↑";
  }

  async restart() {
    this.lines.scrollTop = 0;
    this.active = 0;
    return this.refresh();
  }

  // Ask for everything in view again, after a change of the store or of what is searched.
  async refresh() {
    this.generation += 1;
    this.parts.clear();
    await this.#load(Math.floor(this.#first() / PART));
    this.#draw();
  }

  video(place) {
    return this.parts.get(Math.floor(place / PART))?.[place % PART] ?? null;
  }

  choose(id) {
    this.chosen = id;
    this.#draw();
  }

  #first() {
    return Math.max(0, Math.floor(this.lines.scrollTop / LINE) - 3);
  }

  async #load(part) {
    if (this.parts.has(part)) return;
    this.parts.set(part, []);
    const { generation } = this;
    const query = { query: this.query.value, sort: this.sort.value, offset: part * PART, limit: PART };
    if (this.down.getAttribute("aria-pressed") === "true") query.down = 1;
    try {
      const found = await get("/api/videos", query);
      if (generation !== this.generation) return;
      this.parts.set(part, found.videos);
      this.total = found.total;
      this.latest = found;
      const reading = found.waiting ? `; ${found.waiting} still to be read` : "";
      const all = found.total === found.all ? "" : ` of ${found.all}`;
      this.words.textContent = `${found.total}${all} video${found.total === 1 && !all ? "" : "s"}${reading}`;
    } catch (error) {
      if (generation === this.generation) this.words.textContent = error.message;
    }
  }

  #draw() {
    this.space.style.height = `${this.total * LINE}px`;
    const first = this.#first();
    const last = Math.min(this.total, first + Math.ceil(this.lines.clientHeight / LINE) + 6);
    const shown = [];
    for (let place = first; place < last; place += 1) {
      const part = Math.floor(place / PART);
      if (!this.parts.has(part)) this.#load(part).then(() => this.#draw());
      const video = this.video(place);
      if (video) shown.push(this.#line(video, place));
    }
    this.space.replaceChildren(...shown);
    this.lines.setAttribute("aria-activedescendant", `line-${this.active}`);
  }

  #line(video, place) {
    const line = document.createElement("div");
    line.className = "line";
    line.id = `line-${place}`;
    line.setAttribute("role", "option");
    line.setAttribute("aria-selected", String(video.id === this.chosen));
    line.setAttribute("aria-setsize", String(this.total));
    line.setAttribute("aria-posinset", String(place + 1));
    line.classList.toggle("active", place === this.active);
    line.style.top = `${place * LINE}px`;
    const name = document.createElement("b");
    name.textContent = video.id;
    name.title = video.id;
    const facts = document.createElement("small");
    facts.textContent = wordsOf(video);
    line.append(name, facts);
    if (video.coverage !== undefined && video.coverage !== null && !video.problem) {
      const meter = document.createElement("span");
      meter.className = "meter";
      const share = document.createElement("span");
      share.style.width = `${100 * video.coverage}%`;
      meter.append(share);
      line.append(meter);
    }
    for (const [severity, count] of Object.entries(video.findings)) {
      if (!count) continue;
      const badge = document.createElement("span");
      badge.className = `badge ${severity}`;
      badge.textContent = String(count);
      badge.title = `${count} finding(s): ${severity}`;
      facts.append(" ", badge);
    }
    line.addEventListener("click", () => {
      this.active = place;
      this.onChoose(video.id);
    });
    return line;
  }

  #pressed(event) {
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -this.total, End: this.total };
    if (event.key === "Enter" || event.key === " ") {
      const video = this.video(this.active);
      if (video) this.onChoose(video.id);
    } else if (event.key in moves) {
      this.active = Math.max(0, Math.min(this.active + moves[event.key], this.total - 1));
      const top = this.active * LINE;
      const { scrollTop, clientHeight } = this.lines;
      if (top < scrollTop) this.lines.scrollTop = top;
      if (top + LINE > scrollTop + clientHeight) this.lines.scrollTop = top + LINE - clientHeight;
      this.#draw();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

function wordsOf(video) {
  if (video.problem) return video.problem;
  if (!video.read) return "not read yet";
  const people = video.people === null || video.people === undefined ? "" : `${video.people} ${video.people === 1 ? "person" : "people"}`;
  const frames = video.frames === null ? "" : `${video.frames} frames`;
  const coverage = video.coverage === null ? "" : `${Math.round(100 * video.coverage)} % covered`;
  return [frames, people, coverage].filter(Boolean).join(", ");
}
