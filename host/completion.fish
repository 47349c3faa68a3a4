# fish completion for codex-lua
function __codex_lua_commands
  codex-lua --help 2>/dev/null | string replace -rf '^  ([a-z][a-z0-9-]*) +(.*)' '$1\t$2'
end
# A command of the user's own is not asked for help: nobody knows what it would do.
function __codex_lua_shipped
  codex-lua --help 2>/dev/null | sed '/^Your own/,$d' | string match -rq "^  $argv[1] "
end
# The parts and options that the help of the command on the line names.
function __codex_lua_words
  set -l words (commandline -opc)[2..-1]
  test "$words[1]" = help; and set -e words[1]
  string match -rq '^[a-z][a-z-]*$' -- "$words[1]"; and __codex_lua_shipped $words[1]; or return
  set -l part
  string match -rq '^[a-z][a-z-]*$' -- "$words[2]"; and set part $words[2]
  set -l found (codex-lua help $words[1] $part 2>/dev/null)
  or set found (codex-lua help $words[1] 2>/dev/null)
  printf '%s\n' $found | string replace -rf '^   (?:-[A-Za-z], *)?(--[a-z-]+).*' '$1'
  printf '%s\n' $found | sed '1,/^Commands:/d' | string replace -rf '^   ([a-z][a-z-]*) +(.*)' '$1\t$2'
end
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -a '(__codex_lua_commands)'
complete -c codex-lua -n 'test (count (commandline -opc)) -gt 1' -a '(__codex_lua_words)'
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -l help -d 'How to call it'
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -l version -d 'Print the version'
complete -c codex-lua -n 'test (count (commandline -opc)) -eq 1' -s e -x -d 'Run code'
