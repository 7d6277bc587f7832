/** Builds as notifications that can be cancelled. The client library shows progress in the status bar, without that. */

import { ProgressLocation, window, type Progress } from 'vscode';
import {
  WorkDoneProgressCancelNotification,
  type BaseLanguageClient,
  type ProgressToken,
  type WorkDoneProgressBegin,
  type WorkDoneProgressEnd,
  type WorkDoneProgressReport,
} from 'vscode-languageclient/node';

type Said = WorkDoneProgressBegin | WorkDoneProgressReport | WorkDoneProgressEnd;

interface Shown {
  percentage: number;
  progress: Progress<{ message?: string; increment?: number }> | undefined;
  end: () => void;
}

export class BuildProgress {
  private readonly shown = new Map<ProgressToken, Shown>();

  /** Shows what the server says of work that can be cancelled; answers whether it did. */
  take(client: BaseLanguageClient, token: ProgressToken, said: Said): boolean {
    if (said.kind === 'begin') {
      if (said.cancellable !== true) {
        return false;
      }
      this.begin(client, token, said);
      return true;
    }
    const shown = this.shown.get(token);
    if (shown === undefined) {
      return false;
    }
    if (said.kind === 'report') {
      report(shown, said);
      return true;
    }
    this.shown.delete(token);
    shown.end();
    // The library forgets the token at the end.
    return false;
  }

  /** Ends what is shown, since the server is gone. */
  clear(): void {
    for (const shown of this.shown.values()) {
      shown.end();
    }
    this.shown.clear();
  }

  private begin(client: BaseLanguageClient, token: ProgressToken, said: WorkDoneProgressBegin): void {
    const shown: Shown = { percentage: 0, progress: undefined, end: () => {} };
    const ended = new Promise<void>((resolve) => {
      shown.end = resolve;
    });
    this.shown.set(token, shown);
    const options = { location: ProgressLocation.Notification, title: said.title, cancellable: true };
    void window.withProgress(options, (progress, cancellation) => {
      shown.progress = progress;
      cancellation.onCancellationRequested(() => {
        progress.report({ message: 'cancelling' });
        void client.sendNotification(WorkDoneProgressCancelNotification.type, { token });
      });
      report(shown, said);
      return ended;
    });
  }
}

function report(shown: Shown, said: WorkDoneProgressBegin | WorkDoneProgressReport): void {
  const percentage = Math.max(shown.percentage, said.percentage ?? 0);
  const increment = percentage - shown.percentage;
  shown.percentage = percentage;
  shown.progress?.report(said.message === undefined ? { increment } : { message: said.message, increment });
}
