// One map: a layer of points below, and above it labels, the lasso, the ring around the cell under the pointer, pointer and keys.
import { Grid } from "./cells.js";
import { Frame } from "./view.js";

const SVG = "http://www.w3.org/2000/svg";
const MAX_VERTICES = 300;
const CLICK_PIXELS = 4;
const LINE = 15; // pixels of a name's line

const element = (name, attributes = {}, parent = null) => {
  const made = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
};

export class Panel {
  constructor(map, name) {
    this.map = map;
    this.name = name;
    this.root = element("figure", { class: "panel" });
    this.caption = element("figcaption", {}, this.root);
    this.stage = element("div", { class: "stage", tabindex: "0", role: "application", "aria-roledescription": "map of cells" }, this.root);
    this.canvas = element("canvas", { "aria-hidden": "true" }, this.stage);
    this.svg = element("svg:svg", { class: "over", "aria-hidden": "true" }, this.stage);
    this.outline = element("svg:path", { class: "outline" }, this.svg);
    this.drawn = element("svg:path", { class: "lasso" }, this.svg);
    this.labels = element("svg:g", { class: "labels" }, this.svg);
    this.ring = element("svg:circle", { class: "ring", r: "7", visibility: "hidden" }, this.svg);
    this.frame = null;
    this.pointers = new Map();
    this.path = null;
    this.listen();
  }

  setMap(spec, positions) {
    this.spec = spec;
    this.caption.textContent = spec.title;
    this.caption.hidden = !spec.title;
    this.positions = positions;
    if (this.channel === spec.positions && this.frame) return false;
    this.channel = spec.positions;
    this.frame = new Frame(spec.fit);
    this.grid = null;
    this.measure();
    return true;
  }

  measure() {
    const { width, height } = this.stage.getBoundingClientRect();
    this.frame?.resize(width, height);
    return width > 0 && height > 0;
  }

  resize() {
    const { width, height } = this.frame ?? {};
    if (!this.measure() || !this.frame || (this.frame.width === width && this.frame.height === height)) return;
    this.layer?.resize();
    this.moved();
  }

  // The view changed: points, labels and marks follow.
  moved() {
    this.map.setLook(this);
    this.layer?.follow();
    this.place();
    this.map.viewChanged();
  }

  place() {
    if (!this.frame) return;
    this.placeLabels();
    this.outline.setAttribute("d", (this.spec.outlines ?? []).map((polygon) => line(polygon.map(([x, y]) => this.frame.toScreen(x, y)))).join(" "));
    this.mark(this.map.hovered);
  }

