#!/bin/sh
# Does in a Neovim without a terminal or configuration what a user does, and looks at what is shown.
#
# usage: run.sh SESSION NVIM SERVER [ARGUMENT]…
#
# SESSION: `language` or `builds`; NVIM: the editor; SERVER: the language server with its arguments.
# `builds` wants RBX_TEST_BASE, the value of a --build-context that is a base image with a shell.
set -eu

session=$1
nvim=$2
shift 2
here=$(cd "$(dirname "$0")/.." && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HOME="$scratch" XDG_CONFIG_HOME="$scratch/config" XDG_DATA_HOME="$scratch/data"
export XDG_STATE_HOME="$scratch/state" XDG_CACHE_HOME="$scratch/cache"
export RBX_TEST_SERVER="$(printf '%s\n' "$@")" RBX_TEST_DIRECTORY="$scratch/project"
mkdir -p "$RBX_TEST_DIRECTORY/.git" "$RBX_TEST_DIRECTORY/sub"

cd "$scratch"
if ! "$nvim" --headless --clean \
    --cmd "luafile $here/test/options.lua" \
    --cmd "set runtimepath^=$here" \
    -c "luafile $here/test/$session.lua" </dev/null 2>"$scratch/report"
then
    cat "$scratch/report" >&2
    find "$scratch" -name lsp.log -exec cat {} + >&2
    exit 1
fi
cat "$scratch/report"
echo
