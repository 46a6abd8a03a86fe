// The page: list, player, timeline, keys and the notice that something has changed, wired together.
//
// Further parts (such as the correction of boxes) import { player } from this module's exports.

import { keys } from "./keys.js";
import { VideoList } from "./list.js";
import { Player } from "./player.js";
import { colourOf } from "./paint.js";
import { get } from "./server.js";
import { Timeline } from "./timeline.js";

const element = (id) => document.getElementById(id);
const ASKED_EVERY = 3000;

export const player = new Player({ stages: element("stages"), notices: element("notices"), tools: element("tools") });
export const timeline = new Timeline(element("timeline"), player);
export const list = new VideoList(
  { lines: element("lines"), space: element("lines-space"), query: element("query"), sort: element("sort"), down: element("down"), words: element("list-words") },
  (id) => {
    closeList();
    open(id);
  },
);

// ---- which video: #video=ID&frame=N, so that a place can be kept and reloaded

async function open(id, frame = 0) {
  list.choose(id);
  await player.open(id, frame);
}

function placeInAddress() {
  const place = new URLSearchParams(location.hash.slice(1));
  return { id: place.get("video"), frame: Number(place.get("frame")) || 0 };
}

// At most every 400 ms, since browsers limit how often an address may change; the last place is always kept.
let addressTimer = 0;
function keepPlace() {
  addressTimer ||= setTimeout(writePlace, 400);
}

function writePlace() {
  clearTimeout(addressTimer);
  addressTimer = 0;
  if (player.videoId === null) return;
  const place = new URLSearchParams({ video: player.videoId, frame: player.frameIndex });
  history.replaceState(null, "", `${location.pathname}#${place}`);
}
window.addEventListener("pagehide", writePlace);

window.addEventListener("hashchange", () => {
  const { id, frame } = placeInAddress();
  if (id && id !== player.videoId) open(id, frame);
  else if (id) player.show(frame);
});

// ---- the list on narrow screens

function closeList() {
  element("videos").classList.remove("shown");
  element("show-list").setAttribute("aria-expanded", "false");
}

element("show-list").addEventListener("click", () => {
  const shown = element("videos").classList.toggle("shown");
  element("show-list").setAttribute("aria-expanded", String(shown));
});

// ---- controls

for (const button of document.querySelectorAll("[data-key]")) button.addEventListener("click", () => keys.press(button.dataset.key));
element("play").addEventListener("click", () => player.toggle());
player.on("play", () => sayPlaying(true));
player.on("pause", () => sayPlaying(false));

function sayPlaying(playing) {
  element("play").textContent = playing ? "Pause" : "Play";
  element("play").setAttribute("aria-label", playing ? "Pause" : "Play");
}

element("speed").addEventListener("change", (event) => {
  player.rate = Number(event.target.value);
  if (player.playing) player.show(player.frameIndex).then(() => player.play());
});

function setOpacity(share) {
  player.opacity = Math.max(0, Math.min(share, 1));
  element("opacity").value = String(Math.round(100 * player.opacity));
  player.redraw();
}
element("opacity").addEventListener("input", (event) => setOpacity(Number(event.target.value) / 100));

function toggleSound() {
  player.sound = !player.sound;
  element("sound").setAttribute("aria-pressed", String(player.sound));
  player.element.muted = !player.sound;
}
element("sound").addEventListener("click", toggleSound);

const LAYERS = [["heat", "h", "Heatmap"], ["boxes", "b", "Boxes"], ["gaze", "g", "Gaze"]];
for (const [name, key, words] of LAYERS) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = words;
  button.title = `${words} (${key})`;
  button.setAttribute("aria-pressed", "true");
  const toggle = () => {
    player.layers[name] = !player.layers[name];
    button.setAttribute("aria-pressed", String(player.layers[name]));
    player.redraw();
  };
  button.addEventListener("click", toggle);
  element("toggles").append(button);
  keys.add({ key, words: `${words}: show or hide`, act: toggle, group: "Show" });
}

