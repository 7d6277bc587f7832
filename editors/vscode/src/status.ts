/** The item of the status bar: what the Dockerfile in the editor is built for, and by whom. */

import {
  MarkdownString,
  StatusBarAlignment,
  ThemeColor,
  window,
  workspace,
  type Disposable,
  type StatusBarItem,
} from 'vscode';

import { activeDocument, builderOf, platformsOf } from './document';
import { sourceOf } from './pickers';
import type { Server } from './server';

/** How long an editor has to be left alone before the server is asked, in milliseconds. */
const PATIENCE = 300;

export class Status implements Disposable {
  private readonly item: StatusBarItem;
  private readonly disposables: Disposable[];
  private waiting: NodeJS.Timeout | undefined;
  /** How often the server was asked: only the newest answer counts. */
  private asked = 0;

  constructor(private readonly server: Server) {
    this.item = window.createStatusBarItem('rbx.platforms', StatusBarAlignment.Right, 100);
    this.item.name = 'docker rbx';
    const soon = (): void => this.soon();
    server.onChange(soon);
    this.disposables = [
      this.item,
      window.onDidChangeActiveTextEditor(() => void this.refresh()),
      workspace.onDidChangeTextDocument((event) => event.document === activeDocument() && soon()),
      workspace.onDidChangeConfiguration((event) => event.affectsConfiguration('rbx') && soon()),
    ];
  }

  async refresh(): Promise<void> {
    clearTimeout(this.waiting);
    const number = ++this.asked;
    const document = activeDocument();
    if (document === undefined) {
      this.item.hide();
      return;
    }
    const client = this.server.quietly;
    if (client === undefined) {
      this.showHealth();
      return;
    }
    const [known, builder] = await Promise.all([
      platformsOf(client, document).catch(() => null),
      builderOf(client, document).catch(() => undefined),
    ]);
    if (number !== this.asked || known === null) {
      return;
    }
    const platforms = known.platforms.join(', ');
    this.item.text = `$(layers) ${platforms}${builder === undefined ? '' : ` · ${builder}`}`;
    const by = builder === undefined ? '' : `, by the builder \`${builder}\``;
    this.item.tooltip = new MarkdownString(
      `Built for ${platforms} (${sourceOf(known)})${by}\n\n` +
        '[Platforms…](command:rbx.choosePlatforms) · [Builder…](command:rbx.chooseBuilder)',
    );
    this.item.tooltip.isTrusted = { enabledCommands: ['rbx.choosePlatforms', 'rbx.chooseBuilder'] };
    this.item.backgroundColor = undefined;
    this.item.command = 'rbx.choosePlatforms';
    this.item.show();
  }

  dispose(): void {
    clearTimeout(this.waiting);
    for (const disposable of this.disposables) {
      disposable.dispose();
    }
  }

  private soon(): void {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => void this.refresh(), PATIENCE);
  }

  private showHealth(): void {
    const starts = this.server.health === 'starting';
    this.item.text = starts ? '$(loading~spin) rbx' : '$(warning) rbx';
    this.item.tooltip = starts ? 'The language server starts' : 'The language server does not run';
    this.item.backgroundColor = starts ? undefined : new ThemeColor('statusBarItem.warningBackground');
    this.item.command = 'rbx.restartServer';
    this.item.show();
  }
}
