// The player of an exported page: one canvas per source, on which picture and overlay of a frame are painted together.
import { paintBoxes, paintGaze, paintHeat } from "./paint.js";

const clip = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const shown = { frame: 0, playing: false, boxes: true, gaze: true, opacity: 0.65 };

const pictures = clip.frames.map(({ picture }) => {
  if (!picture) return null;
  const image = new Image();
  image.src = picture;
  return image;
});
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
for (const source of clip.sources) {
  const [width, height] = source.size;
  source.rows = source.rows.map((rows) => rows.map((row) => ({ ...row, map: bytesOf(row.map), width, height })));
  const figure = document.createElement("figure");
  figure.className = "stage";
  source.canvas = document.createElement("canvas");
  source.canvas.className = "clip-canvas";
  const scale = Math.min(1, 1080 / clip.size[1]);
  source.canvas.width = Math.max(720, Math.round(clip.size[0] * scale));
  source.canvas.height = Math.max(1, Math.round((source.canvas.width * clip.size[1]) / clip.size[0]));
  const caption = document.createElement("figcaption");
  const damaged = source.damaged ? ` (${source.damaged} heatmaps have numbers that are not finite, which are drawn as 0)` : "";
  caption.textContent = source.name + damaged;
  figure.append(source.canvas, caption);
  byId("stages").append(figure);
}
byId("stages").dataset.count = String(clip.sources.length);
byId("frame").max = String(clip.frames.length - 1);

async function draw(frame) {
  shown.frame = Math.max(0, Math.min(frame, clip.frames.length - 1));
  const { frame: wanted } = shown;
  const image = pictures[wanted];
  if (image) await image.decode().catch(() => {});
  if (wanted !== shown.frame) return;
  for (const { canvas, rows } of clip.sources) {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    context.fillStyle = "#11151b";
    context.fillRect(0, 0, width, height);
    if (image) context.drawImage(image, 0, 0, width, height);
    paintHeat(context, rows[wanted], width, height, shown.opacity);
    if (shown.boxes) paintBoxes(context, rows[wanted], width, height);
    if (shown.gaze) paintGaze(context, rows[wanted], width, height);
  }
  byId("frame").value = String(wanted);
  byId("place").textContent = `frame ${clip.first + wanted} · ${clip.frames[wanted].seconds.toFixed(3)} s`;
  document.body.dataset.frame = String(clip.first + wanted);
}

function pause() {
  shown.playing = false;
  byId("play").textContent = "Play";
}

async function play() {
  shown.playing = true;
  byId("play").textContent = "Pause";
  let frame = shown.frame >= clip.frames.length - 1 ? 0 : shown.frame;
  const begun = performance.now() - 1000 * clip.frames[frame].seconds;
  while (shown.playing) {
    const now = (performance.now() - begun) / 1000;
    while (frame < clip.frames.length - 1 && clip.frames[frame + 1].seconds <= now) frame += 1;
    await draw(frame);
    if (frame === clip.frames.length - 1) pause();
    await new Promise(requestAnimationFrame);
  }
}

const go = (frame) => {
  pause();
  return draw(frame);
};
const toggle = () => (shown.playing ? pause() : play());
byId("play").addEventListener("click", toggle);
byId("back").addEventListener("click", () => go(shown.frame - 1));
byId("on").addEventListener("click", () => go(shown.frame + 1));
byId("frame").addEventListener("input", (event) => go(Number(event.target.value)));
byId("opacity").addEventListener("input", (event) => {
  shown.opacity = Number(event.target.value) / 100;
  draw(shown.frame);
});
for (const name of ["boxes", "gaze"]) {
  byId(name).addEventListener("click", (event) => {
    shown[name] = !shown[name];
    event.target.setAttribute("aria-pressed", String(shown[name]));
    draw(shown.frame);
  });
}
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || (event.target.tagName === "BUTTON" && event.key === " ")) return;
  const acts = { " ": toggle, ArrowRight: () => go(shown.frame + 1), ArrowLeft: () => go(shown.frame - 1) };
  if (!(event.key in acts)) return;
  acts[event.key]();
  event.preventDefault();
});
draw(0);
