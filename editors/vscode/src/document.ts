/** The Dockerfile that is being edited, and what the server knows of it. */

import { languages, window, type TextDocument } from 'vscode';
import {
  DocumentSymbol,
  DocumentSymbolRequest,
  ExecuteCommandRequest,
  SymbolKind,
  type LanguageClient,
} from 'vscode-languageclient/node';

import { SELECTOR } from './selector';

/** What a file is built for, and who says so. */
export interface Platforms {
  readonly platforms: string[];
  readonly source: string;
}

/** The Dockerfile in the active editor. */
export function activeDocument(): TextDocument | undefined {
  const document = window.activeTextEditor?.document;
  return document !== undefined && languages.match(SELECTOR, document) > 0 ? document : undefined;
}

/** Has the server run a command about a document. */
export async function run<T>(
  client: LanguageClient,
  command: string,
  document: TextDocument,
  more: object = {},
): Promise<T | null> {
  const uri = client.code2ProtocolConverter.asUri(document.uri);
  const params = { command, arguments: [{ uri, ...more }] };
  return (await client.sendRequest(ExecuteCommandRequest.type, params)) as T | null;
}

export async function platformsOf(client: LanguageClient, document: TextDocument): Promise<Platforms | null> {
  return run<Platforms>(client, 'rbx.platforms', document);
}

/** A builder, as the command line lists it. */
export interface Builder {
  readonly name: string;
  readonly driver: string;
  readonly current: boolean;
  readonly platforms: string[];
  readonly error: string | null;
}

/** The builders that there are, and the one that is chosen, if one is. */
export interface Builders {
  readonly builders: Builder[];
  readonly chosen: string | null;
}

/** The builder that would build a document, if the server knows it by now. */
export async function builderOf(client: LanguageClient, document: TextDocument): Promise<string | undefined> {
  return (await run<{ builder: string }>(client, 'rbx.state', document))?.builder;
}

/** Names of the stages, each with its first line. */
export async function stagesOf(
  client: LanguageClient,
  document: TextDocument,
): Promise<{ name: string; detail: string }[]> {
  const textDocument = client.code2ProtocolConverter.asTextDocumentIdentifier(document);
  const symbols = (await client.sendRequest(DocumentSymbolRequest.type, { textDocument })) ?? [];
  return symbols
    .filter((symbol) => DocumentSymbol.is(symbol))
    .filter((symbol) => symbol.kind === SymbolKind.Namespace)
    .map((symbol, number) => ({
      // A stage without a name goes by its number.
      name: symbol.name === `stage ${number}` ? String(number) : symbol.name,
      detail: symbol.detail ?? '',
    }));
}
