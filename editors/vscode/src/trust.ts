/** What a folder may have done that the user does not trust yet. */

import { commands, window, workspace } from 'vscode';

/** Commands of the server that run what a Dockerfile says. */
const RUNS = new Set(['rbx.build']);

/** Whether a command of the server may be run; tells the user why not. */
export function mayRun(command: string): boolean {
  if (workspace.isTrusted || !RUNS.has(command)) {
    return true;
  }
  void refuse();
  return false;
}

/** What is set, as far as it holds in this folder: of one that is not trusted, no context is read for a dry run. */
export function asTrusted(settings: unknown): unknown {
  if (workspace.isTrusted || typeof settings !== 'object' || settings === null || !('hints' in settings)) {
    return settings;
  }
  return { ...settings, hints: { ...(settings.hints as object), cached: false } };
}

async function refuse(): Promise<void> {
  const text = 'Building runs commands of the Dockerfile, and this folder is not trusted.';
  const manage = 'Manage Workspace Trust';
  if ((await window.showWarningMessage(text, manage)) === manage) {
    await commands.executeCommand('workbench.trust.manage');
  }
}
