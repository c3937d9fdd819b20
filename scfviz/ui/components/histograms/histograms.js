// Bars of several variables that filter cells: drag over numbers, click categories. The server knows the filters; what is
// drawn here is what it sent last, and what is done here is sent as numbers of bars.
const SVG = "http://www.w3.org/2000/svg";
const LAYERS = ["all", "passing", "chosen"];
const WAIT = 350; // milliseconds after the last key before a range is sent
const ENDING = 7; // letters of a name that are always seen
const views = new WeakMap();

export default function render({ data, parentElement, setTriggerValue }) {
  let view = views.get(parentElement);
  if (!view) {
    view = new Bars(parentElement);
    views.set(parentElement, view);
  }
  view.update(data, (filter) => setTriggerValue("filter", filter));
  return () => {
    view.root.remove();
    views.delete(parentElement);
  };
}

const make = (tag, className, parent, attributes = {}) => {
  const element = document.createElement(tag);
  element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
};
// A name that is cut in the middle where there is no room: names of groups often differ at their end.
const write = (element, name) => {
  const letters = [...name];
  const ending = letters.length > 2 * ENDING ? letters.splice(-ENDING) : [];
  element.replaceChildren();
  make("span", "head", element).textContent = letters.join("");
  if (ending.length) make("span", "ending", element).textContent = ending.join("");
};
const count = (n) => n.toLocaleString("en");
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const number = (value) =>
  Math.abs(value) >= 1e7 ? value.toExponential(2) : value.toLocaleString("en", { maximumSignificantDigits: 5 });
