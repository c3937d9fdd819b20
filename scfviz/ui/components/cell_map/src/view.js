// Where data are on the screen. A view is a centre and a zoom in a map's own units: the fitted box is scaled to -1 .. 1.
export class Frame {
  constructor(fit) {
    const [x0, y0, x1, y1] = fit;
    this.cx = (x0 + x1) / 2;
    this.cy = (y0 + y1) / 2;
    this.half = Math.max((x1 - x0) / 2, (y1 - y0) / 2) || 1;
    this.wide = (x1 - x0) / 2 / this.half || 1e-3;
    this.high = (y1 - y0) / 2 / this.half || 1e-3;
    this.width = 1;
    this.height = 1;
    this.reset();
  }

  resize(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
  }

  reset() {
    this.x = 0;
    this.y = 0;
    this.zoom = 1;
  }

  // Pixels per unit when the whole fitted box is in view.
  get base() {
    return 0.94 * Math.min(this.width / 2 / this.wide, this.height / 2 / this.high);
  }

  get scale() {
    return this.base * this.zoom;
  }

  toUnit(x, y) {
    return [(x - this.cx) / this.half, (y - this.cy) / this.half];
  }

  unitToScreen(u, v) {
    return [this.width / 2 + (u - this.x) * this.scale, this.height / 2 - (v - this.y) * this.scale];
  }

  toScreen(x, y) {
    return this.unitToScreen((x - this.cx) / this.half, (y - this.cy) / this.half);
  }

  screenToUnit(px, py) {
    return [this.x + (px - this.width / 2) / this.scale, this.y - (py - this.height / 2) / this.scale];
  }

  toData(px, py) {
    const [u, v] = this.screenToUnit(px, py);
    return [this.cx + u * this.half, this.cy + v * this.half];
  }

  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y += dy / this.scale;
    this.clamp();
  }

  zoomAt(px, py, factor) {
    const before = this.screenToUnit(px, py);
    this.zoom = Math.min(400, Math.max(0.4, this.zoom * factor));
    const after = this.screenToUnit(px, py);
    this.x += before[0] - after[0];
    this.y += before[1] - after[1];
    this.clamp();
  }

  // The map cannot be lost: its centre stays within reach.
  clamp() {
    this.x = Math.min(3, Math.max(-3, this.x));
    this.y = Math.min(3, Math.max(-3, this.y));
  }

  lookAt([x0, y0, x1, y1]) {
    const [u0, v0] = this.toUnit(x0, y0);
    const [u1, v1] = this.toUnit(x1, y1);
    this.x = (u0 + u1) / 2;
    this.y = (v0 + v1) / 2;
    const half = Math.max((u1 - u0) / 2 / (this.width / this.height), (v1 - v0) / 2, 0.004);
    this.zoom = Math.min(400, Math.max(0.4, (0.8 * this.height) / 2 / half / this.base));
    this.clamp();
  }

  // The part of the data that the panel shows, as x0, y0, x1, y1.
  box() {
    const [x0, y1] = this.toData(0, 0);
    const [x1, y0] = this.toData(this.width, this.height);
    return [x0, y0, x1, y1];
  }
}
