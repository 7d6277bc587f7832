// VS Code in a browser: code-server with the packaged extension, and a page of Chromium that shows it.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { chromium } from 'playwright-core';

const here = import.meta.dirname;
const require = createRequire(import.meta.url);
const CODE_SERVER = path.join(path.dirname(require.resolve('code-server/package.json')), 'out/node/entry.js');
const VSIX = path.join(here, '../dist/docker-rbx.vsix');

/** How long anything may take to be seen, in milliseconds. */
const LONGEST = 30_000;

/** Settings that keep what has nothing to do with Dockerfiles out of the way. */
const SETTINGS = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.colorTheme': 'Default Light Modern',
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'chat.disableAIFeatures': true,
  'chat.commandCenter.enabled': false,
  'editor.minimap.enabled': false,
  'editor.hover.delay': 100,
  'editor.scrollBeyondLastLine': false,
  'extensions.autoCheckUpdates': false,
  'extensions.autoUpdate': false,
  'remote.autoForwardPorts': false,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'window.commandCenter': false,
};

/** Starts VS Code on a folder. `scratch` is a directory for all that it keeps. */
export async function open({ folder, scratch, settings = {}, machine = {}, env = {}, trusted = true }) {
  const user = path.join(scratch, 'user');
  // Which programs there are is a setting of the machine that the extension runs on.
  for (const [level, values] of Object.entries({ User: { ...SETTINGS, ...settings }, Machine: machine })) {
    mkdirSync(path.join(user, level), { recursive: true });
    writeFileSync(path.join(user, level, 'settings.json'), JSON.stringify(values));
  }
  const directories = ['--user-data-dir', user, '--extensions-dir', path.join(scratch, 'extensions')];
  const config = ['--config', path.join(scratch, 'config.yaml')];
  const environment = { ...process.env, HOME: scratch, ...env };
  const code = (args, how) => [process.execPath, [CODE_SERVER, ...config, ...directories, ...args], how];

  const installed = spawnSync(...code(['--install-extension', VSIX], { env: environment, encoding: 'utf8' }));
  if (installed.status !== 0) {
    throw new Error(`the extension is not installed: ${installed.stdout}${installed.stderr}`);
  }
  const flags = ['--auth', 'none', '--bind-addr', '127.0.0.1:0', '--disable-telemetry', '--disable-update-check'];
  if (trusted) {
    flags.push('--disable-workspace-trust');
  }
  const server = spawn(...code([...flags, folder], { env: environment, stdio: ['ignore', 'pipe', 'inherit'] }));
  const browser = await chromium.launch({
    executablePath: process.env.RBX_TEST_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-component-update'],
  });
  const close = async () => {
    await browser.close();
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill();
    await ended;
  };
  try {
    const address = await listening(server);
    const page = await browser.newPage({ viewport: { width: 1200, height: 760 }, deviceScaleFactor: 1 });
    page.setDefaultTimeout(LONGEST);
    await page.goto(`${address}?folder=${encodeURIComponent(folder)}`);
    await page.locator('.monaco-workbench').waitFor();
    return new Editor(page, close);
  } catch (error) {
    await close();
    throw error;
  }
}

/** The address that code-server says it listens at. */
async function listening(server) {
  for await (const line of createInterface({ input: server.stdout })) {
    const address = /https?:\/\/127\.0\.0\.1:\d+\//.exec(line)?.[0];
    if (address !== undefined) {
      server.stdout.resume();
      return address;
    }
  }
  throw new Error('code-server did not start');
}

/** What a user does and sees. */
export class Editor {
  constructor(page, close) {
    this.page = page;
    this.close = close;
  }

  async press(...keys) {
    for (const key of keys) {
      await this.page.keyboard.press(key);
    }
  }

  /** Runs a command of the palette by its name. */
  async command(name) {
    await this.press('F1');
    await this.page.locator('.quick-input-widget input[type=text]').fill(`>${name}`);
    await this.page.locator('.quick-input-list .monaco-list-row', { hasText: name }).first().waitFor();
    await this.press('Enter');
  }

  async openFile(name) {
    await this.press('Control+P');
    await this.page.locator('.quick-input-widget input[type=text]').fill(name);
    await this.page.locator('.quick-input-list .monaco-list-row', { hasText: name }).first().waitFor();
    await this.press('Enter');
    await this.page.locator('.tab.active', { hasText: name }).waitFor();
  }

  /** Puts the cursor somewhere; lines and columns are from 1. */
  async go(line, column = 1) {
    await this.press('Control+G');
    await this.page.locator('.quick-input-widget input[type=text]').fill(`:${line}:${column}`);
    await this.press('Enter');
    await this.page.locator('.quick-input-widget').waitFor({ state: 'hidden' });
  }

  /** Replaces a line by typing. */
  async replaceLine(line, text) {
    await this.go(line);
    await this.press('Home', 'Shift+End');
    await this.page.keyboard.insertText(text);
  }

  /** Waits until something is seen that has a text. */
  async sees(selector, hasText) {
    const found = this.page.locator(selector).filter({ hasText }).first();
    await found.waitFor();
    return found;
  }

  /** Presses keys until something is seen for it: an editor that is busy may miss them. */
  async pressFor(keys, selector, hasText) {
    for (let tries = 1; ; tries++) {
      await this.press(...keys);
      try {
        return await this.page.locator(selector).filter({ hasText }).first().waitFor({ timeout: 3000 });
      } catch (error) {
        if (tries === 5) {
          throw error;
        }
        await this.press('Escape');
      }
    }
  }

  /** Texts of all that is there of a kind. */
  async texts(selector) {
    return this.page.locator(selector).allInnerTexts();
  }

  async picture(file) {
    // Notifications slide in.
    await this.page.waitForTimeout(500);
    await this.page.screenshot({ path: file });
  }
}