// 1, 2, 2.5 or 5 times a power of ten, or a whole number.
const roundStep = (rough, whole) => {
  if (!(rough > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((nice) => nice * power >= rough * 0.999);
  return whole ? Math.max(1, Math.round(step)) : step;
};

class Bars {
  constructor(parent) {
    this.root = make("section", "bars", parent);
    this.charts = new Map();
  }

  update(spec, send) {
    for (const [id, chart] of this.charts)
      if (!spec.charts.some((entry) => entry.id === id)) {
        chart.root.remove();
        this.charts.delete(id);
      }
    for (const entry of spec.charts) {
      let chart = this.charts.get(entry.id);
      if (!chart) {
        chart = new (entry.labels ? Labels : Numbers)(this.root);
        this.charts.set(entry.id, chart);
      }
      this.root.append(chart.root);
      chart.send = (filter) => send({ id: entry.id, ...filter });
      chart.update(entry, spec);
    }
  }
}

class Chart {
  constructor(parent) {
    this.root = make("article", "chart", parent);
    const header = make("header", "", this.root);
    this.title = make("strong", "title", header);
    this.text = make("span", "range", header);
    this.clear = make("button", "clear", header, { type: "button" });
    this.clear.textContent = "× clear";
    this.clear.addEventListener("click", () => this.send({ bars: null }));
  }

  update(entry, spec) {
    this.entry = entry;
    this.spec = spec;
    this.title.textContent = entry.title;
    this.title.title = entry.title;
    this.clear.hidden = !entry.filtered;
    this.clear.setAttribute("aria-label", `Remove the filter on ${entry.title}`);
    this.root.classList.toggle("filtered", entry.filtered);
    this.rest();
  }

  // Height of a bar of a layer, 0 to 1 of the highest bar of all.
  heights() {
    const { entry, spec } = this;
    const wholes = { all: spec.n_all, passing: entry.n_passing, chosen: entry.n_passing };
    const scale = {
      cells: (n) => n,
      log: (n) => Math.log1p(n),
      share: (n, layer) => (100 * n) / Math.max(1, wholes[layer]),
    }[spec.height];
    const scaled = LAYERS.map((layer) => entry[layer].map((n) => scale(n, layer)));
    const top = Math.max(1e-9, ...scaled.flat());
    this.top = spec.height === "share" ? `${number(Number(top.toPrecision(3)))} %` : count(Math.max(...entry.all));
    return scaled.map((values) => values.map((value) => value / top));
  }

  describe(bar, what) {
    const { entry, spec } = this;
    const chosen = spec.n_chosen === null ? "" : `${count(entry.chosen[bar])} selected of `;
    this.footer.textContent = `${what}: ${chosen}${count(entry.all[bar])} cells`;
  }

  rest() {
    this.footer.textContent = this.entry.note;
  }
}

class Numbers extends Chart {
  constructor(parent) {
    super(parent);
    this.plot = make("div", "plot", this.root);
    this.svg = this.plot.appendChild(document.createElementNS(SVG, "svg"));
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    this.topText = make("span", "top", this.plot);
    this.brush = make("div", "brush", this.plot);
    this.handles = ["lowest", "highest"].map((end, side) => {
      const handle = make("div", "handle", this.plot, { role: "slider", tabindex: "0" });
      handle.dataset.end = end;
      handle.addEventListener("keydown", (event) => this.key(event, side));
      return handle;
    });
    this.ticks = make("div", "ticks", this.root, { "aria-hidden": "true" });
    this.footer = make("footer", "", this.root);
    this.plot.addEventListener("pointerdown", (event) => this.grab(event));
    this.plot.addEventListener("pointermove", (event) => this.move(event));
    this.plot.addEventListener("pointerup", (event) => this.drop(event));
    this.plot.addEventListener("pointercancel", () => this.cancel());
    this.plot.addEventListener("pointerleave", () => !this.drag && this.rest());
  }

  get n() {
    return Math.max(0, this.entry.edges.length - 1);
  }

  update(entry, spec) {
    super.update(entry, spec);
    if (this.drag || this.waiting) return;
    this.svg.setAttribute("viewBox", `0 0 ${Math.max(1, this.n)} 1`);
    const layers = this.heights();
    const rects = [];
    LAYERS.forEach((layer, number) =>
      layers[number].forEach((height, bar) => {
        if (!height) return;
        const rect = document.createElementNS(SVG, "rect");
        rect.setAttribute("class", layer);
        rect.setAttribute("x", bar + 0.05);
        rect.setAttribute("width", 0.9);
        rect.setAttribute("y", 1 - height);
        rect.setAttribute("height", height);
        rects.push(rect);
      }),
    );
    this.svg.replaceChildren(...rects);
    this.topText.textContent = this.top;
    this.drawTicks();
    this.show(entry.range);
  }

  drawTicks() {
    const { edges, discrete } = this.entry;
    const n = this.n;
    const [low, high] = [edges[0], edges[n] - (discrete ? 1 : 0)];
    const step = roundStep((high - low) / 4, discrete);
    const spans = [];
    for (let k = Math.ceil(low / step - 1e-9); n && k * step <= high + 1e-9 * step; k++) {
      const span = document.createElement("span");
      const place = (k * step - low + (discrete ? 0.5 : 0)) / (edges[n] - low);
      span.textContent = number(Number((k * step).toPrecision(12)));
      span.style.left = `${100 * place}%`;
      span.className = place < 0.02 ? "first" : place > 0.98 ? "last" : "";
      spans.push(span);
    }
    this.ticks.replaceChildren(...spans);
  }

  // A range in numbers of edges, parts of bars included; null is no filter.
  show(range) {
    this.range = range;
    const [low, high] = range ?? [0, this.n];
    const at = (edge) => `${(100 * edge) / Math.max(1, this.n)}%`;
    this.brush.hidden = !range;
    this.brush.style.left = at(low);
    this.brush.style.right = `${100 - (100 * high) / Math.max(1, this.n)}%`;
    this.text.textContent = range ? this.words(low, high) : this.entry.unit;
    this.handles.forEach((handle, side) => {
      const value = [low, high][side];
      handle.style.left = at(value);
      handle.setAttribute("aria-label", `${handle.dataset.end} ${this.entry.title}`);
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", String(this.n));
      handle.setAttribute("aria-valuenow", String(value));
      handle.setAttribute("aria-valuetext", this.words(low, high));
    });
  }

  valueAt(edge) {
    const { edges } = this.entry;
    const whole = Math.floor(edge);
    return whole >= this.n ? edges[this.n] : edges[whole] + (edge - whole) * (edges[whole + 1] - edges[whole]);
  }

  words(low, high) {
    const { entry } = this;
    const unit = entry.unit ? ` ${entry.unit}` : "";
    const from = low > 0 ? number(this.valueAt(low)) : null;
    const to = high < this.n ? number(this.valueAt(high) - (entry.discrete ? 1 : 0)) : null;
    if (from === null && to === null) return "all";
    if (from === null) return `${entry.discrete ? "up to" : "below"} ${to}${unit}`;
    if (to === null) return `from ${from}${unit}`;
    return from === to ? `${from}${unit}` : `${from} to ${to}${unit}`;
  }

  edgeOf(event) {
    const box = this.plot.getBoundingClientRect();
    return clamp(((event.clientX - box.left) / Math.max(1, box.width)) * this.n, 0, this.n);
  }

  grab(event) {
    if (event.button || !this.n) return;
    const at = this.edgeOf(event);
    const side = this.handles.indexOf(event.target);
    const inside = this.range && at > this.range[0] && at < this.range[1];
    const range = this.range ?? [0, this.n];
    this.drag = { at, x: event.clientX, range, side: this.range && side >= 0 ? side : -1, inside };
    this.plot.setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  move(event) {
    const at = this.edgeOf(event);
    if (!this.drag) {
      const bar = Math.min(this.n - 1, Math.floor(at));
      if (bar >= 0) this.describe(bar, this.words(bar, bar + 1));
      return;
    }
    const { drag } = this;
    if (!drag.moved && Math.abs(event.clientX - drag.x) < 4) return;
    drag.moved = true;
    let [low, high] = drag.range;
    if (drag.side === 0) low = Math.min(Math.round(at), Math.ceil(high) - 1);
    else if (drag.side === 1) high = Math.max(Math.round(at), Math.floor(low) + 1);
    else if (drag.inside) {
      const shift = clamp(Math.round(at - drag.at), -Math.floor(low), this.n - Math.ceil(high));
      [low, high] = [low + shift, high + shift];
    } else [low, high] = [Math.floor(Math.min(at, drag.at)), Math.ceil(Math.max(at, drag.at))];
    this.show([low, high]);
  }

  drop() {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (!drag.moved) {
      if (drag.side >= 0) return;
      const bar = Math.min(this.n - 1, Math.floor(drag.at));
      this.show([bar, bar + 1]);
    }
    this.sendRange();
  }

  cancel() {
    this.drag = null;
    this.show(this.entry.range);
  }

  key(event, side) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 }[event.key];
    const jump = { Home: 0, End: this.n }[event.key];
    if (event.key === "Escape" && this.range) this.send({ bars: null });
    if (step === undefined && jump === undefined) return;
    event.preventDefault();
    const range = [...(this.range ?? [0, this.n])];
    range[side] = jump ?? Math.round(range[side] + step);
    range[side] = side ? clamp(range[1], Math.floor(range[0]) + 1, this.n) : clamp(range[0], 0, Math.ceil(range[1]) - 1);
    this.show(range);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.waiting = null;
      this.sendRange();
    }, WAIT);
  }

  sendRange() {
    const [low, high] = this.range;
    this.send({ bars: [Math.floor(low), Math.ceil(high) - 1] });
  }
}

