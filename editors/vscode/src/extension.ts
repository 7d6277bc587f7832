/** The extension's beginning and end. */

import { window, workspace, type ExtensionContext } from 'vscode';

import { register } from './commands';
import { Messages } from './messages';
import { Server } from './server';
import { Status } from './status';

let server: Server | undefined;

export async function activate(context: ExtensionContext): Promise<void> {
  const output = window.createOutputChannel('docker rbx');
  const log = window.createOutputChannel('docker rbx (language server)', { log: true });
  const started = new Server(log, new Messages(output, log));
  server = started;
  context.subscriptions.push(
    output,
    log,
    new Status(started),
    ...register(started, output),
    workspace.onDidGrantWorkspaceTrust(() => started.configure()),
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('rbx.path')) {
        void started.restart();
      }
    }),
  );
  await started.start();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