  // Names come with the largest group first; one that would cover an earlier one moves up or down a line, or waits until the map
  // is closer. Figures follow the same rule (scfviz/ui/drawing/figure.py).
  placeLabels() {
    const taken = [];
    for (const label of this.labels.children) {
      const [place, y] = this.frame.toScreen(...label.at);
      const half = Math.min(label.textContent.length * 3.4, this.frame.width / 2 - 4);
      // A name at the edge moves in as far as it needs to be read.
      const inside = place > 0 && place < this.frame.width && y > 0 && y < this.frame.height;
      const x = Math.min(this.frame.width - half - 3, Math.max(half + 3, place));
      const free = (at) => at > 10 && at < this.frame.height - 4 && !taken.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - at) < LINE);
      const moved = inside ? [0, LINE, -LINE].map((step) => y + step).find(free) : undefined;
      label.setAttribute("visibility", moved === undefined ? "hidden" : "visible");
      if (moved === undefined) {
        label.setAttribute("transform", `translate(${place.toFixed(1)} ${y.toFixed(1)})`);
        continue;
      }
      label.place = [x, moved];
      label.setAttribute("transform", `translate(${x.toFixed(1)} ${moved.toFixed(1)})`);
      taken.push({ x, y: moved, half });
    }
  }

  setLabels(texts) {
    this.labels.replaceChildren();
    for (const { text, at } of texts) {
      const label = element("svg:text", {}, this.labels);
      label.textContent = text;
      label.at = at;
    }
  }

  mark(cell) {
    const known = cell >= 0 && this.positions;
    this.ring.setAttribute("visibility", known ? "visible" : "hidden");
    if (!known) return;
    const [x, y] = this.frame.toScreen(this.positions[2 * cell], this.positions[2 * cell + 1]);
    this.ring.setAttribute("cx", x.toFixed(1));
    this.ring.setAttribute("cy", y.toFixed(1));
  }

  under(px, py) {
    if (!this.positions) return -1;
    this.grid ??= new Grid(this.positions, this.frame);
    return this.grid.nearest(px, py, 8, this.map.cells);
  }

  listen() {
    const { stage } = this;
    const at = (event) => {
      const box = stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.frame) return;
      stage.setPointerCapture(event.pointerId);
      const place = at(event);
      this.pointers.set(event.pointerId, place);
      this.start = place;
      if (this.pointers.size > 1) {
        this.cancelPath(); // a second finger: zoom instead of drawing
        return;
      }
      const mode = event.shiftKey ? "lasso" : this.map.mode;
      this.path = mode === "pan" ? null : { mode, points: [place] };
    });
    stage.addEventListener("pointermove", (event) => {
      const place = at(event);
      const last = this.pointers.get(event.pointerId);
      if (!last) {
        if (event.pointerType === "mouse") this.map.hover(this, place);
        return;
      }
      if (this.pointers.size === 2) this.pinch(event.pointerId, place);
      else if (this.path) this.extend(place);
      else {
        this.frame.pan(place[0] - last[0], place[1] - last[1]);
        this.moved();
      }
      this.pointers.set(event.pointerId, place);
    });
    const end = (event) => {
      if (!this.pointers.delete(event.pointerId)) return;
      const place = at(event);
      const still = Math.hypot(place[0] - this.start[0], place[1] - this.start[1]) < CLICK_PIXELS;
      if (this.path && (!still || this.path.points.length > 6)) this.finish(event);
      else {
        this.cancelPath();
        if (still && event.type === "pointerup" && this.pointers.size === 0) this.map.click(this, place);
      }
    };
    stage.addEventListener("pointerup", end);
    stage.addEventListener("pointercancel", (event) => {
      this.cancelPath();
      this.pointers.delete(event.pointerId);
    });
    stage.addEventListener("pointerleave", () => this.map.hover(this, null));
    stage.addEventListener("dblclick", (event) => {
      this.frame?.zoomAt(...at(event), event.shiftKey ? 0.5 : 2);
      this.moved();
    });
    stage.addEventListener("wheel", (event) => {
      // The page scrolls over a map that nobody touched; once it has the focus, the wheel is the map's.
      if (!this.frame || !(event.ctrlKey || stage.matches(":focus"))) return;
      event.preventDefault();
      this.frame.zoomAt(...at(event), Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)));
      this.moved();
    }, { passive: false });
    stage.addEventListener("keydown", (event) => {
      if (this.map.key(this, event)) {
        event.preventDefault();
        event.stopPropagation();
      }
    });
  }

  pinch(id, place) {
    const [[otherId, other]] = [...this.pointers].filter(([key]) => key !== id);
    const last = this.pointers.get(id);
    if (otherId === undefined) return;
    const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
    const after = Math.hypot(place[0] - other[0], place[1] - other[1]);
    const middle = [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2];
    this.frame.pan((place[0] - last[0]) / 2, (place[1] - last[1]) / 2);
    if (before > 4) this.frame.zoomAt(...middle, after / before);
    this.moved();
  }

  extend(place) {
    const { points, mode } = this.path;
    const last = points[points.length - 1];
    if (mode === "lasso" && Math.hypot(place[0] - last[0], place[1] - last[1]) < 2) return;
    if (mode === "lasso") points.push(place);
    else this.path.points = [points[0], place];
    this.drawn.setAttribute("d", line(this.polygon()));
  }

  polygon() {
    const { points, mode } = this.path;
    if (mode === "lasso") return points;
    const [[x0, y0], [x1, y1]] = [points[0], points[points.length - 1]];
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  }

  cancelPath() {
    this.path = null;
    this.drawn.setAttribute("d", "");
  }

  finish(event) {
    const polygon = thin(this.polygon());
    const kind = this.path.mode === "lasso" ? "lasso" : "rectangle";
    this.cancelPath();
    if (polygon.length < 3) return;
    const operation = event.altKey ? "subtract" : event.ctrlKey || event.metaKey ? "add" : this.map.operation;
    this.map.select({ kind, map: this.name, operation, polygon: polygon.map(([x, y]) => this.frame.toData(x, y).map(short)) });
  }
}

// Seven digits place a vertex far within a pixel and keep the message small.
const short = (value) => Number(value.toPrecision(7));
const line = (points) => (points.length > 1 ? `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}Z` : "");

// The polygon is kept and sent, so it has at most MAX_VERTICES vertices.
function thin(points) {
  if (points.length <= MAX_VERTICES) return points;
  const step = points.length / MAX_VERTICES;
  return Array.from({ length: MAX_VERTICES }, (_, i) => points[Math.floor(i * step)]);
}
