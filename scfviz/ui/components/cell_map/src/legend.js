// What the colours mean, with counts. A category can be hidden, shown alone, or selected.
import { css } from "./colors.js";
import { shorten } from "./text.js";

const MANY = 14; // groups from which on the legend can be searched
const LETTERS = 46; // two lines of the legend

const text = (name, content, className) => {
  const made = document.createElement(name);
  made.textContent = content;
  if (className) made.className = className;
  return made;
};

export const digits = (value) => (value === 0 ? "0" : Math.abs(value) >= 1000 || Number.isInteger(value) ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : String(Number(value.toPrecision(3))));

export class Legend {
  constructor(map) {
    this.map = map;
    this.root = document.createElement("div");
    this.root.className = "legend";
    this.root.setAttribute("role", "group");
    this.sought = "";
    this.search = document.createElement("input");
    this.search.type = "search";
    this.search.className = "search";
    this.search.placeholder = "Find a group";
    this.search.setAttribute("aria-label", "Find a group in the legend");
    this.search.addEventListener("input", () => {
      this.sought = this.search.value.trim().toLowerCase();
      this.filter();
    });
    this.search.addEventListener("keydown", (event) => event.stopPropagation());
    map.body.append(this.root);
  }

  show() {
    if (this.isWriting) return; // what somebody writes is not taken from under their hands
    const { colors } = this.map.spec;
    const focused = this.root.getRootNode().activeElement?.dataset?.legend;
    this.root.setAttribute("aria-label", `Legend: ${colors.title}`);
    const heading = text("div", colors.title, "heading");
    if (colors.unit) heading.append(text("small", colors.unit));
    const content = colors.kind === "labels" ? this.categories() : colors.kind === "values" ? this.scale() : this.blend();
    const isMany = colors.kind === "labels" && this.present().length >= MANY;
    if (!isMany) this.sought = this.search.value = "";
    // The field stays where it is while somebody writes into it.
    if (isMany && this.search.isConnected) {
      while (this.search.nextSibling) this.search.nextSibling.remove();
      this.root.firstChild.replaceWith(heading);
      this.root.append(...content);
    } else this.root.replaceChildren(heading, ...(isMany ? [this.search] : []), ...content);
    this.filter();
    if (focused) this.focus(focused);
  }

  filter() {
    for (const row of this.root.querySelectorAll("li[data-name]")) row.hidden = !row.dataset.name.includes(this.sought);
  }

  // What can be done with a group is there only while its row has the focus.
  focus(id) {
    const button = this.root.querySelector(`[data-legend="${id}"]`);
    button?.closest("li").querySelector(".row").focus();
    button?.focus();
  }

  categories() {
    const { map } = this;
    const { colors } = map.spec;
    const list = document.createElement("ul");
    colors.names.forEach((name, code) => {
      if (!colors.counts[code]) return;
      const isHidden = map.cells.hidden.has(code);
      const row = document.createElement("li");
      row.classList.toggle("off", isHidden);
      row.dataset.name = name.toLowerCase();
      const count = colors.selected ? `${colors.selected[code].toLocaleString("en")} / ${colors.counts[code].toLocaleString("en")}` : colors.counts[code].toLocaleString("en");
      const main = this.button(`row${code}`, "row", () => this.toggle(code));
      main.setAttribute("aria-pressed", String(!isHidden));
      main.setAttribute("aria-label", `${name}, ${count} cells; ${isHidden ? "show" : "hide"}`);
      main.title = `${name}: ${isHidden ? "show" : "hide"}`;
      const swatch = text("span", "", "swatch");
      swatch.style.background = css(map.palette[code]);
      main.append(swatch, text("span", shorten(name, LETTERS), "name"), text("span", count, "n"));
      const only = this.button(`only${code}`, "small", () => this.isolate(code));
      only.textContent = this.isAlone(code) ? "all" : "only";
      only.title = this.isAlone(code) ? "Show all again" : `Show only ${name}`;
      const pick = this.button(`pick${code}`, "small", () => map.select({ kind: "category", code, operation: map.operation }));
      pick.textContent = "select";
      pick.title = `Select the cells of ${name}`;
      pick.setAttribute("aria-label", pick.title);
      only.setAttribute("aria-label", only.title);
      const acts = text("span", "", "acts");
      acts.append(only, pick);
      if (code < colors.n_renamable) acts.append(this.pencil(code, row));
      row.append(main, acts);
      list.append(row);
    });
    const shown = this.shownText();
    return shown ? [list, text("div", shown, "note")] : [list];
  }

  pencil(code, row) {
    const name = this.map.spec.colors.names[code];
    const pencil = this.button(`rename${code}`, "small", () => this.write(code, row, pencil));
    pencil.title = `Rename ${name}`;
    pencil.setAttribute("aria-label", pencil.title);
    pencil.textContent = "✎";
    return pencil;
  }