function toFinding(direction) {
  const frames = timeline.findingFrames();
  const now = player.wanted;
  const next = direction > 0 ? frames.find((frame) => frame > now) : frames.findLast((frame) => frame < now);
  if (next !== undefined) player.show(next);
  else player.notice("finding", frames.length ? `There is no finding ${direction > 0 ? "after" : "before"} this frame.` : "No finding names a frame of this video.");
}

const second = () => Math.max(1, Math.round((player.frameCount - 1) / Math.max(1e-9, player.times.at(-1) - player.times[0])));
keys.add({ key: " ", words: "Play or pause", act: () => player.toggle(), group: "Move" });
keys.add({ key: [".", "ArrowRight"], words: "One frame on", act: () => player.step(1), group: "Move" });
keys.add({ key: [",", "ArrowLeft"], words: "One frame back", act: () => player.step(-1), group: "Move" });
keys.add({ key: "Shift+ArrowRight", words: "One second on", act: () => player.step(second()), group: "Move" });
keys.add({ key: "Shift+ArrowLeft", words: "One second back", act: () => player.step(-second()), group: "Move" });
keys.add({ key: "Home", words: "First frame", act: () => player.show(0), group: "Move" });
keys.add({ key: "End", words: "Last frame", act: () => player.show(player.frameCount - 1), group: "Move" });
keys.add({ key: "n", words: "Next finding", act: () => toFinding(1), group: "Move" });
keys.add({ key: "p", words: "Previous finding", act: () => toFinding(-1), group: "Move" });
keys.add({ key: "+", words: "Stronger heatmap", act: () => setOpacity(player.opacity + 0.1), group: "Show" });
keys.add({ key: "-", words: "Weaker heatmap", act: () => setOpacity(player.opacity - 0.1), group: "Show" });
keys.add({ key: "m", words: "Sound on or off", act: toggleSound, group: "Show" });
keys.add({ key: "/", words: "Search the list", act: () => element("query").focus(), group: "List" });
keys.add({ key: ["j", "k"], words: "Next and previous video: arrow keys in the list", act: () => element("lines").focus(), group: "List" });

function showHelp() {
  keys.describe(element("help-keys"));
  element("help").showModal();
  element("help").scrollTop = 0; // the focus goes to the button at the end
}
keys.add({ key: "?", words: "This help", act: showHelp, group: "Other" });
element("show-help").addEventListener("click", showHelp);

// ---- what is shown in words

