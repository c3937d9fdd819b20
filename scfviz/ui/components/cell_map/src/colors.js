// Colours of the spec as red, green, blue between 0 and 1.
export function rgb(text) {
  const hex = text.replace("#", "");
  const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
  return [0, 2, 4].map((at) => parseInt(full.slice(at, at + 2), 16) / 255);
}

export const css = (color) => `rgb(${color.map((part) => Math.round(part * 255)).join(" ")})`;

export function isDark(root) {
  const found = getComputedStyle(root).getPropertyValue("--st-background-color").trim();
  const parts = found.startsWith("#") ? rgb(found) : (found.match(/[\d.]+/g) ?? [255, 255, 255]).slice(0, 3).map((part) => part / 255);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] < 0.5;
}

export function ramp(stops, n) {
  const colors = stops.map(rgb);
  return Array.from({ length: n }, (_, i) => {
    const at = (i / Math.max(1, n - 1)) * (colors.length - 1);
    const low = Math.min(colors.length - 2, Math.floor(at));
    return colors[low].map((part, k) => part + (colors[low + 1][k] - part) * (at - low));
  });
}

// One colour per code; the last is for cells of which nothing is known.
export function paletteOf(colors, dark) {
  const known =
    colors.kind === "values" ? ramp(dark ? colors.stops_dark : colors.stops_light, colors.n_codes) : colors.palette.map(rgb);
  return [...known, rgb(colors.unknown)];
}
