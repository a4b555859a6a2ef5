#: Interactive use is plain Python: a prompt, -i, PYTHONINSPECT.
#: miss
#: stdin: "print(x + 1)\nexit(4)\n"
#: run: python -i program.py; echo $?
#: run: python -i -c 'x = 2'; PYTHONINSPECT=1 python -c 'x = 3' < program.py; python -i < program.py; echo 'x = 1 +' | python -i -q; python -i -m program < /dev/null
#: run: echo 'print("startup")' > s; PYTHONSTARTUP=s python -i -q -c 'x = 1' < /dev/null; rm s
x = 41
print("ready", __name__)
