#: A prompt on a terminal is plain Python's.
#: miss
#: terminal: ">>> " "x = 1\n" ">>> " "print(x, __name__, __builtins__)\n" ">>> " "raise SystemExit(3)\n" "$ " "exit\n"
#: run [PYTHON_BASIC_REPL=1]: python -q; echo $?; read -p "$ " x
