// The component: up to four maps of the same cells with one colouring, one selection and one hovered cell.
import style from "./style.css";
import { Cells } from "./cells.js";
import { bytesOf, onArrival } from "./channels.js";
import { css, isDark, paletteOf } from "./colors.js";
import { Help, onKey } from "./keys.js";
import { Legend } from "./legend.js";
import { Panel } from "./panel.js";
import { savePicture } from "./picture.js";
import { RasterLayer } from "./raster.js";
import { pointLook } from "./look.js";
import { shorten } from "./text.js";
import { Toolbar } from "./toolbar.js";
import { GlLayer, closeSurface, openSurface } from "./webgl.js";

const LABEL_LETTERS = 28; // of a name on the map

const div = (name, parent, attributes = {}) => {
  const made = document.createElement("div");
  made.className = name;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
};

export class CellMap {
  constructor(parent) {
    const sheet = document.createElement("style");
    sheet.textContent = style;
    this.root = document.createElement("section");
    this.root.className = "map";
    parent.append(sheet, this.root);
    this.toolbar = new Toolbar(this);
    this.notice = div("notice", this.root, { role: "note" });
    this.body = div("body", this.root);
    this.stages = div("stages", this.body);
    this.legend = new Legend(this);
    this.tip = div("tip", this.root, { "aria-hidden": "true" });
    this.status = div("status", this.root, { role: "status" });
    this.help = new Help(this.root);
    this.panels = [];
    this.cells = new Cells();
    this.mode = "pan";
    this.root.dataset.mode = this.mode;
    this.operation = "replace";
    this.showLabels = true;
    this.hovered = -1;
    this.sizeFactor = 1;
    this.drawnAs = {};
    this.stopListening = onArrival(() => this.refresh());
    this.stopKeys = this.help.listen();
    this.observer = new ResizeObserver(() => this.resized());
  }

  update(spec, setState) {
    this.spec = spec;
    this.setState = setState;
    if (this.surface === undefined) {
      this.surface = spec.renderer === "raster" ? null : this.openSurface();
      if (!this.surface) this.report();
    }
    this.root.style.setProperty("--stage-height", `${spec.height}px`);
    this.root.setAttribute("aria-label", spec.description);
    const names = (maps) => JSON.stringify(maps.map((map) => map.name));
    if (names(this.panels) !== names(spec.maps)) this.makePanels();
    this.refresh();
  }

  openSurface() {
    const surface = openSurface(() => this.loseSurface(surface), () => this.regainSurface(surface));
    return surface;
  }

  // The graphics card gave up: the server draws until the browser gives it back.
  loseSurface(surface) {
    if (!this.spec || this.surface !== surface) return; // it was closed because the map is gone
    this.surface = null;
    this.lost = surface;
    this.startAgain();
    this.report();
    this.refresh();
  }

  regainSurface(surface) {
    if (!this.spec || this.lost !== surface) return;
    const next = this.openSurface();
    if (!next) return;
    this.surface = next;
    this.lost = null;
    closeSurface(surface);
    this.startAgain();
    this.reported = undefined;
    this.setState("screen", { renderer: "webgl" });
    this.refresh();
  }

  // Other layers on the same panels: the camera stays where it was.
  startAgain() {
    for (const panel of this.panels) {
      panel.layer?.destroy();
      panel.layer = null;
      const canvas = document.createElement("canvas");
      canvas.setAttribute("aria-hidden", "true");
      panel.canvas.replaceWith((panel.canvas = canvas));
    }
    this.drawnAs = {};
  }

  // A map that stays on the screen keeps its camera when others come and go.
  makePanels() {
    const old = new Map(this.panels.map((panel) => [panel.name, panel]));
    this.panels = this.spec.maps.map((map) => old.get(map.name) ?? new Panel(this, map.name));
    for (const panel of old.values()) {
      if (this.panels.includes(panel)) continue;
      this.observer.unobserve(panel.stage);
      panel.layer?.destroy();
    }
    this.stages.replaceChildren(...this.panels.map((panel) => panel.root));
    this.stages.dataset.count = this.panels.length;
    for (const panel of this.panels) this.observer.observe(panel.stage);
    this.drawnAs.order = null;
  }

  get raster() {
    return this.surface === null;
  }

