/** What the server says: to the user, and to the output of builds. */

import { window, type LogOutputChannel, type OutputChannel } from 'vscode';
import {
  LogMessageNotification,
  MessageType,
  ShowMessageNotification,
  type BaseLanguageClient,
} from 'vscode-languageclient/node';

const SHOW = 'Show Output';

export class Messages {
  /** What builds say goes to `output` as it is, and what the server says of itself to `log`. */
  constructor(
    private readonly output: OutputChannel,
    private readonly log: LogOutputChannel,
  ) {}

  /** Takes the messages of a server that is not started yet. */
  listen(client: BaseLanguageClient): void {
    client.onNotification(LogMessageNotification.type, ({ type, message }) => {
      switch (type) {
        case MessageType.Error:
          this.log.error(message);
          break;
        case MessageType.Warning:
          this.log.warn(message);
          break;
        case MessageType.Info:
          this.log.info(message);
          break;
        case MessageType.Debug:
          this.log.debug(message);
          break;
        default:
          this.output.appendLine(message);
      }
    });
    client.onNotification(ShowMessageNotification.type, ({ type, message }) => void this.show(type, message));
  }

  private async show(type: MessageType, message: string): Promise<void> {
    if (type === MessageType.Error) {
      if ((await window.showErrorMessage(message, SHOW)) === SHOW) {
        this.output.show(true);
      }
    } else if (type === MessageType.Warning) {
      await window.showWarningMessage(message);
    } else {
      await window.showInformationMessage(message);
    }
  }
}
