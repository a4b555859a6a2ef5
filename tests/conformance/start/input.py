#: Standard input is read as far as CPython reads it, and what is left belongs to whoever reads next.
#: recipe: import fileinput, io, os
#: every
#: stdin: "one\ntwo\nthree\nfour\n"
#: run [] [-u]: for how in input readline next iterate partly raw buffer open read none mixed end fileinput; do seq -f 'line %.0f' 2000 > in; (python program.py $how; head -c 20) < in; seq 5 | (python program.py $how; cat); done; rm in
#: run: python program.py input; cat
#: run: printf 'a\r\nb\rc\n' | python program.py iterate; printf 'no end' | python program.py input; printf '' | python program.py input; printf '\377\n' | python program.py input; printf '\0x\n' | python program.py input
#: run: printf 'import sys\nprint(input())\nthe rest\nprint(sys.stdin.read())\nx = 1' > in; python < in; python - < in; cat in | python; rm in
#: run: printf 'print(1)\nexit(3)\nprint(2)\n' > in; (python; echo $?; cat) < in; (python -; echo $?; cat) < in; rm in
import os
import sys

how = sys.argv[1]
if how == "input":
    try:
        print(ascii(input("prompt ")))
        print("readline" in sys.modules)
    except (EOFError, UnicodeError) as error:
        print(type(error), error)
elif how == "readline":
    print(sys.stdin.readline(), sys.stdin.buffer.peek()[:9])
elif how == "next":
    print(next(sys.stdin), next(sys.stdin))
elif how == "iterate":
    print([ascii(line) for line in sys.stdin][-2:], sys.stdin.newlines)
elif how == "partly":
    print(sys.stdin.read(5))
elif how == "raw":
    print(os.read(0, 6))
elif how == "buffer":
    print(sys.stdin.buffer.read(3), sys.stdin.buffer.read1(2))
elif how == "open":
    with open(0) as file:
        print(file.readline())
elif how == "read":
    print(len(sys.stdin.read()))
elif how == "mixed":
    print(os.read(0, 3), input(), sys.stdin.read(2), sys.stdin.buffer.read(3))
elif how == "end":
    if sys.stdin.seekable():
        print(sys.stdin.readline(), sys.stdin.tell(), sys.stdin.seek(7), sys.stdin.readline())
elif how == "fileinput":
    import fileinput
    for line in fileinput.input("-"):
        print(line, fileinput.lineno())
        break