  refresh() {
    const { spec, cells } = this;
    if (!spec) return;
    const why = this.lost ? "The graphics card stopped drawing; until it is back," : "This browser draws without WebGL, so";
    this.notice.textContent = this.raster ? `${why} the server draws the picture. Lasso, rectangle, zoom and legend work; pointing at single cells does not.` : "";
    this.notice.hidden = !this.raster;
    this.help.setOthers(spec.shortcuts);
    const colors = spec.colors;
    if (colors.id !== this.coloredBy) cells.hidden = new Set(spec.hidden);
    if (!this.raster && !this.readChannels()) return;
    this.dark = isDark(this.root);
    this.palette = paletteOf(colors, this.dark);
    this.panels.forEach((panel, k) => this.refreshPanel(panel, spec.maps[k]));
    this.legend.show();
    this.toolbar.show();
    this.placeLabels();
    this.announce();
    this.names = undefined;
    this.drawPoints();
    this.coloredBy = colors.id;
  }

  readChannels() {
    const { spec, cells } = this;
    if (spec.renderer === "raster") return false; // the server has not heard yet that the browser draws
    const wanted = [spec.colors.channel, spec.selection?.channel, ...spec.maps.map((map) => map.positions)].filter(Boolean);
    if (!wanted.every(bytesOf)) return false;
    const bytes = bytesOf(spec.colors.channel);
    cells.n = spec.n;
    cells.codes = spec.colors.bytes === 2 ? new Uint16Array(bytes.buffer) : bytes;
    cells.selected = spec.selection ? bytesOf(spec.selection.channel) : null;
    return true;
  }

  refreshPanel(panel, map) {
    if (this.raster) {
      panel.setMap(map, null);
      if (!(panel.layer instanceof RasterLayer)) {
        panel.layer = new RasterLayer(panel.canvas, panel.frame);
        panel.layer.resize();
      }
      panel.layer.frame = panel.frame;
      panel.layer.setImage(map.image);
    } else if (panel.setMap(map, new Float32Array(bytesOf(map.positions).buffer)) || !(panel.layer instanceof GlLayer)) {
      panel.layer?.destroy();
      this.fitSurface();
      panel.layer = new GlLayer(panel.canvas, this.surface, panel.frame, this.spec.n);
      panel.layer.setPositions(panel.positions);
      this.drawnAs.order = null;
    }
    panel.stage.setAttribute("aria-label", `${map.title || "Map"}: ${this.spec.description} Press question mark for shortcuts.`);
  }

  drawPoints() {
    if (this.raster) return;
    const { spec, cells } = this;
    const colors = JSON.stringify(this.palette);
    const order = [spec.colors.channel, spec.selection?.channel, [...cells.hidden]].join(" ");
    if (order !== this.drawnAs.order) {
      this.order = cells.order(spec.colors.kind === "values", spec.colors.n_codes);
      for (const panel of this.panels) panel.layer.setCells(cells, this.order);
      this.drawnAs.order = order;
    }
    for (const panel of this.panels) {
      if (colors !== this.drawnAs.palette || !panel.layer.hasPalette) panel.layer.setPalette(this.palette);
      panel.layer.hasPalette = true;
      this.setLook(panel);
    }
    this.drawnAs.palette = colors;
    this.draw();
  }

  // One panel after another: they share a surface.
  async draw() {
    this.drawing = (this.drawing ?? 0) + 1;
    const turn = this.drawing;
    this.root.dataset.drawn = "";
    for (const panel of [...this.panels]) await panel.layer?.draw?.();
    if (this.spec && turn === this.drawing) this.root.dataset.drawn = this.spec.colors.id; // it may be gone by now
  }

  setLook(panel) {
    const { frame, layer } = panel;
    if (!frame || !layer?.setLook) return;
    const [size, opacity] = pointLook(this.order?.length ?? this.spec.n, frame.width, frame.height, frame.zoom);
    layer.setLook(size * this.sizeFactor, opacity);
  }

  fitSurface() {
    const sizes = this.panels.map((panel) => panel.stage.getBoundingClientRect());
    const width = Math.max(1, ...sizes.map((box) => box.width));
    const height = Math.max(1, ...sizes.map((box) => box.height));
    if (this.surface.canvas.width === Math.floor(width * devicePixelRatio) && this.surface.canvas.height === Math.floor(height * devicePixelRatio)) return;
    this.surface.resize(width, height);
    this.surface.refresh();
  }

  resized() {
    if (this.surface) this.fitSurface();
    for (const panel of this.panels) panel.resize();
    this.report();
  }

  viewChanged() {
    this.tip.hidden = true;
    this.report();
  }

