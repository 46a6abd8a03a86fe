// The timeline: coverage and in/out score of the chosen people, findings, actions, and the place that is shown.
// A slider for the keyboard; a click or a drag goes to a place. Long videos are drawn in stretches of frames.

import { get } from "./server.js";

const CURVE = 44;
const LANE = 16;
const MOST_LANES = 4;

export class Timeline {
  constructor(element, player) {
    this.player = player;
    this.element = element;
    element.tabIndex = 0;
    element.setAttribute("role", "slider");
    element.setAttribute("aria-label", "Frame");
    this.canvas = document.createElement("canvas");
    this.hint = document.createElement("div");
    this.hint.className = "hint";
    this.hint.hidden = true;
    element.append(this.canvas, this.hint);
    this.curves = [];
    this.lanes = [];
    element.addEventListener("pointerdown", (event) => this.#grab(event));
    element.addEventListener("pointermove", (event) => this.#hover(event));
    element.addEventListener("pointerleave", () => {
      this.hint.hidden = true;
    });
    new ResizeObserver(() => this.draw()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    player.on("open", ({ facts }) => this.#open(facts));
    player.on("frame", () => this.#moved());
    player.on("people", () => this.#load());
  }

  #open(facts) {
    const { player } = this;
    const count = player.frameCount;
    this.findings = facts.findings.map((one) => ({ ...one, frames: one.frames?.filter((frame) => frame < count) ?? null }));
    this.lanes = lanesOf(facts.segments.map((one) => ({ ...one, title: titleOf(one) })));
    this.curves = [];
    this.element.setAttribute("aria-valuemin", "0");
    this.element.setAttribute("aria-valuemax", String(Math.max(0, count - 1)));
    this.#moved();
    this.#load();
  }

  async #load() {
    const { player } = this;
    const id = player.videoId;
    const shown = (source) =>
      player.hidden.size ? { tracks: player.facts.sources[source].tracks.map((one) => one.id).filter((one) => !player.hidden.has(one)).join(",") } : {};
    const curves = await Promise.all(
      player.streams.map(async (stream) => {
        if (!stream.usable) return null;
        try {
          return await get("/api/curves", { id, source: stream.source, bins: 1000, ...shown(stream.source) });
        } catch {
          return null; // the stage says what is wrong
        }
      }),
    );
    if (id !== player.videoId) return;
    this.curves = curves;
    this.draw();
  }

  // Frames of findings, each once, ascending.
  findingFrames() {
    const frames = (this.findings ?? []).flatMap((one) => one.frames ?? []);
    return [...new Set(frames)].sort((one, other) => one - other);
  }

  #height() {
    return CURVE + 10 + (this.lanes.length ? this.lanes.length * LANE + 2 : 0);
  }

  #moved() {
    const { player } = this;
    this.element.setAttribute("aria-valuenow", String(player.frameIndex));
    this.element.setAttribute("aria-valuetext", `frame ${player.frameIndex} of ${player.frameCount}`);
    this.draw();
  }

  #x(frame, width) {
    return (frame / Math.max(1, this.player.frameCount)) * width;
  }

  #frameAt(event) {
    const area = this.element.getBoundingClientRect();
    const share = Math.max(0, Math.min((event.clientX - area.left) / area.width, 0.999999));
    return Math.floor(share * this.player.frameCount);
  }

  #grab(event) {
    this.element.setPointerCapture(event.pointerId);
    this.player.show(this.#frameAt(event));
    const move = (moved) => this.player.show(this.#frameAt(moved));
    this.element.addEventListener("pointermove", move);
    this.element.addEventListener("pointerup", () => this.element.removeEventListener("pointermove", move), { once: true });
  }

  #hover(event) {
    const { player } = this;
    if (!player.frameCount) return;
    const frame = this.#frameAt(event);
    const area = this.element.getBoundingClientRect();
    const lane = Math.floor((event.clientY - area.top - CURVE - 10) / LANE);
    const seconds = player.times[frame] - player.times[0];
    const action = this.lanes[lane]?.find((one) => one.start_seconds <= seconds && seconds < one.stop_seconds);
    const near = Math.max(1, player.frameCount / area.width) * 3;
    const found = (this.findings ?? []).filter((one) => one.frames?.some((other) => Math.abs(other - frame) <= near));
    const words = [`frame ${frame}, ${seconds.toFixed(2)} s`, action?.title, ...new Set(found.map((one) => one.code))];
    this.hint.textContent = words.filter(Boolean).join(" · ");
    this.hint.hidden = false;
    const left = event.clientX - area.left;
    this.hint.style.left = `${Math.max(0, Math.min(left, area.width - this.hint.offsetWidth))}px`;
  }

