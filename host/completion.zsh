#compdef codex-lua
# zsh completion for codex-lua
_codex_lua_commands() {
  codex-lua --help 2>/dev/null | sed -n "$1"'s/^  \([a-z][a-z0-9-]*\)  *\(.*\)/\1:\2/p'
}
# The parts and options that a command's help names: _codex_lua_words COMMAND [PART]
_codex_lua_words() {
  codex-lua help "$@" 2>/dev/null | sed -n '/^Commands:/,$s/^   \([a-z][a-z-]*\) .*/\1/p
    s/^   \(-[A-Za-z], *\)\{0,1\}\(--[a-z-]*\).*/\2/p'
}
_codex_lua() {
  local -a commands before found
  before=("${(@)words[2,CURRENT-1]}")
  if (( CURRENT == 2 )) || { (( CURRENT == 3 )) && [[ $words[2] == help ]] }; then
    commands=(${(f)"$(_codex_lua_commands)"})
    _describe command commands
    _arguments '--help[how to call it]' '--version[print the version]' '-e[run code]'
    _files -g '*.lua'
    return
  fi
  [[ $before[1] == help ]] && shift before
  # A command of the user's own is not asked for help: nobody knows what it would do.
  commands=(${${(f)"$(_codex_lua_commands '/^Your own/q;')"}%%:*})
  if (( ${commands[(Ie)$before[1]]} )); then
    found=(${(f)"$(_codex_lua_words $before[1])"})
    if [[ $before[2] == [a-z]* ]] && (( ${found[(Ie)$before[2]]} )); then
      found=(${(f)"$(_codex_lua_words $before[1] $before[2])"})
    fi
  fi
  compadd -a found
  _files
}
_codex_lua "$@"
