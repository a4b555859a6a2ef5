#: compileall, py_compile, zipapp, http.server and other tools of the library work as ever.
#: run: python -m compileall -q p bad.py; echo $?; ls p/__pycache__ | grep -c pyc; python -m py_compile program.py; echo $?; python -m py_compile bad.py; echo $?; rm -r p/__pycache__ __pycache__
#: run: python -m zipapp p -m main:f -o p.pyz; python p.pyz; python -m zipfile -l p.pyz | cut -d' ' -f 1; rm p.pyz
#: run: "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' > port; "$PYTHON" $FLAGS -u -m http.server $(cat port) --bind 127.0.0.1 2> log & server=$!; for i in {1..200}; do { exec 9<> /dev/tcp/127.0.0.1/$(cat port); } 2> /dev/null && break; sleep .05; done; printf 'GET /p/main.py HTTP/1.0\r\n\r\n' >&9; sed 's/^Server.*//; s/^Date.*//; s/^Last.*//' <&9; kill $server; wait $server 2> /dev/null; echo $?; grep -c 'GET /p/main.py HTTP/1.0" 200' log; rm log port
#: run: python -m json.tool --compact in.json; python -m base64 -e in.json; python -m tokenize -e p/main.py; python -m ast p/main.py; python -m dis p/main.py
#: run: python -m tarfile -c t.tar p; python -m tarfile -l t.tar; rm t.tar; python -m calendar 2024 1; python -m inspect json:dumps | sed -n 1,5p; python -m textwrap; python -m pyclbr p/main.py; python -m symtable < /dev/null | sed -n 1,2p; python -m quopri < in.json; python -m this | sed -n 1,2p; python -m tabnanny p
#: run: python -m site --user-base; python -m sysconfig | sed -n 1,3p; python -m platform | cut -c 1-5; python -m pydoc json.dumps | sed -n 1,5p; python -m gzip in.json; python -m gzip -d in.json.gz; rm in.json.gz; python -m uuid | wc -c; python -m mimetypes a.html
#: run: python -m idlelib --help 2>&1 | wc -l; python -m code < in.json 2>/dev/null; python -m unittest -h | sed -n 1,1p; python -m smtplib < /dev/null 2>&1 | sed -n 1,1p; python -m encodings.rot_13 < in.json
#: run: echo '{' | python -m json.tool; echo $?; python -m timeit -n 1 -r 1 -u sec "import os; print(os.path.basename('a/b'))" | sed -n 1,1p; python -c 'help(len)' | sed -n 1,3p
#: varies: 0x[0-9a-f]+
#: varies: port \d+ .*
