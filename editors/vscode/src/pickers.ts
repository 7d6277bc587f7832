/** Questions to the user. */

import { ConfigurationTarget, window, workspace, type QuickPickItem } from 'vscode';

import type { Builders, Platforms } from './document';

/** What images are most often built for. */
const COMMON = [
  'linux/amd64',
  'linux/arm64',
  'linux/arm/v7',
  'linux/arm/v6',
  'linux/386',
  'linux/ppc64le',
  'linux/riscv64',
  'linux/s390x',
];

const OTHERS = 'Others…';

const SOURCES: Record<string, string> = {
  comment: 'as its comment says',
  configuration: 'as set',
  workflow: 'as a workflow builds it',
  default: 'the default',
};

/** Who says what a file is built for. */
export function sourceOf(platforms: Platforms): string {
  return SOURCES[platforms.source] ?? platforms.source;
}

/** Asks for some of the platforms of a file. */
export async function pickSome(platforms: Platforms): Promise<string[] | undefined> {
  const items = platforms.platforms.map((label) => ({ label }));
  const options = { title: 'Build for', placeHolder: 'Platforms', canPickMany: true as const };
  const picked = await window.showQuickPick(items, options);
  return picked !== undefined && picked.length > 0 ? picked.map((item) => item.label) : undefined;
}

/** Asks which platforms files are built for. */
export async function pickPlatforms(now: Platforms): Promise<string[] | undefined> {
  const known = [...now.platforms, ...COMMON.filter((platform) => !now.platforms.includes(platform))];
  const items: QuickPickItem[] = known.map((label) => ({ label, picked: now.platforms.includes(label) }));
  items.push({ label: OTHERS, description: 'by their names' });
  const placeHolder = `This file: ${now.platforms.join(', ')} (${sourceOf(now)})`;
  const options = { title: 'What Dockerfiles are built for', placeHolder, canPickMany: true as const };
  const picked = await window.showQuickPick(items, options);
  const platforms = picked?.map((item) => item.label).filter((label) => label !== OTHERS);
  if (platforms === undefined || picked?.length === platforms.length) {
    return platforms;
  }
  const prompt = 'Platforms, with commas between them';
  const value = platforms.map((platform) => `${platform},`).join('');
  const typed = await window.showInputBox({ prompt, value, placeHolder: 'linux/amd64,linux/arm64' });
  return typed?.split(',').map((name) => name.trim()).filter((name) => name !== '');
}

/** Asks which builder builds; an empty name stands for that of the command line. */
export async function pickBuilder(known: Builders): Promise<string | undefined> {
  const items: (QuickPickItem & { builder: string })[] = known.builders.map((builder) => ({
    label: builder.name,
    description: builder.name === known.chosen ? `${builder.driver}, chosen` : builder.driver,
    detail: builder.error ?? builder.platforms.join(', '),
    builder: builder.name,
  }));
  const current = known.builders.find((builder) => builder.current)?.name;
  items.push({ label: 'That of the command line', description: current ?? '', builder: '' });
  const picked = await window.showQuickPick(items, { title: 'Builder', matchOnDescription: true });
  return picked?.builder;
}

/** Keeps a setting; nothing stands for what it is by itself. */
export async function keep(setting: string, value: unknown, target: ConfigurationTarget): Promise<void> {
  await workspace.getConfiguration('rbx').update(setting, value, target);
}