class Labels extends Chart {
  constructor(parent) {
    super(parent);
    this.list = make("div", "rows", this.root, { role: "group" });
    this.list.addEventListener("pointerleave", () => this.rest());
    this.footer = make("footer", "", this.root);
    this.rows = [];
  }

  update(entry, spec) {
    super.update(entry, spec);
    this.list.setAttribute("aria-label", entry.title);
    while (this.rows.length > entry.labels.length) this.rows.pop().button.remove();
    while (this.rows.length < entry.labels.length) this.addRow(this.rows.length);
    const picked = new Set(entry.picked);
    const layers = this.heights();
    this.text.textContent = picked.size ? `${picked.size} of ${entry.labels.length}` : "";
    this.rows.forEach(({ button, name, layers: parts, number }, bar) => {
      write(name, entry.labels[bar]);
      button.title = entry.labels[bar];
      button.setAttribute("aria-pressed", String(picked.has(bar)));
      parts.forEach((part, layer) => (part.style.width = `${100 * layers[layer][bar]}%`));
      number.textContent =
        spec.n_chosen === null ? count(entry.all[bar]) : `${count(entry.chosen[bar])} / ${count(entry.all[bar])}`;
    });
  }

  addRow(bar) {
    const button = make("button", "", this.list, { type: "button" });
    const name = make("span", "name", button);
    const track = make("span", "track", button);
    const layers = LAYERS.map((layer) => make("i", layer, track));
    const number = make("span", "count", button);
    button.addEventListener("click", () => this.toggle(bar));
    button.addEventListener("pointerenter", () => this.describe(bar, this.entry.labels[bar]));
    this.rows.push({ button, name, layers, number });
  }

  toggle(bar) {
    const picked = new Set(this.entry.picked);
    picked.has(bar) ? picked.delete(bar) : picked.add(bar);
    this.send({ bars: picked.size ? [...picked] : null });
  }
}