  // Without WebGL the server must know what is in view. Said once a movement has ended.
  report() {
    if (!this.raster) return;
    clearTimeout(this.reporting);
    this.reporting = setTimeout(() => {
      const panels = this.panels.filter((panel) => panel.frame && panel.frame.width > 1);
      const boxes = Object.fromEntries(panels.map((panel) => [panel.name, panel.frame.box().map((edge) => Number(edge.toPrecision(6)))]));
      const { width, height } = panels[0]?.frame ?? { width: 0, height: 0 };
      const screen = {
        renderer: "raster", width: Math.round(width), height: Math.round(height), zoom: panels[0]?.frame.zoom ?? 1,
        dpr: Math.min(2, devicePixelRatio), dark: isDark(this.root), boxes,
      };
      const text = JSON.stringify(screen);
      if (text === this.reported) return;
      this.reported = text;
      this.setState("screen", screen);
    }, 120);
  }

  // What a person did, told to the server, which answers with a new selection.
  select(event) {
    this.setState("event", { ...event, id: `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 7)}` });
  }

  setHidden(codes) {
    this.cells.hidden = new Set(codes);
    this.setState("hidden", { colors: this.spec.colors.id, codes: [...this.cells.hidden] });
    this.legend.show();
    this.toolbar.show();
    this.placeLabels();
    this.drawPoints();
  }

  rename(code, text) {
    this.select({ kind: "rename", code, text });
  }

  setMode(mode) {
    this.mode = mode;
    this.root.dataset.mode = mode;
    this.toolbar.show();
  }

  reset() {
    for (const panel of this.panels) {
      panel.frame?.reset();
      if (panel.frame) panel.moved();
    }
  }

  zoomToSelection() {
    for (const [k, panel] of this.panels.entries()) {
      const box = this.spec.maps[k].selected_box;
      if (!box || !panel.frame) continue;
      panel.frame.lookAt(box);
      panel.moved();
    }
  }

  placeLabels() {
    const { colors } = this.spec;
    this.panels.forEach((panel, k) => {
      const anchors = this.spec.maps[k].labels ?? [];
      const texts = this.showLabels
        ? anchors
            .map((at, code) => ({ at, code, text: shorten(colors.names[code], LABEL_LETTERS) }))
            .filter(({ at, code }) => at && !this.cells.hidden.has(code))
            .sort((a, b) => colors.counts[b.code] - colors.counts[a.code])
        : [];
      panel.setLabels(texts);
      panel.place();
    });
  }

  // Nothing is said on the first picture; afterwards each change is, for those who do not see it.
  announce() {
    const { selection, colors } = this.spec;
    const text = `${selection ? `${selection.n.toLocaleString("en")} cells selected. ` : ""}Coloured by ${colors.title}.`;
    if (this.said !== undefined && this.said !== text) this.status.textContent = text;
    this.said = text;
  }

  hover(panel, place) {
    cancelAnimationFrame(this.hovering);
    this.hovering = requestAnimationFrame(() => {
      const cell = place && !this.raster ? panel.under(...place) : -1;
      if (cell !== this.hovered) {
        this.hovered = cell;
        for (const each of this.panels) if (each.frame) each.mark(cell);
      }
      this.tip.hidden = cell < 0;
      if (cell < 0) return;
      this.describe(cell);
      const box = this.root.getBoundingClientRect();
      const stage = panel.stage.getBoundingClientRect();
      const x = stage.left - box.left + place[0];
      const y = stage.top - box.top + place[1];
      this.tip.style.transform = `translate(${Math.min(x + 14, box.width - this.tip.offsetWidth - 4)}px, ${Math.max(4, y - this.tip.offsetHeight - 10)}px)`;
    });
  }

  describe(cell) {
    const code = this.cells.codes[cell];
    const rows = [document.createElement("b"), document.createElement("span")];
    rows[0].textContent = this.legend.valueOf(code);
    rows[0].style.setProperty("--swatch", css(this.palette[Math.min(code, this.palette.length - 1)]));
    rows[1].textContent = this.nameOf(cell);
    this.tip.replaceChildren(...rows);
  }

  nameOf(cell) {
    if (!this.spec.names) return `cell ${(cell + 1).toLocaleString("en")} · click for its name`;
    const bytes = bytesOf(this.spec.names);
    if (!bytes) return "";
    this.names ??= new TextDecoder().decode(bytes).split("\n");
    return this.names[cell] ?? "";
  }

  click(panel, place) {
    const cell = this.raster ? -1 : panel.under(...place);
    if (cell >= 0) this.select({ kind: "cell", map: panel.name, cell });
  }

  key(panel, event) {
    return onKey(this, panel, event);
  }

  save() {
    return savePicture(this);
  }

  destroy() {
    this.stopListening();
    this.stopKeys();
    this.observer.disconnect();
    clearTimeout(this.reporting);
    this.spec = null;
    for (const panel of this.panels) panel.layer?.destroy();
    if (this.surface) closeSurface(this.surface);
    this.root.remove();
  }
}
