#: A module that cannot be run is refused in Python's words.
#: either
#: run [] [-I]: for a in no_such os.no_such json. .json "" a-b " os" .. json json.tool.x program.x; do python -m "$a" < /dev/null; echo $?; done
#: run: mkdir p q; echo 'import no_such' > p/__init__.py; echo '1/0' > q/__main__.py; touch q/__init__.py; echo 'x = (' > broken.py; for a in p q p.x q.x broken; do python -m $a; echo $?; done
print("run")
