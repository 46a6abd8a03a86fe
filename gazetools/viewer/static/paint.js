// Draw heatmaps, head boxes and gaze onto a canvas whose context has the size of the picture in CSS pixels.
// Used by the player and by exported pages, so that it imports nothing.

// the palette of Okabe and Ito, which colour-blind people can distinguish; as in `gazetools preview`
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00"];
// stops of a map from dark violet to light yellow, evenly spaced
const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];

export function colourOf(track) {
  return COLOURS[(((track ?? 0) % COLOURS.length) + COLOURS.length) % COLOURS.length];
}

const table = new Uint8ClampedArray(256 * 3);
for (let value = 0; value < 256; value += 1) {
  const place = (value / 255) * (HEAT.length - 1);
  const low = Math.min(Math.floor(place), HEAT.length - 2);
  for (let channel = 0; channel < 3; channel += 1) {
    table[3 * value + channel] = HEAT[low][channel] + (place - low) * (HEAT[low + 1][channel] - HEAT[low][channel]);
  }
}

let scratch = null;

// The maps of some people, each scaled to its own largest value; where nobody looks the picture stays as it is.
export function paintHeat(context, rows, width, height, opacity) {
  const shown = rows.filter((row) => row.top > 0);
  if (!shown.length || opacity <= 0) return;
  const { width: columns, height: lines } = shown[0];
  scratch ??= document.createElement("canvas");
  scratch.width = columns;
  scratch.height = lines;
  const brush = scratch.getContext("2d");
  const image = brush.createImageData(columns, lines);
  for (let i = 0; i < columns * lines; i += 1) {
    let heat = 0;
    for (const row of shown) if (row.map[i] > heat) heat = row.map[i];
    image.data[4 * i] = table[3 * heat];
    image.data[4 * i + 1] = table[3 * heat + 1];
    image.data[4 * i + 2] = table[3 * heat + 2];
    image.data[4 * i + 3] = Math.round(opacity * heat);
  }
  brush.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(scratch, 0, 0, width, height);
}

export function paintBoxes(context, rows, width, height) {
  context.lineWidth = Math.max(1.5, width / 480);
  const plates = [];
  for (const row of rows) {
    if (!row.box) continue;
    const [x0, y0, x1, y1] = row.box;
    context.strokeStyle = colourOf(row.track);
    context.strokeRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
    paintLabel(context, labelOf(row), x0 * width, y0 * height, colourOf(row.track), width, plates);
  }
}

export function labelOf(row) {
  const parts = row.track === null ? [] : [`id ${row.track}`];
  if (row.inout !== null) parts.push(`in ${row.inout.toFixed(2)}`);
  return parts.join("  ");
}

export function paintGaze(context, rows, width, height) {
  const unit = Math.max(1.5, width / 480);
  for (const row of rows) {
    if (!row.peak) continue;
    const [x, y] = [row.peak[0] * width, row.peak[1] * height];
    context.strokeStyle = colourOf(row.track);
    context.lineWidth = unit;
    if (row.box) {
      context.beginPath();
      context.moveTo(((row.box[0] + row.box[2]) / 2) * width, ((row.box[1] + row.box[3]) / 2) * height);
      context.lineTo(x, y);
      context.stroke();
    }
    context.lineWidth = 2 * unit;
    context.beginPath();
    context.moveTo(x - 5 * unit, y);
    context.lineTo(x + 5 * unit, y);
    context.moveTo(x, y - 5 * unit);
    context.lineTo(x, y + 5 * unit);
    context.stroke();
  }
}

// A text on a dark plate whose lower left corner is (x, y). A plate that would not fit is moved inside, and one that
// would cover another of `plates`, those of this picture so far, above it, or else below it.
export function paintLabel(context, text, x, y, colour, width, plates) {
  if (!text) return;
  const size = Math.max(11, Math.min(15, width / 60));
  context.font = `600 ${size}px system-ui, sans-serif`;
  const wide = context.measureText(text).width + size * 0.6;
  const high = size * 1.45;
  const left = Math.max(0, Math.min(x, width - wide));
  const covers = (low) => plates.some((one) => left < one.left + one.wide && one.left < left + wide && Math.abs(one.bottom - low) < high);
  const wanted = Math.max(high, y);
  const above = plates.map((one) => one.bottom - high).sort((a, b) => b - a);
  const below = plates.map((one) => one.bottom + high).sort((a, b) => a - b);
  const bottom = [wanted, ...above, ...below].find((low) => low >= high && low <= wanted + high && !covers(low)) ?? wanted;
  plates.push({ left, wide, bottom });
  context.fillStyle = "rgb(20 20 20 / 82%)";
  context.fillRect(left, bottom - high, wide, high);
  context.fillStyle = colour;
  context.fillText(text, left + size * 0.3, bottom - size * 0.42);
}
