// Bundle src/ into dist/cell_map.js and write the licences of what went in. `node build.mjs DIR` writes elsewhere (the test does).
import { build } from "esbuild";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "dist");
mkdirSync(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: ["src/index.js"],
  outfile: join(out, "cell_map.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2020",
  charset: "utf8",
  legalComments: "none",
  loader: { ".css": "text" },
  banner: { js: "/* scfviz cell map. Built from src/ by `make component`; licences of the libraries inside: LICENSES.txt */" },
});
// Everything that is not only for building: regl-scatterplot carries the libraries it uses inside its own file.
const { packages } = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8"));
const inside = Object.keys(packages).filter((path) => path && !packages[path].dev);
const texts = inside.sort().map((path) => {
  const folder = join(here, path);
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  let text = "";
  for (const file of ["LICENSE", "LICENSE.md", "LICENSE.txt", "license"]) {
    try {
      text = readFileSync(join(folder, file), "utf8").trim();
      break;
    } catch {}
  }
  return `${name} ${version} (${license})\n\n${text || "This package ships no licence text; its package.json names the licence above."}\n`;
});
writeFileSync(join(out, "LICENSES.txt"), texts.join(`\n${"-".repeat(100)}\n\n`));
