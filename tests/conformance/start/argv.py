#: sys.argv and sys.orig_argv are what was typed.
#: run [] [-O] [-X dev] [-W error -u] [-I] [-E -s]: python program.py one "two words" -v "" --image x
#: run: python -c 'import sys; print(sys.argv, getattr(sys, "orig_argv", 0))' -c x --image y
#: run: cd / && python "$OLDPWD/program.py" x
import sys

print(sys.argv, getattr(sys, "orig_argv", None))