player.on("frame", ({ frameIndex, seconds }) => {
  element("place").textContent = `frame ${frameIndex} of ${player.frameCount} · ${clock(seconds)}`;
  player.notice("finding", "");
  keepPlace();
  if (!player.playing) showPeople();
});
player.on("rows", showPeople);
player.on("pause", showPeople);
player.on("close", () => element("people").replaceChildren());
player.on("open", ({ facts }) => showAbout(facts));

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(3).padStart(6, "0")}`;
}

// Chips of the people in this frame, and of those that are switched off.
function showPeople() {
  const rows = player.streams.flatMap((_, source) => player.rows(source) ?? []);
  const here = new Set(rows.map((row) => row.track).filter((track) => track !== null));
  const shown = [...new Set([...here, ...player.hidden])].sort((one, other) => one - other);
  const roles = new Map(player.facts?.sources.flatMap((one) => one.tracks ?? []).map((one) => [one.id, one.role]));
  const chips = shown.map((track) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.track = String(track);
    chip.setAttribute("aria-pressed", String(!player.hidden.has(track)));
    const dot = document.createElement("i");
    dot.style.background = colourOf(track);
    const scores = rows.filter((row) => row.track === track && row.inout !== null).map((row) => row.inout.toFixed(2));
    const words = [`id ${track}`, roles.get(track) === "wearer" ? "wearer" : "", scores.length ? `in ${scores.join(" / ")}` : ""];
    chip.append(dot, words.filter(Boolean).join(" "));
    chip.addEventListener("click", () => {
      player.setHidden(track, !player.hidden.has(track));
      showPeople();
      [...element("people").children].find((one) => one.dataset.track === String(track))?.focus();
    });
    return chip;
  });
  element("people").replaceChildren(...chips);
}

function showAbout(facts) {
  const about = element("about");
  about.replaceChildren();
  const title = document.createElement("h2");
  title.textContent = facts.id;
  about.append(title);
  const say = (words, kind = "p") => {
    const line = document.createElement(kind);
    line.textContent = words;
    about.append(line);
    return line;
  };
  if (facts.video.width) say(`${facts.video.name}: ${facts.video.width}×${facts.video.height}, ${facts.video.codec}, ${facts.video.rate.toFixed(2)} frames per second.`).className = "soft";
  for (const one of facts.sources) {
    if (one.size_hw) {
      const people = one.tracks.length ? ` of ${one.tracks.length} ${one.tracks.length === 1 ? "person" : "people"}` : "";
      say(`${one.name}: ${one.rows} maps${people}, ${one.size_hw[1]}×${one.size_hw[0]}${one.model ? `, made by ${one.model}` : ""}.`).className = "soft";
    }
  }
  if (facts.findings.length) say("Findings", "h2");
  for (const one of facts.findings) {
    const card = document.createElement("div");
    card.className = `card finding ${one.severity}`;
    const badge = document.createElement("span");
    badge.className = `badge ${one.severity}`;
    badge.textContent = one.severity;
    const code = document.createElement("b");
    code.textContent = ` ${one.code} `;
    const text = document.createElement("span");
    text.textContent = one.message;
    card.append(badge, code, text);
    if (one.frames?.length) {
      const go = document.createElement("button");
      go.type = "button";
      go.textContent = `Go to frame ${one.frames[0]}`;
      go.addEventListener("click", () => player.show(one.frames[0]));
      card.append(" ", go);
    }
    about.append(card);
  }
  element("finding-steps").hidden = !facts.findings.some((one) => one.frames?.length);
}

// ---- what changes while it is looked at

let version = null;
let round = 0;
async function look() {
  if (document.hidden) return;
  const query = player.videoId === null ? {} : { id: player.videoId };
  round += 1;
  if (round % 4 === 0) query.list = 1;
  const asked = player.videoId;
  const found = await get("/api/changes", query);
  player.notice("server", "");
  if (version !== null && found.version !== version) await list.refresh();
  version = found.version;
  if (asked === null || asked !== player.videoId || !player.facts || player.opening === null) return;
  const before = player.facts.sources.map((one) => one.stamp);
  const changed = found.stamps.some((stamp, source) => stamp !== before[source] && stamp !== null);
  const otherVideo = found.video !== (player.facts.video.stamp ?? null);
  if (changed || otherVideo) {
    await player.reload();
    const words = changed ? "The heatmaps of this video were written again" : "The video's file has changed";
    player.notice("changed", `${words}; the page was loaded anew.`);
  }
  const gone = found.stamps.some((stamp, source) => stamp === null && before[source] !== null);
  player.notice("gone", gone ? "The heatmaps of this video are not there any more." : "", "warning");
}

setInterval(() => look().catch((error) => player.notice("server", error.message, "error")), ASKED_EVERY);

async function begin() {
  const { id, frame } = placeInAddress();
  if (location.search) history.replaceState(null, "", location.pathname + location.hash); // the token is in the cookie now
  await list.restart();
  const general = list.latest?.general ?? [];
  if (general.length) player.notice("general", `${general.length} findings are about the whole folder, such as: ${general[0].message}`, "warning");
  const first = id ?? (document.querySelector('meta[name="gazetools-first-video"]').content || list.video(0)?.id);
  if (first) await open(first, frame);
}

begin().catch((error) => player.notice("opening", error.message, "error"));
