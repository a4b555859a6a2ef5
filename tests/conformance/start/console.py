#: A program that asks itself - code.interact, pdb, breakpoint() - asks on the terminal as Python does.
#: recipe: import code, os, pdb
#: either
#: varies: 0x[0-9a-f]+
#: terminal: "ask> " "value = 2\n" "ask> " "print(value, __name__)\n" "ask> " "\x04" "(Pdb) " "p x\n" "(Pdb) " "w\n" "(Pdb) " "c\n" "(Pdb) " "q\n" "$ " "exit\n"
#: run [] [PYTHONBREAKPOINT=pdb.set_trace]: python program.py; echo $?; read -p "$ " x
import code
import sys

sys.ps1 = "ask> "
code.interact(banner="hello", local={"__name__": "inner"}, exitmsg="bye")
x = 41
import pdb; pdb.set_trace()
print("between")
breakpoint()
print("not reached")
