// The row of buttons above the maps. Each has a name for screen readers and a tooltip with its key.
const ICONS = {
  pan: "M12 2v20M2 12h20M12 2l-3 3M12 2l3 3M12 22l-3-3M12 22l3-3M2 12l3-3M2 12l3 3M22 12l-3-3M22 12l-3 3",
  lasso: "M12 4c5 0 9 2.7 9 6s-4 6-9 6-9-2.7-9-6 4-6 9-6zM7 15.2c-1.6.6-2.3 2-1.6 3.2.7 1.3 2.6 1 2.4-.8-.1-1.5-1-2.1-.8-2.4M6.5 19.2c.3 1.2-.3 2-1.2 2.6",
  box: "M4 4h3M10.500 4h3M17 4h3v3M20 10.500v3M20 17v3h-3M13.500 20h-3M7 20H4v-3M4 13.500v-3M4 7V4",
  in: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5M8 11h6M11 8v6",
  out: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5M8 11h6",
  whole: "M3 9V3h6M15 3h6v6M21 15v6h-6M9 21H3v-6",
  focus: "M3 8V3h5M16 3h5v5M21 16v5h-5M8 21H3v-5M12 8.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7z",
  labels: "M3 6.500A2.500 2.500 0 0 1 5.500 4H12l9 9-8 8-9-9zM7.500 8.500h.01",
  save: "M12 3v11M7.500 10l4.500 4.500L16.500 10M4 17v3.500h16V17",
  help: "M9 9a3 3 0 1 1 4.200 2.800c-.8.4-1.200 1-1.200 2.200M12 17.500h.01M12 2.500a9.500 9.500 0 1 0 0 19 9.500 9.500 0 0 0 0-19z",
  clear: "M6 6l12 12M18 6L6 18",
};
const OPERATIONS = [
  ["replace", "New"],
  ["add", "Add"],
  ["subtract", "Subtract"],
  ["intersect", "Intersect"],
];

export class Toolbar {
  constructor(map) {
    this.map = map;
    this.root = document.createElement("div");
    this.root.className = "toolbar";
    this.root.setAttribute("role", "toolbar");
    this.root.setAttribute("aria-label", "Tools of the map");
    map.root.append(this.root);
    this.modes = Object.fromEntries(
      [
        ["pan", "Move the map (P)"],
        ["lasso", "Select with a lasso (L)"],
        ["box", "Select with a rectangle (R)"],
      ].map(([mode, title]) => [mode, this.button(mode, title, () => map.setMode(mode))]),
    );
    this.operation = document.createElement("select");
    this.operation.setAttribute("aria-label", "What a new lasso does");
    for (const [value, text] of OPERATIONS) this.operation.add(new Option(text, value));
    this.operation.addEventListener("change", () => (map.operation = this.operation.value));
    this.root.append(this.operation);
    this.clear = this.button("clear", "Select nothing (Esc)", () => map.select({ kind: "clear" }));
    this.gap();
    this.button("in", "Zoom in (+)", () => this.zoom(1.5));
    this.button("out", "Zoom out (−)", () => this.zoom(1 / 1.5));
    this.button("whole", "Whole map (0)", () => map.reset());
    this.focus = this.button("focus", "Zoom to the selection (Z)", () => map.zoomToSelection());
    this.gap();
    this.labels = this.button("labels", "Names on the map (T)", () => this.toggleLabels());
    this.button("save", "Save the picture as PNG (S)", () => map.save());
    this.button("help", "Shortcuts (?)", () => map.help.toggle());
    this.count = document.createElement("span");
    this.count.className = "count";
    this.root.append(this.count);
  }

  button(icon, title, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", title);
    button.dataset.tool = icon;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[icon]);
    svg.append(path);
    button.append(svg);
    button.addEventListener("click", act);
    this.root.append(button);
    return button;
  }

  gap() {
    const gap = document.createElement("span");
    gap.className = "gap";
    this.root.append(gap);
  }

  zoom(factor) {
    for (const panel of this.map.panels) {
      if (!panel.frame) continue;
      panel.frame.zoomAt(panel.frame.width / 2, panel.frame.height / 2, factor);
      panel.moved();
    }
  }

  toggleLabels() {
    this.map.showLabels = !this.map.showLabels;
    this.map.placeLabels();
    this.show();
  }

  resizePoints(factor) {
    this.map.sizeFactor = Math.min(4, Math.max(0.3, this.map.sizeFactor * factor));
    for (const panel of this.map.panels) this.map.setLook(panel);
  }

  show() {
    const { spec, mode, showLabels } = this.map;
    for (const [name, button] of Object.entries(this.modes)) button.setAttribute("aria-pressed", String(name === mode));
    this.labels.setAttribute("aria-pressed", String(showLabels));
    this.labels.disabled = !spec.maps.some((map) => map.labels?.length);
    this.clear.disabled = this.focus.disabled = !spec.selection;
    this.operation.disabled = !spec.selection;
    if (!spec.selection) this.operation.value = this.map.operation = "replace";
    const { shown, selected } = this.map.legend.counted();
    const all = shown.toLocaleString("en");
    const words = document.createElement("span");
    words.textContent = spec.selection ? " cells selected" : " cells";
    this.count.replaceChildren(spec.selection ? `${selected.toLocaleString("en")} of ${all}` : all, words);
  }
}