  draw() {
    const width = this.element.clientWidth;
    const height = this.#height();
    const ratio = window.devicePixelRatio || 1;
    this.element.style.height = `${height}px`;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    context.fillStyle = colour("strip");
    context.fillRect(0, 0, width, CURVE);
    this.#drawCurves(context, width, colour);
    this.#drawFindings(context, width, colour);
    this.#drawActions(context, width, colour);
    const x = Math.min(this.#x(this.player.frameIndex + 0.5, width), width - 1);
    context.fillStyle = colour("ink");
    context.fillRect(x - 1, 0, 2, height);
    context.beginPath();
    context.moveTo(x - 5, 0);
    context.lineTo(x + 5, 0);
    context.lineTo(x, 6);
    context.fill();
  }

  #drawCurves(context, width, colour) {
    this.curves.forEach((curve, source) => {
      if (!curve) return;
      const step = this.#x(curve.frames_per_bin, width);
      const tall = 5;
      context.fillStyle = colour("map");
      curve.coverage.forEach((share, bin) => {
        if (share <= 0) return;
        const [left, right] = [Math.floor(bin * step), Math.ceil((bin + 1) * step)];
        context.globalAlpha = share < 1 ? 0.35 + 0.5 * share : 1;
        context.fillRect(left, CURVE - tall - source * (tall + 1), Math.max(right - left, 1), tall);
      });
      context.globalAlpha = 1;
      context.strokeStyle = colour(source ? "note" : "look");
      context.lineWidth = 1.5;
      context.setLineDash(source ? [4, 3] : []);
      context.beginPath();
      let drawing = false;
      curve.inout.forEach((value, bin) => {
        if (value === null) {
          drawing = false;
          return;
        }
        const [x, y] = [(bin + 0.5) * step, 4 + (1 - value) * (CURVE - 20)];
        if (drawing) context.lineTo(x, y);
        else context.moveTo(x - step / 2, y);
        drawing = true;
      });
      context.stroke();
      context.setLineDash([]);
    });
  }

  #drawFindings(context, width, colour) {
    const order = ["note", "warning", "error"];
    for (const severity of order) {
      context.fillStyle = colour(severity);
      for (const finding of this.findings ?? []) {
        if (finding.severity !== severity) continue;
        if (finding.frames === null) context.fillRect(0, CURVE + 7, width, 2);
        for (const frame of finding.frames ?? []) {
          context.fillRect(this.#x(frame, width), CURVE + 1, Math.max(2, this.#x(1, width)), 6);
        }
      }
    }
  }

  #drawActions(context, width, colour) {
    const { player } = this;
    if (!player.frameCount) return;
    const first = player.times[0];
    const length = Math.max(1e-9, player.times[player.frameCount - 1] - first) * (player.frameCount / Math.max(1, player.frameCount - 1));
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    this.lanes.forEach((lane, number) => {
      const top = CURVE + 10 + number * LANE;
      for (const one of lane) {
        const x = (one.start_seconds / length) * width;
        const wide = Math.max(2, ((one.stop_seconds - one.start_seconds) / length) * width - 1);
        context.fillStyle = colour("action");
        context.fillRect(x, top, wide, LANE - 2);
        if (wide > 40) {
          context.fillStyle = colour("ink");
          context.fillText(shortened(context, one.title, wide - 8), x + 4, top + LANE / 2 - 1);
        }
      }
    });
  }
}

function titleOf(segment) {
  const classes = Object.entries(segment.classes).map(([task, value]) => `${task} ${value}`);
  return [...classes, segment.name].filter(Boolean).join(", ") || "action";
}

// The text, or as much of its beginning as fits with an ellipsis into `room` pixels.
function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let kept = text.length - 1;
  while (kept > 0 && context.measureText(`${text.slice(0, kept)}…`).width > room) kept -= 1;
  return `${text.slice(0, kept).trimEnd()}…`;
}

// Actions in as few rows as keep them apart; what would need more rows shares the last one.
function lanesOf(segments) {
  const lanes = [];
  const ends = [];
  for (const one of [...segments].sort((a, b) => a.start_seconds - b.start_seconds)) {
    let lane = ends.findIndex((end) => end <= one.start_seconds);
    if (lane < 0) lane = Math.min(ends.length, MOST_LANES - 1);
    ends[lane] = one.stop_seconds;
    (lanes[lane] ??= []).push(one);
  }
  return lanes;
}
