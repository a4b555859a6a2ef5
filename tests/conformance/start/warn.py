#: Warnings are filtered, shown once and worded as Python's options say.
#: recipe: import asyncio, logging, os, re, warnings
#: every
#: run [] [-W error] [-W ignore] [-W default] [-W always] [-W once] [-W module] [-W error::ResourceWarning] [-W error::DeprecationWarning:__main__] [-W ignore:old] [-X dev] [-b] [-bb] [-O] [PYTHONWARNINGS=default,ignore::UserWarning] [PYTHONWARNINGS=ignore -W error::UserWarning] [-X warn_default_encoding] [-X dev -W ignore] [-E PYTHONWARNINGS=error] [PYTHONDEVMODE=1]: echo 'import warnings; warnings.warn("in a module", DeprecationWarning)' > mod.py; python program.py; echo $?; python -m program; python -c "$(cat program.py)"; python - < program.py
import os
import sys
import warnings

print(sys.warnoptions, [(f[0], f[1] and getattr(f[1], "pattern", f[1]), f[2].__name__, f[3] and getattr(f[3], "pattern", f[3]), f[4]) for f in warnings.filters])
kinds = UserWarning, DeprecationWarning, PendingDeprecationWarning, ImportWarning, FutureWarning, ResourceWarning, BytesWarning
for kind in kinds * 2:
    try:
        warnings.warn(f"old {kind.__name__}", kind)
    except Warning as error:
        print("raised", repr(error))
for code in 'open(os.devnull)', 'open(os.devnull).read', 'b"a" == "a"', 'str(b"a")', 'import mod', 'eval(r"\'\\d\'")', 'eval("1 is 1")', '__debug__ and 1/0':
    try:
        exec(code)
    except Exception as error:
        print("raised", repr(error))
print(sorted(__warningregistry__, key=repr))
