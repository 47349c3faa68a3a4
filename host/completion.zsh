#compdef codex-lua
# zsh completion for codex-lua
_codex_lua() {
  local -a commands
  commands=(${(f)"$(codex-lua --help 2>/dev/null | sed -n 's/^  \([a-z][a-z0-9-]*\)  *\(.*\)/\1:\2/p')"})
  if (( CURRENT == 2 )) || [[ $words[2] == help ]]; then
    _describe command commands
    _arguments '--help[how to call it]' '--version[print the version]' '-e[run code]'
    _files -g '*.lua'
  else
    _files
  fi
}
_codex_lua "$@"
