// Does in a VS Code in a browser what a user does, looks at what is shown, and takes pictures.
//
// usage: node tour.mjs SERVER BASE EMULATORS PICTURES
//
// SERVER: `docker-rbx`; BASE: an OCI layout with a busybox for linux/amd64 and linux/arm64; EMULATORS: a directory with
// QEMU for the other of the two; PICTURES: a directory for them.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { open } from './editor.mjs';

const [server, base, emulators, pictures] = process.argv.slice(2).map((file) => path.resolve(file));
if (pictures === undefined) {
  throw new Error('usage: node tour.mjs SERVER BASE EMULATORS PICTURES');
}
mkdirSync(pictures, { recursive: true });

const TEXT = `# rbx: platforms=linux/amd64,linux/arm64
ARG RELEASE=1.4

FROM --platform=$BUILDPLATFORM alpine AS build
ARG TARGETARCH=amd64
ARG RELEASE
WORKDIR /src
COPY greet.sh .
RUN sh greet.sh $TARGETARCH $RELEASE > /greeting

FROM alpine
COPY --from=build /greeting /etc/greeting
RUN uname -m && cat /etc/greeting
ENTRYPOINT ["cat", "/etc/greeting"]
`;

const LENS = '.codelens-decoration a';
const TOAST = '.notifications-toasts .notification-list-item';
const PROBLEM = '.markers-panel .monaco-list-row';

const scratch = mkdtempSync(path.join(tmpdir(), 'rbx-tour-'));
const folder = path.join(scratch, 'greeter');
mkdirSync(path.join(folder, '.git'), { recursive: true });
writeFileSync(path.join(folder, 'Dockerfile'), TEXT);
writeFileSync(path.join(folder, 'greet.sh'), 'echo "release $2 for $1"\n');
mkdirSync(path.join(scratch, '.docker/rbx'), { recursive: true });
const emulation = { qemu: { directories: [emulators], image: '' } };
writeFileSync(path.join(scratch, '.docker/rbx/config.json'), JSON.stringify({ emulation }));

let editor;

/** A step of the tour. */
async function step(name, does) {
  try {
    await does();
    console.log(`ok: ${name}`);
  } catch (error) {
    await editor.picture(path.join(pictures, 'error.png'));
    console.error(`failed: ${name}`);
    throw error;
  }
}

const picture = (name) => editor.picture(path.join(pictures, `${name}.png`));

/** Saves the file until there is something in it: edits take their time. What is seen has hints in it. */
async function says(wanted) {
  for (let tries = 0; tries < 60; tries++) {
    await editor.press('Control+S');
    await editor.page.waitForTimeout(500);
    if (wanted.test(readFileSync(path.join(folder, 'Dockerfile'), 'utf8'))) {
      return;
    }
  }
  throw new Error(`the file does not say ${wanted}`);
}

/** Clicks on a lens; those of a file are above its first line. */
async function lens(title) {
  await editor.go(1);
  await (await editor.sees(LENS, title)).click();
}

async function dismiss() {
  await editor.command('Notifications: Clear All Notifications');
  await editor.page.locator(TOAST).first().waitFor({ state: 'hidden' });
}

