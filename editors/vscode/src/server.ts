/** The server and the connection to it. */

import { commands, window, workspace, type Disposable, type LogOutputChannel } from 'vscode';
import {
  DidChangeConfigurationNotification,
  LanguageClient,
  State,
  type LanguageClientOptions,
} from 'vscode-languageclient/node';

import { asTrusted, mayRun } from './trust';
import { withValues } from './completion';
import { findServer } from './find';
import type { Messages } from './messages';
import { BuildProgress } from './progress';
import { SELECTOR } from './selector';

const STOPPED = 'The language server of docker rbx does not run.';

/** How the server is doing. */
export type Health = 'starting' | 'running' | 'stopped' | 'missing';

const MISSING =
  'The language server of docker rbx was not found. Put docker-rbx or rbx-lsp on the PATH or among the plugins of ' +
  'docker, or say in the setting rbx.path where it is.';

/** Commands of lenses that would have the server ask the user, and those that ask in this editor's own way. */
const PICKERS: Partial<Record<string, string>> = {
  'rbx.setBuilder': 'rbx.chooseBuilder',
  'rbx.setPlatforms': 'rbx.choosePlatforms',
};

/** Whether a command is about a document, and nothing more is said. */
function asksItself(command: string, args: unknown[]): boolean {
  const [about] = args;
  return command in PICKERS && typeof about === 'object' && about !== null && Object.keys(about).length === 1;
}

export class Server implements Disposable {
  health: Health = 'stopped';
  private problem = STOPPED;
  private client: LanguageClient | undefined;
  private readonly progress = new BuildProgress();
  private changed: () => void = () => {};

  constructor(
    private readonly log: LogOutputChannel,
    private readonly messages: Messages,
  ) {}

  /** Has a function called whenever the health changes, or what the server knows. */
  onChange(changed: () => void): void {
    this.changed = changed;
  }

  /** Starts it; if it is not there or does not start, the user is told so. */
  async start(): Promise<void> {
    const set = workspace.getConfiguration('rbx').get('path', '');
    const program = findServer(set);
    if (program === undefined) {
      this.problem = set === '' ? MISSING : `The setting rbx.path says ${set}, and that is no program.`;
      this.become('missing');
      void this.complain();
      return;
    }
    this.problem = STOPPED;
    this.become('starting');
    const client = new LanguageClient('rbx', 'docker rbx', program, this.options());
    this.client = client;
    this.messages.listen(client);
    client.onDidChangeState((event) => {
      if (event.newState === State.Stopped) {
        this.progress.clear();
      }
      const healths: Record<State, Health> = {
        [State.Stopped]: 'stopped',
        [State.Starting]: 'starting',
        [State.Running]: 'running',
        [State.StartFailed]: 'stopped',
      };
      this.become(healths[event.newState]);
    });
    try {
      await client.start();
    } catch (error) {
      // The library says so, too, but not which program it was.
      this.log.error(`${program.command} did not start: ${String(error)}`);
      this.become('stopped');
    }
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    this.progress.clear();
    // One that did not start cannot be stopped.
    await client?.dispose().catch(() => {});
    this.become('stopped');
  }

  /** Has the server ask for the settings again. */
  async configure(): Promise<void> {
    await this.quietly?.sendNotification(DidChangeConfigurationNotification.type, { settings: null });
  }

  dispose(): void {
    void this.stop();
  }

  /** The client, if the server runs; else the user is told how to have one. */
  running(): LanguageClient | undefined {
    if (this.client?.isRunning() === true) {
      return this.client;
    }
    void this.complain();
    return undefined;
  }

  /** The client, if the server runs. */
  get quietly(): LanguageClient | undefined {
    return this.client?.isRunning() === true ? this.client : undefined;
  }

  private become(health: Health): void {
    this.health = health;
    this.changed();
  }

  private async complain(): Promise<void> {
    const chosen = await window.showErrorMessage(this.problem, 'Open Settings', 'Start Again', 'Show Log');
    if (chosen === 'Open Settings') {
      await commands.executeCommand('workbench.action.openSettings', 'rbx.path');
    } else if (chosen === 'Start Again') {
      await this.restart();
    } else if (chosen === 'Show Log') {
      this.log.show();
    }
  }

  private options(): LanguageClientOptions {
    return {
      documentSelector: SELECTOR,
      outputChannel: this.log,
      diagnosticCollectionName: 'rbx',
      middleware: {
        workspace: {
          configuration: async (items, token, next) => {
            const settings = await next(items, token);
            // What files are built for may be something else once the server has them.
            this.changed();
            return Array.isArray(settings) ? settings.map(asTrusted) : settings;
          },
        },
        provideCodeLenses: async (document, token, next) => {
          const lenses = await next(document, token);
          // They are asked for again when the server has learned more, by a build or a dry run.
          this.changed();
          return lenses;
        },
        provideCompletionItem: async (document, position, context, token, next) =>
          withValues(await next(document, position, context, token)),
        executeCommand: (command, args, next) => {
          const own = asksItself(command, args) ? PICKERS[command] : undefined;
          return own !== undefined ? commands.executeCommand(own) : mayRun(command) ? next(command, args) : null;
        },
        handleWorkDoneProgress: (token, said, next) => {
          if (this.client === undefined || !this.progress.take(this.client, token, said)) {
            next(token, said);
          }
        },
      },
    };
  }
}
