// What is known of each cell in the browser: codes, selection, draw order, and which cell lies under a pointer.
export class Cells {
  constructor() {
    this.n = 0;
    this.codes = null;
    this.selected = null; // one bit per cell, or null when nothing is selected
    this.hidden = new Set();
  }

  isSelected(i) {
    return this.selected === null || ((this.selected[i >> 3] >> (i & 7)) & 1) === 1;
  }

  isHidden(i) {
    return this.hidden.has(this.codes[i]);
  }

  // Cells in the order in which they are drawn: not selected below selected; categories mixed, high values last; hidden ones left out.
  order(byValue, missing) {
    const mixed = shuffled(this.n);
    const hidden = new Uint8Array(65536);
    for (const code of this.hidden) hidden[code] = 1;
    const groups = byValue ? 257 : 1;
    const rank = byValue ? (code) => (code === missing ? 0 : code + 1) : () => 0;
    const starts = new Uint32Array(2 * groups + 1);
    const slot = new Uint16Array(this.n);
    let kept = 0;
    for (let i = 0; i < this.n; i++) {
      if (hidden[this.codes[i]]) {
        slot[i] = 65535;
        continue;
      }
      slot[i] = rank(this.codes[i]) + (this.isSelected(i) ? groups : 0);
      starts[slot[i] + 1]++;
      kept++;
    }
    for (let g = 0; g < 2 * groups; g++) starts[g + 1] += starts[g];
    const order = new Uint32Array(kept);
    for (let j = 0; j < this.n; j++) {
      const i = mixed[j];
      if (slot[i] !== 65535) order[starts[slot[i]]++] = i;
    }
    return order;
  }
}

let cached = null;

// Always the same mixture, so that a picture is the same every time.
function shuffled(n) {
  if (cached?.length === n) return cached;
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i;
  let seed = 42;
  for (let i = n - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((seed / 4294967296) * (i + 1));
    const kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  cached = order;
  return order;
}

// A grid over the fitted box; cells outside lie in the border squares.
export class Grid {
  constructor(positions, frame) {
    const n = positions.length / 2;
    this.positions = positions;
    this.frame = frame;
    this.side = Math.max(8, Math.min(1024, Math.round(Math.sqrt(n / 3))));
    this.starts = new Uint32Array(this.side * this.side + 1);
    const square = new Uint32Array(n);
    const { cx, cy, half } = frame;
    for (let i = 0; i < n; i++) {
      square[i] = this.line((positions[2 * i + 1] - cy) / half) * this.side + this.line((positions[2 * i] - cx) / half);
      this.starts[square[i] + 1]++;
    }
    for (let s = 0; s < this.side * this.side; s++) this.starts[s + 1] += this.starts[s];
    const next = this.starts.slice();
    this.cells = new Uint32Array(n);
    for (let i = 0; i < n; i++) this.cells[next[square[i]]++] = i;
  }

  line(u) {
    const at = Math.floor(((u + 1) / 2) * this.side);
    return at >= 0 ? Math.min(this.side - 1, at) : 0;
  }

  // The nearest visible cell within some pixels of a place on the screen, or -1. Selected cells win over others.
  nearest(px, py, reach, cells) {
    const { frame, side, starts, positions } = this;
    const [u, v] = frame.screenToUnit(px, py);
    const r = reach / frame.scale;
    let best = -1;
    let least = r * r;
    let bestSelected = false;
    for (let row = this.line(v - r); row <= this.line(v + r); row++) {
      for (let column = this.line(u - r); column <= this.line(u + r); column++) {
        const s = row * side + column;
        for (let k = starts[s]; k < starts[s + 1]; k++) {
          const i = this.cells[k];
          const [x, y] = frame.toUnit(positions[2 * i], positions[2 * i + 1]);
          const d = (x - u) ** 2 + (y - v) ** 2;
          if (!(d <= r * r) || cells.isHidden(i)) continue; // also leaves out cells without a place (NaN)
          const selected = cells.isSelected(i);
          if ((selected && !bestSelected) || (selected === bestSelected && d < least)) {
            best = i;
            least = d;
            bestSelected = selected;
          }
        }
      }
    }
    return best;
  }
}
