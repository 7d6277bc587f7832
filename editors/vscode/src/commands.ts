/** Commands of the palette: each asks what it has to know, and has the server do it. */

import { ConfigurationTarget, commands, window, workspace, type Disposable, type OutputChannel, type TextDocument } from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

import { activeDocument, platformsOf, run, stagesOf, type Builders } from './document';
import { keep, pickBuilder, pickPlatforms, pickSome } from './pickers';
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
    about('rbx.checkFile', (client, document) => run(client, 'rbx.check', document)),
    about('rbx.choosePlatforms', choosePlatforms),
    about('rbx.chooseBuilder', chooseBuilder),
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
  if (platforms === undefined) {
    return;
  }
  if (now?.source === 'comment' && platforms.length > 0) {
    // The comment goes before the setting: it is what has to be changed.
    await run(client, 'rbx.setPlatforms', document, { platforms });
    return;
  }
  const { Global, Workspace } = ConfigurationTarget;
  const target = workspace.workspaceFolders === undefined ? Global : Workspace;
  await keep('platforms', platforms.length === 0 ? undefined : platforms, target);
}

async function chooseBuilder(client: LanguageClient, document: TextDocument): Promise<void> {
  const known = await run<Builders>(client, 'rbx.builders', document);
  const builder = known === null ? undefined : await pickBuilder(known);
  if (builder !== undefined) {
    // Which builders there are is a matter of the machine.
    await keep('builder', builder === '' ? undefined : builder, ConfigurationTarget.Global);
  }
}
