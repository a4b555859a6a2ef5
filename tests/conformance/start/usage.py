#: Whoever calls Python wrongly, or asks it for help or its version, is answered by Python.
#: miss
#: varies: line [0-9]+
#: run: for a in -Z --nonsense -c -m -W -X --check-hash-based-pycs -J -xZ -i-; do python $a < /dev/null; echo $?; done
#: run: for a in --help --version -V -VV -h '-?' --help-env --help-xoptions --help-all -hV; do python $a < /dev/null; echo $?; done
#: run: for a in missing.py ./missing.py /missing/x.py "" / program.py/x; do python "$a" < /dev/null; echo $?; done; mkdir empty; python empty; echo $?; chmod 0 program.py; python program.py/; echo $?
#: run: for a in utf8=2 int_max_str_digits=x int_max_str_digits=5 tracemalloc=x cpu_count=x frozen_modules=x gil=2; do python -X $a -c pass 2>&1; echo $?; done
#: run: for a in PYTHONUTF8=2 PYTHONHASHSEED=x PYTHONHASHSEED=99999999999 PYTHONINTMAXSTRDIGITS=1 PYTHONMALLOC=x PYTHONTRACEMALLOC=x PYTHONHOME=/nowhere PYTHONIOENCODING=x PYTHON_CPU_COUNT=x PYTHON_GIL=x PYTHON_FROZEN_MODULES=x; do env $a "$PYTHON" -c 'print(1)' 2>&1 | head -3; done
#: run: python missing.py; echo $?
#:   miss: cannot open missing.py
print("run")
