// The maps as they are on the screen, with legend and caption, as a PNG at twice the size.
import { css } from "./colors.js";
import { digits } from "./legend.js";
import { shorten } from "./text.js";

const SCALE = 2;

export async function savePicture(map) {
  const canvas = await compose(map);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${map.spec.filename}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

async function compose(map) {
  const { spec, panels } = map;
  const theme = getComputedStyle(map.root);
  const ink = theme.getPropertyValue("--st-text-color").trim() || "#222";
  const font = theme.fontFamily;
  const [width, height] = [panels[0].frame.width, panels[0].frame.height];
  const rowsInColumn = Math.max(1, Math.floor((height + 28 - 18) / 17));
  const legendWidth = 220 * Math.ceil(legendRows(map).length / rowsInColumn || 1);
  const total = [panels.length * width + legendWidth + 16, height + 56];
  const canvas = document.createElement("canvas");
  canvas.width = total[0] * SCALE;
  canvas.height = total[1] * SCALE;
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  context.fillStyle = theme.getPropertyValue("--st-background-color").trim() || "#fff";
  context.fillRect(0, 0, ...total);
  for (const [k, panel] of panels.entries()) {
    const picture = await panel.layer.picture(SCALE);
    context.drawImage(picture, k * width, 28, width, height);
    context.fillStyle = ink;
    context.font = `600 14px ${font}`;
    context.fillText(panel.spec.title, k * width + 8, 19);
    drawLabels(context, panel, k * width, 28, ink, font, theme.getPropertyValue("--st-background-color").trim() || "#fff");
  }
  drawLegend(context, map, panels.length * width + 12, 20, ink, font, rowsInColumn);
  context.fillStyle = ink;
  context.globalAlpha = 0.75;
  context.font = `12px ${font}`;
  const shown = map.legend.shownText();
  context.fillText([spec.caption, shown].filter(Boolean).join(" · "), 8, total[1] - 9, total[0] - 16);
  return canvas;
}

function drawLabels(context, panel, left, top, ink, font, halo) {
  context.font = `600 12px ${font}`;
  context.textAlign = "center";
  context.lineWidth = 3;
  context.strokeStyle = halo;
  context.fillStyle = ink;
  for (const label of panel.labels.children) {
    if (label.getAttribute("visibility") === "hidden") continue;
    const [x, y] = label.place;
    context.strokeText(label.textContent, left + x, top + y);
    context.fillText(label.textContent, left + x, top + y);
  }
  context.textAlign = "left";
}

function legendRows(map) {
  const { colors } = map.spec;
  if (colors.kind === "values") return [];
  const rows =
    colors.kind === "labels"
      ? colors.names.map((name, code) => [css(map.palette[code]), name, colors.counts[code], map.cells.hidden.has(code)])
      : [...colors.genes.map((gene) => [gene.color, gene.name, "", false]), ...colors.mixtures.map(([names, color]) => [color, names, "", false])];
  return rows.filter(([, , count, hidden]) => count !== 0 && !hidden);
}

function drawLegend(context, map, left, top, ink, font, rowsInColumn) {
  const { colors } = map.spec;
  context.fillStyle = ink;
  context.font = `600 13px ${font}`;
  context.fillText([colors.title, colors.unit].filter(Boolean).join(", "), left, top, 200);
  context.font = `12px ${font}`;
  if (colors.kind === "values") {
    const known = map.palette.slice(0, -1);
    known.forEach((color, i) => {
      context.fillStyle = css(color);
      context.fillRect(left + (i / known.length) * 180, top + 12, 180 / known.length + 0.6, 12);
    });
    context.fillStyle = ink;
    context.fillText(`${colors.clipped_low ? "≤ " : ""}${digits(colors.low)}`, left, top + 40);
    context.textAlign = "right";
    context.fillText(`${colors.clipped_high ? "≥ " : ""}${digits(colors.high)}`, left + 180, top + 40);
    context.textAlign = "left";
    return;
  }
  legendRows(map).forEach(([color, name, count], row) => {
    const x = left + 220 * Math.floor(row / rowsInColumn);
    const y = top + 18 + (row % rowsInColumn) * 17;
    context.fillStyle = color;
    context.beginPath();
    context.arc(x + 5, y - 4, 5, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = ink;
    context.fillText(`${shorten(name, 26)}${count === "" ? "" : ` (${count.toLocaleString("en")})`}`, x + 16, y, 190);
  });
}
