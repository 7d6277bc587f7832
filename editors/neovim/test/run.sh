#!/bin/sh
# Opens a broken Dockerfile in a Neovim without a terminal or configuration, and looks at what is shown.
#
# usage: run.sh SERVER [NVIM]     SERVER: the path of rbx-lsp; NVIM: the editor, `nvim` unless given
set -eu

server=$1
nvim=${2:-nvim}
here=$(cd "$(dirname "$0")/.." && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HOME="$scratch" XDG_CONFIG_HOME="$scratch/config" XDG_DATA_HOME="$scratch/data"
export XDG_STATE_HOME="$scratch/state" XDG_CACHE_HOME="$scratch/cache"
export RBX_TEST_SERVER="$server" RBX_TEST_DIRECTORY="$scratch/project"
mkdir -p "$RBX_TEST_DIRECTORY/.git" "$RBX_TEST_DIRECTORY/sub"

cd "$scratch"
if ! "$nvim" --headless --clean \
    --cmd "lua vim.g.rbx = { cmd = { vim.env.RBX_TEST_SERVER } }" \
    --cmd "set runtimepath^=$here" \
    -c "luafile $here/test/session.lua" </dev/null 2>"$scratch/report"
then
    cat "$scratch/report" >&2
    find "$scratch" -name lsp.log -exec cat {} + >&2
    exit 1
fi
cat "$scratch/report"
echo
