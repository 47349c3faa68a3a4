# fish completion for codex-lua
function __codex_lua_commands
  codex-lua --help 2>/dev/null | string replace -rf '^  ([a-z][a-z0-9-]*) +(.*)' '$1\t$2'
end
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -a '(__codex_lua_commands)'
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -l help -d 'How to call it'
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -l version -d 'Print the version'
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -s e -x -d 'Run code'