  // The row becomes a field: Enter renames the group, Escape leaves it as it is.
  write(code, row, pencil) {
    const name = this.map.spec.colors.names[code];
    const field = document.createElement("input");
    field.value = name;
    field.maxLength = 100;
    field.setAttribute("aria-label", `New name of ${name}; Enter renames it, Escape does not`);
    const end = (text) => {
      if (!this.isWriting) return;
      this.isWriting = false;
      this.show();
      this.focus(pencil.dataset.legend);
      if (text && text !== name) this.map.rename(code, text);
    };
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault(); // the button that gets the focus must not be pressed by the same key
      end(event.key === "Enter" ? field.value.trim() : "");
    });
    field.addEventListener("blur", () => end(""));
    this.isWriting = true;
    row.replaceChildren(field);
    field.focus();
    field.select();
  }

  // Cells, and selected cells, of groups that are not switched off.
  counted() {
    const { colors, n, selection } = this.map.spec;
    const hidden = (counts) => [...this.map.cells.hidden].reduce((sum, code) => sum + (counts?.[code] ?? 0), 0);
    return { shown: n - hidden(colors.counts), selected: (selection?.n ?? 0) - hidden(colors.selected) };
  }

  // How many cells the map shows, where it is not all of them.
  shownText() {
    const { n } = this.map.spec;
    const hidden = n - this.counted().shown;
    return hidden ? `${(n - hidden).toLocaleString("en")} of ${n.toLocaleString("en")} cells shown` : "";
  }

  button(id, className, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = className;
    button.dataset.legend = id;
    button.addEventListener("click", act);
    return button;
  }

  present() {
    return this.map.spec.colors.counts.map((count, code) => (count ? code : -1)).filter((code) => code >= 0);
  }

  isAlone(code) {
    const { hidden } = this.map.cells;
    const others = this.present().filter((other) => other !== code);
    return others.length > 0 && !hidden.has(code) && others.every((other) => hidden.has(other));
  }

  toggle(code) {
    const hidden = new Set(this.map.cells.hidden);
    if (!hidden.delete(code)) hidden.add(code);
    this.map.setHidden(hidden);
  }

  isolate(code) {
    this.map.setHidden(this.isAlone(code) ? [] : this.present().filter((other) => other !== code));
  }

  scale() {
    const { colors } = this.map.spec;
    const bar = text("div", "", "bar");
    const known = this.map.palette.slice(0, -1).map(css);
    bar.style.background = `linear-gradient(to right, ${known.filter((_, i) => i % 16 === 0 || i === known.length - 1).join(", ")})`;
    const ends = text("div", "", "ends");
    ends.append(
      text("span", `${colors.clipped_low ? "≤ " : ""}${digits(colors.low)}`),
      text("span", digits((colors.low + colors.high) / 2)),
      text("span", `${colors.clipped_high ? "≥ " : ""}${digits(colors.high)}`),
    );
    const notes = [];
    if (colors.clipped_low || colors.clipped_high) notes.push(text("div", colors.clip_text, "note"));
    if (colors.n_unknown) {
      const row = text("div", "", "note unknown");
      const swatch = text("span", "", "swatch");
      swatch.style.background = css(this.map.palette[this.map.palette.length - 1]);
      row.append(swatch, text("span", `no value: ${colors.n_unknown.toLocaleString("en")} cells`));
      notes.push(row);
    }
    return [bar, ends, ...notes];
  }

  blend() {
    const { colors } = this.map.spec;
    const list = document.createElement("ul");
    colors.genes.forEach((gene) => {
      const row = document.createElement("li");
      const line = text("span", "", "row");
      const swatch = text("span", "", "swatch");
      swatch.style.background = gene.color;
      line.append(swatch, text("span", gene.name, "name"), text("span", `0 – ${digits(gene.high)}`, "n"));
      row.append(line);
      list.append(row);
    });
    colors.mixtures.forEach(([names, color]) => {
      const row = document.createElement("li");
      const line = text("span", "", "row");
      const swatch = text("span", "", "swatch");
      swatch.style.background = color;
      line.append(swatch, text("span", names, "name"));
      row.append(line);
      list.append(row);
    });
    return [list, text("div", "Weaker expression is nearer to grey.", "note")];
  }

  // What a code stands for, in words: the hover box shows it.
  valueOf(code) {
    const { colors } = this.map.spec;
    if (colors.kind === "labels") return colors.names[code] ?? "";
    if (colors.kind === "blend") {
      return colors.genes.map((gene, k) => `${gene.name} ≈ ${digits((Math.floor(code / colors.levels ** k) % colors.levels) / (colors.levels - 1) * gene.high)}`).join(" · ");
    }
    if (code >= colors.n_codes) return `${colors.title}: no value`;
    const value = colors.low + (code / (colors.n_codes - 1)) * (colors.high - colors.low);
    const sign = code === 0 && colors.clipped_low ? "≤" : code === colors.n_codes - 1 && colors.clipped_high ? "≥" : "≈";
    return `${colors.title} ${sign} ${digits(value)}`;
  }
}
