# bash completion for codex-lua
_codex_lua() {
  local word=${COMP_WORDS[COMP_CWORD]}
  if [ "$COMP_CWORD" -gt 1 ] && [ "${COMP_WORDS[1]}" != help ]; then
    COMPREPLY=($(compgen -f -- "$word"))
    return
  fi
  local commands
  commands=$(codex-lua --help 2>/dev/null | sed -n 's/^  \([a-z][a-z0-9-]*\) .*/\1/p')
  COMPREPLY=($(compgen -W "$commands help --help --version -e" -- "$word") $(compgen -f -X '!*.lua' -- "$word"))
}
complete -o filenames -F _codex_lua codex-lua
