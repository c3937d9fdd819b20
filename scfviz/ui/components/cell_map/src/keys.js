// The keyboard: everything that a pointer can do, except drawing, for which the keyboard has "what is in view".
const PAN = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const SHORTCUTS = [
  ["Arrow keys", "move the map"],
  ["+ and −", "zoom; so do the wheel (after a click on the map) and a double click"],
  ["0", "whole map"],
  ["Z", "zoom to the selection"],
  ["L", "draw a lasso (or hold Shift and drag)"],
  ["R", "draw a rectangle"],
  ["P", "move with the pointer again"],
  ["V", "select the cells in view"],
  ["Ctrl / Alt while drawing", "add to the selection / subtract from it"],
  ["Esc", "stop drawing; again: select nothing"],
  ["T", "names on the map"],
  ["[ and ]", "smaller and larger points"],
  ["S", "save the picture (PNG)"],
];

export function onKey(map, panel, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !panel.frame) return false;
  const { frame } = panel;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in PAN) {
    frame.pan(PAN[key][0] * 48, PAN[key][1] * 48);
    panel.moved();
  } else if (key === "+" || key === "=" || key === "-") {
    frame.zoomAt(frame.width / 2, frame.height / 2, key === "-" ? 0.8 : 1.25);
    panel.moved();
  } else if (key === "0" || key === "Home") map.reset();
  else if (key === "z") map.zoomToSelection();
  else if (key === "l") map.setMode(map.mode === "lasso" ? "pan" : "lasso");
  else if (key === "r") map.setMode(map.mode === "box" ? "pan" : "box");
  else if (key === "p") map.setMode("pan");
  else if (key === "t") map.toolbar.toggleLabels();
  else if (key === "[" || key === "]") map.toolbar.resizePoints(key === "[" ? 0.8 : 1.25);
  else if (key === "s") map.save();
  else if (key === "v") {
    const [x0, y0, x1, y1] = frame.box();
    map.select({ kind: "rectangle", map: panel.name, operation: map.operation, polygon: [[x0, y0], [x1, y0], [x1, y1], [x0, y1]] });
  } else if (key === "Escape") {
    if (map.help.isOpen) map.help.toggle();
    else if (panel.path || map.mode !== "pan") {
      panel.cancelPath();
      map.setMode("pan");
    } else if (map.spec.selection) map.select({ kind: "clear" });
    else return false;
  } else return false;
  return true;
}

const isTyping = (target) => target instanceof Element && target.closest("input, textarea, select, [contenteditable=true]") !== null;

const fill = (list, shortcuts) =>
  list.replaceChildren(
    ...shortcuts.flatMap(([keys, text]) => {
      const term = document.createElement("dt");
      term.textContent = keys;
      const meaning = document.createElement("dd");
      meaning.textContent = text;
      return [term, meaning];
    }),
  );

export class Help {
  constructor(parent) {
    this.dialog = document.createElement("dialog");
    this.dialog.className = "help";
    this.dialog.setAttribute("aria-label", "Shortcuts");
    this.others = this.list("Anywhere on this page", []);
    this.list("On a map (click it, or reach it with Tab)", SHORTCUTS);
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => this.dialog.close());
    this.dialog.append(close);
    parent.append(this.dialog);
  }

  list(title, shortcuts) {
    const heading = document.createElement("h3");
    heading.textContent = title;
    const list = document.createElement("dl");
    fill(list, shortcuts);
    this.dialog.append(heading, list);
    return list;
  }

  setOthers(shortcuts) {
    fill(this.others, [["?", "this list"], ...(shortcuts ?? [])]);
  }

  // The question mark works on the whole page, except where somebody writes.
  listen() {
    const open = (event) => {
      if (event.key !== "?" || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.composedPath()[0])) return;
      event.preventDefault();
      this.toggle();
    };
    document.addEventListener("keydown", open);
    return () => document.removeEventListener("keydown", open);
  }

  get isOpen() {
    return this.dialog.open;
  }

  toggle() {
    if (this.dialog.open) this.dialog.close();
    else this.dialog.showModal();
  }
}
