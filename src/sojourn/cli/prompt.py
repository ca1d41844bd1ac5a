"""``sojourn prompt``: shell code that shows in the prompt who you are.

What it prints runs at each prompt and starts no Python while one stays in a directory and is the same session: the shell
reads the pointer's file itself, and asks again after each ``sojourn`` that was typed in it. Nothing that a file says is
executed, and a label has only harmless characters.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sojourn.cli.call import Call
    from sojourn.cli.parser import Parser

SHELLS: Final = ("bash", "zsh", "fish")

_POSIX: Final = """\
__sojourn_update() {
  local code=$? file id=''
  if [ "$PWD|$SOJOURN_AGENT|$SOJOURN_SESSION|$TMUX_PANE" != "$__sojourn_place" ]; then
    __sojourn_place="$PWD|$SOJOURN_AGENT|$SOJOURN_SESSION|$TMUX_PANE"
    __sojourn_files=$(command sojourn prompt --files 2>/dev/null)
    __sojourn_id='?'
  fi
  id=$SOJOURN_SESSION
  while [ -z "$id" ] && IFS= read -r file && [ -n "$file" ]; do
    [ -r "$file" ] && { IFS= read -r id < "$file" || true; }
  done <<EOF
$__sojourn_files
EOF
  if [ "$id" != "$__sojourn_id" ]; then
    __sojourn_id=$id
    __sojourn_label=''
    [ -n "$id" ] && __sojourn_label=$(command sojourn prompt --label 2>/dev/null)
  fi
  return $code
}
function sojourn {
  __sojourn_place=''
  command sojourn "$@"
}
"""

_CODE: Final = {
    "bash": _POSIX
    + """\
case ";${PROMPT_COMMAND};" in
  *__sojourn_update*) ;;
  *) PROMPT_COMMAND="__sojourn_update${PROMPT_COMMAND:+;$PROMPT_COMMAND}"; PS1='${__sojourn_label:+[$__sojourn_label] }'$PS1 ;;
esac
""",
    "zsh": _POSIX
    + """\
autoload -Uz add-zsh-hook
setopt prompt_subst
add-zsh-hook precmd __sojourn_update
case $PROMPT in
  *__sojourn_label*) ;;
  *) PROMPT='${__sojourn_label:+[$__sojourn_label] }'$PROMPT ;;
esac
""",
    "fish": """\
function __sojourn_update --on-event fish_prompt
  set -l code $status
  set -l place "$PWD|$SOJOURN_AGENT|$SOJOURN_SESSION|$TMUX_PANE"
  if test "$place" != "$__sojourn_place"
    set -g __sojourn_place $place
    set -g __sojourn_files (command sojourn prompt --files 2>/dev/null)
    set -g __sojourn_id '?'
  end
  set -l id $SOJOURN_SESSION
  for file in $__sojourn_files
    test -n "$id"; and break
    test -r "$file"; and read -l line < $file; and set id $line
  end
  test "$id" = "$__sojourn_id"; and return $code
  set -g __sojourn_id $id
  set -g __sojourn_label ''
  test -n "$id"; and set -g __sojourn_label (command sojourn prompt --label 2>/dev/null)
  return $code
end
function sojourn --wraps sojourn
  set -g __sojourn_place ''
  command sojourn $argv
end
if not functions -q __sojourn_prompt
  functions -q fish_prompt; and functions -c fish_prompt __sojourn_prompt; or function __sojourn_prompt; echo '> '; end
  function fish_prompt
    test -n "$__sojourn_label"; and echo -n "[$__sojourn_label] "
    __sojourn_prompt
  end
end
""",
}


def answer_quickly(words: list[str]) -> int | None:
    """What the shell code asks, the short way; None for anything else."""
    if words == ["--files"]:
        sys.stdout.write("".join(f"{path}\n" for path in _files()))
    elif words == ["--label"]:
        from sojourn.cli.status import quick_look

        found = quick_look()
        if found is None:
            return None
        sys.stdout.write(f"{_label(found)}\n")
    else:
        return None
    sys.stdout.flush()
    return 0


def _files() -> list[str]:
    """The files of the pointers that are asked here, in order."""
    from sojourn.errors import SojournError
    from sojourn.project.caller import caller
    from sojourn.project.identity import project_of
    from sojourn.project.pointers import SPOTS, pointer_path
    from sojourn.project.root import find

    try:
        root = find()
        if root is None:
            return []
        project_of(root)
    except SojournError:  # a prompt is no place for errors: 'sojourn status' says them
        return []
    who = caller()
    found = [pointer_path(root, spot, who) for spot in SPOTS]
    return [path for path in found if path is not None and "\n" not in path]


def _label(found: dict[str, Any]) -> str:
    """Role and name of a session, and its state where that is not as one would think."""
    state = "" if found["state"] in ("active", "idle") else f" ({found['state']})"
    return f"{found['role']}:{found['name']}{state}"


def fill(_: str, parser: Parser) -> None:
    """Add what the command takes."""
    parser.description = (
        "Print shell code that shows in the prompt who you are: [role:name]. It starts no program while you stay in a\n"
        "directory and are the same session. What others change (a name, an end) shows when you change the directory."
    )
    parser.examples(
        'eval "$(sojourn prompt bash)"         in ~/.bashrc\n'
        'eval "$(sojourn prompt zsh)"          in ~/.zshrc\n'
        "sojourn prompt fish | source          in ~/.config/fish/config.fish"
    )
    parser.usage = "%(prog)s [options] (SHELL | --files | --label)"
    parser.add_argument("shell", metavar="SHELL", nargs="?", choices=SHELLS, help=", ".join(SHELLS))
    parser.add_argument("--files", action="store_true", help="for the code: the files of the pointers, the first one first")
    parser.add_argument("--label", action="store_true", help="for the code: role and name of your session")
    parser.set_defaults(run=prompt)


def prompt(call: Call) -> None:
    """``prompt``."""
    from sojourn.cli.exits import UsageError

    given = call.arguments
    if [given.shell is not None, given.files, given.label].count(True) != 1:
        raise UsageError("prompt takes one of SHELL, --files, --label.", hint="See: sojourn prompt --help")
    if given.shell is not None:
        code = _CODE[given.shell]
        call.output.answer({"shell": given.shell, "code": code}, [], lambda: call.output.write(code))
    elif given.files:
        paths = _files()
        call.output.answer(paths, paths, lambda: call.output.write("".join(f"{path}\n" for path in paths)))
    else:
        label = _long_label(call)
        call.output.answer({"label": label}, [label] if label else [], lambda: call.output.write(f"{label}\n" if label else ""))


def _long_label(call: Call) -> str:
    """The label of whatever session is meant; empty when that is none, for a prompt is no place for errors."""
    from sojourn.cli.status import look
    from sojourn.errors import SojournError

    try:
        return _label(look(call)[0])
    except SojournError:
        return ""
