// Makes what the pages load of others: the style, and the client of tus.
//
// Compiles hexhub_backup.css for pages that lie inside a host's own layout: every rule holds only
// below .hexhub-backup, and none is in a cascade layer, where any rule of the host would beat it.
import { readFile, writeFile } from "node:fs/promises";
import cascadeLayers from "@csstools/postcss-cascade-layers";
import { optimize } from "@tailwindcss/node";
import tailwind from "@tailwindcss/postcss";
import { build } from "esbuild";
import postcss from "postcss";

const SCOPE = ".hexhub-backup";
const from = new URL("hexhub_backup.css", import.meta.url).pathname;
const to = new URL("../hexhub_backup.css", import.meta.url).pathname;

// daisyUI's switch of themes, which there is none of here.
const SWITCH = /theme-controller/;
const ROOT = /^(?:html|body|:root|:host)(?![\w-])/;

function scoped(selector) {
  if (SWITCH.test(selector)) return [];
  // The host may choose the theme with data-theme, else the browser does.
  if (/^(?::root:not\()?\[data-theme/.test(selector)) return [`${selector} ${SCOPE}`];
  if (selector.startsWith(":where(:root")) return [`:where(${SCOPE})`];
  if (ROOT.test(selector)) return [selector.replace(ROOT, SCOPE)];
  return [`${SCOPE} ${selector}`];
}

const scope = {
  postcssPlugin: "scope",
  OnceExit(root) {
    root.walkRules((rule) => {
      if (rule.parent.type === "rule" || rule.parent.name?.endsWith("keyframes")) return;
      rule.selectors = rule.selectors.flatMap(scoped);
    });
  },
};

const source = await readFile(from, "utf8");
const flat = await postcss([tailwind({ optimize: { minify: false } })]).process(source, { from, to });
const plain = await postcss([cascadeLayers(), scope]).process(flat.css, { from, to });
const { code } = optimize(plain.css, { minify: true });
await writeFile(to, `/*! Tailwind CSS and daisyUI, MIT: see licences/ */\n${code}`);

// As a module: the client's own bundle would leave a global behind.
await build({
  stdin: { contents: 'export { Upload, defaultOptions } from "tus-js-client";', resolveDir: "." },
  bundle: true,
  format: "esm",
  minify: true,
  target: "es2020",
  legalComments: "none",
  banner: { js: "/*! tus-js-client and what it needs, MIT and BSD: see licences/ */" },
  outfile: new URL("../tus.js", import.meta.url).pathname,
});
const bundled = {
  "tus-js-client": "LICENSE",
  "js-base64": "LICENSE.md",
  "url-parse": "LICENSE",
  "requires-port": "LICENSE",
  querystringify: "LICENSE",
};
const licences = Object.entries(bundled).map(async ([name, file]) => {
  const text = await readFile(new URL(`node_modules/${name}/${file}`, import.meta.url), "utf8");
  return `${name}\n\n${text.trim()}\n`;
});
await writeFile(
  new URL("../licences/tus-js-client.txt", import.meta.url),
  (await Promise.all(licences)).join("\n\n"),
);
