// Drawing with regl-scatterplot. It only draws: pointer, camera and selection are ours, because the server decides what is selected.
import createScatterplot, { createRenderer, createSpatialIndex } from "regl-scatterplot";

const FAINT = 0; // opacity classes
const FULL = 1;
const FAR = 1e5;
let noIndex = null;

// One drawing surface for all panels of a map: browsers keep about sixteen. Null where WebGL or its float textures are missing.
export function openSurface(onLost, onBack) {
  const canvas = document.createElement("canvas");
  const warn = console.warn;
  try {
    if (!canvas.getContext("webgl", { antialias: true, preserveDrawingBuffer: true })) return null;
    console.warn = () => {}; // what is missing is found below and said in the page, not in the console
    const renderer = createRenderer({ canvas });
    if (!renderer.isSupported) {
      renderer.destroy();
      return null;
    }
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault(); // without this the browser never gives the surface back
      onLost();
    });
    canvas.addEventListener("webglcontextrestored", onBack);
    return renderer;
  } catch {
    return null;
  } finally {
    console.warn = warn;
  }
}

export function closeSurface(renderer) {
  const { canvas } = renderer;
  renderer.destroy();
  canvas.getContext("webgl")?.getExtension("WEBGL_lose_context")?.loseContext();
}

export class GlLayer {
  constructor(canvas, renderer, frame, nCells) {
    this.canvas = canvas;
    this.frame = frame;
    this.points = null;
    this.ordered = null;
    this.busy = false;
    this.dirty = false;
    this.look = "";
    this.settled = Promise.resolve();
    this.scatter = createScatterplot({
      renderer,
      canvas,
      width: Math.max(1, frame.width),
      height: Math.max(1, frame.height),
      backgroundColor: [0, 0, 0, 0],
      cameraIsFixed: true,
      pointScaleMode: "constant",
      pointOutlineWidth: 0,
      pointSizeSelected: 0,
      renderPointsAsSquares: nCells > 200000,
      opacityBy: "valueW",
      colorBy: "valueZ",
      opacity: [0.1, 0.8],
      deselectOnEscape: false,
      deselectOnDblClick: false,
    });
  }

  setPositions(positions) {
    const n = positions.length / 2;
    const { cx, cy, half } = this.frame;
    this.points = new Array(n);
    for (let i = 0; i < n; i++) {
      const x = (positions[2 * i] - cx) / half;
      const y = (positions[2 * i + 1] - cy) / half;
      this.points[i] = x * y === x * y ? [x, y, 0, FULL] : [FAR, FAR, 0, FULL]; // NaN: a cell without a place
    }
  }

  setCells(cells, order) {
    const { points } = this;
    const { codes } = cells;
    const anySelected = cells.selected !== null;
    const ordered = new Array(order.length);
    for (let j = 0; j < order.length; j++) {
      const i = order[j];
      const point = points[i];
      point[2] = codes[i];
      point[3] = anySelected && !cells.isSelected(i) ? FAINT : FULL;
      ordered[j] = point;
    }
    this.ordered = ordered;
    this.dirty = true;
  }

  // Each change of a setting draws all points again, a frame later. Points that come with it wait for that frame, so that
  // both are drawn at once.
  set(settings) {
    this.settled = this.scatter.set(settings);
  }

  setPalette(colors) {
    this.set({ pointColor: colors.map((color) => [...color, 1]) });
  }

  setLook(size, opacity) {
    const look = `${size.toFixed(1)} ${opacity.toFixed(2)}`;
    if (look === this.look) return;
    this.look = look;
    this.set({ pointSize: size, opacity: [Math.max(0.03, opacity * 0.2), opacity] });
  }

  resize() {
    this.set({ width: this.frame.width, height: this.frame.height });
  }

  follow() {
    const { x, y, scale, height } = this.frame;
    const s = (2 * scale) / height;
    this.scatter.view(new Float32Array([s, 0, 0, 0, 0, s, 0, 0, 0, 0, 1, 0, -x * s, -y * s, 0, 1]), { preventEvent: true });
  }

  // Resolves once the newest state is on the screen.
  async draw() {
    if (!this.ordered || this.busy) return;
    this.busy = true;
    try {
      while (this.dirty) {
        this.dirty = false;
        noIndex ??= await createSpatialIndex([[0, 0]], false);
        await this.settled;
        this.follow();
        const points = this.ordered.length ? this.ordered : [[9, 9, 0, FULL]];
        await this.scatter.draw(points, { zDataType: "categorical", wDataType: "categorical", spatialIndex: noIndex, preventFilterReset: true });
      }
    } catch (error) {
      if (!this.gone) throw error;
    } finally {
      this.busy = false;
    }
  }

  async picture(scale) {
    const data = await this.scatter.export({ scale });
    const canvas = document.createElement("canvas");
    canvas.width = data.width;
    canvas.height = data.height;
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas;
  }

  destroy() {
    this.gone = true;
    this.scatter.destroy();
  }
}
