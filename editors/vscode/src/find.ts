/** Where the language server is. */

import { accessSync, constants, statSync } from 'node:fs';
import { homedir } from 'node:os';
import * as path from 'node:path';

/** A program with its first arguments. */
export interface Program {
  readonly command: string;
  readonly args: string[];
}

const SUFFIX = process.platform === 'win32' ? '.exe' : '';

/** Where docker looks for plugins of all users. */
const PLUGIN_DIRECTORIES = [
  '/usr/local/lib/docker/cli-plugins',
  '/usr/local/libexec/docker/cli-plugins',
  '/usr/lib/docker/cli-plugins',
  '/usr/libexec/docker/cli-plugins',
];

/**
 * Finds the server: the program that is set, else `rbx-lsp` or `docker-rbx` on the `PATH`, else `docker-rbx` among the
 * plugins of docker. Nothing if there is none.
 */
export function findServer(set: string): Program | undefined {
  if (set !== '') {
    const file = set.startsWith('~/') ? path.join(homedir(), set.slice(2)) : set;
    const found = path.isAbsolute(file) ? only(file) : first([file], searchPath());
    return found === undefined ? undefined : program(found);
  }
  const found = first(['rbx-lsp', 'docker-rbx'], searchPath()) ?? first(['docker-rbx'], plugins());
  return found === undefined ? undefined : program(found);
}

/** `docker` and `docker-rbx` are more than the server: it is a command of theirs. */
function program(command: string): Program {
  const name = path.basename(command, SUFFIX);
  const args = { docker: ['rbx', 'lsp'], 'docker-rbx': ['lsp'] }[name];
  return { command, args: args ?? [] };
}

function searchPath(): string[] {
  return (process.env['PATH'] ?? '').split(path.delimiter).filter((directory) => path.isAbsolute(directory));
}

function plugins(): string[] {
  const own = process.env['DOCKER_CONFIG'] || path.join(homedir(), '.docker');
  return [path.join(own, 'cli-plugins'), ...PLUGIN_DIRECTORIES];
}

function first(names: string[], directories: string[]): string | undefined {
  for (const name of names) {
    for (const directory of directories) {
      const found = only(path.join(directory, name));
      if (found !== undefined) {
        return found;
      }
    }
  }
  return undefined;
}

/** The file, if it is one that can be run. */
function only(file: string): string | undefined {
  const candidates = file.endsWith(SUFFIX) ? [file] : [file + SUFFIX, file];
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK);
      return statSync(candidate).isFile();
    } catch {
      return false;
    }
  });
}
