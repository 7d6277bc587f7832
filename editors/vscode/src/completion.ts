/** Completion as this editor is used to it. */

import { CompletionList, type CompletionItem } from 'vscode';

type Items = CompletionItem[] | CompletionList;

/** Has the editor offer the values of a flag as soon as the flag was taken. */
export function withValues(offered: Items | null | undefined): Items | null | undefined {
  const items = offered instanceof CompletionList ? offered.items : offered;
  for (const item of items ?? []) {
    const text = item.insertText ?? item.label;
    if (typeof text === 'string' && text.endsWith('=')) {
      item.command ??= { command: 'editor.action.triggerSuggest', title: '' };
    }
  }
  return offered;
}
