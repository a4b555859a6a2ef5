#: breakpoint() in a program on a terminal reads commands from it.
#: terminal: "(Pdb) " "p x\n" "(Pdb) " "!x = 6\n" "(Pdb) " "n\n" "(Pdb) " "c\n"
x = 5
breakpoint()
y = x + 1
print("y is", y)
