// One stage: the picture of a frame and, above it, the layers of one source, painted in the same task.
//
//   stage.paintPicture(image)         image: ImageBitmap, VideoFrame, video element, or null for a dark plate
//   stage.addLayer({ name, draw })    draw(context, view): view = { stage, source, frameIndex, rows, width, height, player }
//                                     in CSS pixels; rows: those of the people that are switched on, null: not loaded
//   stage.redraw(view)                clears the layers' canvas and calls every layer in order
//   stage.toFrame(event)              {x, y} of a pointer event in 0..1 of the frame
//   stage.element, stage.layers       the box with tabindex, and the canvas that receives pointer events

export class Stage {
  constructor(label) {
    this.element = document.createElement("figure");
    this.element.className = "stage";
    this.box = document.createElement("div");
    this.box.className = "stage-box";
    this.picture = canvas("picture");
    this.layers = canvas("layers");
    this.layers.setAttribute("role", "img");
    this.caption = document.createElement("figcaption");
    this.caption.textContent = label;
    this.box.append(this.picture, this.layers);
    this.element.append(this.box, this.caption);
    this.drawers = [];
    this.size = { width: 16, height: 9 };
  }

  // The shape of the video in pixels; `height` is that of the pictures that will be painted.
  setSize(width, height, paintedHeight) {
    this.size = { width, height };
    this.box.style.aspectRatio = `${width} / ${height}`;
    this.box.style.setProperty("--shape", String(width / height));
    const scale = Math.min(1, paintedHeight / height);
    this.picture.width = Math.max(1, Math.round(width * scale));
    this.picture.height = Math.max(1, Math.round(height * scale));
  }

  paintPicture(image) {
    const context = this.picture.getContext("2d", { alpha: false });
    context.fillStyle = "#11151b";
    context.fillRect(0, 0, this.picture.width, this.picture.height);
    if (image) context.drawImage(image, 0, 0, this.picture.width, this.picture.height);
  }

  addLayer(layer) {
    this.drawers.push(layer);
    return () => this.drawers.splice(this.drawers.indexOf(layer), 1);
  }

  redraw(view) {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.box;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.layers.width !== wide || this.layers.height !== high) {
      this.layers.width = wide;
      this.layers.height = high;
    }
    const context = this.layers.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, wide, high);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const layer of this.drawers) {
      context.save();
      layer.draw(context, { ...view, stage: this, width, height });
      context.restore();
    }
  }

  toFrame(event) {
    const area = this.layers.getBoundingClientRect();
    return { x: (event.clientX - area.left) / area.width, y: (event.clientY - area.top) / area.height };
  }
}

function canvas(name) {
  const element = document.createElement("canvas");
  element.className = name;
  return element;
}
