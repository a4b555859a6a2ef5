#: A directory as standard input ends Python in its own words.
#: either
#: varies: 0x[0-9a-f]+
#: run [] [-u]: python program.py < /; echo $?; python - < /; echo $?; python < .; echo $?
print("run")
