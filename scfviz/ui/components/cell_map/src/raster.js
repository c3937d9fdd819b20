// Pictures drawn by the server, for browsers without WebGL: shown where they belong, also while the view moves and the next is on its way.
import { bytesOf } from "./channels.js";

export class RasterLayer {
  constructor(canvas, frame) {
    this.canvas = canvas;
    this.frame = frame;
    this.bitmap = null;
    this.id = null;
  }

  async setImage(image) {
    if (!image || image.channel === this.id) return;
    const bytes = bytesOf(image.channel);
    if (!bytes) return;
    this.id = image.channel;
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    if (this.id !== image.channel) return;
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.box = image.box;
    this.follow();
  }

  resize() {
    const dpr = window.devicePixelRatio;
    this.canvas.width = Math.round(this.frame.width * dpr);
    this.canvas.height = Math.round(this.frame.height * dpr);
    this.canvas.style.width = `${this.frame.width}px`;
    this.canvas.style.height = `${this.frame.height}px`;
    this.follow();
  }

  follow() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.bitmap) return;
    const dpr = window.devicePixelRatio;
    const [x0, y0, x1, y1] = this.box;
    const [left, top] = this.frame.toScreen(x0, y1);
    const [right, bottom] = this.frame.toScreen(x1, y0);
    context.drawImage(this.bitmap, left * dpr, top * dpr, (right - left) * dpr, (bottom - top) * dpr);
  }

  async picture() {
    const copy = document.createElement("canvas");
    copy.width = this.canvas.width;
    copy.height = this.canvas.height;
    copy.getContext("2d").drawImage(this.canvas, 0, 0);
    return copy;
  }

  destroy() {
    this.bitmap?.close();
    this.bitmap = null;
  }
}
