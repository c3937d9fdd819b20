// Size in pixels and opacity of a point: many cells are drawn small and thin, so that dense places show their density. The server's
// raster uses the same rule (scfviz/ui/raster.py), so that a figure looks like the map.
export function pointLook(nCells, width, height, zoom) {
  const n = Math.max(1, nCells);
  const size = Math.min(9, Math.max(1.4, 2 * Math.sqrt((0.3 * width * height) / (Math.PI * n))));
  const opacity = Math.min(0.95, Math.max(0.45, 1.3 - 0.133 * Math.log10(n)));
  const closer = Math.max(1, zoom);
  return [Math.min(14, size * closer ** 0.45), 1 - (1 - opacity) / closer ** 0.5];
}
