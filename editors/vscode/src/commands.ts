/** Commands of the palette: each asks what it has to know, and has the server do it. */

import { commands, window, type Disposable, type OutputChannel, type TextDocument } from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

import { activeDocument, platformsOf, run, stagesOf } from './document';
import { keep, pickPlatforms, pickSome } from './pickers';
import type { Server } from './server';
import { mayRun } from './trust';

type About = (client: LanguageClient, document: TextDocument) => Promise<unknown>;

/** Registers them. */
export function register(server: Server, output: OutputChannel): Disposable[] {
  const about = (name: string, command: About) => commands.registerCommand(name, () => ask(server, command));
  return [
    about('rbx.buildAll', (client, document) => build(client, document)),
    about('rbx.buildFor', async (client, document) => {
      const known = await platformsOf(client, document);
      const platforms = known === null ? undefined : await pickSome(known);
      return platforms === undefined ? undefined : build(client, document, { platforms });
    }),
    about('rbx.buildStage', async (client, document) => {
      const stages = (await stagesOf(client, document)).map(({ name, detail }) => ({ label: name, detail }));
      const stage = await window.showQuickPick(stages, { title: 'Build up to', placeHolder: 'Stage' });
      return stage === undefined ? undefined : build(client, document, { target: stage.label });
    }),
    about('rbx.cancelBuild', async (client, document) => {
      if (!(await run<boolean>(client, 'rbx.cancel', document))) {
        await window.showInformationMessage('This file is not being built.');
      }
    }),
    about('rbx.choosePlatforms', choosePlatforms),
    commands.registerCommand('rbx.showOutput', () => output.show(true)),
    commands.registerCommand('rbx.restartServer', () => server.restart()),
  ];
}

async function ask(server: Server, command: About): Promise<void> {
  const client = server.running();
  if (client === undefined) {
    return;
  }
  const document = activeDocument();
  if (document === undefined) {
    await window.showInformationMessage('Open a Dockerfile first.');
    return;
  }
  try {
    await command(client, document);
  } catch (error) {
    await window.showErrorMessage(error instanceof Error ? error.message : String(error));
  }
}

async function build(client: LanguageClient, document: TextDocument, more: object = {}): Promise<void> {
  if (mayRun('rbx.build')) {
    await run(client, 'rbx.build', document, more);
  }
}

async function choosePlatforms(client: LanguageClient, document: TextDocument): Promise<void> {
  const now = await platformsOf(client, document);
  const platforms = now === null ? undefined : await pickPlatforms(now);
  if (now === null || platforms === undefined) {
    return;
  }
  await keep('platforms', platforms.length === 0 ? undefined : platforms);
  if (now.source === 'comment') {
    const text = 'This file says itself what it is built for, in a comment: that goes before the setting.';
    await window.showInformationMessage(text);
  }
}
