#: What is encoded and decoded - arguments, names of files, variables, output - is so as in the locale.
#: recipe: import os
#: every
#: varies: 0x[0-9a-f]+
#: run [] [LANG=C] [LC_ALL=C] [LC_ALL=POSIX] [LC_ALL=C -X utf8=0] [LANG=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0] [PYTHONIOENCODING=latin-1:xmlcharrefreplace] [PYTHONIOENCODING=ascii] [-X utf8] [LC_ALL=C.UTF-8 -I]: touch ü $'\377'; export V=é W=$'\376'; cp program.py ü.py; python program.py ä $'\375'; python ü.py ö; python -c "$(cat program.py)" ä; python - ä < program.py; python -m ü; rm ü $'\377' ü.py
import os
import sys

print(ascii(sys.argv), ascii(getattr(sys, "orig_argv", None)), ascii(sorted(os.listdir("."))), ascii(os.environ["V"]), ascii(os.environ["W"]))
print(ascii(__file__) if "__file__" in globals() else None, os.environb[b"V"], os.fsencode(sys.argv[-1]))
for text in "é", "€", "\udcff":
    try:
        print(text)
        sys.stdout.flush()
    except UnicodeError as error:
        print(error)
print("é€\udcff", file=sys.stderr)
raise ValueError("é€\udcff")