async function tour() {
  await step('a file is opened: lenses, platforms, a finding of one platform', async () => {
    await editor.openFile('Dockerfile');
    await editor.sees(LENS, 'build all platforms');
    await editor.sees('.statusbar-item', 'linux/amd64, linux/arm64');
    await editor.command('View: Toggle Primary Side Bar Visibility');
    await editor.command('Problems: Focus on Problems View');
    await editor.sees(PROBLEM, 'on linux/arm64');
    await picture('findings');
  });

  await step('what is under the cursor is explained', async () => {
    await editor.openFile('Dockerfile');
    await editor.go(4, 3);
    await editor.pressFor(['Control+K', 'Control+I'], '.monaco-hover', 'Begins a stage');
    await picture('hover');
    await editor.press('Escape');
  });

  await step('the remedy of a finding', async () => {
    await editor.go(5, 10);
    await editor.pressFor(['Control+.'], '.action-widget', 'default');
    await picture('remedy');
    await editor.press('Enter');
    await says(/^ARG TARGETARCH$/m);
    await editor.page.locator('.squiggly-warning').first().waitFor({ state: 'hidden' });
  });

  await step('the outline', async () => {
    await editor.pressFor(['Control+Shift+O'], '.quick-input-list .monaco-list-row', 'build');
    await picture('outline');
    await editor.press('Escape');
  });

  await step('what may come is offered, and the values of a flag after it', async () => {
    await editor.go(12);
    await editor.press('End', 'Enter');
    await editor.page.keyboard.type('COPY --fr');
    await editor.sees('.suggest-widget .monaco-list-row', '--from');
    await editor.press('Tab');
    await editor.sees('.suggest-widget .monaco-list-row', 'build');
    await picture('completion');
    await editor.press('Escape', 'Control+Shift+K');
  });

  await step('a stage is renamed', async () => {
    await editor.go(12, 14);
    await editor.pressFor(['F2'], '.rename-box .rename-input', '');
    await editor.page.locator('.rename-box .rename-input').fill('maker');
    await editor.press('Enter');
    await says(/ AS maker\n[^]*^COPY --from=maker /m);
    await editor.press('Control+Z');
    await says(/ AS build\n[^]*^COPY --from=build /m);
  });

  await step('what a variable is worth on each platform', async () => {
    await editor.go(9, 20);
    await editor.pressFor(['Control+K', 'Control+I'], '.monaco-hover', 'linux/arm64: arm64');
    await picture('values');
    await editor.press('Escape');
  });

  await step('the file is formatted', async () => {
    await editor.replaceLine(6, 'arg   RELEASE');
    await editor.command('Format Document');
    await says(/^ARG RELEASE$/m);
  });

  await step('a build that fails: a finding on its line', async () => {
    await editor.replaceLine(13, 'RUN uname -m && cat /etc/greetings');
    await lens('build all platforms');
    await editor.sees(TOAST, 'failed to build Dockerfile');
    await editor.sees('.squiggly-error', '');
    await editor.sees(PROBLEM, "can't open '/etc/greetings'");
    await picture('failed');
    await dismiss();
  });

  await step('it is mended, and built', async () => {
    await editor.replaceLine(13, 'RUN uname -m && cat /etc/greeting');
    await editor.page.locator('.squiggly-error').first().waitFor({ state: 'hidden' });
    await lens('build all platforms');
    await editor.sees(TOAST, 'built Dockerfile for linux/amd64, linux/arm64');
    await dismiss();
    // Steps are known to be cached then, and who builds them.
    await editor.sees('.view-line', 'cached');
    await editor.sees(LENS, 'cached');
    await editor.sees('.statusbar-item', 'embedded');
    await picture('cached');
    await editor.command('docker rbx: Show Output of Builds');
    await editor.sees('.panel .view-line', 'built Dockerfile for linux/amd64, linux/arm64');
    await picture('output');
  });

  await step('a build is watched and cancelled', async () => {
    await editor.openFile('Dockerfile');
    await editor.replaceLine(13, 'RUN echo begun && sleep 60');
    await lens('build for linux/arm64');
    const toast = await editor.sees(TOAST, 'sleep 60');
    await picture('progress');
    await toast.hover();
    await toast.getByRole('button', { name: 'Cancel' }).click();
    await editor.sees(TOAST, 'cancelled the build of Dockerfile for linux/arm64');
    await dismiss();
  });

  await step('platforms are chosen', async () => {
    await editor.replaceLine(1, '#');
    await (await editor.sees('.statusbar-item', 'linux/amd64')).click();
    await editor.sees('.quick-input-widget', 'What Dockerfiles are built for');
    await (await editor.sees('.quick-input-list .monaco-list-row', 'linux/riscv64')).click();
    await picture('platforms');
    await editor.press('Enter');
    await editor.sees('.statusbar-item', 'linux/riscv64');
    await editor.sees(LENS, 'build for linux/riscv64');
  });
}

try {
  editor = await open({
    folder,
    scratch,
    settings: { 'rbx.buildFlags': [`--build-context=alpine=oci-layout://${base}`] },
    machine: { 'rbx.path': server },
    env: { RBX_ROOT: path.join(scratch, 'store'), BUILDX_BUILDER: 'embedded' },
  });
  await tour();
} finally {
  await editor?.close();
  rmSync(scratch, { recursive: true, force: true });
}
