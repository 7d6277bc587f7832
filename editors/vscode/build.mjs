// Bundles the extension into dist/extension.js, and the licences of what is in it into dist/THIRD_PARTY.txt.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { build } from 'esbuild';

const { metafile } = await build({
  entryPoints: ['src/extension.ts'],
  outfile: 'dist/extension.js',
  bundle: true,
  minify: true,
  metafile: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  external: ['vscode'],
  legalComments: 'none',
});

/** The package that a file belongs to. */
function owner(file) {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0];
}

function notice(directory) {
  const { name, version, license } = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'));
  const file = readdirSync(directory).find((entry) => /^licen[cs]e/i.test(entry));
  if (file === undefined) {
    throw new Error(`${name} has no licence`);
  }
  const text = readFileSync(path.join(directory, file), 'utf8').trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
}

const packages = new Set(Object.keys(metafile.inputs).map(owner).filter((directory) => directory !== undefined));
const notices = [...packages].sort().map(notice);
writeFileSync('dist/THIRD_PARTY.txt', notices.join(`\n${'-'.repeat(80)}\n\n`));
